//! The view: what an app sees of the store and of the network, all in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Dpid, Key, Switch, Table};

/// Rows of one app, by table and key.
pub(crate) type RowsByTable = BTreeMap<String, BTreeMap<String, Value>>;

/// Local copy of the app's own rows and of those of the apps that it reads.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Tables {
    own: RowsByTable,
    others: BTreeMap<String, RowsByTable>,
    reads: Reads,
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
    /// Rows of an app; `None` for the app itself.
    pub(crate) fn of(&self, app: Option<&str>) -> Option<&RowsByTable> {
        match app {
            None => Some(&self.own),
            Some(app) => self.others.get(app),
        }
    }

    pub(crate) fn rows(&self, app: Option<&str>, table: &str) -> Option<&BTreeMap<String, Value>> {
        self.of(app)?.get(table)
    }

    pub(crate) fn get(&self, app: Option<&str>, table: &str, key: &str) -> Option<&Value> {
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
        let tables = match app {
            None => &mut self.own,
            Some(app) => self.others.entry(app.to_owned()).or_default(),
        };
        let Some(value) = value else {
            let rows = tables.get_mut(table)?;
            let before = rows.remove(key);
            if rows.is_empty() {
                tables.remove(table);
            }
            return before;
        };
        tables
            .entry(table.to_owned())
            .or_default()
            .insert(key.to_owned(), value)
    }
}

/// Number of rows in all tables.
pub(crate) fn count(tables: &RowsByTable) -> usize {
    tables.values().map(BTreeMap::len).sum()
}

/// Place of the app in the pipeline of every switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pipeline {
    /// Id of the app.
    pub app: u8,
    /// First table of the app.
    pub first: u8,
    /// Table after the app's own ones, where `next` leads.
    pub exit: u8,
}

/// Snapshot that an app sees: its tables, those of the apps that it reads, and the connected switches.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) switches: &'a BTreeMap<Dpid, Switch>,
    pub(crate) pipeline: Pipeline,
}

impl<'a> View<'a> {
    /// Value of a row. One that is not of the table's type counts as absent, with a warning.
    pub fn get<K: Key, V: DeserializeOwned>(&self, table: &Table<K, V>, key: &K) -> Option<V> {
        let key = key.text();
        self.tables.reads.count();
        let value = self.tables.get(table.app(), table.name(), &key)?;
        read(table, &key, value)
    }

    /// All rows of a table, in the order of their keys' texts.
    pub fn iter<K: Key, V: DeserializeOwned>(
        &self,
        table: &Table<K, V>,
    ) -> impl Iterator<Item = (K, V)> + use<'a, K, V> {
        self.prefix(table, "")
    }

    /// Rows of a table whose keys' texts start with `prefix`, in the order of these.
    pub fn prefix<K: Key, V: DeserializeOwned>(
        &self,
        table: &Table<K, V>,
        prefix: &str,
    ) -> impl Iterator<Item = (K, V)> + use<'a, K, V> {
        let table = *table;
        let prefix = prefix.to_owned();
        let reads = &self.tables.reads;
        self.tables
            .rows(table.app(), table.name())
            .map(|rows| rows.range(prefix.clone()..))
            .into_iter()
            .flatten()
            .inspect(|_| reads.count())
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .filter_map(move |(key, value)| Some((K::parse_exact(key)?, read(&table, key, value)?)))
    }

    /// Number of rows of a table, without reading them.
    pub fn count<K, V>(&self, table: &Table<K, V>) -> usize {
        self.tables
            .rows(table.app(), table.name())
            .map_or(0, BTreeMap::len)
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

fn read<K, V: DeserializeOwned>(table: &Table<K, V>, key: &str, value: &Value) -> Option<V> {
    match V::deserialize(value) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(
                "row {table:?}.{key} counts as absent, as it is not of its table's type: {error}: {value}"
            );
            None
        }
    }
}
