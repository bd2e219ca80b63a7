//! The app's rows in each schema version along a migration path: how a change at one end becomes a change at the other.
//!
//! ```text
//!   view --step 0--> rows 0 --step 1--> rows 1 ... --> the primary, or a shadow
//! ```
//!
//! Each step has a source, on the view's side, a target, and groups of its own. A change in the view goes forward: its
//! groups at step 0 are mapped whole, the differences in its target are the change at step 1, and so on. A change at
//! the other end goes backward likewise.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::rows::{RowWrite, TouchedGroups, between, note_member};
use crate::migration::{GroupMembers, Step};
use crate::turn::RowId;
use crate::{MigrationError, Rows};

/// Writes that revert a change: the step, the row in its target, and the value before.
pub(super) type Undo = Vec<(usize, RowWrite)>;

/// One step with the rows of its two sides.
#[derive(Debug, Clone)]
struct StepRows {
    step: Step,
    /// Rows of the source, by group. Empty for step 0, whose source is the view.
    source: GroupMembers,
    /// Rows of the target, by group.
    target: BTreeMap<String, BTreeMap<RowId, Value>>,
}

/// The steps of a migration path, each with the rows of its target.
#[derive(Debug, Clone, Default)]
pub(super) struct MigrationPath {
    steps: Vec<StepRows>,
}

impl MigrationPath {
    pub(super) fn new(steps: Vec<Step>) -> Self {
        let rows = |step| StepRows {
            step,
            source: GroupMembers::new(),
            target: BTreeMap::new(),
        };
        MigrationPath {
            steps: steps.into_iter().map(rows).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(super) fn step(&self, at: usize) -> Option<Step> {
        Some(self.steps.get(at)?.step)
    }

    /// A row at the end of the path.
    pub(super) fn last(&self, id: &RowId) -> Option<&Value> {
        self.get(self.len().checked_sub(1)?, id)
    }

    /// Group that a row at the end of the path belongs to.
    pub(super) fn last_group(&self, table: &str, key: &str) -> Option<String> {
        Some(self.steps.last()?.step.target_group(table, key))
    }

    fn get(&self, at: usize, id: &RowId) -> Option<&Value> {
        let rows = self.steps.get(at)?;
        let group = rows.step.target_group(&id.0, &id.1);
        rows.target.get(&group)?.get(id)
    }

    /// Rows of a group in the target of a step.
    pub(super) fn target_rows(&self, at: usize, group: &str) -> Rows {
        let rows = self.steps.get(at).and_then(|rows| rows.target.get(group));
        Rows(rows.cloned().unwrap_or_default())
    }

    /// Rows of a group in the source of a step other than the first.
    pub(super) fn source_rows(&self, at: usize, group: &str) -> Rows {
        let ids = self.steps.get(at).and_then(|rows| rows.source.get(group));
        let row = |id: &RowId| Some((id.clone(), self.get(at.checked_sub(1)?, id)?.clone()));
        Rows(ids.into_iter().flatten().filter_map(row).collect())
    }

    /// Groups of a step; for the first one only those of its target.
    pub(super) fn groups(&self, at: usize) -> impl Iterator<Item = String> {
        let rows = self.steps.get(at).into_iter();
        rows.flat_map(|rows| rows.source.keys().chain(rows.target.keys()).cloned())
    }

    /// Number of groups beyond the first step.
    pub(super) fn further_groups(&self) -> u64 {
        let further = self.steps.iter().skip(1);
        let groups = further.map(|rows| rows.source.len().max(rows.target.len()));
        groups.map(|count| count as u64).sum()
    }

    /// Sets a row in the target of a step. Returns the value before.
    pub(super) fn set(&mut self, at: usize, id: &RowId, value: Option<Value>) -> Option<Value> {
        let there = value.is_some();
        let rows = self.steps.get_mut(at)?;
        let group = rows.step.target_group(&id.0, &id.1);
        let members = rows.target.entry(group.clone()).or_default();
        let before = match value {
            Some(value) => members.insert(id.clone(), value),
            None => members.remove(id),
        };
        if members.is_empty() {
            rows.target.remove(&group);
        }
        if let Some(next) = self.steps.get_mut(at + 1) {
            let group = next.step.source_group(&id.0, &id.1);
            note_member(&mut next.source, group, id.clone(), there);
        }
        before
    }

    /// Writes that turn a group's rows in the target of a step into these.
    pub(super) fn differences(&self, at: usize, group: &str, wanted: Rows) -> Vec<RowWrite> {
        let there = self.steps.get(at).and_then(|rows| rows.target.get(group));
        match there {
            Some(there) => between(there, wanted),
            None => {
                let new = wanted.0.into_iter();
                new.map(|(id, value)| (id, Some(value))).collect()
            }
        }
    }

    /// Replaces all rows by those at the end of the path. Returns the view's rows.
    pub(super) fn load(
        &mut self,
        mut loaded: BTreeMap<RowId, Value>,
    ) -> Result<BTreeMap<RowId, Value>, MigrationError> {
        for rows in &mut self.steps {
            rows.source.clear();
            rows.target.clear();
        }
        for at in (0..self.steps.len()).rev() {
            for (id, value) in std::mem::take(&mut loaded) {
                self.set(at, &id, Some(value));
            }
            let Some(rows) = self.steps.get(at) else {
                break;
            };
            for (group, target) in &rows.target {
                let source = rows.step.to_source(group, &Rows(target.clone()))?;
                loaded.extend(source.0);
            }
        }
        Ok(loaded)
    }

    /// Applies changes that others made at the end of the path. Returns the touched groups of the view as they become,
    /// and all touched groups. `view` names the view's rows of each group.
    pub(super) fn backward(
        &mut self,
        mut writes: Vec<RowWrite>,
        view: &GroupMembers,
    ) -> Result<(Vec<RowWrite>, TouchedGroups), MigrationError> {
        let mut touched = vec![BTreeSet::new(); self.len()];
        for at in (0..self.len()).rev() {
            for (id, value) in writes {
                if let Some(rows) = self.steps.get(at) {
                    touched[at].insert(rows.step.target_group(&id.0, &id.1));
                }
                self.set(at, &id, value);
            }
            writes = Vec::new();
            for group in &touched[at] {
                writes.extend(self.source_change(at, group, view)?);
            }
        }
        Ok((writes, touched))
    }

    /// Writes that turn a group's rows in the source of a step into those that its target maps to.
    fn source_change(
        &self,
        at: usize,
        group: &str,
        view: &GroupMembers,
    ) -> Result<Vec<RowWrite>, MigrationError> {
        let Some(rows) = self.steps.get(at) else {
            return Ok(Vec::new());
        };
        let wanted = rows.step.to_source(group, &self.target_rows(at, group))?;
        if at > 0 {
            return Ok(between(&self.source_rows(at, group).0, wanted));
        }
        let mut now = wanted.0;
        let mut writes = Vec::new();
        for id in view.get(group).into_iter().flatten() {
            let value = now.remove(id);
            writes.push((id.clone(), value));
        }
        writes.extend(now.into_iter().map(|(id, value)| (id, Some(value))));
        Ok(writes)
    }

    /// Applies changes of the view. Returns the changes at the end of the path, the writes that revert this, and all
    /// touched groups. `view` gives the view's rows of a group.
    pub(super) fn forward(
        &mut self,
        ids: impl IntoIterator<Item = RowId>,
        view: impl Fn(&str) -> Rows,
    ) -> Result<(Vec<RowWrite>, Undo, TouchedGroups), MigrationError> {
        let mut ids: Vec<RowId> = ids.into_iter().collect();
        let (mut writes, mut undo, mut touched) = (Vec::new(), Undo::new(), TouchedGroups::new());
        for at in 0..self.len() {
            let Some(step) = self.step(at) else {
                break;
            };
            let groups: BTreeSet<String> =
                ids.iter().map(|(t, k)| step.source_group(t, k)).collect();
            writes = Vec::new();
            for group in &groups {
                let source = match at {
                    0 => view(group),
                    _ => self.source_rows(at, group),
                };
                let wanted = step.to_target(group, &source)?;
                writes.extend(self.differences(at, group, wanted));
            }
            for (id, value) in &writes {
                let before = self.set(at, id, value.clone());
                undo.push((at, (id.clone(), before)));
            }
            ids = writes.iter().map(|(id, _)| id.clone()).collect();
            touched.push(groups);
        }
        Ok((writes, undo, touched))
    }

    /// Reverts [`MigrationPath::forward`], if nothing came after it.
    pub(super) fn undo(&mut self, undo: Undo) {
        for (at, (id, value)) in undo.into_iter().rev() {
            self.set(at, &id, value);
        }
    }
}
