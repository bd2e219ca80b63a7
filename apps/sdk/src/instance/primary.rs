//! The app's own rows as the store has them, in the app's own schema version or translated from another one.
//!
//! The *primary's* rows are those of the keyspace that counts; the *view's* rows are those that the app sees. Natively
//! both are the same and are kept once, in the engine's tables. Where the primary has another schema version, the rows
//! of each schema version along the migration path are kept here as well, and groups of them are mapped both ways.

use std::collections::{BTreeMap, BTreeSet};

use morph_api::store::{Keyspace, RowValue};
use serde_json::Value;

use super::path::{MigrationPath, Undo};
use super::rows::{RowWrite, TouchedGroups, differences, note_member, row_id, row_value};
use crate::migration::{Chain, GroupMembers, Step};
use crate::turn::{Journal, RowId};
use crate::view::Tables;
use crate::{MigrationError, Rows};

/// A turn's changes, translated to the primary.
#[derive(Debug, Clone, Default)]
pub(super) struct Translation {
    pub(super) writes: Vec<RowWrite>,
    pub(super) undo: Undo,
    pub(super) touched: TouchedGroups,
}

#[derive(Debug, Clone)]
pub(super) struct Primary {
    /// Migrations that the release brings.
    chain: Chain,
    /// Keyspace that is followed.
    pub(super) keyspace: Option<Keyspace>,
    /// Path from the view's rows to the primary's; empty if both have one schema version.
    path: MigrationPath,
    /// Step that groups the view's rows.
    grouping: Option<Step>,
    /// Rows of the view, by group.
    own_groups: GroupMembers,
    /// Number of these rows.
    own_rows: u64,
    /// Rows of the primary written by this instance, with their revision, until the watch has got there.
    written: BTreeMap<RowId, u64>,
    /// Revision that the watch has reached.
    pub(super) revision: u64,
    /// Last known change of the primary's rows.
    pub(super) modified: u64,
    /// Snapshot that is being received.
    snapshot: BTreeMap<RowId, Value>,
}

impl Primary {
    pub(super) fn new(chain: Chain) -> Self {
        Primary {
            grouping: chain.nearest(),
            chain,
            keyspace: None,
            path: MigrationPath::default(),
            own_groups: GroupMembers::new(),
            own_rows: 0,
            written: BTreeMap::new(),
            revision: 0,
            modified: 0,
            snapshot: BTreeMap::new(),
        }
    }

    /// Steps from the app's own schema version to another one, if its migrations lead there.
    pub(super) fn path_to(&self, schema: u32) -> Option<Vec<Step>> {
        self.chain.path_to(schema)
    }

    /// Whether the primary has another schema version than the app.
    pub(super) fn is_translated(&self) -> bool {
        self.path.len() > 0
    }

    pub(super) fn path(&self) -> &MigrationPath {
        &self.path
    }

    /// Follows another keyspace over these steps; its snapshot comes next. Returns the path that was followed before.
    pub(super) fn follow(
        &mut self,
        keyspace: Keyspace,
        steps: Vec<Step>,
        tables: &Tables,
    ) -> MigrationPath {
        let mut former = MigrationPath::default();
        if self.keyspace.as_ref().map(|s| s.id) != Some(keyspace.id) {
            // Row ids of another keyspace mean other rows.
            self.written.clear();
            self.group_by(steps.first().copied(), tables);
            former = std::mem::replace(&mut self.path, MigrationPath::new(steps));
        }
        self.snapshot.clear();
        self.keyspace = Some(keyspace);
        former
    }

    /// Groups the view's rows by this step, if there is one.
    pub(super) fn group_by(&mut self, step: Option<Step>, tables: &Tables) {
        let version = |step: Option<Step>| step.map(|step| step.target);
        let Some(step) = step.filter(|step| version(self.grouping) != Some(step.target)) else {
            return;
        };
        self.grouping = Some(step);
        self.own_groups.clear();
        for (table, rows) in tables.of(None).into_iter().flatten() {
            for key in rows.keys() {
                let group = step.source_group(table, &key);
                let id = (table.clone(), key);
                note_member(&mut self.own_groups, group, id, true);
            }
        }
    }

    /// Adds a part of a snapshot.
    pub(super) fn load(&mut self, rows: Vec<RowValue>) {
        let rows = rows.iter();
        let rows = rows.filter_map(|row| Some((row_id(row), row_value(row)?)));
        self.snapshot.extend(rows);
    }

    /// Applies the complete snapshot. Returns the changes of the view.
    pub(super) fn loaded(
        &mut self,
        revision: u64,
        modified: u64,
        tables: &Tables,
    ) -> Result<Vec<RowWrite>, MigrationError> {
        let mut rows = std::mem::take(&mut self.snapshot);
        for (id, _) in self.written.iter().filter(|(_, at)| **at > revision) {
            match self.row(id, tables) {
                Some(value) => rows.insert(id.clone(), value),
                None => rows.remove(id),
            };
        }
        self.progress(revision);
        self.modified = self.modified.max(modified);
        Ok(differences(tables.of(None), self.path.load(rows)?))
    }

    /// Applies changes of the primary by others. Returns the changes of the view, and the touched groups.
    pub(super) fn changed(
        &mut self,
        revision: u64,
        rows: Vec<RowValue>,
    ) -> Result<(Vec<RowWrite>, TouchedGroups), MigrationError> {
        let mut writes = Vec::new();
        for row in &rows {
            let id = row_id(row);
            self.modified = self.modified.max(revision);
            if self.written.get(&id).is_none_or(|at| *at < revision) {
                writes.push((id, row_value(row)));
            }
        }
        if self.is_translated() {
            return self.path.backward(writes, &self.own_groups);
        }
        let touched = self.groups_of(writes.iter().map(|(id, _)| id));
        Ok((writes, vec![touched]))
    }

    /// Notes that the watch has reached this revision.
    pub(super) fn progress(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
        let reached = self.revision;
        self.written.retain(|_, at| *at > reached);
    }

    /// Translates a turn's changes of the view to the primary. The path has them afterwards.
    pub(super) fn translate(
        &mut self,
        journal: &Journal,
        tables: &Tables,
    ) -> Result<Translation, MigrationError> {
        if !self.is_translated() {
            let now = |(table, key): &RowId| tables.get(None, table, key);
            let writes = journal.keys().map(|id| (id.clone(), now(id)));
            return Ok(Translation {
                writes: writes.collect(),
                undo: Undo::new(),
                touched: vec![self.groups_of(journal.keys())],
            });
        }
        let groups = &self.own_groups;
        let view = |group: &str| rows_of(groups, group, tables);
        let (writes, undo, touched) = self.path.forward(journal.keys().cloned(), view)?;
        Ok(Translation {
            writes,
            undo,
            touched,
        })
    }

    /// Notes that a turn's writes are durable at this revision.
    pub(super) fn committed(&mut self, revision: u64, writes: Vec<RowWrite>) {
        if writes.is_empty() {
            return;
        }
        self.modified = self.modified.max(revision);
        if revision > self.revision {
            let ids = writes.iter().map(|(id, _)| (id.clone(), revision));
            self.written.extend(ids);
        }
    }

    /// Reverts a turn's changes on the path.
    pub(super) fn undo(&mut self, undo: Undo) {
        self.path.undo(undo);
    }

    /// Notes a turn of this instance that the watch reports: the view has it already.
    pub(super) fn note_own(&mut self, revision: u64, rows: &[RowValue]) {
        if !rows.is_empty() {
            self.modified = self.modified.max(revision);
        }
    }

    /// Notes which of these rows the view has now.
    pub(super) fn note<'a>(&mut self, ids: impl Iterator<Item = &'a RowId>, tables: &Tables) {
        let Some(step) = self.grouping else {
            return;
        };
        for (table, key) in ids {
            let group = step.source_group(table, key);
            let id = (table.clone(), key.clone());
            let there = tables.get(None, table, key).is_some();
            match note_member(&mut self.own_groups, group, id, there) {
                true if there => self.own_rows += 1,
                true => self.own_rows -= 1,
                false => {}
            }
        }
    }

    /// Groups that rows of the view belong to. Without a migration each row is a group of its own.
    pub(super) fn groups_of<'a>(&self, ids: impl Iterator<Item = &'a RowId>) -> BTreeSet<String> {
        ids.map(|(table, key)| self.group(table, key)).collect()
    }

    fn group(&self, table: &str, key: &str) -> String {
        match self.grouping {
            Some(step) => step.source_group(table, key),
            None => format!("{table}/{key}"),
        }
    }

    /// Group of the view that a row of the primary belongs to; groups have one name on both sides of a step. `None` on
    /// a path of several steps: the row may touch any group.
    pub(super) fn group_of(&self, row: &RowValue) -> Option<String> {
        match self.path.len() {
            0 => Some(self.group(&row.table, &row.key)),
            1 => self.path.last_group(&row.table, &row.key),
            _ => None,
        }
    }

    /// All groups that the view has rows of.
    pub(super) fn groups(&self) -> impl ExactSizeIterator<Item = &String> {
        self.own_groups.keys()
    }

    pub(super) fn rows(&self) -> u64 {
        self.own_rows
    }

    /// Rows of the view in a group.
    pub(super) fn own_group(&self, group: &str, tables: &Tables) -> Rows {
        rows_of(&self.own_groups, group, tables)
    }

    fn row(&self, id: &RowId, tables: &Tables) -> Option<Value> {
        if self.is_translated() {
            return self.path.last(id).cloned();
        }
        tables.get(None, &id.0, &id.1)
    }
}

fn rows_of(groups: &GroupMembers, group: &str, tables: &Tables) -> Rows {
    let ids = groups.get(group).into_iter().flatten();
    let row = |id: &RowId| Some((id.clone(), tables.get(None, &id.0, &id.1)?));
    Rows(ids.filter_map(row).collect())
}
