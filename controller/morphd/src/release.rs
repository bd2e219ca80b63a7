//! Releases: the known ones, which of them may run at the same time, and how an app gets from one to another.

use std::collections::BTreeMap;
use std::path::PathBuf;

use morph_api::description::Description;
use morph_api::manifest::Manifest;
use semver::Version;

use crate::machine::record::{ReleaseRow, ReleaseStatus};
use crate::machine::upgrade::Mode;

/// A release that is installed.
#[derive(Debug, Clone)]
pub struct Release {
    pub row: ReleaseRow,
    pub manifest: Manifest,
    /// Folder of the installed copy.
    pub folder: PathBuf,
}

impl Release {
    pub fn exec(&self) -> PathBuf {
        self.folder.join(&self.manifest.exec)
    }
}

/// All installed releases, by app and version.
#[derive(Debug, Clone, Default)]
pub struct Releases {
    all: BTreeMap<(String, Version), Release>,
}

impl Releases {
    pub fn insert(&mut self, release: Release) {
        let key = (
            release.manifest.name.clone(),
            release.manifest.version.clone(),
        );
        self.all.insert(key, release);
    }

    pub fn get(&self, app: &str, version: &Version) -> Option<&Release> {
        self.all.get(&(app.to_owned(), version.clone()))
    }

    /// Repeats in memory the status that the record of a release has got.
    pub fn set_status(&mut self, app: &str, version: &Version, status: ReleaseStatus) {
        if let Some(release) = self.all.get_mut(&(app.to_owned(), version.clone())) {
            release.row.status = status;
        }
    }

    /// Repeats in memory that the record of a release says that it has been live.
    pub fn set_live(&mut self, app: &str, version: &Version) {
        if let Some(release) = self.all.get_mut(&(app.to_owned(), version.clone())) {
            release.row.live = Some(true);
        }
    }

    /// Releases of one app, oldest first.
    pub fn of<'a>(&'a self, app: &'a str) -> impl DoubleEndedIterator<Item = &'a Release> {
        self.all
            .values()
            .filter(move |release| release.manifest.name == app)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Release> {
        self.all.values()
    }

    pub fn newest(&self, app: &str) -> Option<&Release> {
        self.all.values().rev().find(|r| r.manifest.name == app)
    }

    /// Newest release of an app that is staged and newer than `than`.
    pub fn newest_staged(&self, app: &str, than: &Version) -> Option<&Release> {
        let staged =
            |r: &&Release| r.row.status == ReleaseStatus::Staged && r.manifest.version > *than;
        self.all
            .values()
            .rev()
            .filter(|r| r.manifest.name == app)
            .find(staged)
    }

    /// Versions of an app as a list for messages.
    pub fn versions(&self, app: &str) -> String {
        let versions: Vec<String> = self
            .of(app)
            .map(|r| r.manifest.version.to_string())
            .collect();
        match versions.is_empty() {
            true => "none".into(),
            false => versions.join(", "),
        }
    }
}

/// Checks that these apps may be present at the same time; the error says what to do instead.
pub fn check_coexistence(apps: &[&Manifest]) -> Result<(), String> {
    for (n, a) in apps.iter().enumerate() {
        for b in &apps[n + 1..] {
            if a.id == b.id {
                return Err(format!(
                    "{} and {} both have id {}; give one of them another id",
                    a.name, b.name, a.id
                ));
            }
            if a.forwards && b.forwards {
                return Err(format!(
                    "{} and {} both decide where packets go (forwards = true): remove one of them first, for example with \
                     `morphctl app remove {}`",
                    a.name, b.name, a.name
                ));
            }
        }
    }
    Ok(())
}

/// Checks that two releases of one schema version have the same tables, as far as both are known. Rows of a table that the newer
/// one does not have would be left behind, and rows of another shape misread.
pub fn check_tables(
    known: &Release,
    new: &Manifest,
    description: Option<&Description>,
) -> Result<(), String> {
    let (Some(was), Some(is)) = (&known.row.description, description) else {
        return Ok(());
    };
    if known.manifest.schema != new.schema {
        return Ok(());
    }
    is.check_same_tables(was).map_err(|differences| {
        let (name, version, schema) = (&new.name, &new.version, new.schema);
        format!(
            "{name}@{version} has schema {schema} as {name}@{}, but other tables ({differences}): raise `schema` in its app.toml and \
             bring a migration, which `morphctl schema diff` begins",
            known.manifest.version
        )
    })
}

/// Determines how the state of an app gets from the schema of one release to that of another. The error says why it cannot.
pub fn migration_mode(from: &Manifest, to: &Manifest) -> Result<Mode, String> {
    let name = &to.name;
    if from.id != to.id {
        return Err(format!(
            "{name}@{} has another id than {name}@{}: remove the app and start that release instead",
            to.version, from.version
        ));
    }
    let (old, new) = (from.schema, to.schema);
    if old == new {
        return Ok(Mode::Plain);
    }
    if to.migrates.contains(&old) {
        return Ok(Mode::Online);
    }
    if from.migrates.contains(&new) {
        return Ok(Mode::Backfill);
    }
    if old.abs_diff(new) != 1 {
        return Err(format!(
            "the state of {name} has schema {old} and {name}@{} needs {new}, but the migrations of neither release cover \
             all steps between: upgrade to the releases between them first",
            to.version
        ));
    }
    Err(format!(
        "neither {name}@{} nor {name}@{} can migrate between schema {old} and {new}",
        from.version, to.version
    ))
}

/// Checks that apps which read this one's tables still find the schema that they read. At most two schemas exist at a time:
/// that of the release, and one that its migrations lead to, which it had before or which is kept for readers.
pub fn check_readers(from: &Manifest, to: &Manifest, present: &[&Manifest]) -> Result<(), String> {
    for reader in present {
        let Some(schema) = reader.reads.get(&to.name).filter(|s| **s != to.schema) else {
            continue;
        };
        let shadowed = *schema != from.schema;
        let available = to.migrates.contains(schema) && (!shadowed || from.schema == to.schema);
        if available {
            continue;
        }
        let why = match shadowed {
            true => "which is kept for it as a shadow until then",
            false => "which that release cannot provide",
        };
        return Err(format!(
            "{} reads schema {schema} of {}, {why}, and {}@{} has schema {}: upgrade {} first",
            reader.name, to.name, to.name, to.version, to.schema, reader.name
        ));
    }
    Ok(())
}

/// Checks that the present apps provide the schemas that an app reads.
pub fn check_reads(reader: &Manifest, present: &[&Manifest]) -> Result<(), String> {
    for (name, schema) in &reader.reads {
        let Some(read) = present.iter().find(|other| other.name == *name) else {
            continue;
        };
        let others = present.iter().filter(|other| other.name != reader.name);
        let mut others = others.filter_map(|o| Some((o, o.reads.get(name)?)));
        let taken = others.find(|(_, other)| **other != *schema && **other != read.schema);
        let own = *schema == read.schema;
        if !own && !read.migrates.contains(schema) {
            return Err(format!(
                "{} reads schema {schema} of {name}, and {name}@{} has schema {} and no migration to the other: upgrade one of them first",
                reader.name, read.version, read.schema
            ));
        }
        if let Some((other, other_schema)) = taken.filter(|_| !own) {
            return Err(format!(
                "{} reads schema {schema} of {name}, but {} already reads schema {other_schema} of it beside schema {}: at most \
                 two schemas can exist at once; upgrade one of them first",
                reader.name, other.name, read.schema
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn manifest(text: &str) -> Manifest {
        let text = format!("exec = 'x'\n{text}");
        Manifest::parse(Path::new("app.toml"), &text).unwrap()
    }

    fn router(version: &str, more: &str) -> Manifest {
        manifest(&format!(
            "name = 'router'\nversion = '{version}'\nid = 3\ntables = [20, 29]\nforwards = true\n{more}"
        ))
    }

    #[test]
    fn the_schemas_decide_the_mode() {
        let one = router("1.0.0", "schema = 1");
        let two = router("2.0.0", "schema = 2\nmigrates = [1]");
        let bare = router("2.1.0", "schema = 2");
        let three = router("3.0.0", "schema = 3\nmigrates = [2]");
        assert_eq!(migration_mode(&one, &one), Ok(Mode::Plain));
        assert_eq!(migration_mode(&one, &two), Ok(Mode::Online));
        assert_eq!(migration_mode(&two, &one), Ok(Mode::Backfill));
        assert_eq!(migration_mode(&two, &bare), Ok(Mode::Plain));
        assert!(
            migration_mode(&one, &bare)
                .unwrap_err()
                .contains("can migrate")
        );
        assert!(
            migration_mode(&one, &three)
                .unwrap_err()
                .contains("between")
        );
        let far = router("3.1.0", "schema = 3\nmigrates = [1, 2]");
        assert_eq!(migration_mode(&one, &far), Ok(Mode::Online));
        assert_eq!(migration_mode(&far, &one), Ok(Mode::Backfill));
        let mut moved = two.clone();
        moved.id = 4;
        assert!(
            migration_mode(&one, &moved)
                .unwrap_err()
                .contains("another id")
        );
    }

    #[test]
    fn conflicts_between_apps_are_named() {
        let router = router("1.0.0", "schema = 1");
        let other = |id: u8, forwards: bool| {
            manifest(&format!(
                "name = 'other'\nversion = '1.0.0'\nid = {id}\ntables = 1\nschema = 1\nforwards = {forwards}\n"
            ))
        };
        let error = |other: &Manifest| check_coexistence(&[&router, other]).unwrap_err();
        assert!(check_coexistence(&[&router, &other(1, false)]).is_ok());
        assert!(error(&other(3, false)).contains("both have id 3"));
        assert!(error(&other(1, true)).contains("morphctl app remove"));
    }

    #[test]
    fn a_reader_of_the_other_schema_is_named() {
        let topology =
            manifest("name = 'topology'\nversion = '2.0.0'\nid = 2\ntables = [2, 9]\nschema = 2");
        let reader = router("1.0.0", "schema = 1\nreads = { topology = 1 }");
        let before =
            manifest("name = 'topology'\nversion = '1.0.0'\nid = 2\ntables = [2, 9]\nschema = 1");
        let error = check_readers(&before, &topology, &[&reader]).unwrap_err();
        assert!(
            error.contains("router reads schema 1 of topology"),
            "{error}"
        );
    }

    #[test]
    fn one_earlier_schema_is_kept_for_readers_and_no_more() {
        let topology = |version: &str, schema: &str| {
            let schema = format!("schema = {schema}");
            manifest(&format!(
                "name = 'topology'\nversion = '{version}'\nid = 2\ntables = [2, 9]\n{schema}"
            ))
        };
        let one = topology("1.0.0", "1");
        let two = topology("2.0.0", "2\nmigrates = [1]");
        let again = topology("2.1.0", "2\nmigrates = [1]");
        let bare = topology("2.2.0", "2");
        let three = topology("3.0.0", "3\nmigrates = [1, 2]");
        let reader = router("1.0.0", "schema = 1\nreads = { topology = 1 }");
        let readers = [&reader];
        assert_eq!(check_readers(&one, &two, &readers), Ok(()));
        assert_eq!(check_readers(&two, &again, &readers), Ok(()));
        assert_eq!(check_readers(&two, &one, &readers), Ok(()));
        let error = |to: &Manifest| check_readers(&two, to, &readers).unwrap_err();
        assert!(error(&bare).contains("upgrade router first"));
        assert!(error(&three).contains("kept for it as a shadow"));
        assert_eq!(check_reads(&reader, &[&two]), Ok(()));
        assert!(
            check_reads(&reader, &[&bare])
                .unwrap_err()
                .contains("no migration")
        );
        let other = manifest(
            "name = 'other'\nversion = '1.0.0'\nid = 9\ntables = [20, 21]\nschema = 1\nreads = { topology = 2 }",
        );
        let error = check_reads(&other, &[&three, &reader]).unwrap_err();
        assert!(error.contains("at most two schemas"), "{error}");
    }

    #[test]
    fn the_newest_staged_is_newer() {
        let mut releases = Releases::default();
        for (version, status) in [
            ("1.0.0", ReleaseStatus::Staged),
            ("1.10.0", ReleaseStatus::Staged),
            ("1.9.0", ReleaseStatus::Staged),
            ("2.0.0", ReleaseStatus::Old),
        ] {
            releases.insert(Release {
                row: ReleaseRow {
                    status,
                    digest: String::new(),
                    schema: 1,
                    installed_unix_ms: 0,
                    folder: String::new(),
                    description: None,
                    live: None,
                },
                manifest: router(version, "schema = 1"),
                folder: PathBuf::new(),
            });
        }
        let staged = |than: &str| {
            let found = releases.newest_staged("router", &than.parse().unwrap());
            found.map(|r| r.manifest.version.to_string())
        };
        assert_eq!(staged("1.0.0").as_deref(), Some("1.10.0"));
        assert_eq!(staged("1.10.0"), None);
        assert_eq!(
            releases
                .newest("router")
                .unwrap()
                .manifest
                .version
                .to_string(),
            "2.0.0"
        );
        assert_eq!(releases.versions("router"), "1.0.0, 1.9.0, 1.10.0, 2.0.0");
        assert_eq!(releases.versions("none"), "none");
    }
}
