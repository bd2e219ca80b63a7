//! Indexes of an app's tables: the keys of rows by something that their values say, such as the hosts of each port.
//!
//! An index is kept beside the rows in memory, with each change of a row, whoever makes it: the app, the undoing of a turn, or
//! the store. So it is right at any time, and the store holds nothing of it.

use std::fmt;

use crate::table_rows::Row;
use crate::{Key, Table, TableShape};

/// Index of one of the app's tables: its rows in groups, each row in the group that its value names.
///
/// Declared as a constant, and with its table in [`App::tables`](crate::App::tables):
/// `const HOSTS_BY_PORT: Index<MacAddr, Host, u32> = Index::new("port", HOSTS, |host| host.port);` and
/// `vec![HOSTS.shape().indexed(&HOSTS_BY_PORT)]`. Without the latter its use is right, but looks at all rows.
///
/// ```
/// use morph_sdk::{Index, MacAddr, Table, TableShape, View};
///
/// const PORTS: Table<MacAddr, u32> = Table::new("ports");
/// const BY_PORT: Index<MacAddr, u32, u32> = Index::new("port", PORTS, |port| *port);
///
/// fn tables() -> Vec<TableShape> {
///     vec![PORTS.shape().indexed(&BY_PORT)]
/// }
///
/// /// Whether another host may be learned at a port.
/// fn has_room(view: &View<'_>, port: u32) -> bool {
///     view.count_in(&BY_PORT, &port) < 1000
/// }
/// ```
pub struct Index<K, V, G> {
    name: &'static str,
    table: Table<K, V>,
    group: fn(&V) -> G,
}

impl<K, V, G> Index<K, V, G> {
    /// Declares an index. Its name tells it from other indexes of the table.
    pub const fn new(name: &'static str, table: Table<K, V>, group: fn(&V) -> G) -> Self {
        Index { name, table, group }
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) const fn table(&self) -> &Table<K, V> {
        &self.table
    }

    pub(crate) const fn group(&self) -> fn(&V) -> G {
        self.group
    }

    /// Group of a row with this value.
    pub(crate) fn group_of(&self, value: &V) -> G {
        (self.group)(value)
    }
}

impl<K, V, G> Clone for Index<K, V, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, G> Copy for Index<K, V, G> {}

impl<K, V, G> fmt::Debug for Index<K, V, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {}", self.table, self.name)
    }
}

impl TableShape {
    /// The shape, of a table with this index.
    #[must_use]
    pub fn indexed<K: Key, V: Row, G: Key>(mut self, index: &Index<K, V, G>) -> Self {
        let is_its = self.name == index.table.name();
        if let Some(rows) = self.rows.of_mut::<K, V>().filter(|_| is_its) {
            rows.index(index.name, index.group);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;
    use crate::{App, AppError, Dpid, Event, Pipeline, RuleInput, Rules, Turn, View};

    const PORTS: Table<Dpid, u32> = Table::new("ports");
    const DECLARED: Index<Dpid, u32, u32> = Index::new("declared", PORTS, |port| *port);
    const UNDECLARED: Index<Dpid, u32, u32> = Index::new("undeclared", PORTS, |port| *port);

    /// An app that notes the port of each packet, and then fails at odd ones.
    struct Noter;

    impl App for Noter {
        type Group = ();

        fn tables() -> Vec<TableShape> {
            vec![PORTS.shape().indexed(&DECLARED)]
        }

        fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
            let Event::PacketIn(packet) = event else {
                return Ok(());
            };
            turn.put(&PORTS, &packet.dpid, &packet.in_port);
            assert_eq!(
                groups(turn.view(), &DECLARED),
                groups(turn.view(), &UNDECLARED)
            );
            match packet.in_port % 2 {
                0 => Ok(()),
                _ => Err(AppError::new("odd")),
            }
        }

        fn groups(&self, _: &RuleInput<'_>, _: &View<'_>) -> Vec<()> {
            Vec::new()
        }

        fn rules(&self, (): &(), _: &View<'_>, _: &mut Rules) {}
    }

    fn groups(view: View<'_>, index: &Index<Dpid, u32, u32>) -> Vec<(u32, Vec<u64>)> {
        let groups = view.groups_of(index).into_iter();
        let groups = groups.map(|group| {
            let keys: Vec<u64> = view.keys_in(index, &group).map(|dpid| dpid.0).collect();
            assert_eq!(view.count_in(index, &group), keys.len());
            (group, keys)
        });
        groups.collect()
    }

    #[test]
    fn an_index_is_right_in_a_turn_and_after_one_that_failed() {
        let mut bench = Bench::new(Noter, Pipeline::default());
        for (dpid, port) in [(1, 2), (2, 2), (1, 3), (3, 5), (2, 4), (4, 2)] {
            let outcome = bench.packet_in(Dpid(dpid), port, Vec::new());
            assert_eq!(outcome.error.is_some(), port % 2 == 1);
        }
        let expected = [(2, vec![1, 4]), (4, vec![2])];
        for index in [&DECLARED, &UNDECLARED] {
            assert_eq!(groups(bench.view(), index), expected, "{index:?}");
        }
        assert_eq!(bench.view().count_in(&DECLARED, &3), 0);
    }
}
