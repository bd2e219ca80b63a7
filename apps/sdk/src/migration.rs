//! Migrations: how the rows of one schema version become those of a neighbouring one, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Key, Table};

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

type GroupOf = fn(&str, &str) -> String;
type Map = fn(&Rows) -> Result<Rows, MigrationError>;

/// A migration as seen from one of its sides: the app's own schema, and the other one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) other: u32,
    own_group: GroupOf,
    other_group: GroupOf,
    to_own: Map,
    to_other: Map,
}

impl Mapping {
    /// The mapping for an app whose own schema is `own`, if the migration is one of it.
    pub(crate) fn of<M: Migration>(own: u32) -> Option<Mapping> {
        let new = Mapping {
            other: M::OLD,
            own_group: M::group_of_new,
            other_group: M::group_of_old,
            to_own: M::up,
            to_other: M::down,
        };
        if own == M::NEW {
            return Some(new);
        }
        (own == M::OLD).then_some(Mapping {
            other: M::NEW,
            own_group: new.other_group,
            other_group: new.own_group,
            to_own: new.to_other,
            to_other: new.to_own,
        })
    }

    /// The group of a row of the app's own schema.
    pub(crate) fn own_group(self, table: &str, key: &str) -> String {
        (self.own_group)(table, key)
    }

    /// The group of a row of the other schema.
    pub(crate) fn other_group(self, table: &str, key: &str) -> String {
        (self.other_group)(table, key)
    }

    /// A group's rows in the app's own schema.
    pub(crate) fn to_own(self, group: &str, rows: &Rows) -> Result<Rows, MigrationError> {
        mapped(group, rows, self.to_own, self.own_group)
    }

    /// A group's rows in the other schema.
    pub(crate) fn to_other(self, group: &str, rows: &Rows) -> Result<Rows, MigrationError> {
        mapped(group, rows, self.to_other, self.other_group)
    }
}

/// Maps a group. A panic of the author's code is an error here, as it must not end more than its upgrade.
fn mapped(group: &str, rows: &Rows, map: Map, group_of: GroupOf) -> Result<Rows, MigrationError> {
    if rows.0.is_empty() {
        return Ok(Rows::new());
    }
    let result = catch_unwind(AssertUnwindSafe(|| {
        let out = map(rows)?;
        let stray = out.0.keys().find(|(t, k)| group_of(t, k) != group);
        match stray {
            Some((table, key)) => Err(MigrationError(format!("{table}.{key} is outside of it"))),
            None => Ok(out),
        }
    }));
    let result = result.unwrap_or_else(|_| Err(MigrationError("it panicked".to_owned())));
    result.map_err(|error| MigrationError(format!("migration of group {group:?}: {error}")))
}

/// The rows of a whole space in the new schema: for tests.
pub fn up<M: Migration>(old: &Rows) -> Result<Rows, MigrationError> {
    whole(old, M::group_of_old, M::up, M::group_of_new)
}

/// The rows of a whole space in the old schema: for tests.
pub fn down<M: Migration>(new: &Rows) -> Result<Rows, MigrationError> {
    whole(new, M::group_of_new, M::down, M::group_of_old)
}

fn whole(from: &Rows, group_from: GroupOf, map: Map, to: GroupOf) -> Result<Rows, MigrationError> {
    let mut groups: BTreeMap<String, Rows> = BTreeMap::new();
    for ((table, key), value) in &from.0 {
        let group = groups.entry(group_from(table, key)).or_default();
        group.0.insert((table.clone(), key.clone()), value.clone());
    }
    let mut out = Rows::new();
    for (group, rows) in groups {
        out.0.extend(mapped(&group, &rows, map, to)?.0);
    }
    Ok(out)
}

/// Members of groups, by group.
pub(crate) type Members = BTreeMap<String, BTreeSet<(String, String)>>;
