//! Tables of the apps: each has a range for its rules, and behind it an exit that leads to the next app.
//!
//! ```text
//!   0         1      2       3   4      5
//!   Morpheus  app A  exit    app B      exit
//!   +-> 1            +-> 3              drop; left out where a switch ends before it
//! ```
//!
//! One assignment holds for all switches, as compact as the order of the starts allows. The order of the ranges is the order in which
//! packets pass the apps. Ranges of present apps stay where they are.

use std::collections::BTreeMap;

use morph_api::manifest::Manifest;
use serde::{Deserialize, Serialize};

use super::record::{PIPELINE, Write};

/// Highest table that OpenFlow numbers (1.3.5, `OFPTT_MAX`).
const LAST: u8 = 254;

/// Tables of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRange {
    /// First table for its rules.
    pub first: u8,
    /// Number of tables for its rules.
    pub count: u8,
}

impl TableRange {
    /// Table behind those for rules.
    pub fn exit(&self) -> u8 {
        self.first.saturating_add(self.count)
    }
}

/// Ranges of the apps that have one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pipeline(BTreeMap<String, TableRange>);

impl Pipeline {
    pub fn get(&self, app: &str) -> Option<TableRange> {
        self.0.get(app).copied()
    }

    pub fn set(&mut self, app: &str, range: TableRange) {
        self.0.insert(app.to_owned(), range);
    }

    pub fn remove(&mut self, app: &str) {
        self.0.remove(app);
    }

    /// Sorts manifests by their ranges, in the order in which packets pass the apps.
    pub fn sort(&self, manifests: &mut [&Manifest]) {
        manifests.sort_by_key(|manifest| self.get(&manifest.name).map(|range| range.first));
    }

    /// Takes over a range that was fixed by the manifest, from records without ranges.
    pub fn adopt(&mut self, manifest: &Manifest) {
        if let Some(first) = manifest.tables.first()
            && !self.0.contains_key(&manifest.name)
        {
            let count = manifest.tables.count();
            self.set(&manifest.name, TableRange { first, count });
        }
    }

    /// Finds a range for an app, among those of the present ones. An app that has one keeps it.
    ///
    /// # Errors
    /// Words that say why there is none.
    pub fn place(&self, app: &Manifest, present: &[&Manifest]) -> Result<TableRange, String> {
        if let Some(range) = self.get(&app.name) {
            return suffices(app, range).map(|()| range);
        }
        let mut others: Vec<&Manifest> = present.to_vec();
        others.retain(|other| other.name != app.name);
        self.sort(&mut others);
        let position = position(app, &others)?;
        let exit_of = |other: &&Manifest| self.get(&other.name).map(|range| range.exit());
        let (before, behind) = others.split_at(position);
        let from = before
            .last()
            .and_then(exit_of)
            .map_or(1, |exit| exit.saturating_add(1));
        let next = behind.first().and_then(|other| self.get(&other.name));
        let until = next.map_or(LAST, |range| range.first.saturating_sub(1));
        let range = TableRange {
            first: from,
            count: app.tables.count(),
        };
        // The exit has to fit as well.
        if u16::from(from) + u16::from(range.count) <= u16::from(until) {
            return Ok(range);
        }
        let (name, needed) = (&app.name, u16::from(range.count) + 1);
        let free = (u16::from(until) + 1).saturating_sub(from.into());
        Err(match behind.first() {
            Some(next) => format!(
                "{name} needs {needed} tables before those of {}, its exit included, and {free} are free there: remove {} first, \
                 and start it again after {name}",
                next.name, next.name
            ),
            None => format!("{name} needs {needed} tables, its exit included, and {free} are free"),
        })
    }
}

/// Checks that a release finds room in the range that its app has.
///
/// # Errors
/// Words that say what is missing.
pub fn suffices(release: &Manifest, range: TableRange) -> Result<(), String> {
    let (needs, has) = (release.tables.count(), range.count);
    match needs <= has {
        true => Ok(()),
        false => Err(format!(
            "{}@{} needs {needs} tables, and the app has {has}: remove the app and start that release instead",
            release.name, release.version
        )),
    }
}

/// Checks the order of the present apps, which are sorted, against what each asks for.
///
/// # Errors
/// Words that name two apps in the wrong order.
pub fn check_order(sorted: &[&Manifest]) -> Result<(), String> {
    for (at, app) in sorted.iter().enumerate() {
        let late = |other: &&&Manifest| app.after.contains(&other.name);
        if let Some(other) = sorted[at..].iter().find(late) {
            return Err(format!(
                "{}@{} asks to come after {} (`after` in its app.toml), and comes before it",
                app.name, app.version, other.name
            ));
        }
    }
    Ok(())
}

/// Finds the position of a new app among the others, which are sorted. It comes last, except that
///
/// 1. `after` in its manifest, and in those of the others, holds;
/// 2. apps whose manifests still name their first table keep the order of these numbers.
fn position(app: &Manifest, others: &[&Manifest]) -> Result<usize, String> {
    let earlier = others
        .iter()
        .rposition(|other| app.after.contains(&other.name));
    let later = others
        .iter()
        .position(|other| other.after.contains(&app.name));
    let (from, to) = (
        earlier.map_or(0, |at| at + 1),
        later.unwrap_or(others.len()),
    );
    if from > to {
        let (before, behind) = (&others[from - 1].name, &others[to].name);
        return Err(format!(
            "{} asks to come after {before}, and {behind}, which comes before {before} or is it, asks to come after {} (`after` in \
             app.toml)",
            app.name, app.name
        ));
    }
    let first = app.tables.first();
    let is_behind = |other: &&Manifest| {
        let pair = first.zip(other.tables.first());
        pair.is_some_and(|(own, other)| own < other)
    };
    let hinted = others[from..to].iter().position(is_behind);
    Ok(hinted.map_or(to, |at| from + at))
}

/// Record of an app's range.
pub fn write(app: &str, range: Option<TableRange>) -> Write {
    match range {
        Some(range) => Write::new(PIPELINE, app, &range),
        None => Write::gone(PIPELINE, app),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn manifest(name: &str, more: &str) -> Manifest {
        let text =
            format!("name = '{name}'\nversion = '1.0.0'\nid = 3\nexec = 'x'\nschema = 1\n{more}");
        Manifest::parse(Path::new("app.toml"), &text).unwrap()
    }

    /// Starts apps one after the other. Returns their first tables and exits, or the last refusal.
    fn started(apps: &[&Manifest]) -> Result<Vec<(u8, u8)>, String> {
        let mut pipeline = Pipeline::default();
        for (at, app) in apps.iter().enumerate() {
            let range = pipeline.place(app, &apps[..at])?;
            pipeline.set(&app.name, range);
        }
        let ranges = apps.iter().filter_map(|app| pipeline.get(&app.name));
        Ok(ranges.map(|range| (range.first, range.exit())).collect())
    }

    #[test]
    fn apps_are_assigned_compact_ranges_in_the_order_of_their_starts() {
        let (a, b) = (manifest("a", "tables = 1"), manifest("b", "tables = 3"));
        assert_eq!(started(&[&a, &b]), Ok(vec![(1, 2), (3, 6)]));
        assert_eq!(started(&[&b, &a]), Ok(vec![(1, 4), (5, 6)]));
        let many = manifest("many", "tables = 253");
        assert_eq!(started(&[&many]), Ok(vec![(1, 254)]));
        let error = started(&[&a, &many]).unwrap_err();
        assert_eq!(
            error,
            "many needs 254 tables, its exit included, and 252 are free"
        );
    }

    #[test]
    fn an_app_is_put_where_it_asks_to_be_if_there_is_room() {
        let a = manifest("a", "tables = 2");
        let b = manifest("b", "tables = 1\nafter = ['a', 'absent']");
        assert_eq!(started(&[&a, &b]), Ok(vec![(1, 3), (4, 5)]));
        let error = started(&[&b, &a]).unwrap_err();
        assert!(
            error.starts_with(
                "a needs 3 tables before those of b, its exit included, and 0 are free there"
            ),
            "{error}"
        );
        // The range of an app that was removed is free again.
        let mut pipeline = Pipeline::default();
        pipeline.set("b", TableRange { first: 4, count: 1 });
        assert_eq!(
            pipeline.place(&a, &[&b]),
            Ok(TableRange { first: 1, count: 2 })
        );
        let wide = manifest("a", "tables = 3");
        assert!(pipeline.place(&wide, &[&b]).is_err());
    }

    #[test]
    fn ranges_of_earlier_manifests_are_numbers_and_an_order() {
        let (low, high) = (
            manifest("low", "tables = [1, 3]"),
            manifest("high", "tables = [4, 7]"),
        );
        assert_eq!(started(&[&low, &high]), Ok(vec![(1, 3), (4, 7)]));
        let refused = started(&[&high, &low]).unwrap_err();
        assert!(refused.contains("before those of high"), "{refused}");
        let after = manifest("low", "tables = [1, 3]\nafter = ['high']");
        assert_eq!(started(&[&high, &after]), Ok(vec![(1, 4), (5, 7)]));
        // Records without ranges: these stay where they were.
        let mut pipeline = Pipeline::default();
        let fixed = manifest("fixed", "tables = [20, 29]");
        pipeline.adopt(&fixed);
        assert_eq!(
            pipeline.get("fixed"),
            Some(TableRange {
                first: 20,
                count: 9
            })
        );
        assert_eq!(
            pipeline.place(&low, &[&fixed]),
            Ok(TableRange { first: 1, count: 2 })
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let (a, b) = (
            manifest("a", "tables = 1\nafter = ['b']"),
            manifest("b", "tables = 1\nafter = ['a']"),
        );
        let error = started(&[&a, &b]).unwrap_err();
        assert!(
            error.starts_with("b asks to come after a, and a, which"),
            "{error}"
        );
        assert!(
            check_order(&[&a, &b])
                .unwrap_err()
                .starts_with("a@1.0.0 asks to come after b")
        );
        let c = manifest("c", "tables = 1\nafter = ['a']");
        assert_eq!(check_order(&[&a, &c]), Ok(()));
    }

    #[test]
    fn a_release_that_needs_more_tables_than_its_app_has_is_refused() {
        let range = TableRange { first: 1, count: 2 };
        let (two, three) = (manifest("a", "tables = 2"), manifest("a", "tables = 3"));
        assert_eq!(suffices(&two, range), Ok(()));
        let error = suffices(&three, range).unwrap_err();
        assert!(
            error.contains("a@1.0.0 needs 3 tables, and the app has 2"),
            "{error}"
        );
    }
}
