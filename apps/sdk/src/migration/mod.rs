//! Migrations: how the rows of one schema version become those of a neighbouring one, and back.

mod steps;
mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Key, Table};
pub use steps::Chain;
pub(crate) use steps::Hop;
pub use steps::{Migrations, down, up};
pub use typed::group_by;

/// Both ways between two neighbouring schema versions of an app's tables, by *groups* of rows.
///
/// A group is named by a function of the row's table and key alone, on either side, and is mapped whole; rows that come
/// out must be of the same group. A group without rows has none on the other side either. `down(up(x)) == x` for all
/// that the old release can have written, if nothing is to be lost by going back.
pub trait Migration {
    /// The older schema version.
    const OLD: u32;
    /// The newer one, `OLD + 1`.
    const NEW: u32;

    /// The group of an old row. Default: each row is its own.
    fn group_of_old(table: &str, key: &str) -> String {
        format!("{table}/{key}")
    }

    /// The group of a new row. Default: each row is its own.
    fn group_of_new(table: &str, key: &str) -> String {
        format!("{table}/{key}")
    }

    /// A group's rows in the new schema.
    fn up(old: &Rows) -> Result<Rows, MigrationError>;

    /// A group's rows in the old schema.
    fn down(new: &Rows) -> Result<Rows, MigrationError>;
}

/// Why rows cannot be mapped. Made by `?` from any error, or from a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationError(String);

impl MigrationError {
    /// An error that says this.
    pub fn new(message: impl fmt::Display) -> Self {
        MigrationError(message.to_string())
    }
}

impl<E: std::error::Error> From<E> for MigrationError {
    fn from(error: E) -> Self {
        MigrationError(error.to_string())
    }
}

impl fmt::Display for MigrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Rows by table and key's text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows(pub BTreeMap<(String, String), Value>);

impl Rows {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a row; an error where it is not of the table's type.
    pub fn get<K: Key, V: DeserializeOwned>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>, MigrationError> {
        let value = self.0.get(&(table.name().to_owned(), key.text()));
        Ok(value.map(V::deserialize).transpose()?)
    }

    /// All rows of a table; an error where one is not of the table's type.
    pub fn of<K: Key, V: DeserializeOwned>(
        &self,
        table: &Table<K, V>,
    ) -> Result<Vec<(K, V)>, MigrationError> {
        let name = table.name();
        let rows = self.0.iter().filter(|((table, _), _)| table == name);
        rows.map(|((_, key), value)| match K::parse_exact(key) {
            Some(k) => Ok((k, V::deserialize(value)?)),
            None => Err(MigrationError(format!("{name}: {key:?} is not a key"))),
        })
        .collect()
    }

    /// Sets a row.
    pub fn put<K: Key, V: Serialize>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), MigrationError> {
        let value = serde_json::to_value(value)?;
        self.0.insert((table.name().to_owned(), key.text()), value);
        Ok(())
    }

    /// Takes a table's rows over from `other` as they are.
    pub fn pass(&mut self, other: &Rows, table: &str) {
        let rows = other.0.iter().filter(|((name, _), _)| name == table);
        self.0.extend(rows.map(|(id, v)| (id.clone(), v.clone())));
    }
}

/// Members of groups, by group.
pub(crate) type Members = BTreeMap<String, BTreeSet<(String, String)>>;
