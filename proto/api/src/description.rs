//! Description of a release by itself, the output of `EXEC --schema`: compared with its manifest, and with other releases.

mod ask;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::Manifest;

pub use ask::ask;

/// Shape of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableShape {
    /// App that owns the table; `None` for a table of the release's own app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Name of the table.
    pub name: String,
    /// Rust type of the keys.
    pub key: String,
    /// Rust type of the values.
    pub value: String,
    /// JSON form of a value: a word, or an object with one of `list`, `map`, `fields`, `optional`, `variants`, `tuple`.
    pub shape: Value,
}

/// Tables and migrations of an executable. Those built with an earlier SDK leave out the later members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Tables of the app; empty where it declares none.
    #[serde(default)]
    pub tables: Vec<TableShape>,
    /// Tables of other apps that it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<Vec<TableShape>>,
    /// Older and newer schema version of each migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Vec<(u32, u32)>>,
}

impl Description {
    /// Checks that executable and manifest agree. The error names each difference and what to do about it.
    pub fn check(&self, manifest: &Manifest) -> Result<(), String> {
        let mut problems = Vec::new();
        self.check_reads(manifest, &mut problems);
        self.check_migrations(manifest, &mut problems);
        self.check_config(manifest, &mut problems);
        match problems.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "{}@{}: {}",
                manifest.name,
                manifest.version,
                problems.join("; ")
            )),
        }
    }

    fn check_reads(&self, manifest: &Manifest, problems: &mut Vec<String>) {
        let Some(reads) = &self.reads else {
            return;
        };
        let mut read: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for table in reads {
            match &table.app {
                Some(app) => read.entry(app).or_default().push(&table.name),
                None => problems.push(format!(
                    "App::reads() names its own table {}, which belongs in App::tables()",
                    table.name
                )),
            }
        }
        for (app, tables) in &read {
            if !manifest.reads.contains_key(*app) {
                problems.push(format!(
                    "the executable reads {} of {app}, which `reads` of app.toml does not name: add \
                     `reads = {{ {app} = SCHEMA }}` with the schema version of {app} that it understands",
                    tables.join(", ")
                ));
            }
        }
        for app in manifest.reads.keys() {
            if !read.contains_key(app.as_str()) {
                problems.push(format!(
                    "app.toml reads {app}, and the executable declares no table of {app}: declare those that it reads in \
                     App::reads(), or take {app} out of `reads` in app.toml"
                ));
            }
        }
    }

    fn check_migrations(&self, manifest: &Manifest, problems: &mut Vec<String>) {
        let Some(migrations) = &self.migrations else {
            return;
        };
        let schema = manifest.schema;
        let of_schema = |(old, new): &(u32, u32)| [*old, *new].contains(&schema);
        if !migrations.is_empty() && !migrations.iter().any(of_schema) {
            let list: Vec<_> = migrations.iter().map(between).collect();
            problems.push(format!(
                "app.toml has schema {schema}, and the migrations of the executable lead between other versions ({}): correct \
                 `schema`, or bring the migration that it lacks",
                list.join(", ")
            ));
            return;
        }
        let reached = reached(schema, migrations);
        let promised: BTreeSet<u32> = manifest.migrates.iter().copied().collect();
        for version in promised.difference(&reached) {
            problems.push(format!(
                "app.toml promises a migration between schema {version} and {schema} (`migrates`), and the executable has none: \
                 bring it with run_with_migration, or take {version} out of `migrates`"
            ));
        }
        for version in reached.difference(&promised) {
            problems.push(format!(
                "the executable has a migration between schema {version} and {schema}, and `migrates` of app.toml does not name \
                 it: add {version} to `migrates`"
            ));
        }
    }

    fn check_config(&self, manifest: &Manifest, problems: &mut Vec<String>) {
        if self.tables.is_empty() {
            return;
        }
        for name in &manifest.config {
            if !self.tables.iter().any(|table| table.name == *name) {
                problems.push(format!(
                    "app.toml lets operators write table {name} (`config`), which the executable does not have: correct the name, \
                     or declare the table in App::tables()"
                ));
            }
        }
    }

    /// Compares the tables with those of a release that has the same schema version. The error lists the differences. Where
    /// one of the two declares no tables, nothing is known.
    pub fn check_same_tables(&self, other: &Description) -> Result<(), String> {
        if self.tables.is_empty() || other.tables.is_empty() {
            return Ok(());
        }
        let changes = compare(&other.tables, &self.tables);
        let changes = changes
            .iter()
            .filter(|change| change.change != Change::Same);
        let list: Vec<String> = changes.map(TableDiff::summary).collect();
        match list.is_empty() {
            true => Ok(()),
            false => Err(list.join(", ")),
        }
    }
}

fn between((old, new): &(u32, u32)) -> String {
    format!("{old} and {new}")
}

/// Schema versions that migrations lead to, without the one where they begin.
fn reached(schema: u32, migrations: &[(u32, u32)]) -> BTreeSet<u32> {
    let mut reached = BTreeSet::from([schema]);
    loop {
        let next = migrations.iter().flat_map(|(old, new)| {
            let leads = |from: &u32, to: &u32| reached.contains(from).then_some(*to);
            [leads(old, new), leads(new, old)]
        });
        let next: BTreeSet<u32> = next.flatten().collect();
        let before = reached.len();
        reached.extend(next);
        if reached.len() == before {
            reached.remove(&schema);
            return reached;
        }
    }
}

/// Way in which a table of one release differs from that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Key and shape are the same.
    Same,
    /// Both have it, with another key or shape.
    Changed,
    /// Only the newer one has it.
    Added,
    /// Only the older one has it.
    Removed,
}

impl Change {
    /// Word of `morphctl schema diff`.
    pub fn word(self) -> &'static str {
        match self {
            Change::Same => "same",
            Change::Changed => "changed",
            Change::Added => "added",
            Change::Removed => "removed",
        }
    }
}

/// A table as two releases have it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDiff {
    /// Name of the table.
    pub table: String,
    /// Difference between the two.
    pub change: Change,
    /// Table of the older release.
    pub old: Option<TableShape>,
    /// Table of the newer release.
    pub new: Option<TableShape>,
}

impl TableDiff {
    /// A few words for a message: `hops added`, `hosts changed (field vlan added)`.
    pub fn summary(&self) -> String {
        let (table, word) = (&self.table, self.change.word());
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => format!("{table} {word} ({})", difference(old, new)),
            (_, _) => format!("{table} {word}"),
        }
    }
}

fn difference(old: &TableShape, new: &TableShape) -> String {
    if old.key != new.key {
        return format!("key {}, was {}", new.key, old.key);
    }
    let fields = |table: &TableShape| {
        table
            .shape
            .get("fields")
            .and_then(Value::as_object)
            .cloned()
    };
    let (Some(was), Some(is)) = (fields(old), fields(new)) else {
        return format!("value {}, was {}", new.shape, old.shape);
    };
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let changes = names.into_iter().filter_map(|name| {
        let word = match (was.get(name), is.get(name)) {
            (Some(was), Some(is)) if was == is => return None,
            (Some(_), Some(_)) => "changed",
            (None, _) => "added",
            (_, None) => "removed",
        };
        Some(format!("field {name} {word}"))
    });
    changes.collect::<Vec<_>>().join(", ")
}

/// Compares the tables of two releases, by name.
pub fn compare(old: &[TableShape], new: &[TableShape]) -> Vec<TableDiff> {
    let by_name = |tables: &[TableShape]| -> BTreeMap<String, TableShape> {
        let tables = tables.iter();
        tables
            .map(|table| (table.name.clone(), table.clone()))
            .collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let diff = |name: &String| {
        let (old, new) = (old.get(name).cloned(), new.get(name).cloned());
        let change = match (&old, &new) {
            (Some(old), Some(new)) if old.key == new.key && old.shape == new.shape => Change::Same,
            (Some(_), Some(_)) => Change::Changed,
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
        };
        TableDiff {
            table: name.clone(),
            change,
            old,
            new,
        }
    };
    names.into_iter().map(diff).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn table(app: Option<&str>, name: &str, shape: Value) -> TableShape {
        TableShape {
            app: app.map(str::to_owned),
            name: name.into(),
            key: "u32".into(),
            value: "V".into(),
            shape,
        }
    }

    fn manifest(more: &str) -> Manifest {
        let text =
            format!("name = 'router'\nversion = '1.0.0'\nid = 3\nexec = 'x'\ntables = 1\n{more}");
        Manifest::parse(Path::new("app.toml"), &text).unwrap()
    }

    fn problem(description: &Description, more: &str) -> String {
        description.check(&manifest(more)).unwrap_err()
    }

    #[test]
    fn executable_and_manifest_have_to_name_the_same_apps_to_read() {
        let reads = Description {
            reads: Some(vec![table(Some("topology"), "hosts", json!("any"))]),
            ..Description::default()
        };
        assert_eq!(
            reads.check(&manifest("schema = 1\nreads = { topology = 2 }")),
            Ok(())
        );
        let forgotten = problem(&reads, "schema = 1");
        assert!(forgotten.contains("reads hosts of topology"), "{forgotten}");
        assert!(
            forgotten.contains("`reads = { topology = SCHEMA }`"),
            "{forgotten}"
        );
        let none = Description {
            reads: Some(Vec::new()),
            ..Description::default()
        };
        let undeclared = problem(&none, "schema = 1\nreads = { topology = 2 }");
        assert!(undeclared.contains("App::reads()"), "{undeclared}");
        // An executable of an earlier SDK says nothing of what it reads.
        let silent: Description = serde_json::from_str("{\"tables\": []}").unwrap();
        assert_eq!(
            silent.check(&manifest("schema = 1\nreads = { topology = 2 }")),
            Ok(())
        );
        let own = Description {
            reads: Some(vec![table(None, "trees", json!("any"))]),
            ..Description::default()
        };
        assert!(problem(&own, "schema = 1").contains("its own table trees"));
    }

    #[test]
    fn executable_and_manifest_have_to_promise_the_same_migrations() {
        let with = |migrations: &[(u32, u32)]| Description {
            migrations: Some(migrations.to_vec()),
            ..Description::default()
        };
        let both = with(&[(1, 2), (2, 3)]);
        assert_eq!(
            both.check(&manifest("schema = 3\nmigrates = [1, 2]")),
            Ok(())
        );
        assert_eq!(with(&[]).check(&manifest("schema = 3")), Ok(()));
        let more = problem(&both, "schema = 3\nmigrates = [2]");
        assert!(more.contains("add 1 to `migrates`"), "{more}");
        let lacks = problem(&with(&[(2, 3)]), "schema = 3\nmigrates = [1, 2]");
        assert!(
            lacks.contains("promises a migration between schema 1 and 3"),
            "{lacks}"
        );
        let other = problem(&with(&[(1, 2)]), "schema = 4\nmigrates = [3]");
        assert!(
            other.contains("schema 4") && other.contains("1 and 2"),
            "{other}"
        );
    }

    #[test]
    fn tables_for_operators_exist() {
        let tables = Description {
            tables: vec![table(None, "weights", json!("u32"))],
            ..Description::default()
        };
        assert_eq!(
            tables.check(&manifest("schema = 1\nconfig = ['weights']")),
            Ok(())
        );
        let wrong = problem(&tables, "schema = 1\nconfig = ['wieghts']");
        assert!(wrong.contains("table wieghts"), "{wrong}");
    }

    #[test]
    fn other_tables_of_one_schema_are_named() {
        let with = |tables: Vec<TableShape>| Description {
            tables,
            ..Description::default()
        };
        let host = |fields: Value| table(None, "hosts", json!({ "fields": fields }));
        let old = with(vec![
            host(json!({"port": "u32", "vlan": "u16"})),
            table(None, "trees", json!("any")),
        ]);
        let new = with(vec![
            host(json!({"port": "u16", "name": "text"})),
            table(None, "hops", json!("any")),
        ]);
        assert_eq!(old.check_same_tables(&old), Ok(()));
        assert_eq!(
            new.check_same_tables(&old).unwrap_err(),
            "hops added, hosts changed (field name added, field port changed, field vlan removed), trees removed"
        );
        assert_eq!(new.check_same_tables(&Description::default()), Ok(()));
    }
}
