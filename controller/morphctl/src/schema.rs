//! `morphctl schema diff`: differences between the tables of two releases, and a skeleton of the migration between them. Asks
//! the executables of the two bundles (`EXEC --schema`), not morphd.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use morph_api::manifest::Manifest;
use serde::Deserialize;

use crate::failure::Failure;
use crate::print::Output;
use crate::print::rows::{TableDiff, TableShape};

/// Deadline for a release to describe its tables.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Largest description in bytes.
const MAX_ANSWER: u64 = 4 << 20;

/// Output of `EXEC --schema`.
#[derive(Debug, Deserialize)]
struct Description {
    tables: Vec<TableShape>,
}

struct Bundle {
    manifest: Manifest,
    tables: BTreeMap<String, TableShape>,
}

/// Prints the differences, and the skeleton of a migration if one has to be written.
pub(crate) async fn diff(old: &Path, new: &Path, out: &mut Output) -> Result<(), Failure> {
    let (mut old, mut new) = (read(old).await?, read(new).await?);
    let name = |b: &Bundle| format!("{}@{}", b.manifest.name, b.manifest.version);
    if old.manifest.name != new.manifest.name {
        return Err(Failure::Refused(format!(
            "{} and {} are different apps: name two releases of one app",
            name(&old),
            name(&new)
        )));
    }
    if old.manifest.schema > new.manifest.schema {
        std::mem::swap(&mut old, &mut new);
    }
    let changes = changes(&old.tables, &new.tables);
    out.list("schema", &changes)?;
    let differ = changes.iter().any(|change| change.change != "same");
    let (low, high) = (old.manifest.schema, new.manifest.schema);
    match (differ, low == high) {
        (true, true) => out.note(&format!(
            "\nBoth releases have schema {low}, but their tables differ: raise `schema` in the newer app.toml and write a migration.\n"
        )),
        (true, false) => out.note(&format!("\n{}", skeleton(low, high, &changes))),
        (false, _) => out.note("\nThe tables are the same.\n"),
    }
}

async fn read(folder: &Path) -> Result<Bundle, Failure> {
    let manifest = Manifest::read(&folder.join(Manifest::FILE));
    let manifest = manifest.map_err(|error| Failure::Refused(error.to_string()))?;
    let exec = folder.join(&manifest.exec);
    let shown = exec.display().to_string();
    let refused = move |reason: &str| {
        Failure::Refused(format!(
            "{shown} --schema: {reason} (to fix: build the release with the SDK of this version, which prints its tables)"
        ))
    };
    let mut command = Command::new(&exec);
    command
        .arg("--schema")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| refused(&error.to_string()))?;
    let stdout = child.stdout.take();
    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let read = stdout.map(|stdout| stdout.take(MAX_ANSWER).read_to_string(&mut text));
        read.transpose().map(|_| text)
    });
    let text = tokio::time::timeout(ANSWER_DEADLINE, text).await;
    // The process has printed everything, or too much, or nothing in time: it is not needed any more.
    let _ = child.kill();
    let _ = child.wait();
    let text = match text {
        Ok(Ok(Ok(text))) => text,
        Ok(Ok(Err(error))) => return Err(refused(&error.to_string())),
        Ok(Err(_)) => return Err(refused("its output cannot be read")),
        Err(_) => {
            let seconds = ANSWER_DEADLINE.as_secs();
            return Err(refused(&format!("no answer within {seconds} s")));
        }
    };
    let description: Description =
        serde_json::from_str(&text).map_err(|error| refused(&error.to_string()))?;
    if description.tables.is_empty() {
        return Err(refused(
            "it describes no tables; implement App::tables of the SDK",
        ));
    }
    let tables = description.tables.into_iter();
    Ok(Bundle {
        manifest,
        tables: tables.map(|table| (table.name.clone(), table)).collect(),
    })
}

fn changes(
    old: &BTreeMap<String, TableShape>,
    new: &BTreeMap<String, TableShape>,
) -> Vec<TableDiff> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let change = |name: &String| {
        let (old, new) = (old.get(name).cloned(), new.get(name).cloned());
        let same =
            |(old, new): (&TableShape, &TableShape)| old.key == new.key && old.shape == new.shape;
        let change = match (&old, &new) {
            (Some(old), Some(new)) if same((old, new)) => "same",
            (Some(_), Some(_)) => "changed",
            (None, _) => "added",
            (_, None) => "removed",
        };
        TableDiff {
            table: name.clone(),
            change,
            old,
            new,
        }
    };
    names.into_iter().map(change).collect()
}

/// Writes the source of a migration. It passes on the tables that are the same and fails for the others, until their
/// migration is written.
fn skeleton(low: u32, high: u32, changes: &[TableDiff]) -> String {
    let mut text = format!("//! Between schema {low} and schema {high}.\n\n");
    text += "use morph_sdk::{Migration, MigrationError, Rows, Table};\n\n";
    for change in changes.iter().filter(|change| change.change != "same") {
        let sides = [("OLD", &change.old), ("NEW", &change.new)];
        for (side, table) in sides {
            if let Some(TableShape {
                name, key, value, ..
            }) = table
            {
                let constant = constant(name);
                // Rows can only be read by a type that still exists, so the old type moves to the migration.
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
            "    // A migration leads to the next schema only: write one for each step from {low} to {high}.\n"
        );
    }
    text += "    // If rows are joined or split, group_of_old and group_of_new name the rows that belong together.\n\n";
    let others = |wanted: &str| {
        let other = changes
            .iter()
            .filter(move |c| c.change != "same" && c.change != wanted);
        other.map(|c| c.table.as_str()).collect::<Vec<_>>()
    };
    write_direction(&mut text, "up", ("old", "new"), changes, &others("added"));
    text.push('\n');
    write_direction(
        &mut text,
        "down",
        ("new", "old"),
        changes,
        &others("removed"),
    );
    text + "}\n"
}

fn write_direction(
    text: &mut String,
    name: &str,
    (from, to): (&str, &str),
    changes: &[TableDiff],
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
             // Map the row to the other schema with {from}.map_each, split_each or join_by.\n            \
             return Err(MigrationError::new(format!(\"{table}: no migration is written for {{row:?}}\")));\n        }}"
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

    fn tables(of: &[(&str, &str)]) -> BTreeMap<String, TableShape> {
        let table = |(name, value): &(&str, &str)| {
            let table = TableShape {
                name: (*name).to_owned(),
                key: "MacAddr".into(),
                value: (*value).to_owned(),
                shape: (*value).into(),
            };
            ((*name).to_owned(), table)
        };
        of.iter().map(table).collect()
    }

    #[test]
    fn changed_tables_are_listed_and_left_to_be_written() {
        let old = tables(&[("gone", "u32"), ("kept", "u32"), ("wider", "u32")]);
        let new = tables(&[("come", "Hop"), ("kept", "u32"), ("wider", "u64")]);
        let changes = changes(&old, &new);
        let listed: Vec<_> = changes
            .iter()
            .map(|c| (c.table.as_str(), c.change))
            .collect();
        let expected = [
            ("come", "added"),
            ("gone", "removed"),
            ("kept", "same"),
            ("wider", "changed"),
        ];
        assert_eq!(listed, expected);
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
