//! Releases: which are known, which may run together, and what it takes to get from one to another.

use std::collections::BTreeMap;
use std::path::PathBuf;

use morph_api::manifest::Manifest;
use semver::Version;

use crate::records::{ReleaseRow, ReleaseStatus};
use crate::upgrade::Mode;

/// A known release.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its record.
    pub row: ReleaseRow,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Where its copy stands.
    pub folder: PathBuf,
}

impl Release {
    /// The executable's path.
    pub fn exec(&self) -> PathBuf {
        self.folder.join(&self.manifest.exec)
    }
}

/// All known releases, by app and version.
#[derive(Debug, Default)]
pub struct Releases {
    all: BTreeMap<(String, Version), Release>,
}

impl Releases {
    /// Adds or replaces one.
    pub fn insert(&mut self, release: Release) {
        let key = (
            release.manifest.name.clone(),
            release.manifest.version.clone(),
        );
        self.all.insert(key, release);
    }

    /// One release.
    pub fn get(&self, app: &str, version: &Version) -> Option<&Release> {
        self.all.get(&(app.to_owned(), version.clone()))
    }

    /// Changes a release's status, as its record says.
    pub fn set_status(&mut self, app: &str, version: &Version, status: ReleaseStatus) {
        if let Some(release) = self.all.get_mut(&(app.to_owned(), version.clone())) {
            release.row.status = status;
        }
    }

    /// All of one app, oldest first.
    pub fn of<'a>(&'a self, app: &'a str) -> impl DoubleEndedIterator<Item = &'a Release> {
        self.all
            .values()
            .filter(move |release| release.manifest.name == app)
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Release> {
        self.all.values()
    }

    /// The newest of an app.
    pub fn newest(&self, app: &str) -> Option<&Release> {
        self.all.values().rev().find(|r| r.manifest.name == app)
    }

    /// The newest that is staged and newer than `than`.
    pub fn newest_staged(&self, app: &str, than: &Version) -> Option<&Release> {
        let staged =
            |r: &&Release| r.row.status == ReleaseStatus::Staged && r.manifest.version > *than;
        self.all
            .values()
            .rev()
            .filter(|r| r.manifest.name == app)
            .find(staged)
    }

    /// The versions of an app, for messages.
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

/// Whether these apps may be present together: the message says what to do instead.
pub fn fit_together(apps: &[&Manifest]) -> Result<(), String> {
    for (n, a) in apps.iter().enumerate() {
        for b in &apps[n + 1..] {
            if a.id == b.id {
                return Err(format!("{} and {} both have id {}", a.name, b.name, a.id));
            }
            let ([a_first, a_last], [b_first, b_last]) = (a.tables, b.tables);
            if a_first <= b_last && b_first <= a_last {
                return Err(format!(
                    "tables {a_first} to {a_last} of {} and {b_first} to {b_last} of {} overlap",
                    a.name, b.name
                ));
            }
            if a.forwards && b.forwards {
                return Err(format!(
                    "{} and {} both decide where packets go (forwards = true): remove one of them first, \
                     as in `morphctl app remove {}`",
                    a.name, b.name, a.name
                ));
            }
        }
    }
    Ok(())
}

/// Whether an app may go from one release to the other, and how its state does.
pub fn way(from: &Manifest, to: &Manifest) -> Result<Mode, String> {
    let name = &to.name;
    if from.id != to.id || from.tables != to.tables {
        return Err(format!(
            "{name}@{} has another id or other tables than {name}@{}: remove the app and start the release instead",
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
            "the state of {name} has schema {old} and {name}@{} wants {new}, and neither release's migrations lead over              all steps between: upgrade by way of the releases between",
            to.version
        ));
    }
    Err(format!(
        "neither {name}@{} nor {name}@{} can migrate between schema {old} and {new}",
        from.version, to.version
    ))
}

/// Apps that read this one's tables in a schema that could not be had any longer: two versions there are at a time, the
/// release's own and one that its migrations lead to, which was its own before or is kept for readers.
pub fn readers_left_behind(
    from: &Manifest,
    to: &Manifest,
    present: &[&Manifest],
) -> Result<(), String> {
    for reader in present {
        let Some(schema) = reader.reads.get(&to.name).filter(|s| **s != to.schema) else {
            continue;
        };
        let held = *schema != from.schema;
        let can = to.migrates.contains(schema) && (!held || from.schema == to.schema);
        if can {
            continue;
        }
        let why = match held {
            true => "which is kept for it as a shadow until then",
            false => "which that release cannot keep up",
        };
        return Err(format!(
            "{} reads schema {schema} of {}, {why}, and {}@{} has schema {}: upgrade {} first",
            reader.name, to.name, to.name, to.version, to.schema, reader.name
        ));
    }
    Ok(())
}

/// Whether what an app reads can be had from the present ones.
pub fn can_read(reader: &Manifest, present: &[&Manifest]) -> Result<(), String> {
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
                "{} reads schema {schema} of {name}, and {name}@{} has {} and no migration to that: upgrade one of them first",
                reader.name, read.version, read.schema
            ));
        }
        if let Some((other, other_schema)) = taken.filter(|_| !own) {
            return Err(format!(
                "{} reads schema {schema} of {name}, and {} holds schema {other_schema} of it already, beside {}: there are \
                 two at most; upgrade one of them first",
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
    fn the_schemas_decide_the_way() {
        let one = router("1.0.0", "schema = 1");
        let two = router("2.0.0", "schema = 2\nmigrates = [1]");
        let bare = router("2.1.0", "schema = 2");
        let three = router("3.0.0", "schema = 3\nmigrates = [2]");
        assert_eq!(way(&one, &one), Ok(Mode::Plain));
        assert_eq!(way(&one, &two), Ok(Mode::Online));
        assert_eq!(way(&two, &one), Ok(Mode::Backfill));
        assert_eq!(way(&two, &bare), Ok(Mode::Plain));
        assert!(way(&one, &bare).unwrap_err().contains("can migrate"));
        assert!(way(&one, &three).unwrap_err().contains("between"));
        let far = router("3.1.0", "schema = 3\nmigrates = [1, 2]");
        assert_eq!(way(&one, &far), Ok(Mode::Online));
        assert_eq!(way(&far, &one), Ok(Mode::Backfill));
        let mut moved = two.clone();
        moved.tables = [30, 39];
        assert!(way(&one, &moved).unwrap_err().contains("other tables"));
    }

    #[test]
    fn what_cannot_stand_together_is_named() {
        let router = router("1.0.0", "schema = 1");
        let other = |id: u8, tables: &str, forwards: bool| {
            manifest(&format!(
                "name = 'other'\nversion = '1.0.0'\nid = {id}\ntables = {tables}\nschema = 1\nforwards = {forwards}\n"
            ))
        };
        let told = |other: &Manifest| fit_together(&[&router, other]).unwrap_err();
        assert!(fit_together(&[&router, &other(1, "[10, 19]", false)]).is_ok());
        assert!(told(&other(3, "[10, 19]", false)).contains("both have id 3"));
        assert!(told(&other(1, "[10, 20]", false)).contains("overlap"));
        assert!(told(&other(1, "[10, 19]", true)).contains("morphctl app remove"));
    }

    #[test]
    fn a_reader_of_the_other_schema_is_named() {
        let topology =
            manifest("name = 'topology'\nversion = '2.0.0'\nid = 2\ntables = [2, 9]\nschema = 2");
        let reader = router("1.0.0", "schema = 1\nreads = { topology = 1 }");
        let before =
            manifest("name = 'topology'\nversion = '1.0.0'\nid = 2\ntables = [2, 9]\nschema = 1");
        let told = readers_left_behind(&before, &topology, &[&reader]).unwrap_err();
        assert!(told.contains("router reads schema 1 of topology"), "{told}");
    }

    #[test]
    fn one_former_schema_is_kept_for_readers_and_no_more() {
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
        assert_eq!(readers_left_behind(&one, &two, &readers), Ok(()));
        assert_eq!(readers_left_behind(&two, &again, &readers), Ok(()));
        assert_eq!(readers_left_behind(&two, &one, &readers), Ok(()));
        let told = |to: &Manifest| readers_left_behind(&two, to, &readers).unwrap_err();
        assert!(told(&bare).contains("upgrade router first"));
        assert!(told(&three).contains("kept for it as a shadow"));
        assert_eq!(can_read(&reader, &[&two]), Ok(()));
        assert!(
            can_read(&reader, &[&bare])
                .unwrap_err()
                .contains("no migration")
        );
        let other = manifest(
            "name = 'other'\nversion = '1.0.0'\nid = 9\ntables = [20, 21]\nschema = 1\nreads = { topology = 2 }",
        );
        let told = can_read(&other, &[&three, &reader]).unwrap_err();
        assert!(told.contains("two at most"), "{told}");
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
