//! Manifest of a release, `app.toml`. It is documented in `docs/app-toml.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::check::Check;
use crate::deadlines::{Deadlines, duration};

/// Content of a release's `app.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the app: lower-case letters, digits and hyphens, starting with a letter; at most 32 characters.
    pub name: String,
    /// Semantic version of the release.
    pub version: semver::Version,
    /// Number of the app from 1 to 254, unique in a network: the second byte of its cookies.
    pub id: u8,
    /// Executable, relative to the bundle's folder.
    pub exec: PathBuf,
    /// Version of the schema of its tables, from 1.
    pub schema: u32,
    /// Schema versions that it can read and write through its `up` and `down`: neighbours, and those to which these
    /// lead.
    #[serde(default)]
    pub migrates: Vec<u32>,
    /// OpenFlow tables for its rules. morphd chooses them for each network.
    pub tables: Tables,
    /// Fewest of these tables with which it can serve a switch. Default: all.
    #[serde(default)]
    pub least_tables: Option<u8>,
    /// Apps that packets pass before it, where they are present.
    #[serde(default)]
    pub after: Vec<String>,
    /// Fate of packets at the app's place in a switch that does not have its rules.
    #[serde(default)]
    pub absent: Absent,
    /// True if it decides where packets go. Two such apps are refused.
    #[serde(default)]
    pub forwards: bool,
    /// Apps whose tables it reads, and the schema version that it understands.
    #[serde(default)]
    pub reads: BTreeMap<String, u32>,
    /// MiB of memory that an instance may take before it is ended. Default: half of the machine's memory.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Other limits of an instance.
    #[serde(default)]
    pub limits: Limits,
    /// Condition under which a turn counts as stored.
    #[serde(default)]
    pub durability: Durability,
    /// Tables that people may write with `morphctl config set`.
    #[serde(default)]
    pub config: Vec<String>,
    /// Checks of the entries of these tables.
    #[serde(default)]
    pub checks: BTreeMap<String, Check>,
    /// Entries of these tables, by table and key, that are written when the app's state is created.
    #[serde(default)]
    pub defaults: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    /// Deadlines of the steps of an upgrade to this release, by name: `start = "40s"`.
    #[serde(default)]
    pub upgrade: BTreeMap<String, String>,
}

/// OpenFlow tables that an app asks for, besides its exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Tables {
    /// Number of tables for rules.
    Count(u8),
    /// First and last table of the form before numbers; the last one was the exit. It counts as so many tables, and orders
    /// apps of this form by their first table.
    Range([u8; 2]),
}

impl Tables {
    /// Returns the number of tables for rules; 0 for an impossible range.
    pub fn count(self) -> u8 {
        match self {
            Tables::Count(count) => count,
            Tables::Range([first, last]) => last.saturating_sub(first),
        }
    }

    /// Returns the first table of the form before numbers.
    pub fn first(self) -> Option<u8> {
        match self {
            Tables::Count(_) => None,
            Tables::Range([first, _]) => Some(first),
        }
    }

    fn wrong(self) -> Option<String> {
        match self {
            Tables::Count(1..=MOST_TABLES) => None,
            Tables::Count(count) => Some(format!(
                "{count} is not a number of tables from 1 to {MOST_TABLES}"
            )),
            Tables::Range([first, last])
                if TABLES.contains(&first) && TABLES.contains(&last) && first < last =>
            {
                None
            }
            Tables::Range([first, last]) => Some(format!(
                "[{first}, {last}] is not a range within 1 to 254 of two tables or more"
            )),
        }
    }
}

/// Fate of packets at an app's place in a switch that does not have the app's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Absent {
    /// Packets go on to the next app.
    #[default]
    Bypass,
    /// Packets are dropped.
    Drop,
}

/// Limits of an instance's resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Files and sockets that it may have open.
    pub open_files: u32,
    /// Processes and threads of all instances of the app. Enforced only if the app has a user of its own.
    pub processes: u32,
    /// MiB of memory that are written to a file when it crashes.
    pub core_mib: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            open_files: 1024,
            processes: 256,
            core_mib: 0,
        }
    }
}

impl Limits {
    fn wrong(&self) -> Option<String> {
        let within = [
            ("open_files", u64::from(self.open_files), 64, 1 << 20),
            ("processes", u64::from(self.processes), 8, 1 << 16),
            ("core_mib", self.core_mib, 0, 1 << 20),
        ];
        let wrong = |(_, value, least, most): &(_, u64, u64, u64)| !(least..=most).contains(&value);
        within
            .into_iter()
            .find(wrong)
            .map(|(name, value, least, most)| {
                format!("{name}: {value} is not from {least} to {most}")
            })
    }
}

/// Condition under which the store acknowledges an app's turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Acknowledged once the turn is on disk.
    #[default]
    Sync,
    /// Acknowledged at once, and on disk at most 100 ms later. Events whose turns a crash of the store takes back are
    /// answered again.
    Async,
}

/// Reason why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file is not TOML, or has unknown, missing or mistyped keys.
    #[error("{}: {message}", path.display())]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// Line and column, and what was found there.
        message: String,
    },
    /// The file is well-formed, but a value is not allowed.
    #[error("{}: {key}: {message}", path.display())]
    Value {
        /// Path of the file.
        path: PathBuf,
        /// Key of the value.
        key: &'static str,
        /// Value that was found, and what is allowed.
        message: String,
    },
}

/// OpenFlow tables of apps. Table 0 belongs to Morpheus; 254 is the last that OpenFlow numbers (1.3.5, `OFPTT_MAX`).
const TABLES: std::ops::RangeInclusive<u8> = 1..=254;
/// Most tables for rules: one of [`TABLES`] is the exit.
const MOST_TABLES: u8 = 253;

impl Manifest {
    /// Name of the file within a bundle.
    pub const FILE: &'static str = "app.toml";

    /// Reads and checks a manifest.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(path).map_err(|source| ManifestError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Parses and checks a manifest; `path` is only named in errors.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ManifestError> {
        let manifest: Manifest = toml::from_str(text).map_err(|error| ManifestError::Parse {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        match manifest.wrong_value() {
            Some((key, message)) => Err(ManifestError::Value {
                path: path.to_owned(),
                key,
                message,
            }),
            None => Ok(manifest),
        }
    }

    /// Returns the deadlines of the steps of an upgrade to this release.
    pub fn deadlines(&self) -> Result<Deadlines, String> {
        let mut deadlines = Deadlines::default();
        for (name, time) in &self.upgrade {
            deadlines.set(name, duration(time)?)?;
        }
        deadlines.check()?;
        Ok(deadlines)
    }

    fn wrong_value(&self) -> Option<(&'static str, String)> {
        if !is_name(&self.name) {
            let rule = "lower-case letters, digits and hyphens, a letter first, at most 32";
            return Some(("name", format!("{:?} is not a name ({rule})", self.name)));
        }
        if self.name == crate::RECORDS {
            return Some(("name", format!("{:?} is Morpheus's own", self.name)));
        }
        if !(1..=254).contains(&self.id) {
            return Some(("id", format!("{} is not from 1 to 254", self.id)));
        }
        let inside = self.exec.is_relative()
            && self
                .exec
                .components()
                .all(|c| matches!(c, std::path::Component::Normal(_)));
        if !inside || self.exec.as_os_str().is_empty() {
            return Some((
                "exec",
                format!("{:?} is not a path inside the bundle", self.exec),
            ));
        }
        if self.schema == 0 {
            return Some((
                "schema",
                "0 is not a schema version; they count from 1".into(),
            ));
        }
        if let Some(other) = self.migrates.iter().find(|m| !self.leads_to(**m)) {
            return Some((
                "migrates",
                format!(
                    "{other} is no neighbour of schema {}, nor of one that is named here and leads to it",
                    self.schema
                ),
            ));
        }
        if let Some(mib) = self.memory_mib.filter(|mib| !(16..=1 << 20).contains(mib)) {
            return Some(("memory_mib", format!("{mib} is not from 16 to 1048576")));
        }
        if let Some(why) = self.limits.wrong() {
            return Some(("limits", why));
        }
        if let Some(why) = self.tables.wrong() {
            return Some(("tables", why));
        }
        if !(1..=self.tables.count()).contains(&self.least_tables()) {
            let (least, all) = (self.least_tables(), self.tables.count());
            return Some(("least_tables", format!("{least} is not from 1 to {all}")));
        }
        if let Some(other) = self.after.iter().find(|o| !is_name(o) || **o == self.name) {
            return Some(("after", format!("{other:?} is not another app's name")));
        }
        if let Err(why) = self.deadlines() {
            return Some(("upgrade", why));
        }
        let beside = |table: &&String| crate::is_beside_schema(table);
        if let Some(table) = self.config.iter().find(beside) {
            return Some(("config", format!("{table:?} is the SDK's own")));
        }
        let wrong = self.checks.iter().find_map(|(table, check)| {
            if !self.config.contains(table) {
                return Some(("checks", format!("{table:?} is not among config")));
            }
            check
                .wrong()
                .map(|why| ("checks", format!("{table}: {why}")))
        });
        let wrong_default = || self.wrong_default().map(|why| ("defaults", why));
        wrong.or_else(wrong_default)
    }

    fn wrong_default(&self) -> Option<String> {
        self.defaults.iter().find_map(|(table, rows)| {
            if !self.config.contains(table) {
                return Some(format!("{table:?} is not among config"));
            }
            let check = self.checks.get(table).cloned().unwrap_or_default();
            rows.iter().find_map(|(key, value)| {
                let key_fits = check.key.check(key).map_err(str::to_owned);
                let fits = key_fits.and_then(|()| check.value(value));
                fits.err().map(|why| format!("{table}.{key}: {why}"))
            })
        })
    }

    /// Returns the entries that are written when the app's state is created: table, key and JSON.
    pub fn default_rows(&self) -> Vec<(String, String, String)> {
        let tables = self.defaults.iter();
        let rows = tables.flat_map(|(table, rows)| rows.iter().map(move |row| (table, row)));
        rows.map(|(table, (key, value))| (table.clone(), key.clone(), value.to_string()))
            .collect()
    }

    /// Returns the fewest tables with which it can serve a switch.
    pub fn least_tables(&self) -> u8 {
        self.least_tables.unwrap_or(self.tables.count())
    }

    /// Returns true if its migrations lead to this schema version, step by step.
    fn leads_to(&self, other: u32) -> bool {
        let (low, high) = match other < self.schema {
            true => (other + 1, self.schema),
            false => (self.schema + 1, other),
        };
        other >= 1 && other != self.schema && (low..high).all(|at| self.migrates.contains(&at))
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "router"
        version = "2.0.0"
        id = 3
        exec = "router"
        schema = 2
        migrates = [1]
        tables = [20, 29]
        forwards = true
        reads = { topology = 1 }
        config = ["weights"]
    "#;

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(Path::new("app.toml"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn a_good_one_is_read() {
        let manifest = parse(GOOD).unwrap();
        assert_eq!(
            (manifest.name.as_str(), manifest.tables),
            ("router", Tables::Range([20, 29]))
        );
        assert_eq!(manifest.reads.get("topology"), Some(&1));
        assert_eq!(manifest.absent, Absent::Bypass);
        let firewall = parse(&GOOD.replacen("id = 3", "id = 3\nabsent = 'drop'", 1)).unwrap();
        assert_eq!(firewall.absent, Absent::Drop);
    }

    #[test]
    fn each_wrong_value_is_named() {
        for (from, to, said) in [
            (
                "\"router\"\n        version",
                "\"Router\"\n        version",
                "name: \"Router\"",
            ),
            (
                "\"router\"\n        version",
                "\"morpheus\"\n        version",
                "Morpheus's own",
            ),
            ("id = 3", "id = 0", "id: 0"),
            (
                "schema = 2",
                "limits = { open_files = 3 }\n        schema = 2",
                "open_files: 3 is not from 64",
            ),
            (
                "schema = 2",
                "limits = { threads = 3 }\n        schema = 2",
                "threads",
            ),
            (
                "exec = \"router\"",
                "exec = \"../router\"",
                "exec: \"../router\"",
            ),
            ("schema = 2", "schema = 0", "schema: 0"),
            ("[1]", "[1, 3, 5]", "migrates: 5"),
            ("[1]", "[2]", "migrates: 2"),
            ("[1]", "[0, 1]", "migrates: 0"),
            ("[20, 29]", "[29, 20]", "tables: [29, 20]"),
            ("[20, 29]", "[0, 9]", "tables: [0, 9]"),
            ("[20, 29]", "0", "tables: 0 is not a number"),
            (
                "[20, 29]",
                "2\nleast_tables = 3",
                "least_tables: 3 is not from 1 to 2",
            ),
            (
                "[20, 29]",
                "2\nafter = ['router']",
                "after: \"router\" is not another",
            ),
            (
                "config = [\"weights\"]",
                "[upgrade]\nstrat = \"1s\"",
                "upgrade: \"strat\" is no step",
            ),
            (
                "config = [\"weights\"]",
                "[upgrade]\nhold = \"1s\"",
                "upgrade: hold",
            ),
            ("id = 3", "id = 3\ncolour = 1", "unknown field `colour`"),
            (
                "id = 3",
                "id = 3\nabsent = 'pass'",
                "unknown variant `pass`, expected `bypass` or `drop`",
            ),
            ("id = 3", "", "missing field `id`"),
            ("\"2.0.0\"", "\"two\"", "two"),
            (
                "[\"weights\"]",
                "[\"_alarms\"]",
                "config: \"_alarms\" is the SDK's own",
            ),
            (
                "[\"weights\"]",
                "[\"weights\"]\nchecks.trees = {}",
                "checks: \"trees\" is not among config",
            ),
            (
                "[\"weights\"]",
                "[\"weights\"]\nchecks.weights = { value = \"text\", min = 1 }",
                "checks: weights: min and max",
            ),
            (
                "[\"weights\"]",
                "[\"weights\"]\nchecks.weights = { value = \"colour\" }",
                "unknown variant `colour`",
            ),
            ("id = 3", "id = 3\nmemory_mib = 1", "memory_mib: 1"),
            (
                "[\"weights\"]",
                "[\"weights\"]\n[defaults.trees]\na = 1",
                "defaults: \"trees\" is not among config",
            ),
            (
                "[\"weights\"]",
                "[\"weights\"]\nchecks.weights = { value = \"integer\" }\n[defaults.weights]\na = true",
                "defaults: weights.a: true is not a whole number",
            ),
            (
                "[\"weights\"]",
                "[\"weights\"]\nchecks.weights = { key = \"dpid\" }\n[defaults.weights]\na = 1",
                "defaults: weights.a: the key is not a datapath id",
            ),
        ] {
            let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(
                error.starts_with("app.toml: ") && error.contains(said),
                "{error}"
            );
        }
    }
}
