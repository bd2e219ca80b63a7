//! Typed migrations: from tables to tables, over [`Rows`].

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rows::Rows;
use crate::{Key, MigrationError, Table};

impl Rows {
    /// Maps one to one: each row of a table becomes a row of another table, or none. The new key may be derived from
    /// all of the row.
    ///
    /// The derived key must stay within the row's group.
    pub fn map_each<K, V, K2, V2>(
        &self,
        from: &Table<K, V>,
        out: &mut Rows,
        to: &Table<K2, V2>,
        mut map: impl FnMut(K, V) -> Result<Option<(K2, V2)>, MigrationError>,
    ) -> Result<(), MigrationError>
    where
        K: Key,
        V: DeserializeOwned,
        K2: Key,
        V2: Serialize,
    {
        self.split_each(from, out, to, |key, value| Ok(map(key, value)?.into_iter()))
    }

    /// Maps one to many: each row of a table becomes several rows of another one.
    pub fn split_each<K, V, K2, V2, I>(
        &self,
        from: &Table<K, V>,
        out: &mut Rows,
        to: &Table<K2, V2>,
        mut split: impl FnMut(K, V) -> Result<I, MigrationError>,
    ) -> Result<(), MigrationError>
    where
        K: Key,
        V: DeserializeOwned,
        K2: Key,
        V2: Serialize,
        I: IntoIterator<Item = (K2, V2)>,
    {
        for (key, value) in self.of(from)? {
            for (key, value) in split(key, value)? {
                out.put_once(to, &key, &value)?;
            }
        }
        Ok(())
    }

    /// Maps many to one: the rows of a table become one row for each key that `key` derives. `join` gets all rows that
    /// share one, in the order of their keys.
    pub fn join_by<K, V, K2, V2>(
        &self,
        from: &Table<K, V>,
        out: &mut Rows,
        to: &Table<K2, V2>,
        key: impl Fn(&K, &V) -> K2,
        mut join: impl FnMut(&K2, Vec<(K, V)>) -> Result<V2, MigrationError>,
    ) -> Result<(), MigrationError>
    where
        K: Key,
        V: DeserializeOwned,
        K2: Key,
        V2: Serialize,
    {
        let mut joined: BTreeMap<K2, Vec<(K, V)>> = BTreeMap::new();
        for (k, v) in self.of(from)? {
            joined.entry(key(&k, &v)).or_default().push((k, v));
        }
        for (key, rows) in joined {
            let value = join(&key, rows)?;
            out.put_once(to, &key, &value)?;
        }
        Ok(())
    }

    /// Sets a new row. Two rows that derive the same key are an error, as one of them would be lost.
    fn put_once<K: Key, V: Serialize>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), MigrationError> {
        let before = self.0.len();
        self.put(table, key, value)?;
        if self.0.len() > before {
            return Ok(());
        }
        let (table, key) = (table.name(), key.text());
        Err(MigrationError::new(format!(
            "two rows would become {table}.{key}"
        )))
    }
}

/// Group of a row, named by `of` from its typed key; `None` if the row belongs to another table or its key cannot be
/// read. For `Migration::group_of_old` and `group_of_new`.
///
/// ```
/// use morph_sdk::{Dpid, Table, group_by};
///
/// const HOPS: Table<(Dpid, u32), String> = Table::new("hops");
///
/// let group = group_by(&HOPS, ("hops", "0000000000000001/7"), |(dpid, _)| format!("hops/{dpid}"));
/// assert_eq!(group.as_deref(), Some("hops/0000000000000001"));
/// assert_eq!(group_by(&HOPS, ("other", "1"), |_| String::new()), None);
/// ```
pub fn group_by<K: Key, V>(
    table: &Table<K, V>,
    row: (&str, &str),
    of: impl FnOnce(K) -> String,
) -> Option<String> {
    table.key_of(None, row.0, row.1).map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Table<(u32, u32), u64> = Table::new("ports");
    const SPEEDS: Table<u32, Vec<u64>> = Table::new("speeds");
    const TOTAL: Table<String, u64> = Table::new("total");

    fn ports() -> Rows {
        let mut rows = Rows::new();
        for (key, value) in [((1, 1), 10), ((1, 2), 20), ((2, 1), 30)] {
            rows.put(&PORTS, &key, &value).unwrap();
        }
        rows
    }

    #[test]
    fn rows_become_one_many_and_fewer() {
        let mut joined = Rows::new();
        let speeds = |rows: Vec<_>| rows.into_iter().map(|(_, speed)| speed).collect();
        ports()
            .join_by(
                &PORTS,
                &mut joined,
                &SPEEDS,
                |k, _| k.0,
                |_, rows| Ok(speeds(rows)),
            )
            .unwrap();
        assert_eq!(
            joined.of(&SPEEDS).unwrap(),
            [(1, vec![10, 20]), (2, vec![30])]
        );
        let mut split = Rows::new();
        let number = |key, speeds: Vec<u64>| {
            let ports = speeds.into_iter().enumerate();
            ports.map(move |(port, speed)| ((key, port as u32 + 1), speed))
        };
        joined
            .split_each(&SPEEDS, &mut split, &PORTS, |key, speeds| {
                Ok(number(key, speeds))
            })
            .unwrap();
        assert_eq!(split, ports());
        let mut named = Rows::new();
        joined
            .map_each(&SPEEDS, &mut named, &TOTAL, |key, speeds| {
                Ok((key != 2).then(|| (format!("s{key}"), speeds.iter().sum())))
            })
            .unwrap();
        assert_eq!(named.of(&TOTAL).unwrap(), [("s1".to_owned(), 30)]);
    }

    #[test]
    fn two_rows_that_would_become_one_are_an_error() {
        let mut out = Rows::new();
        let error = ports().map_each(&PORTS, &mut out, &TOTAL, |key, speed| {
            Ok(Some((key.0.to_string(), speed)))
        });
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "two rows would become total.1");
    }

    #[test]
    fn a_row_that_is_not_of_the_tables_type_is_an_error() {
        let mut rows = ports();
        rows.0.insert(("ports".into(), "x".into()), 1.into());
        let error = rows.map_each(&PORTS, &mut Rows::new(), &TOTAL, |_, _| Ok(None));
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("\"x\" is not a key")
        );
    }

    #[test]
    fn a_group_is_named_by_a_typed_key() {
        let of = |row| group_by(&PORTS, row, |(dpid, _)| format!("switch {dpid}"));
        assert_eq!(of(("ports", "7/1")).as_deref(), Some("switch 7"));
        assert_eq!(of(("ports", "7")), None);
        assert_eq!(of(("other", "7/1")), None);
    }
}
