//! The view: what an app sees of the store and of the network, all in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use crate::key::KeyPrefix;
use crate::table_rows::{Row, TableRows, warn_odd};
use crate::{Dpid, Index, Key, Switch, Table, TableShape};

/// Tables of one app, by name.
pub(crate) type AppTables = BTreeMap<String, TableRows>;

/// Local copy of the app's own rows and of those of the apps that it reads.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Tables {
    own: AppTables,
    others: BTreeMap<String, AppTables>,
    /// Tables of other apps that may be read.
    readable: BTreeMap<&'static str, BTreeSet<String>>,
    reads: Reads,
    /// The first table of another app that was read without being declared.
    undeclared: Undeclared,
}

/// Table of another app that was read without being declared. It is no part of the tables' value.
#[derive(Debug, Default, Clone)]
struct Undeclared(OnceLock<(&'static str, &'static str)>);

impl PartialEq for Undeclared {
    fn eq(&self, _: &Undeclared) -> bool {
        true
    }
}

/// Number of rows that were read, for tests of what an event costs. It is no part of the tables' value.
#[derive(Default)]
struct Reads(AtomicU64);

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reads")
    }
}

impl Reads {
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Counts a read. Rows are read by one thread, so this needs no locked addition.
    fn count(&self) {
        self.0.store(self.get().wrapping_add(1), Relaxed);
    }
}

impl Clone for Reads {
    fn clone(&self) -> Reads {
        Reads(AtomicU64::new(self.get()))
    }
}

impl PartialEq for Reads {
    fn eq(&self, _: &Reads) -> bool {
        true
    }
}

impl Tables {
    /// Makes tables without rows: own ones with rows of their types, and those of other apps that may be read.
    pub(crate) fn new(
        declared: impl IntoIterator<Item = TableShape>,
        reads: impl IntoIterator<Item = TableShape>,
    ) -> Self {
        let own = declared.into_iter().map(|shape| (shape.name, shape.rows));
        let mut readable: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
        for shape in reads {
            if let Some(app) = shape.app {
                readable.entry(app).or_default().insert(shape.name);
            }
        }
        Tables {
            own: own.collect(),
            others: BTreeMap::new(),
            readable,
            reads: Reads::default(),
            undeclared: Undeclared::default(),
        }
    }

    /// Rows of a table that the app reads. One of another app that it does not declare is noted.
    fn read<K, V>(&self, table: &Table<K, V>) -> Option<&TableRows> {
        let Some(app) = table.app() else {
            return self.own.get(table.name());
        };
        let declared = self.readable.get(app);
        if !declared.is_some_and(|tables| tables.contains(table.name())) {
            let _ = self.undeclared.0.set((app, table.name()));
            return None;
        }
        self.others.get(app)?.get(table.name())
    }

    /// Sentence about a table of another app that the app has read without declaring it.
    pub(crate) fn undeclared_read(&self) -> Option<String> {
        let (app, table) = self.undeclared.0.get()?;
        Some(format!(
            "the app reads table {table} of {app}, which it does not declare: name the table in App::reads(), as in \
             `vec![{constant}.shape()]`, and {app} in app.toml, as in `reads = {{ {app} = SCHEMA }}`",
            constant = table.to_ascii_uppercase()
        ))
    }

    /// Tables of an app; `None` for the app itself.
    pub(crate) fn of(&self, app: Option<&str>) -> Option<&AppTables> {
        match app {
            None => Some(&self.own),
            Some(app) => self.others.get(app),
        }
    }

    pub(crate) fn rows(&self, app: Option<&str>, table: &str) -> Option<&TableRows> {
        self.of(app)?.get(table)
    }

    pub(crate) fn get(&self, app: Option<&str>, table: &str, key: &str) -> Option<Value> {
        self.rows(app, table)?.get(key)
    }

    /// Number of rows that views have read so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Sets a row, or deletes it with `None`. Returns the value before.
    pub(crate) fn set(
        &mut self,
        app: Option<&str>,
        table: &str,
        key: &str,
        value: Option<Value>,
    ) -> Option<Value> {
        if value.is_none() && self.rows(app, table).is_none() {
            return None;
        }
        self.rows_mut(app, table).set(key, value)
    }

    /// Rows of a table for a change.
    pub(crate) fn rows_mut(&mut self, app: Option<&str>, table: &str) -> &mut TableRows {
        let tables = match app {
            None => &mut self.own,
            Some(app) => self.others.entry(app.to_owned()).or_default(),
        };
        tables.entry(table.to_owned()).or_default()
    }
}

/// Number of rows in all tables.
pub(crate) fn count(tables: &AppTables) -> usize {
    tables.values().map(TableRows::len).sum()
}

/// Place of the app in the pipeline of every switch.
///
/// ```
/// use morph_sdk::Pipeline;
///
/// // App 7 has tables 3 and 4 of each switch; table 5 leads to the next app.
/// let pipeline = Pipeline { app: 7, first: 3, exit: 5 };
/// assert_eq!(pipeline.exit - pipeline.first, 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pipeline {
    /// Id of the app.
    pub app: u8,
    /// First table of the app.
    pub first: u8,
    /// Table after the app's own ones, where `next` leads.
    pub exit: u8,
}

impl Pipeline {
    /// First table and exit.
    pub(crate) fn range(self) -> (u8, u8) {
        (self.first, self.exit)
    }
}

/// Snapshot that an app sees: its tables, those of the apps that it reads, and the connected switches.
///
/// ```
/// use morph_sdk::{Dpid, MacAddr, Table, View};
///
/// const PORTS: Table<(Dpid, MacAddr), u32> = Table::new("ports");
///
/// /// Hosts at a port of a switch that is connected.
/// fn hosts(view: &View<'_>, dpid: Dpid, port: u32) -> Vec<MacAddr> {
///     if view.switch(dpid).is_none() {
///         return Vec::new();
///     }
///     let of_switch = view.prefix(&PORTS, &dpid);
///     let at_port = of_switch.filter(|(_, at)| *at == port);
///     at_port.map(|((_, host), _)| host).collect()
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) switches: &'a BTreeMap<Dpid, Switch>,
    pub(crate) pipeline: Pipeline,
}

impl<'a> View<'a> {
    /// Value of a row. One that is not of the table's type counts as absent, with a warning.
    pub fn get<K: Key, V: Row>(&self, table: &Table<K, V>, key: &K) -> Option<V> {
        self.tables.reads.count();
        let rows = self.tables.read(table)?;
        match rows.of::<K, V>() {
            Some(typed) => typed.rows().get(key).cloned(),
            None => {
                let key = key.text();
                read(table, &key, &rows.get(&key)?)
            }
        }
    }

    /// All rows of a table, in the order of their keys.
    pub fn iter<K: Key, V: Row>(
        &self,
        table: &Table<K, V>,
    ) -> impl Iterator<Item = (K, V)> + use<'a, K, V> {
        self.select(table, K::least(), |_| true)
    }

    /// Rows of a table whose keys begin with this part, or with a tuple of parts, in the order of their keys.
    ///
    /// ```
    /// # use morph_sdk::{Dpid, MacAddr, Table, View};
    /// const MACS: Table<(Dpid, u32, MacAddr), u64> = Table::new("macs");
    ///
    /// fn on_port(view: &View<'_>, dpid: Dpid, port: u32) -> usize {
    ///     view.prefix(&MACS, &(dpid, port)).count()
    /// }
    /// ```
    pub fn prefix<P: Clone + 'a, K: KeyPrefix<P>, V: Row>(
        &self,
        table: &Table<K, V>,
        first: &P,
    ) -> impl Iterator<Item = (K, V)> + use<'a, P, K, V> {
        let part = first.clone();
        self.select(table, K::least_of(first), move |key| key.begins_with(&part))
    }

    /// Rows of a table whose keys are in this range, in the order of their keys.
    ///
    /// ```
    /// # use morph_sdk::{Dpid, Table, View};
    /// const PORTS: Table<(Dpid, u32), String> = Table::new("ports");
    ///
    /// fn first_ports(view: &View<'_>, dpid: Dpid) -> usize {
    ///     view.range(&PORTS, (dpid, 1)..=(dpid, 24)).count()
    /// }
    /// ```
    pub fn range<K: Key, V: Row>(
        &self,
        table: &Table<K, V>,
        keys: impl RangeBounds<K>,
    ) -> impl Iterator<Item = (K, V)> {
        let (start, end) = (keys.start_bound().cloned(), keys.end_bound().cloned());
        let from = match &start {
            Bound::Included(key) | Bound::Excluded(key) => key.clone(),
            Bound::Unbounded => K::least(),
        };
        let is_before_end = move |key: &K| match &end {
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
            Bound::Unbounded => true,
        };
        let rows = self.select(table, from, is_before_end);
        rows.skip_while(move |(key, _)| matches!(&start, Bound::Excluded(start) if key <= start))
    }

    /// Rows from this key on, as long as their keys are inside.
    fn select<K: Key, V: Row>(
        &self,
        table: &Table<K, V>,
        from: K,
        is_inside: impl Fn(&K) -> bool + 'a,
    ) -> Box<dyn Iterator<Item = (K, V)> + 'a> {
        let Some(rows) = self.tables.read(table) else {
            return Box::new(std::iter::empty());
        };
        let reads = &self.tables.reads;
        if let Some(typed) = rows.of::<K, V>() {
            let inside = typed.rows().range(from..);
            let inside = inside.take_while(move |(key, _)| is_inside(key));
            let inside = inside.inspect(|_| reads.count());
            return Box::new(inside.map(|(key, value)| (key.clone(), value.clone())));
        }
        let parsed = rows.iter().filter_map(|(text, value)| {
            reads.count();
            let key = K::parse_exact(&text).filter(|key| *key >= from && is_inside(key))?;
            Some((key, read(table, &text, &value)?))
        });
        Box::new(parsed.collect::<BTreeMap<K, V>>().into_iter())
    }

    /// Number of rows of a table, without reading them.
    pub fn count<K, V>(&self, table: &Table<K, V>) -> usize {
        self.tables.read(table).map_or(0, TableRows::len)
    }

    /// Keys of the rows in a group of an index, in their order, without reading the rows.
    pub fn keys_in<K: Key, V: Row, G: Key>(
        &self,
        index: &Index<K, V, G>,
        group: &G,
    ) -> impl Iterator<Item = K> + use<'a, K, V, G> {
        let keys: Box<dyn Iterator<Item = K> + 'a> = match self.groups(index) {
            Some(groups) => Box::new(groups.get(group).into_iter().flatten().cloned()),
            None => Box::new(scan(*self, index).remove(group).into_iter().flatten()),
        };
        keys
    }

    /// Number of rows in a group of an index, without looking at each.
    pub fn count_in<K: Key, V: Row, G: Key>(&self, index: &Index<K, V, G>, group: &G) -> usize {
        match self.groups(index) {
            Some(groups) => groups.get(group).map_or(0, BTreeSet::len),
            None => scan(*self, index).get(group).map_or(0, BTreeSet::len),
        }
    }

    /// Key of the first row in the first group of a declared index.
    pub(crate) fn first_in<K: Key, V: Row, G: Key>(&self, index: &Index<K, V, G>) -> Option<K> {
        let (_, keys) = self.groups(index)?.first_key_value()?;
        keys.first().cloned()
    }

    /// Groups of an index that have rows, in their order.
    pub fn groups_of<K: Key, V: Row, G: Key>(&self, index: &Index<K, V, G>) -> Vec<G> {
        match self.groups(index) {
            Some(groups) => groups.keys().cloned().collect(),
            None => scan(*self, index).into_keys().collect(),
        }
    }

    /// Groups of an index, if it was declared.
    fn groups<K: Key, V: Row, G: Key>(
        &self,
        index: &Index<K, V, G>,
    ) -> Option<&'a BTreeMap<G, BTreeSet<K>>> {
        let table = index.table();
        let rows = self.tables.read(table)?;
        rows.of::<K, V>()?.groups(index.name())
    }

    /// Connected switches, by datapath id.
    pub fn switches(&self) -> impl Iterator<Item = &'a Switch> + use<'a> {
        self.switches.values()
    }

    /// A connected switch, if it is there.
    pub fn switch(&self, dpid: Dpid) -> Option<&'a Switch> {
        self.switches.get(&dpid)
    }

    /// Place of the app in the pipeline.
    pub fn pipeline(&self) -> Pipeline {
        self.pipeline
    }
}

/// Makes the groups of an index that was not declared.
fn scan<K: Key, V: Row, G: Key>(
    view: View<'_>,
    index: &Index<K, V, G>,
) -> BTreeMap<G, BTreeSet<K>> {
    let mut groups: BTreeMap<G, BTreeSet<K>> = BTreeMap::new();
    for (key, value) in view.iter(index.table()) {
        groups
            .entry(index.group_of(&value))
            .or_default()
            .insert(key);
    }
    groups
}

fn read<K, V: Row>(table: &Table<K, V>, key: &str, value: &Value) -> Option<V> {
    V::deserialize(value)
        .inspect_err(|error| warn_odd(table, key, value, error))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPED: Table<(Dpid, u32), u32> = Table::new("typed");
    const PLAIN: Table<(Dpid, u32), u32> = Table::new("plain");

    #[test]
    fn ranges_and_prefixes_are_by_the_order_of_values() {
        let mut tables = Tables::new([TYPED.shape()], []);
        for port in [1, 2, 9, 10, 100] {
            for dpid in [1, 16] {
                let key = (Dpid(dpid), port).text();
                for table in [TYPED.name(), PLAIN.name()] {
                    tables.set(None, table, &key, Some(port.into()));
                }
            }
        }
        let switches = BTreeMap::new();
        let view = View {
            tables: &tables,
            switches: &switches,
            pipeline: Pipeline::default(),
        };
        for table in [TYPED, PLAIN] {
            let (one, two) = (Dpid(1), Dpid(16));
            let range = |from: Bound<u32>, to: Bound<u32>| {
                let keys = (from.map(|port| (one, port)), to.map(|port| (one, port)));
                let rows = view.range(&table, keys).map(|(_, port)| port);
                rows.collect::<Vec<_>>()
            };
            let (included, excluded) = (Bound::Included, Bound::Excluded);
            assert_eq!(range(included(2), included(10)), [2, 9, 10]);
            assert_eq!(range(excluded(2), excluded(10)), [9]);
            assert!(range(excluded(3), excluded(9)).is_empty());
            assert_eq!(range(Bound::Unbounded, excluded(9)), [1, 2]);
            assert_eq!(view.range(&table, (two, 9)..).count(), 3);
            assert_eq!(view.range(&table, ..).count(), 10);
            let ports = view.prefix(&table, &two).map(|(_, port)| port);
            assert_eq!(ports.collect::<Vec<_>>(), [1, 2, 9, 10, 100]);
        }
    }
}
