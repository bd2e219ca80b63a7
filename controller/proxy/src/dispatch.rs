//! Present apps: finds the app that a message belongs to.

use morph_api::cookie::Cookie;
use morph_api::supervisor::Configuration;

/// Present app and its range of tables in the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PipelineApp {
    pub(crate) name: String,
    pub(crate) id: u8,
    pub(crate) first_table: u8,
    /// Exit table, owned by the proxy: it leads to the next app's first table.
    pub(crate) last_table: u8,
    /// Fewest tables for its rules, of those before the exit.
    pub(crate) least_tables: u8,
    /// First table of a second range with as many tables, while tables are moved. No packet passes it.
    pub(crate) second_table: Option<u8>,
    /// Packets enter its tables without rules, too, and are dropped there.
    pub(crate) drops_absent: bool,
    /// Neither an operator nor a crash loop has stopped it.
    pub(crate) is_running: bool,
    /// First table and exit that it had before: a turn may be on its way while its tables change.
    pub(crate) former: Option<(u8, u8)>,
}

impl PipelineApp {
    /// Returns the number of tables for its rules.
    fn tables(&self) -> u8 {
        self.last_table - self.first_table
    }

    /// Returns the first table and the exit of the range that packets pass.
    pub(crate) fn own_range(&self) -> (u8, u8) {
        (self.first_table, self.last_table)
    }

    /// Returns its ranges: first tables and exits.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u8, u8)> {
        let count = self.tables();
        let second = self.second_table;
        let second = second.map(|first| (first, first.saturating_add(count)));
        [self.own_range()].into_iter().chain(second)
    }

    /// Returns the range that packets will pass after the move; the only one where it has no second.
    pub(crate) fn other_range(&self) -> (u8, u8) {
        self.ranges().last().unwrap_or(self.own_range())
    }

    fn uses(&self, table: u8) -> bool {
        self.ranges()
            .any(|(first, exit)| (first..=exit).contains(&table))
    }
}

/// Present apps, sorted by first table.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Apps(pub(crate) Vec<PipelineApp>);

impl Apps {
    /// Validates a configuration from morphd.
    pub(crate) fn new(configuration: &Configuration) -> Result<Self, String> {
        let mut apps = Vec::with_capacity(configuration.apps.len());
        for app in &configuration.apps {
            let number = |what: &str, value: u32| match u8::try_from(value) {
                Ok(number @ 1..=254) => Ok(number),
                _ => Err(format!("{}: {what} {value} is not from 1 to 254", app.name)),
            };
            let (first, last) = (
                number("first table", app.first_table)?,
                number("last table", app.last_table)?,
            );
            let all = last.saturating_sub(first);
            let least = u8::try_from(app.least_tables).unwrap_or(u8::MAX);
            apps.push(PipelineApp {
                name: app.name.clone(),
                id: number("id", app.id)?,
                first_table: first,
                last_table: last,
                least_tables: if least == 0 { all } else { least.min(all) },
                second_table: match app.second_table {
                    0 => None,
                    first => Some(number("second table", first)?),
                },
                drops_absent: app.drops_absent,
                is_running: !app.is_stopped,
                former: None,
            });
        }
        apps.sort_by_key(|app| app.first_table);
        let apps = Apps(apps);
        match apps.contradiction() {
            Some(message) => Err(message),
            None => Ok(apps),
        }
    }

    fn contradiction(&self) -> Option<String> {
        for (index, app) in self.0.iter().enumerate() {
            let name = &app.name;
            if name.is_empty() {
                return Some(format!("the app with id {} has no name", app.id));
            }
            if app.first_table >= app.last_table {
                let (first, last) = (app.first_table, app.last_table);
                return Some(format!(
                    "{name}: tables {first} to {last} are not two or more"
                ));
            }
            for other in &self.0[..index] {
                if other.name == *name {
                    return Some(format!("{name} is named twice"));
                }
                if other.id == app.id {
                    return Some(format!(
                        "{name} and {} have the same id, {}",
                        other.name, app.id
                    ));
                }
                let overlap = |(first, exit): (u8, u8)| {
                    let mut ranges = other.ranges();
                    ranges.any(|(start, end)| first <= end && start <= exit)
                };
                if app.ranges().any(overlap) {
                    return Some(format!("the tables of {} and {name} overlap", other.name));
                }
            }
            if let Some(first) = app.second_table {
                let (start, end) = (app.first_table, app.last_table);
                let exit = u16::from(first) + u16::from(app.tables());
                if exit > 254 || first <= end && u16::from(start) <= exit {
                    return Some(format!(
                        "{name}: a second range from {first} to {exit} is none beside {start} to {end}"
                    ));
                }
            }
        }
        None
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PipelineApp> {
        self.0.iter()
    }

    pub(crate) fn by_id(&self, id: u8) -> Option<&PipelineApp> {
        self.0.iter().find(|app| app.id == id)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&PipelineApp> {
        self.0.iter().find(|app| app.name == name)
    }

    /// Returns the app if exactly one is present.
    pub(crate) fn only(&self) -> Option<&PipelineApp> {
        match &self.0[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Returns the number of tables that a switch must have. The last app needs no exit.
    pub(crate) fn tables_needed(&self) -> u8 {
        let own = self
            .0
            .last()
            .map_or(0, |app| app.first_table + app.least_tables);
        // In a move nobody makes do with fewer.
        let seconds = self.0.iter().filter_map(|app| {
            let (first, exit) = (app.second_table?, app.other_range().1);
            (first > app.first_table).then_some(exit)
        });
        seconds.fold(own, u8::max)
    }

    /// Returns whether an app may write rules in a table: one of its own, or one that it had and nobody has now.
    pub(crate) fn may_write(&self, app: &PipelineApp, table: u8) -> bool {
        let is_within = |(first, exit): (u8, u8)| (first..exit).contains(&table);
        let is_free = || !self.0.iter().any(|other| other.uses(table));
        app.ranges().any(is_within) || app.former.is_some_and(is_within) && is_free()
    }

    /// Notes the ranges that apps had before, and have no longer.
    pub(crate) fn follow(&mut self, before: &Apps) {
        for app in &mut self.0 {
            let Some(before) = before.by_id(app.id) else {
                continue;
            };
            let mut lost = before.ranges();
            let lost = lost.find(|range| app.ranges().all(|now| now != *range));
            app.former = lost.or(before.former);
        }
    }

    /// Returns the apps in the order of their other ranges.
    pub(crate) fn by_other_range(&self) -> Vec<&PipelineApp> {
        let mut apps: Vec<&PipelineApp> = self.0.iter().collect();
        apps.sort_by_key(|app| app.other_range());
        apps
    }

    /// Lists who needs how many of these tables.
    pub(crate) fn needs(&self) -> String {
        let mut needs = vec!["table 0".to_owned()];
        for (at, app) in self.0.iter().enumerate() {
            let (name, tables) = (&app.name, app.tables());
            needs.push(match at + 1 == self.0.len() {
                true => format!("{} for {name}", app.least_tables),
                false => format!("{tables} and an exit for {name}"),
            });
        }
        let used = |app: &PipelineApp| u16::from(app.tables()) + 1;
        let end = self.0.last().map_or(0, |app| u16::from(app.last_table) + 1);
        let free = end - 1 - self.0.iter().map(used).sum::<u16>();
        if free > 0 {
            needs.push(format!("{free} unused between them"));
        }
        needs.join(", ")
    }

    /// Finds the app that owns rules with this cookie.
    pub(crate) fn owner_of_cookie(&self, cookie: u64) -> Option<&PipelineApp> {
        self.by_id(Cookie::from_u64(cookie)?.app)
    }

    /// Finds the receiver of a packet-in: the owner of the cookie, or else of the table.
    pub(crate) fn receiver_of_packet_in(&self, cookie: u64, table: u8) -> Option<&PipelineApp> {
        let owner = self.owner_of_cookie(cookie);
        owner.or_else(|| self.0.iter().find(|app| app.uses(table)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use morph_api::supervisor::PresentApp;

    /// Builds a configuration from (name, id, first table, last table).
    pub(crate) fn configuration(apps: &[(&str, u32, u32, u32)]) -> Configuration {
        let present = |&(name, id, first_table, last_table): &(&str, u32, u32, u32)| PresentApp {
            name: name.into(),
            id,
            first_table,
            last_table,
            ..PresentApp::default()
        };
        Configuration {
            apps: apps.iter().map(present).collect(),
            ..Configuration::default()
        }
    }

    fn cookie(app: u8) -> u64 {
        Cookie {
            app,
            epoch: 7,
            own: 1,
        }
        .to_u64()
    }

    #[test]
    fn packet_ins_go_by_cookie_and_then_by_table() {
        let apps = Apps::new(&configuration(&[
            ("router", 3, 20, 29),
            ("topology", 2, 2, 9),
        ]))
        .unwrap();
        for (cookie, table, owner) in [
            (cookie(3), 0, Some("router")),
            (cookie(2), 25, Some("topology")),
            (0, 25, Some("router")),
            (u64::MAX, 9, Some("topology")),
            // Cookie of an absent app, then of Morpheus itself.
            (cookie(9), 20, Some("router")),
            (cookie(0), 29, Some("router")),
            (cookie(0), 0, None),
            (u64::MAX, 15, None),
        ] {
            let found = apps
                .receiver_of_packet_in(cookie, table)
                .map(|app| app.name.as_str());
            assert_eq!(found, owner, "{cookie:x} in table {table}");
        }
        assert_eq!(apps.owner_of_cookie(u64::MAX), None);
    }

    #[test]
    fn the_tables_that_a_switch_needs_end_with_the_least_of_the_last_app() {
        let mut two = configuration(&[("router", 3, 20, 29), ("topology", 2, 2, 9)]);
        assert_eq!(Apps::new(&two).unwrap().tables_needed(), 29);
        two.apps[0].least_tables = 1;
        let apps = Apps::new(&two).unwrap();
        assert_eq!(apps.tables_needed(), 21);
        assert_eq!(
            apps.needs(),
            "table 0, 7 and an exit for topology, 1 for router, 11 unused between them"
        );
        assert_eq!(Apps::default().tables_needed(), 0);
    }

    #[test]
    fn contradictions_are_named() {
        for (wrong, expected) in [
            (
                &[("a", 1, 10, 19), ("b", 2, 19, 29)][..],
                "the tables of a and b overlap",
            ),
            (&[("a", 1, 10, 19), ("b", 1, 20, 29)], "same id, 1"),
            (&[("a", 1, 10, 19), ("a", 2, 20, 29)], "a is named twice"),
            (&[("a", 1, 10, 10)], "tables 10 to 10"),
            (&[("a", 0, 10, 19)], "id 0 is not from 1 to 254"),
            (&[("a", 1, 10, 255)], "last table 255"),
            (&[("a", 1, 0, 9)], "first table 0"),
            (&[("", 1, 10, 19)], "has no name"),
        ] {
            let error = Apps::new(&configuration(wrong)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for (second, expected) in [
            (25, "the tables of a and b overlap"),
            (15, "a second range from 15 to 24 is none beside 10 to 19"),
            (250, "a second range from 250 to 259"),
            (256, "second table 256"),
        ] {
            let mut wrong = configuration(&[("b", 2, 30, 39), ("a", 1, 10, 19)]);
            wrong.apps[1].second_table = second;
            let error = Apps::new(&wrong).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_app_writes_in_its_ranges_and_in_the_one_that_it_had() {
        let mut two = configuration(&[("a", 1, 1, 2), ("b", 2, 3, 4)]);
        two.apps[0].second_table = 5;
        let moving = Apps::new(&two).unwrap();
        let may = |apps: &Apps| -> Vec<u8> {
            let a = apps.by_name("a").unwrap();
            (0..9).filter(|table| apps.may_write(a, *table)).collect()
        };
        assert_eq!((may(&moving), moving.tables_needed()), (vec![1, 5], 6));
        let owner = moving.receiver_of_packet_in(0, 5).map(|app| app.id);
        assert_eq!(owner, Some(1));
        let mut after = Apps::new(&configuration(&[("a", 1, 5, 6), ("b", 2, 3, 4)])).unwrap();
        after.follow(&moving);
        assert_eq!(may(&after), [1, 5]);
        let reused = configuration(&[("a", 1, 5, 6), ("b", 2, 3, 4), ("c", 3, 1, 2)]);
        let mut reused = Apps::new(&reused).unwrap();
        reused.follow(&after);
        assert_eq!(may(&reused), [5]);
    }
}
