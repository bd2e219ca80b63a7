//! The app's own rows as the store has them, in the app's own schema or *through* its migrations from another one.
//!
//! Two terms: the *primary's* rows are those of the keyspace that the store calls the primary; the *view's* rows are those that the
//! app sees. Natively they are the same and are kept once, in the engine's tables. Through migrations the rows of each schema
//! version on the way are kept here as well, and groups of them are mapped both ways.

use std::collections::{BTreeMap, BTreeSet};

use morph_api::store::{Keyspace, RowValue};
use serde_json::Value;

use super::layers::{Layers, Touched, Undo, member};
use crate::migration::{Chain, Hop, Members};
use crate::turn::{Journal, RowId};
use crate::view::{self, Tables};
use crate::{MigrationError, Rows};

/// A row and what it is to be; absent: deleted.
pub(super) type Write = (RowId, Option<Value>);

/// What a turn comes to.
#[derive(Debug, Clone, Default)]
pub(super) struct Effect {
    /// In the primary.
    pub(super) writes: Vec<Write>,
    /// Takes it back from the layers.
    pub(super) undo: Undo,
    pub(super) touched: Touched,
}

#[derive(Debug, Clone)]
pub(super) struct Primary {
    /// The migrations that the release brings.
    chain: Chain,
    /// The keyspace that is followed.
    pub(super) keyspace: Option<Keyspace>,
    /// Through: from the view's rows to the primary's.
    layers: Layers,
    /// By which step the view's rows are grouped.
    grouping: Option<Hop>,
    /// The view's rows, by group.
    own_groups: Members,
    /// How many these are.
    own_rows: u64,
    /// Rows of the primary written by this instance, with their revision, until the watch has got there.
    written: BTreeMap<RowId, u64>,
    /// How far the watch has got.
    pub(super) revision: u64,
    /// The revision of the last change to the primary's rows that is known of.
    pub(super) modified: u64,
    /// A snapshot on its way.
    snapshot: BTreeMap<RowId, Value>,
}

impl Primary {
    pub(super) fn new(chain: Chain) -> Self {
        Primary {
            grouping: chain.nearest(),
            chain,
            keyspace: None,
            layers: Layers::default(),
            own_groups: Members::new(),
            own_rows: 0,
            written: BTreeMap::new(),
            revision: 0,
            modified: 0,
            snapshot: BTreeMap::new(),
        }
    }

    /// The way from the app's own schema version to another one, if its migrations lead there.
    pub(super) fn way(&self, schema: u32) -> Option<Vec<Hop>> {
        self.chain.to(schema)
    }

    /// Whether the primary has another schema.
    pub(super) fn is_through(&self) -> bool {
        self.layers.len() > 0
    }

    /// Through: the rows of each schema version on the way.
    pub(super) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Another keyspace is going to be followed, over these steps; its snapshot comes next. What was known of the former way.
    pub(super) fn follow(&mut self, keyspace: Keyspace, way: Vec<Hop>, tables: &Tables) -> Layers {
        let mut former = Layers::default();
        if self.keyspace.as_ref().map(|s| s.id) != Some(keyspace.id) {
            // Row ids of another keyspace mean other rows.
            self.written.clear();
            self.group_by(way.first().copied(), tables);
            former = std::mem::replace(&mut self.layers, Layers::new(way));
        }
        self.snapshot.clear();
        self.keyspace = Some(keyspace);
        former
    }

    /// The view's rows are to be grouped by this step, if there is one.
    pub(super) fn group_by(&mut self, hop: Option<Hop>, tables: &Tables) {
        let version = |hop: Option<Hop>| hop.map(|hop| hop.far);
        let Some(hop) = hop.filter(|hop| version(self.grouping) != Some(hop.far)) else {
            return;
        };
        self.grouping = Some(hop);
        self.own_groups.clear();
        for (table, rows) in tables.keyspace(None).into_iter().flatten() {
            for key in rows.keys() {
                let group = hop.near_group(table, key);
                member(
                    &mut self.own_groups,
                    group,
                    (table.clone(), key.clone()),
                    true,
                );
            }
        }
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
        Ok(differences(tables.keyspace(None), self.layers.load(rows)?))
    }

    /// Others changed rows of the primary: what changes in the view by that, and the groups that this touches.
    pub(super) fn changed(
        &mut self,
        revision: u64,
        rows: Vec<RowValue>,
    ) -> Result<(Vec<Write>, Touched), MigrationError> {
        let mut writes = Vec::new();
        for row in &rows {
            let id = id(row);
            self.modified = self.modified.max(revision);
            if self.written.get(&id).is_none_or(|at| *at < revision) {
                writes.push((id, value(row)));
            }
        }
        if self.is_through() {
            return self.layers.inwards(writes, &self.own_groups);
        }
        let touched = self.groups_of(writes.iter().map(|(id, _)| id));
        Ok((writes, vec![touched]))
    }

    /// The watch has got this far.
    pub(super) fn progress(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
        let reached = self.revision;
        self.written.retain(|_, at| *at > reached);
    }

    /// What a turn's changes of the view come to; the layers have them then.
    pub(super) fn turn(
        &mut self,
        journal: &Journal,
        tables: &Tables,
    ) -> Result<Effect, MigrationError> {
        if !self.is_through() {
            let now = |(table, key): &RowId| tables.get(None, table, key).cloned();
            let writes = journal.keys().map(|id| (id.clone(), now(id)));
            return Ok(Effect {
                writes: writes.collect(),
                undo: Undo::new(),
                touched: vec![self.groups_of(journal.keys())],
            });
        }
        let groups = &self.own_groups;
        let view = |group: &str| rows_of(groups, group, tables);
        let (writes, undo, touched) = self.layers.outwards(journal.keys().cloned(), view)?;
        Ok(Effect {
            writes,
            undo,
            touched,
        })
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

    /// Takes back what a turn did to the layers.
    pub(super) fn undo(&mut self, undo: Undo) {
        self.layers.undo(undo);
    }

    /// A turn of this instance has come by on the watch: the view has it.
    pub(super) fn echoed(&mut self, revision: u64, rows: &[RowValue]) {
        if !rows.is_empty() {
            self.modified = self.modified.max(revision);
        }
    }

    /// Notes which rows of the view there are.
    pub(super) fn note<'a>(&mut self, ids: impl Iterator<Item = &'a RowId>, tables: &Tables) {
        let Some(hop) = self.grouping else {
            return;
        };
        for (table, key) in ids {
            let group = hop.near_group(table, key);
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
    pub(super) fn groups_of<'a>(&self, ids: impl Iterator<Item = &'a RowId>) -> BTreeSet<String> {
        ids.map(|(table, key)| self.group(table, key)).collect()
    }

    fn group(&self, table: &str, key: &str) -> String {
        match self.grouping {
            Some(hop) => hop.near_group(table, key),
            None => format!("{table}/{key}"),
        }
    }

    /// The group of a row of the primary among those of the view, which has the same name there. None where there are further
    /// steps between them: then it may touch any.
    pub(super) fn group_of(&self, row: &RowValue) -> Option<String> {
        match self.layers.len() {
            0 => Some(self.group(&row.table, &row.key)),
            1 => self.layers.last_group(&row.table, &row.key),
            _ => None,
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
        rows_of(&self.own_groups, group, tables)
    }

    fn row<'a>(&'a self, id: &RowId, tables: &'a Tables) -> Option<&'a Value> {
        if self.is_through() {
            return self.layers.last(id);
        }
        tables.get(None, &id.0, &id.1)
    }
}

fn rows_of(groups: &Members, group: &str, tables: &Tables) -> Rows {
    let ids = groups.get(group).into_iter().flatten();
    let row = |id: &RowId| Some((id.clone(), tables.get(None, &id.0, &id.1)?.clone()));
    Rows(ids.filter_map(row).collect())
}

/// What leads from the app's rows to these.
pub(super) fn differences(
    keyspace: Option<&view::Keyspace>,
    mut target: BTreeMap<RowId, Value>,
) -> Vec<Write> {
    let mut writes = Vec::new();
    for (table, rows) in keyspace.into_iter().flatten() {
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
