//! Rows of a table in memory.
//!
//! The rows of a table that the app declares in [`App::tables`](crate::App::tables) are values of its types, by keys of its
//! types: nothing is parsed when the app reads one. Rows of all other tables stand here as in the store, as text and JSON.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Key;
use crate::groups::Indexes;
use crate::limit::TableBound;

/// Value of a table's rows. All types that have these traits are.
///
/// A put of a value that equals the present one is no change.
pub trait Row: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<V: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static> Row for V {}

/// Rows of one table.
pub(crate) enum TableRows {
    Plain(BTreeMap<String, Value>),
    Typed(Box<dyn AnyRows>),
}

/// Rows of some declared table. Keys and values go in and out in the form of the store.
pub(crate) trait AnyRows: Any + Send + Sync {
    fn len(&self) -> usize;
    fn get(&self, key: &str) -> Option<Value>;
    /// Sets a row, or deletes it with `None`. Returns the value before.
    fn set(&mut self, key: &str, value: Option<Value>) -> Option<Value>;
    /// All rows; their order is of no meaning.
    fn iter(&self) -> Box<dyn Iterator<Item = (String, Value)> + '_>;
    /// Keys of all rows, in no order of meaning.
    fn keys(&self) -> Box<dyn Iterator<Item = String> + '_>;
    fn bound(&self) -> Option<TableBound>;
    fn set_bound(&mut self, bound: TableBound);
    fn boxed_clone(&self) -> Box<dyn AnyRows>;
}

/// Rows of a declared table.
#[derive(Debug, Clone)]
pub(crate) struct TypedRows<K: 'static, V: 'static> {
    table: &'static str,
    rows: BTreeMap<K, V>,
    /// Rows whose form in the store is not what the types make of them: with a key or a value that these cannot read, or a
    /// field that they do not have.
    odd: BTreeMap<String, Value>,
    indexes: Indexes<K, V>,
    bound: Option<TableBound>,
}

impl<K: Key, V: Row> TypedRows<K, V> {
    pub(crate) fn new(table: &'static str) -> Self {
        TypedRows {
            table,
            rows: BTreeMap::new(),
            odd: BTreeMap::new(),
            indexes: Indexes::NONE,
            bound: None,
        }
    }

    /// Name of the table.
    pub(crate) fn table(&self) -> &'static str {
        self.table
    }

    /// Whether the table has a bound, and no row with this key.
    pub(crate) fn is_bounded_without(&self, key: &K) -> bool {
        self.bound.is_some() && !self.rows.contains_key(key)
    }

    /// Key of the row that gives way to a new one, if any does.
    pub(crate) fn oldest(&self) -> Option<K> {
        self.indexes.first(self.bound?.oldest?).cloned()
    }

    /// Adds an index: its name, and the group of a row with some value.
    pub(crate) fn index<G: Key>(&mut self, name: &'static str, group: fn(&V) -> G) {
        self.indexes.add(name, group, &self.rows);
    }

    /// Keys by the groups of an index, if it was declared.
    pub(crate) fn groups<G: Key>(&self, index: &str) -> Option<&BTreeMap<G, BTreeSet<K>>> {
        self.indexes.get(index)
    }

    /// Rows by key. Those that are not of the table's types are left out.
    pub(crate) fn rows(&self) -> &BTreeMap<K, V> {
        &self.rows
    }

    /// Whether the store has another form of this row than the types make of it.
    pub(crate) fn is_odd(&self, key: &K) -> bool {
        !self.odd.is_empty() && self.odd.contains_key(&key.text())
    }

    /// Sets a row. Returns the value before, in the store's form.
    pub(crate) fn put(&mut self, key: &K, value: &V) -> Option<Value> {
        let odd = match self.odd.is_empty() {
            true => None,
            false => self.odd.remove(&key.text()),
        };
        let before = self.rows.insert(key.clone(), value.clone());
        self.indexes.changed(key, before.as_ref(), Some(value));
        odd.or_else(|| json(&before?))
    }

    /// Reads a row in the store's form. The value is `None`, with a warning, if it is not of the table's type.
    fn read(&self, key: &str, value: &Value) -> Option<(K, V)> {
        let parsed = K::parse_exact(key)?;
        match V::deserialize(value) {
            Ok(value) => Some((parsed, value)),
            Err(error) => {
                warn_odd(&self.table, key, value, &error);
                None
            }
        }
    }
}

impl<K: Key, V: Row> AnyRows for TypedRows<K, V> {
    fn len(&self) -> usize {
        let is_typed = |key: &String| K::parse(key).is_some_and(|key| self.rows.contains_key(&key));
        self.rows.len() + self.odd.keys().filter(|key| !is_typed(key)).count()
    }

    fn get(&self, key: &str) -> Option<Value> {
        if let Some(value) = self.odd.get(key) {
            return Some(value.clone());
        }
        json(self.rows.get(&K::parse_exact(key)?)?)
    }

    fn set(&mut self, key: &str, value: Option<Value>) -> Option<Value> {
        let odd = self.odd.remove(key);
        let removed = K::parse_exact(key).and_then(|key| self.rows.remove_entry(&key));
        if let Some((key, typed)) = &removed {
            self.indexes.changed(key, Some(typed), None);
        }
        let before = odd.or_else(|| json(&removed?.1));
        if let Some(value) = value {
            let read = self.read(key, &value);
            let is_odd = read.as_ref().and_then(|(_, typed)| json(typed)).as_ref() != Some(&value);
            if let Some((key, typed)) = read {
                self.indexes.changed(&key, None, Some(&typed));
                self.rows.insert(key, typed);
            }
            if is_odd {
                self.odd.insert(key.to_owned(), value);
            }
        }
        before
    }

    fn iter(&self) -> Box<dyn Iterator<Item = (String, Value)> + '_> {
        let typed = self.rows.iter();
        let typed = typed.filter_map(|(key, value)| Some((key.text(), json(value)?)));
        let typed = typed.filter(|(key, _)| !self.odd.contains_key(key));
        let odd = self.odd.iter();
        Box::new(typed.chain(odd.map(|(key, value)| (key.clone(), value.clone()))))
    }

    fn keys(&self) -> Box<dyn Iterator<Item = String> + '_> {
        let typed = self.rows.keys().map(Key::text);
        let typed = typed.filter(|key| !self.odd.contains_key(key));
        Box::new(typed.chain(self.odd.keys().cloned()))
    }

    fn bound(&self) -> Option<TableBound> {
        self.bound
    }

    fn set_bound(&mut self, bound: TableBound) {
        self.bound = Some(bound);
    }

    fn boxed_clone(&self) -> Box<dyn AnyRows> {
        Box::new(self.clone())
    }
}

/// JSON form of a value. `Turn::put` refuses values that have none.
fn json<V: Serialize>(value: &V) -> Option<Value> {
    serde_json::to_value(value).ok()
}

/// Warns of a row that is not of its table's type.
pub(crate) fn warn_odd(table: &dyn Debug, key: &str, value: &Value, error: &serde_json::Error) {
    tracing::warn!(
        "row {table:?}.{key} counts as absent, as it is not of its table's type: {error}: {value}"
    );
}

impl TableRows {
    /// Makes the empty rows of a declared table.
    pub(crate) fn typed<K: Key, V: Row>(table: &'static str) -> Self {
        TableRows::Typed(Box::new(TypedRows::<K, V>::new(table)))
    }

    /// Rows as values of these types, if the table was declared with them.
    pub(crate) fn of<K: Key, V: Row>(&self) -> Option<&TypedRows<K, V>> {
        match self {
            TableRows::Plain(_) => None,
            TableRows::Typed(rows) => (&**rows as &dyn Any).downcast_ref(),
        }
    }

    /// Rows as values of these types, for a change.
    pub(crate) fn of_mut<K: Key, V: Row>(&mut self) -> Option<&mut TypedRows<K, V>> {
        match self {
            TableRows::Plain(_) => None,
            TableRows::Typed(rows) => (&mut **rows as &mut dyn Any).downcast_mut(),
        }
    }

    /// Bound of the table, if it has one.
    pub(crate) fn bound(&self) -> Option<TableBound> {
        match self {
            TableRows::Plain(_) => None,
            TableRows::Typed(rows) => rows.bound(),
        }
    }

    pub(crate) fn set_bound(&mut self, bound: TableBound) {
        if let TableRows::Typed(rows) = self {
            rows.set_bound(bound);
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            TableRows::Plain(rows) => rows.len(),
            TableRows::Typed(rows) => rows.len(),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        match self {
            TableRows::Plain(rows) => rows.get(key).cloned(),
            TableRows::Typed(rows) => rows.get(key),
        }
    }

    /// Sets a row, or deletes it with `None`. Returns the value before.
    pub(crate) fn set(&mut self, key: &str, value: Option<Value>) -> Option<Value> {
        match (self, value) {
            (TableRows::Typed(rows), value) => rows.set(key, value),
            (TableRows::Plain(rows), Some(value)) => rows.insert(key.to_owned(), value),
            (TableRows::Plain(rows), None) => rows.remove(key),
        }
    }

    /// All rows; their order is of no meaning.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (String, Value)> + '_> {
        match self {
            TableRows::Plain(rows) => {
                Box::new(rows.iter().map(|(key, value)| (key.clone(), value.clone())))
            }
            TableRows::Typed(rows) => rows.iter(),
        }
    }

    /// Keys of all rows, in no order of meaning.
    pub(crate) fn keys(&self) -> Box<dyn Iterator<Item = String> + '_> {
        match self {
            TableRows::Plain(rows) => Box::new(rows.keys().cloned()),
            TableRows::Typed(rows) => rows.keys(),
        }
    }
}

impl Default for TableRows {
    fn default() -> Self {
        TableRows::Plain(BTreeMap::new())
    }
}

impl Clone for TableRows {
    fn clone(&self) -> Self {
        match self {
            TableRows::Plain(rows) => TableRows::Plain(rows.clone()),
            TableRows::Typed(rows) => TableRows::Typed(rows.boxed_clone()),
        }
    }
}

impl PartialEq for TableRows {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .all(|(key, value)| other.get(&key) == Some(value))
    }
}

impl Debug for TableRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: BTreeMap<_, _> = self.iter().collect();
        f.debug_map().entries(rows).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Host {
        port: u32,
        #[serde(default)]
        name: String,
    }

    fn rows() -> TypedRows<u32, Host> {
        TypedRows::new("hosts")
    }

    #[test]
    fn a_row_comes_back_as_it_was_set_whatever_the_types_make_of_it() {
        let mut rows = rows();
        for (key, value, is_typed) in [
            ("1", json!({"port": 3, "name": "a"}), true),
            ("2", json!({"port": 3}), true),
            ("3", json!({"port": 3, "name": "", "vlan": 7}), true),
            ("4", json!({"port": "three"}), false),
            ("05", json!({"port": 5, "name": ""}), false),
        ] {
            assert_eq!(rows.set(key, Some(value.clone())), None);
            assert_eq!(AnyRows::get(&rows, key), Some(value.clone()), "{key}");
            let number: u32 = key.parse().unwrap();
            assert_eq!(rows.rows().contains_key(&number), is_typed, "{key}");
            assert!(AnyRows::iter(&rows).any(|row| row == (key.to_owned(), value.clone())));
        }
        let keys = AnyRows::keys(&rows).collect::<Vec<_>>();
        let with_values = AnyRows::iter(&rows).map(|(key, _)| key);
        assert_eq!(keys, with_values.collect::<Vec<_>>());
        assert_eq!((AnyRows::len(&rows), keys.len()), (5, 5));
        assert_eq!(rows.set("4", None), Some(json!({"port": "three"})));
        assert_eq!(
            rows.set("3", None),
            Some(json!({"port": 3, "name": "", "vlan": 7}))
        );
        assert_eq!(AnyRows::len(&rows), 3);
    }

    #[test]
    fn an_index_follows_every_change_of_a_row() {
        let mut rows = rows();
        rows.put(
            &1,
            &Host {
                port: 7,
                name: String::new(),
            },
        );
        rows.index("port", |host| host.port);
        rows.set("2", Some(json!({"port": 7, "name": "b"})));
        rows.set("3", Some(json!({"port": 8, "vlan": 1})));
        rows.set("4", Some(json!({"port": "seven"})));
        rows.set("05", Some(json!({"port": 7})));
        let groups = |rows: &TypedRows<u32, Host>| {
            let groups = rows.groups::<u32>("port").unwrap().iter();
            let groups = groups.map(|(port, keys)| (*port, keys.iter().copied().collect()));
            groups.collect::<Vec<(u32, Vec<u32>)>>()
        };
        assert_eq!(groups(&rows), [(7, vec![1, 2]), (8, vec![3])]);
        let copy = rows.clone();
        rows.set("1", Some(json!({"port": 8})));
        rows.set("3", Some(json!({"port": "eight"})));
        rows.put(
            &2,
            &Host {
                port: 9,
                name: "b".to_owned(),
            },
        );
        assert_eq!(groups(&rows), [(8, vec![1]), (9, vec![2])]);
        rows.set("1", None);
        rows.set("2", None);
        rows.set("3", None);
        assert_eq!(groups(&rows), []);
        assert_eq!(groups(&copy), [(7, vec![1, 2]), (8, vec![3])]);
    }

    #[test]
    fn a_put_replaces_whatever_form_the_store_has() {
        let mut rows = rows();
        let host = |port| Host {
            port,
            name: String::new(),
        };
        assert_eq!(rows.put(&1, &host(1)), None);
        assert_eq!(rows.put(&1, &host(2)), Some(json!({"port": 1, "name": ""})));
        let short = json!({"port": 2});
        rows.set("1", Some(short.clone()));
        assert_eq!(
            (rows.rows().get(&1), rows.is_odd(&1)),
            (Some(&host(2)), true)
        );
        assert_eq!(rows.put(&1, &host(2)), Some(short));
        assert!(!rows.is_odd(&1));
    }
}
