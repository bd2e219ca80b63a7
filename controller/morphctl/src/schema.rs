//! `schema diff`: how the tables of two releases differ, and a beginning of the migration between them. Asks the executables of
//! the two bundles themselves (`EXEC --schema`), not morphd.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use morph_api::manifest::Manifest;
use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::print::Output;
use crate::print::rows::TableChange;

/// For a release to say what its tables are.
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes of that.
const MOST: u64 = 4 << 20;

/// A table as a release describes it: see `TableShape` in the SDK.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) shape: Value,
}

#[derive(Debug, Deserialize)]
struct Said {
    tables: Vec<Table>,
}

/// A release and its tables.
struct Release {
    manifest: Manifest,
    tables: BTreeMap<String, Table>,
}

/// Prints the difference, and the beginning of a migration where there is one to be written.
pub(crate) async fn diff(old: &Path, new: &Path, out: &mut Output) -> Result<(), Failure> {
    let (mut old, mut new) = (read(old).await?, read(new).await?);
    let named = |r: &Release| format!("{}@{}", r.manifest.name, r.manifest.version);
    if old.manifest.name != new.manifest.name {
        let said = format!("{} and {} are different apps", named(&old), named(&new));
        return Err(Failure::Refused(said));
    }
    if old.manifest.schema > new.manifest.schema {
        std::mem::swap(&mut old, &mut new);
    }
    let changes = changes(&old.tables, &new.tables);
    out.list("schema", &changes)?;
    let differ = changes.iter().any(|change| change.change != "same");
    let (low, high) = (old.manifest.schema, new.manifest.schema);
    match (differ, low == high) {
        (true, true) => out.text(&format!(
            "\nBoth say schema {low}, and their tables differ: raise `schema` of the newer one, and say how to migrate.\n"
        )),
        (true, false) => out.text(&format!("\n{}", skeleton(low, high, &changes))),
        (false, _) => out.text("\nThe tables are the same.\n"),
    }
}

async fn read(bundle: &Path) -> Result<Release, Failure> {
    let manifest = Manifest::read(&bundle.join(Manifest::FILE));
    let manifest = manifest.map_err(|error| Failure::Refused(error.to_string()))?;
    let exec = bundle.join(&manifest.exec);
    let shown = exec.display().to_string();
    let wrong = move |why: &str| {
        Failure::Refused(format!(
            "{shown} --schema: {why} (a release of this version of the SDK prints the shapes of its tables)"
        ))
    };
    let mut command = Command::new(&exec);
    command
        .arg("--schema")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| wrong(&error.to_string()))?;
    let stdout = child.stdout.take();
    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let read = stdout.map(|stdout| stdout.take(MOST).read_to_string(&mut text));
        read.transpose().map(|_| text)
    });
    let text = tokio::time::timeout(ANSWER, text).await;
    // It has said all, or too much, or nothing in time: it is of no more use.
    let _ = child.kill();
    let _ = child.wait();
    let text = match text {
        Ok(Ok(Ok(text))) => text,
        Ok(Ok(Err(error))) => return Err(wrong(&error.to_string())),
        Ok(Err(_)) => return Err(wrong("cannot be read")),
        Err(_) => return Err(wrong(&format!("no answer within {} s", ANSWER.as_secs()))),
    };
    let said: Said = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
    if said.tables.is_empty() {
        return Err(wrong("it names no tables; see App::tables of the SDK"));
    }
    let tables = said.tables.into_iter();
    Ok(Release {
        manifest,
        tables: tables.map(|table| (table.name.clone(), table)).collect(),
    })
}

fn changes(old: &BTreeMap<String, Table>, new: &BTreeMap<String, Table>) -> Vec<TableChange> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let change = |name: &String| {
        let (old, new) = (old.get(name).cloned(), new.get(name).cloned());
        let same = |(old, new): (&Table, &Table)| old.key == new.key && old.shape == new.shape;
        let change = match (&old, &new) {
            (Some(old), Some(new)) if same((old, new)) => "same",
            (Some(_), Some(_)) => "changed",
            (None, _) => "added",
            (_, None) => "removed",
        };
        TableChange {
            table: name.clone(),
            change,
            old,
            new,
        }
    };
    names.into_iter().map(change).collect()
}

/// The source of a migration that passes on what is the same, and fails where something is to be written.
fn skeleton(low: u32, high: u32, changes: &[TableChange]) -> String {
    let mut text = format!("//! Between schema {low} and schema {high}.\n\n");
    text += "use morph_sdk::{Migration, MigrationError, Rows, Table};\n\n";
    for change in changes.iter().filter(|change| change.change != "same") {
        let sides = [("OLD", &change.old), ("NEW", &change.new)];
        for (side, table) in sides {
            if let Some(Table {
                name, key, value, ..
            }) = table
            {
                let constant = constant(name);
                // A row is only readable by a type that still exists: the old one moves to the migration.
                let _ = writeln!(
                    text,
                    "const {side}_{constant}: Table<{key}, {value}> = Table::new({name:?});"
                );
            }
        }
    }
    let _ = write!(
        text,
        "\n/// The migration that the release of schema {high} brings.\npub struct V{low}ToV{high};\n\n\
         impl Migration for V{low}ToV{high} {{\n    const OLD: u32 = {low};\n    const NEW: u32 = {high};\n\n"
    );
    if high - low > 1 {
        let _ = writeln!(
            text,
            "    // A migration is between neighbours: write one for each step from {low} to {high}.\n"
        );
    }
    text += "    // Where rows are joined or split, name what belongs together: group_of_old and group_of_new.\n\n";
    let others = |wanted: &str| {
        let other = changes
            .iter()
            .filter(move |c| c.change != "same" && c.change != wanted);
        other.map(|c| c.table.as_str()).collect::<Vec<_>>()
    };
    one_way(&mut text, "up", ("old", "new"), changes, &others("added"));
    text.push('\n');
    one_way(
        &mut text,
        "down",
        ("new", "old"),
        changes,
        &others("removed"),
    );
    text + "}\n"
}

fn one_way(
    text: &mut String,
    name: &str,
    (from, to): (&str, &str),
    changes: &[TableChange],
    open: &[&str],
) {
    let _ = writeln!(
        text,
        "    fn {name}({from}: &Rows) -> Result<Rows, MigrationError> {{\n        let mut {to} = Rows::new();"
    );
    for change in changes.iter().filter(|change| change.change == "same") {
        let _ = writeln!(text, "        {to}.pass({from}, {:?});", change.table);
    }
    let side = from.to_uppercase();
    for table in open {
        let table_const = format!("{side}_{}", constant(table));
        let _ = writeln!(
            text,
            "        for row in {from}.of(&{table_const})? {{\n            \
             // {from}.map_each, split_each or join_by: what becomes of it in the other schema?\n            \
             return Err(MigrationError::new(format!(\"{table}: not yet migrated: {{row:?}}\")));\n        }}"
        );
    }
    let _ = writeln!(text, "        Ok({to})\n    }}");
}

fn constant(name: &str) -> String {
    let letter = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(of: &[(&str, &str)]) -> BTreeMap<String, Table> {
        let table = |(name, value): &(&str, &str)| {
            let table = Table {
                name: (*name).to_owned(),
                key: "MacAddr".into(),
                value: (*value).to_owned(),
                shape: Value::from(*value),
            };
            ((*name).to_owned(), table)
        };
        of.iter().map(table).collect()
    }

    #[test]
    fn what_was_added_removed_and_changed_is_told_and_to_be_written() {
        let old = tables(&[("gone", "u32"), ("kept", "u32"), ("wider", "u32")]);
        let new = tables(&[("come", "Hop"), ("kept", "u32"), ("wider", "u64")]);
        let changes = changes(&old, &new);
        let told: Vec<_> = changes
            .iter()
            .map(|c| (c.table.as_str(), c.change))
            .collect();
        let expected = [
            ("come", "added"),
            ("gone", "removed"),
            ("kept", "same"),
            ("wider", "changed"),
        ];
        assert_eq!(told, expected);
        let text = skeleton(1, 2, &changes);
        for line in [
            "const NEW_COME: Table<MacAddr, Hop> = Table::new(\"come\");",
            "const OLD_WIDER: Table<MacAddr, u32> = Table::new(\"wider\");",
            "pub struct V1ToV2;",
            "        new.pass(old, \"kept\");",
            "        for row in old.of(&OLD_GONE)? {",
            "        for row in new.of(&NEW_COME)? {",
        ] {
            assert!(text.contains(line), "no {line:?} in:\n{text}");
        }
        assert!(!text.contains("old.of(&OLD_COME)") && !text.contains("new.of(&NEW_GONE)"));
    }
}
