//! `morphctl schema diff`: differences between the tables of two releases, and a skeleton of the migration between them. Asks
//! the executables of the two bundles (`EXEC --schema`), not morphd.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use morph_api::description::{Change, Description, TableDiff, TableShape, ask, compare};
use morph_api::manifest::Manifest;

use crate::failure::Failure;
use crate::print::Output;

struct Bundle {
    manifest: Manifest,
    tables: Vec<TableShape>,
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
    let changes = compare(&old.tables, &new.tables);
    out.list("schema", &changes)?;
    let differ = changes.iter().any(|change| change.change != Change::Same);
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
    let asked = tokio::task::spawn_blocking(move || ask(&mut Command::new(exec))).await;
    let asked = asked.map_err(|_| refused("its output cannot be read"))?;
    let Description { tables, .. } = asked.map_err(|error| refused(&error))?;
    if tables.is_empty() {
        return Err(refused(
            "it describes no tables; implement App::tables of the SDK",
        ));
    }
    Ok(Bundle { manifest, tables })
}

/// Writes the source of a migration. It passes on the tables that are the same and fails for the others, until their
/// migration is written.
fn skeleton(low: u32, high: u32, changes: &[TableDiff]) -> String {
    let mut text = format!("//! Between schema {low} and schema {high}.\n\n");
    text += "use morph_sdk::{Migration, MigrationError, Rows, Table};\n\n";
    for change in changes
        .iter()
        .filter(|change| change.change != Change::Same)
    {
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
    let others = |wanted: Change| {
        let other = changes
            .iter()
            .filter(move |c| c.change != Change::Same && c.change != wanted);
        other.map(|c| c.table.as_str()).collect::<Vec<_>>()
    };
    write_direction(
        &mut text,
        "up",
        ("old", "new"),
        changes,
        &others(Change::Added),
    );
    text.push('\n');
    write_direction(
        &mut text,
        "down",
        ("new", "old"),
        changes,
        &others(Change::Removed),
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
    for change in changes
        .iter()
        .filter(|change| change.change == Change::Same)
    {
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

    fn tables(of: &[(&str, &str)]) -> Vec<TableShape> {
        let table = |(name, value): &(&str, &str)| TableShape {
            app: None,
            name: (*name).to_owned(),
            key: "MacAddr".into(),
            value: (*value).to_owned(),
            shape: (*value).into(),
        };
        of.iter().map(table).collect()
    }

    #[test]
    fn changed_tables_are_listed_and_left_to_be_written() {
        let old = tables(&[("gone", "u32"), ("kept", "u32"), ("wider", "u32")]);
        let new = tables(&[("come", "Hop"), ("kept", "u32"), ("wider", "u64")]);
        let changes = compare(&old, &new);
        let listed: Vec<_> = changes
            .iter()
            .map(|c| (c.table.as_str(), c.change.word()))
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
