//! Room in tables with a bound, which a turn makes for a new row.

use morph_api::alarm::TABLE_FULL;
use serde::de::DeserializeOwned;

use crate::limit::Limit;
use crate::table_rows::{Row, TableRows};
use crate::{Alarm, Key, Table, Turn, View};

/// Most rows that one new row evicts. Two, so that there are fewer in the end where a limit was lowered.
const MOST_EVICTED: usize = 2;
/// Share of a limit that has to be free before its alarm ends. One row that goes would end it for the next one only.
const ROOM: usize = 100;

impl Turn<'_> {
    /// Whether a table with a bound has as many rows as it may have, so that a new row is left out or evicts another one.
    pub fn is_full<K, V>(&self, table: &Table<K, V>) -> bool {
        self.room(table.name())
            .is_some_and(|(rows, limit)| rows >= limit)
    }

    /// Takes the rows of a table that gave way to others since this turn began, or since this was called last.
    pub fn evicted<K: Key, V: DeserializeOwned>(&mut self, table: &Table<K, V>) -> Vec<(K, V)> {
        let is_its = |(name, _): &(String, String)| name == table.name();
        let taken = self.evicted.extract_if(.., |(id, _)| is_its(id));
        let rows = taken.filter_map(|((name, key), value)| {
            Some((
                table.key_of(None, &name, &key)?,
                V::deserialize(value).ok()?,
            ))
        });
        rows.collect()
    }

    /// Makes room for a new row of a table. False if the row has to be left out.
    pub(crate) fn make_room<K: Key, V: Row>(&mut self, table: &Table<K, V>) -> bool {
        for _ in 0..MOST_EVICTED {
            if !self.is_full(table) {
                return true;
            }
            let rows = self.tables.rows(None, table.name());
            let oldest = rows
                .and_then(TableRows::of::<K, V>)
                .and_then(|rows| rows.oldest());
            let Some(oldest) = oldest else {
                self.refuse_row(table.name());
                return false;
            };
            let text = oldest.text();
            let value = self.tables.get(None, table.name(), &text);
            self.unset(table, &oldest);
            let id = (table.name().to_owned(), text);
            self.evicted.extend(value.map(|value| (id, value)));
        }
        true
    }

    /// Number of a bounded table's rows, and its limit.
    fn room(&self, table: &str) -> Option<(usize, usize)> {
        let rows = self.tables.rows(None, table)?;
        Some((rows.len(), rows_allowed(rows.bound()?.limit, &self.view())))
    }

    fn refuse_row(&mut self, table: &str) {
        let Some(bound) = self.tables.rows(None, table).and_then(TableRows::bound) else {
            return;
        };
        let limit = rows_allowed(bound.limit, &self.view());
        let text = format!(
            "table {table} has {limit} rows, which is the limit: further ones are left out"
        );
        let mend = format!("find out what makes so many rows, or {}", bound.limit);
        self.raise_own(&Alarm::new(TABLE_FULL, table, text, mend));
    }

    /// Ends the alarms of tables that have room again, or no bound.
    pub(crate) fn end_full_tables(&mut self) {
        for table in self.raised(TABLE_FULL) {
            let has_room = |(rows, limit): (usize, usize)| rows + (limit / ROOM).max(1) <= limit;
            if self.room(&table).is_none_or(has_room) {
                self.end_own(TABLE_FULL, &table);
            }
        }
    }
}

/// Number of rows that a limit allows, at least one.
fn rows_allowed(limit: Limit, view: &View<'_>) -> usize {
    let setting = limit.setting.and_then(|(table, name)| {
        let table: Table<String, u32> = Table::new(table);
        view.get(&table, &name.to_owned())
    });
    let rows = setting.unwrap_or(limit.rows).max(1);
    usize::try_from(rows).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::Bench;
    use crate::{
        App, AppError, Dpid, Event, Evict, Index, Pipeline, RuleInput, Rules, Setting, TableShape,
    };
    use proptest::prelude::*;

    const SEEN: Table<u32, u32> = Table::new("seen");
    const BY_AGE: Index<u32, u32, u32> = Index::new("age", SEEN, |age| *age);
    const FIRST: Table<u32, bool> = Table::new("first");
    const LIMITS: Table<String, u32> = Table::new("limits");
    const MOST: Setting = Setting::new(LIMITS, "most", 3);

    /// An app that notes the port of each packet, with its length as age; it fails at a port 99.
    #[derive(Default)]
    struct Noter {
        evicted: Vec<(u32, u32)>,
    }

    impl App for Noter {
        type Group = ();

        fn tables() -> Vec<TableShape> {
            vec![
                SEEN.shape().bounded(MOST, Evict::oldest(&BY_AGE)),
                FIRST.shape().bounded(2, Evict::REFUSE),
            ]
        }

        fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
            let Event::PacketIn(packet) = event else {
                return Ok(());
            };
            turn.put(&SEEN, &packet.in_port, &u32::from(packet.length));
            turn.put(&FIRST, &packet.in_port, &true);
            self.evicted = turn.evicted(&SEEN);
            assert_eq!(turn.evicted(&SEEN), [], "told once");
            match packet.in_port {
                99 => Err(AppError::new("99")),
                _ => Ok(()),
            }
        }

        fn groups(&self, _: &RuleInput<'_>, _: &View<'_>) -> Vec<()> {
            Vec::new()
        }

        fn rules(&self, (): &(), _: &View<'_>, _: &mut Rules) {}
    }

    fn bench() -> Bench<Noter> {
        Bench::new(Noter::default(), Pipeline::default())
    }

    fn packet(bench: &mut Bench<Noter>, port: u32, age: usize) -> Vec<(u32, u32)> {
        let _ = bench.packet_in(Dpid(1), port, vec![0; age]);
        std::mem::take(&mut bench.app().evicted)
    }

    fn keys<V: Row>(bench: &Bench<Noter>, table: &Table<u32, V>) -> Vec<u32> {
        bench.view().iter(table).map(|(key, _)| key).collect()
    }

    #[test]
    fn the_oldest_row_gives_way_also_where_the_limit_was_lowered() {
        let mut bench = bench();
        for (port, age) in [(1, 30), (2, 10), (3, 20), (2, 40)] {
            assert_eq!(packet(&mut bench, port, age), []);
        }
        assert_eq!(packet(&mut bench, 4, 50), [(3, 20)]);
        let _ = bench.row(&LIMITS, &"most".to_owned(), &1);
        assert_eq!(packet(&mut bench, 5, 60), [(1, 30), (2, 40)]);
        assert_eq!(keys(&bench, &SEEN), [4, 5]);
        let _ = packet(&mut bench, 99, 70);
        assert_eq!(keys(&bench, &SEEN), [4, 5], "undone with its turn");
        assert_eq!(packet(&mut bench, 6, 60), [(4, 50), (5, 60)]);
        assert_eq!(keys(&bench, &SEEN), [6]);
    }

    #[test]
    fn a_refused_row_raises_an_alarm_that_ends_once_there_is_room() {
        let mut bench = bench();
        for port in 1..=4 {
            let _ = packet(&mut bench, port, 1);
        }
        assert_eq!(keys(&bench, &FIRST), [1, 2]);
        let alarm = bench.alarms();
        let ((kind, subject), row) = alarm.first_key_value().unwrap();
        assert_eq!((kind.as_str(), subject.as_str()), (TABLE_FULL, "first"));
        assert_eq!(
            row.text,
            "table first has 2 rows, which is the limit: further ones are left out"
        );
        let _ = bench.resume();
        let _ = bench.tick(Duration::ZERO);
        assert_eq!(bench.alarms().len(), 1);
        let _ = bench.no_row(&FIRST, &1);
        let _ = bench.tick(Duration::ZERO);
        assert_eq!(bench.alarms().len(), 0);
    }

    proptest! {
        #[test]
        fn no_table_passes_its_limit(packets in prop::collection::vec((0u32..8, 0usize..20), 0..60)) {
            let mut bench = bench();
            for (port, age) in packets {
                let before: Vec<(u32, u32)> = bench.view().iter(&SEEN).collect();
                let evicted = packet(&mut bench, port, age);
                prop_assert!(keys(&bench, &SEEN).len() <= 3 && keys(&bench, &FIRST).len() <= 2);
                let oldest = before.iter().min_by_key(|(key, age)| (*age, *key));
                let is_new = before.iter().all(|(key, _)| *key != port);
                let expected = oldest.filter(|_| is_new && before.len() == 3);
                prop_assert_eq!(evicted, expected.copied().into_iter().collect::<Vec<_>>());
            }
        }
    }
}
