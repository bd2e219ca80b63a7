//! The app's own rows as the store has them, in the app's own schema or *through* its migration from a neighbouring one.
//!
//! Two terms: the *truth's* rows are those of the space that the store calls the truth; the *view's* rows are those that the
//! app sees. Natively they are the same and are kept once, in the engine's tables. Through a migration the truth's rows
//! are kept here as well, and groups of them are mapped both ways.

use std::collections::{BTreeMap, BTreeSet};

use morph_api::store::{RowValue, Space};
use serde_json::Value;

use crate::migration::{Mapping, Members};
use crate::turn::{Journal, RowId};
use crate::view::{self, Tables};
use crate::{MigrationError, Rows};

/// A row and what it is to be; absent: deleted.
pub(super) type Write = (RowId, Option<Value>);

#[derive(Debug)]
pub(super) struct Truth {
    /// How the app's groups are mapped, if the release brings a migration.
    mapping: Option<Mapping>,
    /// The space that is followed.
    pub(super) space: Option<Space>,
    /// The truth has the other schema.
    through: bool,
    /// Through: the truth's rows.
    raw: BTreeMap<RowId, Value>,
    /// Through: the truth's rows, by group.
    raw_groups: Members,
    /// With a mapping: the view's rows, by group.
    own_groups: Members,
    /// How many these are.
    own_rows: u64,
    /// Rows of the truth written by this instance, with their revision, until the watch has got there.
    written: BTreeMap<RowId, u64>,
    /// How far the watch has got.
    pub(super) revision: u64,
    /// The revision of the last change to the truth's rows that is known of.
    pub(super) modified: u64,
    /// A snapshot on its way.
    snapshot: BTreeMap<RowId, Value>,
}

impl Truth {
    pub(super) fn new(mapping: Option<Mapping>) -> Self {
        Truth {
            mapping,
            space: None,
            through: false,
            raw: BTreeMap::new(),
            raw_groups: Members::new(),
            own_groups: Members::new(),
            own_rows: 0,
            written: BTreeMap::new(),
            revision: 0,
            modified: 0,
            snapshot: BTreeMap::new(),
        }
    }

    pub(super) fn mapping(&self) -> Option<Mapping> {
        self.mapping
    }

    /// Whether the truth has the other schema.
    pub(super) fn is_through(&self) -> bool {
        self.through
    }

    /// Another space is going to be followed; its snapshot comes next.
    pub(super) fn follow(&mut self, space: Space, through: bool) {
        if self.space.as_ref().map(|s| s.id) != Some(space.id) {
            // Row ids of another space mean other rows.
            self.written.clear();
            self.raw.clear();
            self.raw_groups.clear();
        }
        self.snapshot.clear();
        self.through = through;
        self.space = Some(space);
    }

    /// Part of a snapshot.
    pub(super) fn load(&mut self, rows: Vec<RowValue>) {
        self.snapshot.extend(
            rows.into_iter()
                .filter_map(|row| Some((id(&row), value(&row)?))),
        );
    }

    /// The snapshot is whole: what changes in the view by that.
    pub(super) fn loaded(
        &mut self,
        revision: u64,
        modified: u64,
        tables: &Tables,
    ) -> Result<Vec<Write>, MigrationError> {
        let mut rows = std::mem::take(&mut self.snapshot);
        for (id, _) in self.written.iter().filter(|(_, at)| **at > revision) {
            match self.row(id, tables) {
                Some(value) => rows.insert(id.clone(), value.clone()),
                None => rows.remove(id),
            };
        }
        self.progress(revision);
        self.modified = self.modified.max(modified);
        let view = match self.mapping {
            Some(mapping) if self.through => {
                self.raw_groups.clear();
                for (table, key) in rows.keys() {
                    let group = mapping.other_group(table, key);
                    let group = self.raw_groups.entry(group).or_default();
                    group.insert((table.clone(), key.clone()));
                }
                self.raw = rows;
                let mut view = BTreeMap::new();
                for group in self.raw_groups.keys() {
                    view.extend(mapping.to_own(group, &self.raw_group(group))?.0);
                }
                view
            }
            _ => rows,
        };
        Ok(differences(tables.space(None), view))
    }

    /// Others changed rows of the truth: what changes in the view by that.
    pub(super) fn changed(
        &mut self,
        revision: u64,
        rows: Vec<RowValue>,
    ) -> Result<Vec<Write>, MigrationError> {
        let mut writes = Vec::new();
        for row in &rows {
            let id = id(row);
            self.modified = self.modified.max(revision);
            if self.written.get(&id).is_none_or(|at| *at < revision) {
                writes.push((id, value(row)));
            }
        }
        let Some(mapping) = self.mapping.filter(|_| self.through) else {
            return Ok(writes);
        };
        let mut groups = BTreeSet::new();
        for ((table, key), _) in &writes {
            groups.insert(mapping.other_group(table, key));
        }
        self.apply_raw(mapping, writes);
        let mut changes = Vec::new();
        for group in groups {
            let mut now = mapping.to_own(&group, &self.raw_group(&group))?.0;
            for id in self.own_groups.get(&group).into_iter().flatten() {
                let value = now.remove(id);
                changes.push((id.clone(), value));
            }
            changes.extend(now.into_iter().map(|(id, value)| (id, Some(value))));
        }
        Ok(changes)
    }

    /// The watch has got this far.
    pub(super) fn progress(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
        let reached = self.revision;
        self.written.retain(|_, at| *at > reached);
    }

    /// What a turn's changes of the view come to in the truth.
    pub(super) fn writes(
        &self,
        journal: &Journal,
        tables: &Tables,
    ) -> Result<Vec<Write>, MigrationError> {
        let Some(mapping) = self.mapping.filter(|_| self.through) else {
            let now = |(table, key): &RowId| tables.get(None, table, key).cloned();
            return Ok(journal.keys().map(|id| (id.clone(), now(id))).collect());
        };
        let mut writes = Vec::new();
        for group in self.groups_of(journal) {
            let mut target = mapping.to_other(&group, &self.own_group(&group, tables))?.0;
            for id in self.raw_groups.get(&group).into_iter().flatten() {
                match target.remove(id) {
                    None => writes.push((id.clone(), None)),
                    Some(value) if self.raw.get(id) == Some(&value) => {}
                    Some(value) => writes.push((id.clone(), Some(value))),
                }
            }
            writes.extend(target.into_iter().map(|(id, value)| (id, Some(value))));
        }
        Ok(writes)
    }

    /// A turn's writes are durable at this revision.
    pub(super) fn committed(&mut self, revision: u64, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        self.modified = self.modified.max(revision);
        if revision > self.revision {
            let ids = writes.iter().map(|(id, _)| (id.clone(), revision));
            self.written.extend(ids);
        }
    }

    /// Through: applies a turn's writes to the truth's rows as they are known here; what takes that back.
    pub(super) fn apply(&mut self, writes: Vec<Write>) -> Vec<Write> {
        let Some(mapping) = self.mapping.filter(|_| self.through) else {
            return Vec::new();
        };
        let before = |(id, _): &Write| (id.clone(), self.raw.get(id).cloned());
        let before = writes.iter().map(before).collect();
        self.apply_raw(mapping, writes);
        before
    }

    /// A turn of this instance has come by on the watch: the view has it.
    pub(super) fn echoed(&mut self, revision: u64, rows: &[RowValue]) {
        if !rows.is_empty() {
            self.modified = self.modified.max(revision);
        }
    }

    /// Notes which rows of the view there are.
    pub(super) fn note<'a>(&mut self, ids: impl Iterator<Item = &'a RowId>, tables: &Tables) {
        let Some(mapping) = self.mapping else {
            return;
        };
        for (table, key) in ids {
            let group = mapping.own_group(table, key);
            let id = (table.clone(), key.clone());
            let there = tables.get(None, table, key).is_some();
            match member(&mut self.own_groups, group, id, there) {
                true if there => self.own_rows += 1,
                true => self.own_rows -= 1,
                false => {}
            }
        }
    }

    /// The groups of rows of the view. Without a migration each row is its own.
    pub(super) fn groups_of(&self, journal: &Journal) -> BTreeSet<String> {
        let group = |(table, key): &RowId| match self.mapping {
            Some(mapping) => mapping.own_group(table, key),
            None => format!("{table}/{key}"),
        };
        journal.keys().map(group).collect()
    }

    /// The group of a row of the truth. It has the same name on either side.
    pub(super) fn group_of(&self, row: &RowValue) -> String {
        match self.mapping {
            Some(mapping) if self.through => mapping.other_group(&row.table, &row.key),
            Some(mapping) => mapping.own_group(&row.table, &row.key),
            None => format!("{}/{}", row.table, row.key),
        }
    }

    /// All groups that the view has rows of.
    pub(super) fn groups(&self) -> impl ExactSizeIterator<Item = &String> {
        self.own_groups.keys()
    }

    /// How many rows the view has.
    pub(super) fn rows(&self) -> u64 {
        self.own_rows
    }

    /// The view's rows of a group.
    pub(super) fn own_group(&self, group: &str, tables: &Tables) -> Rows {
        let ids = self.own_groups.get(group).into_iter().flatten();
        let row = |id: &RowId| Some((id.clone(), tables.get(None, &id.0, &id.1)?.clone()));
        Rows(ids.filter_map(row).collect())
    }

    /// Through: the truth's rows of a group.
    pub(super) fn raw_group(&self, group: &str) -> Rows {
        let ids = self.raw_groups.get(group).into_iter().flatten();
        let row = |id: &RowId| Some((id.clone(), self.raw.get(id)?.clone()));
        Rows(ids.filter_map(row).collect())
    }

    fn row<'a>(&'a self, id: &RowId, tables: &'a Tables) -> Option<&'a Value> {
        if self.through {
            return self.raw.get(id);
        }
        tables.get(None, &id.0, &id.1)
    }

    fn apply_raw(&mut self, mapping: Mapping, writes: Vec<Write>) {
        for (id, value) in writes {
            let group = mapping.other_group(&id.0, &id.1);
            member(&mut self.raw_groups, group, id.clone(), value.is_some());
            match value {
                Some(value) => self.raw.insert(id, value),
                None => self.raw.remove(&id),
            };
        }
    }
}

/// Notes whether a row is there; true where that is new.
fn member(groups: &mut Members, group: String, id: RowId, there: bool) -> bool {
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

/// What leads from the app's rows to these.
pub(super) fn differences(
    space: Option<&view::Space>,
    mut target: BTreeMap<RowId, Value>,
) -> Vec<Write> {
    let mut writes = Vec::new();
    for (table, rows) in space.into_iter().flatten() {
        for (key, value) in rows {
            let id = (table.clone(), key.clone());
            match target.remove(&id) {
                Some(now) if now == *value => {}
                now => writes.push((id, now)),
            }
        }
    }
    writes.extend(target.into_iter().map(|(id, value)| (id, Some(value))));
    writes
}

pub(super) fn id(row: &RowValue) -> RowId {
    (row.table.clone(), row.key.clone())
}

/// A row's value; text that is no JSON, which the store does not take, counts as absent.
pub(super) fn value(row: &RowValue) -> Option<Value> {
    serde_json::from_str(row.value.as_deref()?).ok()
}
