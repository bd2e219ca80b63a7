//! Changes of rows, and groups of rows.

use std::collections::{BTreeMap, BTreeSet};

use morph_api::store::RowValue;
use serde_json::Value;

use crate::Rows;
use crate::migration::GroupMembers;
use crate::turn::RowId;
use crate::view::AppTables;

/// A row and its new value; `None` deletes it.
pub(super) type RowWrite = (RowId, Option<Value>);

/// Groups that a change touched, by step of the migration path.
pub(super) type TouchedGroups = Vec<BTreeSet<String>>;

/// Writes that turn these rows into the wanted ones.
pub(super) fn between(there: &BTreeMap<RowId, Value>, wanted: Rows) -> Vec<RowWrite> {
    let gone = there.keys().filter(|id| !wanted.0.contains_key(*id));
    let mut writes: Vec<RowWrite> = gone.map(|id| (id.clone(), None)).collect();
    let new = wanted.0.into_iter();
    let new = new.filter(|(id, value)| there.get(id) != Some(value));
    writes.extend(new.map(|(id, value)| (id, Some(value))));
    writes
}

/// Writes that turn an app's rows into the wanted ones.
pub(super) fn differences(
    there: Option<&AppTables>,
    mut wanted: BTreeMap<RowId, Value>,
) -> Vec<RowWrite> {
    let mut writes = Vec::new();
    for (table, rows) in there.into_iter().flatten() {
        for (key, value) in rows.iter() {
            let id = (table.clone(), key);
            match wanted.remove(&id) {
                Some(now) if now == value => {}
                now => writes.push((id, now)),
            }
        }
    }
    writes.extend(wanted.into_iter().map(|(id, value)| (id, Some(value))));
    writes
}

/// Notes whether a row is there. True if that is new.
pub(super) fn note_member(
    groups: &mut GroupMembers,
    group: String,
    id: RowId,
    there: bool,
) -> bool {
    if there {
        return groups.entry(group).or_default().insert(id);
    }
    let Some(ids) = groups.get_mut(&group) else {
        return false;
    };
    let new = ids.remove(&id);
    if ids.is_empty() {
        groups.remove(&group);
    }
    new
}

pub(super) fn row_id(row: &RowValue) -> RowId {
    (row.table.clone(), row.key.clone())
}

/// Value of a row. Text that is no JSON, which the store does not accept, counts as absent.
pub(super) fn row_value(row: &RowValue) -> Option<Value> {
    serde_json::from_str(row.value.as_deref()?).ok()
}
