//! Rows that a migration maps.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::MigrationError;
use crate::{Key, Table};

/// Rows of an app, by table and text of the key.
///
/// ```
/// use morph_sdk::{Dpid, MigrationError, Rows, Table};
///
/// const NAMES: Table<Dpid, String> = Table::new("names");
///
/// let mut rows = Rows::new();
/// rows.put(&NAMES, &Dpid(1), &"core".to_owned())?;
/// assert_eq!(rows.of(&NAMES)?, [(Dpid(1), "core".to_owned())]);
/// # Ok::<(), MigrationError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows(pub BTreeMap<(String, String), Value>);

/// Row ids by group.
pub(crate) type GroupMembers = BTreeMap<String, BTreeSet<(String, String)>>;

impl Rows {
    /// Makes an empty set of rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Typed value of a row. Fails if the row is not of the table's type.
    pub fn get<K: Key, V: DeserializeOwned>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>, MigrationError> {
        let value = self.0.get(&(table.name().to_owned(), key.text()));
        Ok(value.map(V::deserialize).transpose()?)
    }

    /// All typed rows of a table. Fails if one is not of the table's type.
    pub fn of<K: Key, V: DeserializeOwned>(
        &self,
        table: &Table<K, V>,
    ) -> Result<Vec<(K, V)>, MigrationError> {
        let name = table.name();
        let rows = self.0.iter().filter(|((table, _), _)| table == name);
        rows.map(|((_, key), value)| match K::parse_exact(key) {
            Some(k) => Ok((k, V::deserialize(value)?)),
            None => Err(MigrationError::new(format!("{name}: {key:?} is not a key"))),
        })
        .collect()
    }

    /// Sets a row to this value.
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

    /// Copies a table's rows from `other` unchanged.
    pub fn pass(&mut self, other: &Rows, table: &str) {
        let rows = other.0.iter().filter(|((name, _), _)| name == table);
        self.0.extend(rows.map(|(id, v)| (id.clone(), v.clone())));
    }
}
