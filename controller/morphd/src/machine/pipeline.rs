//! Tables of the apps: each has a range for its rules, and behind it an exit that leads to the next app.
//!
//! ```text
//!   0         1      2       3   4      5
//!   Morpheus  app A  exit    app B      exit
//!   +-> 1            +-> 3              drop; left out where a switch ends before it
//! ```
//!
//! An assignment holds for all switches, as compact as the order of the starts allows. The order of the ranges is the order in which
//! packets pass the apps. Ranges of present apps stay where they are.

use std::collections::BTreeMap;
use std::time::Instant;

use morph_api::manifest::Manifest;
use serde::{Deserialize, Serialize};

use super::record::{PIPELINE, Write};
use super::request::{Request, RequestId};

/// Highest table that OpenFlow numbers (1.3.5, `OFPTT_MAX`).
const LAST: u8 = 254;

/// Tables of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRange {
    /// First table for its rules.
    pub first: u8,
    /// Number of tables for its rules.
    pub count: u8,
    /// First table of a second range, while the app is moved. No packet passes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<u8>,
}

impl TableRange {
    pub fn new(first: u8, count: u8) -> Self {
        TableRange {
            first,
            count,
            second: None,
        }
    }

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

    pub fn iter(&self) -> impl Iterator<Item = (&String, &TableRange)> {
        self.0.iter()
    }

    /// Sets the first table of an app's second range.
    pub fn set_second(&mut self, app: &str, second: Option<u8>) {
        if let Some(range) = self.0.get_mut(app) {
            range.second = second;
        }
    }

    /// Lets packets pass the second ranges in the place of the first ones.
    pub fn flip(&mut self) {
        for range in self.0.values_mut() {
            if let Some(second) = &mut range.second {
                std::mem::swap(&mut range.first, second);
            }
        }
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
            self.set(&manifest.name, TableRange::new(first, count));
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
        let range = TableRange::new(from, app.tables.count());
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

/// Two apps in another order than a manifest asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongOrder {
    /// App and version that ask for another order.
    pub release: String,
    pub app: String,
    /// App that is to come before it.
    pub after: String,
}

impl std::fmt::Display for WrongOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let WrongOrder { release, after, .. } = self;
        write!(
            f,
            "{release} asks to come after {after} (`after` in its app.toml), and comes before it"
        )
    }
}

/// Checks the order of the present apps, which are sorted, against what each asks for.
///
/// # Errors
/// Two apps in the wrong order.
pub fn check_order(sorted: &[&Manifest]) -> Result<(), WrongOrder> {
    for (at, app) in sorted.iter().enumerate() {
        let late = |other: &&&Manifest| app.after.contains(&other.name);
        if let Some(other) = sorted[at..].iter().find(late) {
            return Err(WrongOrder {
                release: format!("{}@{}", app.name, app.version),
                app: app.name.clone(),
                after: other.name.clone(),
            });
        }
    }
    Ok(())
}

/// Phase of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Copying,
    Flipping,
    Deleting,
    /// An app is removed, and packets are led past it before its rules are deleted.
    Bypassing,
}

/// Move under way.
#[derive(Debug, Clone)]
pub struct Move {
    pub phase: Phase,
    /// Number of the configuration that was last told to the proxy; `None` while a record is written.
    pub serial: Option<u64>,
    pub deadline: Instant,
    /// Request that is answered at the end; none after a start of morphd.
    pub request: Option<RequestId>,
    pub then: Then,
}

/// End of a move without failure.
#[derive(Debug, Clone)]
pub enum Then {
    Done,
    /// The app is started in the room that the move makes.
    Request(Request),
    /// The rules of the app with this id may be deleted.
    Removed(u8),
}

impl Move {
    pub fn next_deadline(&self) -> Instant {
        self.deadline
    }
}

/// An app in the order that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// Number of tables for its rules.
    pub count: u8,
    /// First table of the app, if it has one.
    pub first: Option<u8>,
}

/// Lack of room: the number of tables that a switch would need while the moved apps have both ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom {
    pub needed: u16,
}

/// Finds new first tables, in switches with at least `tables` tables, so that packets pass the apps in this order.
///
/// 1. Apps at the beginning and at the end of the order that stay where they are keep their tables, as many as possible.
/// 2. The others get free tables between these. No new range has a table of any present one, as both are in use for a while.
///
/// So one rule decides which ranges packets pass: the one that leads to the first app that is moved.
///
/// # Errors
/// The number of tables that would do.
pub fn plan(order: &[Member], tables: u16) -> Result<BTreeMap<String, u8>, NoRoom> {
    fewest_moves(order, tables).ok_or_else(|| {
        let found = fewest_moves(order, u16::from(LAST) + 1).unwrap_or_default();
        let end = order.iter().filter_map(|member| {
            let first = found.get(&member.name).copied().or(member.first)?;
            Some(u16::from(first) + u16::from(member.count))
        });
        let needed = end.max().filter(|_| !found.is_empty());
        NoRoom {
            needed: needed.unwrap_or(u16::from(LAST) + 2),
        }
    })
}

fn fewest_moves(order: &[Member], tables: u16) -> Option<BTreeMap<String, u8>> {
    let mut now: Vec<&Member> = order
        .iter()
        .filter(|member| member.first.is_some())
        .collect();
    now.sort_by_key(|member| member.first);
    let same = |(wanted, now): &(&Member, &&Member)| wanted.name == now.name;
    let front = order.iter().zip(&now).take_while(same).count();
    let back = order.iter().rev().zip(now.iter().rev());
    let back = back.take_while(same).count();
    let mut kept: Vec<(usize, usize)> = Vec::new();
    for front in 0..=front {
        let most = back.min(order.len() - front);
        kept.extend((0..=most).map(|back| (front, back)));
    }
    kept.sort_by_key(|(front, back)| std::cmp::Reverse((front + back, *front)));
    kept.into_iter()
        .find_map(|(front, back)| between(order, front, order.len() - back, tables))
}

/// Assigns free tables to the members from `front` to `back`; none if they do not fit.
fn between(
    order: &[Member],
    front: usize,
    back: usize,
    tables: u16,
) -> Option<BTreeMap<String, u8>> {
    let end = |member: &Member| Some(u16::from(member.first?) + u16::from(member.count));
    let taken: Vec<(u16, u16)> = order
        .iter()
        .filter_map(|member| Some((member.first?.into(), end(member)?)))
        .collect();
    let mut from = order[..front]
        .last()
        .and_then(end)
        .map_or(1, |exit| exit + 1);
    let next = order.get(back).and_then(|member| member.first);
    let mut assigned = BTreeMap::new();
    for member in &order[front..back] {
        let count = u16::from(member.count);
        let overlap = |first: u16| {
            let is_hit = |(start, exit): &&(u16, u16)| first <= *exit && *start <= first + count;
            taken.iter().find(is_hit).map(|(_, exit)| *exit)
        };
        while let Some(exit) = overlap(from) {
            from = exit + 1;
        }
        let is_last = next.is_none() && order.last() == Some(member);
        let end = match next {
            Some(next) => u16::from(next).min(tables),
            None => tables,
        };
        // The exit of the last app may be missing.
        let fits = match is_last {
            true => from + count <= end && from + count <= u16::from(LAST),
            false => from + count < end && from + count <= u16::from(LAST),
        };
        if !fits {
            return None;
        }
        assigned.insert(member.name.clone(), u8::try_from(from).ok()?);
        from += count + 1;
    }
    Some(assigned)
}

/// Finds the position of a new app among the others, which are sorted. It comes last, except that
///
/// 1. `after` in its manifest, and in those of the others, holds;
/// 2. apps whose manifests still name their first table keep the order of these numbers.
pub fn position(app: &Manifest, others: &[&Manifest]) -> Result<usize, String> {
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
        pipeline.set("b", TableRange::new(4, 1));
        assert_eq!(pipeline.place(&a, &[&b]), Ok(TableRange::new(1, 2)));
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
        assert_eq!(pipeline.get("fixed"), Some(TableRange::new(20, 9)));
        assert_eq!(pipeline.place(&low, &[&fixed]), Ok(TableRange::new(1, 2)));
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
                .to_string()
                .starts_with("a@1.0.0 asks to come after b")
        );
        let c = manifest("c", "tables = 1\nafter = ['a']");
        assert_eq!(check_order(&[&a, &c]), Ok(()));
    }

    #[test]
    fn a_release_that_needs_more_tables_than_its_app_has_is_refused() {
        let range = TableRange::new(1, 2);
        let (two, three) = (manifest("a", "tables = 2"), manifest("a", "tables = 3"));
        assert_eq!(suffices(&two, range), Ok(()));
        let error = suffices(&three, range).unwrap_err();
        assert!(
            error.contains("a@1.0.0 needs 3 tables, and the app has 2"),
            "{error}"
        );
    }

    fn member((name, count, first): &(&str, u8, u8)) -> Member {
        Member {
            name: (*name).to_owned(),
            count: *count,
            first: Some(*first).filter(|first| *first != 0),
        }
    }

    /// Plans the order of these apps; a first table of 0 stands for none.
    fn planned(order: &[(&str, u8, u8)], tables: u16) -> Result<Vec<(String, u8)>, u16> {
        let order: Vec<Member> = order.iter().map(member).collect();
        let moved = plan(&order, tables).map_err(|no_room| no_room.needed)?;
        Ok(moved.into_iter().collect())
    }

    fn moves(moves: &[(&str, u8)]) -> Result<Vec<(String, u8)>, u16> {
        let moves = moves.iter();
        Ok(moves
            .map(|(app, first)| ((*app).to_owned(), *first))
            .collect())
    }

    #[test]
    fn only_apps_whose_order_changes_are_moved() {
        // a at 1, b at 3, c at 5, each with an exit.
        let at = |order: [&'static str; 3]| {
            order.map(|name| {
                (
                    name,
                    1,
                    if name == "a" {
                        1
                    } else if name == "b" {
                        3
                    } else {
                        5
                    },
                )
            })
        };
        assert_eq!(planned(&at(["a", "b", "c"]), 254), moves(&[]));
        assert_eq!(
            planned(&at(["a", "c", "b"]), 254),
            moves(&[("b", 9), ("c", 7)])
        );
        let all = moves(&[("a", 9), ("b", 7), ("c", 11)]);
        assert_eq!(planned(&at(["b", "a", "c"]), 254), all);
        // The last one needs no exit.
        assert_eq!(
            planned(&at(["a", "c", "b"]), 10),
            moves(&[("b", 9), ("c", 7)])
        );
        assert_eq!(planned(&at(["a", "c", "b"]), 9), Err(10));
    }

    #[test]
    fn free_tables_are_used_before_others_and_the_last_apps_stay_where_they_can() {
        let order = [("b", 1, 7), ("a", 1, 5), ("c", 2, 9)];
        // Tables 1 to 4 are free.
        assert_eq!(planned(&order, 12), moves(&[("a", 3), ("b", 1)]));
        let new = [("new", 1, 0), ("a", 1, 1), ("b", 1, 3)];
        assert_eq!(planned(&new, 10), moves(&[("a", 7), ("b", 9), ("new", 5)]));
        let new = [("new", 1, 0), ("a", 1, 3), ("b", 1, 5)];
        assert_eq!(planned(&new, 6), moves(&[("new", 1)]));
    }

    proptest::proptest! {
        #[test]
        fn ranges_are_apart_and_in_order_and_no_table_is_used_twice(
            counts in proptest::collection::vec((1u8..4, 0u8..3, 0u32..100), 1..6),
            tables in 2u16..40,
        ) {
            let mut from = 1;
            let mut order: Vec<(Member, u32)> = Vec::new();
            for (n, (count, gap, rank)) in counts.into_iter().enumerate() {
                let first = from + gap;
                from = first + count + 1;
                order.push((member(&(&n.to_string(), count, first)), rank));
            }
            order.sort_by_key(|(_, rank)| *rank);
            let order: Vec<Member> = order.into_iter().map(|(member, _)| member).collect();
            let Ok(moved) = plan(&order, tables) else {
                return Ok(());
            };
            let mut free = 1;
            for (at, member) in order.iter().enumerate() {
                let before = member.first.unwrap();
                let first = moved.get(&member.name).copied().unwrap_or(before);
                proptest::prop_assert!(first >= free, "{order:?} {moved:?}");
                free = first + member.count + 1;
                if first == before {
                    continue;
                }
                let is_last = at + 1 == order.len();
                proptest::prop_assert!(u16::from(free) <= tables + u16::from(is_last));
                for other in &order {
                    let (start, end) = (other.first.unwrap(), other.first.unwrap() + other.count + 1);
                    proptest::prop_assert!(free <= start || end <= first, "{order:?} {moved:?}");
                }
            }
            // Apps that move stand together, so one rule leads to them.
            let places: Vec<usize> = (0..order.len()).filter(|at| moved.contains_key(&order[*at].name)).collect();
            proptest::prop_assert!(places.windows(2).all(|pair| pair[1] == pair[0] + 1));
        }
    }
}
