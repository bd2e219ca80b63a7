//! Groups of a table's rows in memory, as its indexes name them.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::Key;

/// Keys of a table's rows by group.
struct Groups<K, V, G> {
    name: &'static str,
    group: fn(&V) -> G,
    /// No group here is empty.
    keys: BTreeMap<G, BTreeSet<K>>,
}

/// Groups of some type.
trait AnyGroups<K, V>: Any + Send + Sync {
    fn name(&self) -> &'static str;
    /// First key of the first group.
    fn first(&self) -> Option<&K>;
    fn changed(&mut self, key: &K, before: Option<&V>, after: Option<&V>);
    fn boxed_clone(&self) -> Box<dyn AnyGroups<K, V>>;
}

impl<K: Key, V: 'static, G: Key> AnyGroups<K, V> for Groups<K, V, G> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn first(&self) -> Option<&K> {
        self.keys.first_key_value()?.1.first()
    }

    fn changed(&mut self, key: &K, before: Option<&V>, after: Option<&V>) {
        let (before, after) = (before.map(self.group), after.map(self.group));
        if before == after {
            return;
        }
        if let Some(group) = before
            && let Some(keys) = self.keys.get_mut(&group)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.keys.remove(&group);
            }
        }
        if let Some(group) = after {
            self.keys.entry(group).or_default().insert(key.clone());
        }
    }

    fn boxed_clone(&self) -> Box<dyn AnyGroups<K, V>> {
        Box::new(Groups {
            keys: self.keys.clone(),
            ..*self
        })
    }
}

/// Declared indexes of one table.
pub(crate) struct Indexes<K, V>(Vec<Box<dyn AnyGroups<K, V>>>);

impl<K: Key, V: 'static> Indexes<K, V> {
    pub(crate) const NONE: Self = Indexes(Vec::new());

    /// Adds an index, which has these rows to begin with.
    pub(crate) fn add<'a, G: Key>(
        &mut self,
        name: &'static str,
        group: fn(&V) -> G,
        rows: impl IntoIterator<Item = (&'a K, &'a V)>,
    ) {
        let keys = BTreeMap::new();
        let mut groups = Groups { name, group, keys };
        for (key, value) in rows {
            groups.changed(key, None, Some(value));
        }
        self.0.push(Box::new(groups));
    }

    /// Brings the indexes in line with a row that had one value and has another.
    pub(crate) fn changed(&mut self, key: &K, before: Option<&V>, after: Option<&V>) {
        for groups in &mut self.0 {
            groups.changed(key, before, after);
        }
    }

    /// First key of the first group of an index.
    pub(crate) fn first(&self, name: &str) -> Option<&K> {
        let groups = self.0.iter().find(|groups| groups.name() == name)?;
        groups.first()
    }

    /// Keys by the groups of an index, if it was declared with this type of groups.
    pub(crate) fn get<G: Key>(&self, name: &str) -> Option<&BTreeMap<G, BTreeSet<K>>> {
        let groups = self.0.iter().find(|groups| groups.name() == name)?;
        let groups: &Groups<K, V, G> = (&**groups as &dyn Any).downcast_ref()?;
        Some(&groups.keys)
    }
}

impl<K: 'static, V: 'static> Clone for Indexes<K, V> {
    fn clone(&self) -> Self {
        Indexes(self.0.iter().map(|groups| groups.boxed_clone()).collect())
    }
}

impl<K: 'static, V: 'static> fmt::Debug for Indexes<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|groups| groups.name());
        f.debug_list().entries(names).finish()
    }
}
