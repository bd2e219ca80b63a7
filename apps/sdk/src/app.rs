//! The trait that an application implements, and what it is told.

use std::fmt::{self, Debug};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Dpid, Event, Key, Rules, Table, TableShape, Turn, View};

/// An application: events and the view go in, state changes and packet-outs come out; and what the rules are is a
/// function of the view.
///
/// Its state stands in its tables and nowhere else: an instance may be replaced by another one between any two calls.
/// Fields of the implementing type are for what may be forgotten: caches, timers of probes.
pub trait App: Send + 'static {
    /// Names rules that belong together and are computed together: a destination, a connection, a switch.
    type Group: Ord + Clone + Debug + Send;

    /// One event. What it changes is applied exactly once to the state.
    ///
    /// An error drops what this turn changed and wanted to send; it is logged and counted, and the next event follows.
    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError>;

    /// Other apps or people changed rows: bring what is derived from them in line. Level-triggered: it may be
    /// called once for many changes, and is called once after this instance was made the live one.
    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let _ = (changes, turn);
        Ok(())
    }

    /// Every 100 ms while this instance is the live one: probes, expiry.
    fn tick(&mut self, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let _ = turn;
        Ok(())
    }

    /// The shapes of its tables, for `morphctl schema diff`: `vec![MACS.shape()]`. An app that names none has nothing to compare.
    fn tables() -> Vec<TableShape>
    where
        Self: Sized,
    {
        Vec::new()
    }

    /// Asked every second while this instance is the live one: an error says what is wrong with it as a whole. In the
    /// probation of an upgrade it takes the upgrade back; else it is logged.
    fn healthy(&self, view: &View<'_>) -> Result<(), AppError> {
        let _ = view;
        Ok(())
    }

    /// The groups whose rules depend on a row or a switch. Called for each one that changed or, at the start, is there.
    fn groups(&self, what: &Touched<'_>, view: &View<'_>) -> Vec<Self::Group>;

    /// The rules of a group, on all switches. What is in the switches and not said here (any more) is removed.
    fn rules(&self, group: &Self::Group, view: &View<'_>, rules: &mut Rules);
}

/// What the rules of some groups may depend on.
#[derive(Debug, Clone)]
pub enum Touched<'a> {
    /// A switch came, went, or has other ports.
    Switch(Dpid),
    /// A row changed.
    Row(RowChange<'a>),
}

impl Touched<'_> {
    /// The key, where a row of this table changed.
    pub fn key<K: Key, V>(&self, table: &Table<K, V>) -> Option<K> {
        match self {
            Touched::Switch(_) => None,
            Touched::Row(row) => table.key_of(row.app, row.table, row.key),
        }
    }
}

/// A row that changed, with what was there before and after.
#[derive(Debug, Clone, Copy)]
pub struct RowChange<'a> {
    /// Whose row; `None`: the app's own.
    pub app: Option<&'a str>,
    /// The table.
    pub table: &'a str,
    /// The key's text.
    pub key: &'a str,
    /// The value before; absent: there was none.
    pub before: Option<&'a Value>,
    /// The value now; absent: deleted.
    pub after: Option<&'a Value>,
}

impl RowChange<'_> {
    /// The change in the terms of its table, or `None` where the row is of another table.
    pub fn of<K: Key, V: DeserializeOwned>(
        &self,
        table: &Table<K, V>,
    ) -> Option<(K, Option<V>, Option<V>)> {
        let key = table.key_of(self.app, self.table, self.key)?;
        let read = |value: Option<&Value>| value.and_then(|value| V::deserialize(value).ok());
        Some((key, read(self.before), read(self.after)))
    }
}

/// Rows that others changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Anything may have changed: look at all that counts. `rows` is empty.
    pub all: bool,
    /// The rows that changed, of tables of this app and of those that it reads.
    pub rows: Vec<ChangedRow>,
}

/// Names a row that others changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedRow {
    /// Whose row; `None`: the app's own, changed by people.
    pub app: Option<String>,
    /// The table.
    pub table: String,
    /// The key's text.
    pub key: String,
}

impl Changes {
    /// Anything may have changed.
    pub fn all() -> Self {
        Changes {
            all: true,
            rows: Vec::new(),
        }
    }

    /// The keys of a table's rows that changed. With `all` set there are none: look at the whole table.
    pub fn keys<K: Key, V>(&self, table: &Table<K, V>) -> impl Iterator<Item = K> + use<'_, K, V> {
        let table = *table;
        self.rows
            .iter()
            .filter_map(move |row| table.key_of(row.app.as_deref(), &row.table, &row.key))
    }

    /// Whether rows of a table may have changed.
    pub fn touch<K, V>(&self, table: &Table<K, V>) -> bool {
        let is_of =
            |row: &ChangedRow| row.app.as_deref() == table.app() && row.table == table.name();
        self.all || self.rows.iter().any(is_of)
    }
}

/// Why a turn failed. Made by `?` from any error, or from a text.
pub struct AppError(Box<dyn std::error::Error + Send + Sync>);

impl AppError {
    /// An error that says this.
    pub fn new(message: impl fmt::Display) -> Self {
        AppError(message.to_string().into())
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for AppError {
    fn from(error: E) -> Self {
        AppError(Box::new(error))
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Debug for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
