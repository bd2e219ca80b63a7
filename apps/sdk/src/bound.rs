//! Bounds of tables: the most rows that the app's turns make of one, and what gives way to a further row.

use crate::limit::{Limit, TableBound};
use crate::table_rows::{Row, TableRows};
use crate::{Index, Key, TableShape};

/// Policy for a new row of a table that has as many rows as it may have.
pub struct Evict(Option<Oldest>);

/// Name of the index whose first row gives way, and what adds the index to the rows.
struct Oldest {
    index: &'static str,
    add: Box<dyn FnOnce(&mut TableRows)>,
}

impl Evict {
    /// Leaves the new row out. An alarm `table-full` says so until a hundredth of the limit is free again.
    pub const REFUSE: Evict = Evict(None);

    /// Deletes the row that is first in the order of an index, as the one with the least time. The index needs no
    /// [`TableShape::indexed`].
    pub fn oldest<K: Key, V: Row, G: Key>(index: &Index<K, V, G>) -> Evict {
        let (name, table, index) = (index.name(), index.table().name(), *index);
        let add = move |rows: &mut TableRows| {
            if let Some(rows) = rows.of_mut::<K, V>().filter(|rows| rows.table() == table)
                && rows.groups::<G>(name).is_none()
            {
                rows.index(name, index.group());
            }
        };
        Evict(Some(Oldest {
            index: name,
            add: Box::new(add),
        }))
    }
}

impl TableShape {
    /// The shape, of a table with at most `limit` rows.
    ///
    /// The SDK keeps the bound within each turn that puts a row. [`Turn::evicted`](crate::Turn::evicted) tells of the rows that gave
    /// way. Rows beyond a limit that was lowered stay until new ones come: each of these evicts two.
    ///
    /// ```
    /// use morph_sdk::{Evict, Index, MacAddr, Setting, Table, TableShape};
    ///
    /// const SEEN: Table<MacAddr, u64> = Table::new("seen");
    /// const BY_TIME: Index<MacAddr, u64, u64> = Index::new("time", SEEN, |time| *time);
    /// const LIMITS: Table<String, u32> = Table::new("limits");
    /// const MOST: Setting = Setting::new(LIMITS, "seen", 1000);
    ///
    /// fn tables() -> Vec<TableShape> {
    ///     vec![SEEN.shape().bounded(MOST, Evict::oldest(&BY_TIME)), LIMITS.shape().bounded(10, Evict::REFUSE)]
    /// }
    /// # assert_eq!(tables().len(), 2);
    /// ```
    #[must_use]
    pub fn bounded(mut self, limit: impl Into<Limit>, evict: Evict) -> Self {
        let oldest = evict.0.map(|oldest| {
            (oldest.add)(&mut self.rows);
            oldest.index
        });
        let limit = limit.into();
        self.rows.set_bound(TableBound { limit, oldest });
        self
    }
}
