//! The app's rows in other schema versions, a layer a step: where a change on one side leads to on the other.
//!
//! ```text
//!   view --hop 0--> layer 0 --hop 1--> layer 1 ... --> the primary, or a shadow
//! ```
//!
//! Each step has groups of its own. A change on the near side is followed outwards: its groups at hop 0 are mapped whole, what
//! differs in layer 0 is the change at hop 1, and so on; one on the far side inwards in the same way.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::primary::Write;
use crate::migration::{Hop, Members};
use crate::turn::RowId;
use crate::{MigrationError, Rows};

/// Groups that a change touched, by hop.
pub(super) type Touched = Vec<BTreeSet<String>>;

/// What takes writes back: the layer, the row, and what it was.
pub(super) type Undo = Vec<(usize, Write)>;

/// Rows of one group.
type Grouped = BTreeMap<RowId, Value>;

#[derive(Debug, Clone)]
struct Layer {
    hop: Hop,
    /// Rows on the near side, by group; not of hop 0, where it is the view's keeper who knows.
    near: Members,
    /// Rows on the far side, by group.
    far: BTreeMap<String, Grouped>,
}

/// The rows of each schema version on a way.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    all: Vec<Layer>,
}

impl Layers {
    pub(super) fn new(way: Vec<Hop>) -> Self {
        let layer = |hop| Layer {
            hop,
            near: Members::new(),
            far: BTreeMap::new(),
        };
        Layers {
            all: way.into_iter().map(layer).collect(),
        }
    }

    /// How many steps there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn hop(&self, at: usize) -> Option<Hop> {
        Some(self.all.get(at)?.hop)
    }

    /// A row at the far end.
    pub(super) fn last(&self, id: &RowId) -> Option<&Value> {
        self.get(self.len().checked_sub(1)?, id)
    }

    /// The group, at the far end, of a row there.
    pub(super) fn last_group(&self, table: &str, key: &str) -> Option<String> {
        Some(self.all.last()?.hop.far_group(table, key))
    }

    fn get(&self, at: usize, id: &RowId) -> Option<&Value> {
        let layer = self.all.get(at)?;
        let group = layer.hop.far_group(&id.0, &id.1);
        layer.far.get(&group)?.get(id)
    }

    /// The rows of a group on the far side of a hop.
    pub(super) fn far_rows(&self, at: usize, group: &str) -> Rows {
        let rows = self.all.get(at).and_then(|layer| layer.far.get(group));
        Rows(rows.cloned().unwrap_or_default())
    }

    /// The rows of a group on the near side of a hop, which is not the first.
    pub(super) fn near_rows(&self, at: usize, group: &str) -> Rows {
        let ids = self.all.get(at).and_then(|layer| layer.near.get(group));
        let row = |id: &RowId| Some((id.clone(), self.get(at.checked_sub(1)?, id)?.clone()));
        Rows(ids.into_iter().flatten().filter_map(row).collect())
    }

    /// The groups of a hop; of the first one those of the far side only.
    pub(super) fn groups(&self, at: usize) -> impl Iterator<Item = String> {
        let layer = self.all.get(at).into_iter();
        layer.flat_map(|layer| layer.near.keys().chain(layer.far.keys()).cloned())
    }

    /// How many groups there are beyond the first hop.
    pub(super) fn further_groups(&self) -> u64 {
        let further = self.all.iter().skip(1);
        let groups = further.map(|layer| layer.near.len().max(layer.far.len()));
        groups.map(|count| count as u64).sum()
    }

    /// Sets a row on the far side of a hop; what was there.
    pub(super) fn set(&mut self, at: usize, id: &RowId, value: Option<Value>) -> Option<Value> {
        let there = value.is_some();
        let layer = self.all.get_mut(at)?;
        let group = layer.hop.far_group(&id.0, &id.1);
        let rows = layer.far.entry(group.clone()).or_default();
        let before = match value {
            Some(value) => rows.insert(id.clone(), value),
            None => rows.remove(id),
        };
        if rows.is_empty() {
            layer.far.remove(&group);
        }
        if let Some(next) = self.all.get_mut(at + 1) {
            let group = next.hop.near_group(&id.0, &id.1);
            member(&mut next.near, group, id.clone(), there);
        }
        before
    }

    /// What leads from the rows of a group on the far side of a hop to these.
    pub(super) fn differences(&self, at: usize, group: &str, target: Rows) -> Vec<Write> {
        let there = self.all.get(at).and_then(|layer| layer.far.get(group));
        match there {
            Some(there) => between(there, target),
            None => {
                let new = target.0.into_iter();
                new.map(|(id, value)| (id, Some(value))).collect()
            }
        }
    }

    /// Takes the rows at the far end as new; those that the view has by that.
    pub(super) fn load(
        &mut self,
        mut rows: BTreeMap<RowId, Value>,
    ) -> Result<BTreeMap<RowId, Value>, MigrationError> {
        for layer in &mut self.all {
            layer.near.clear();
            layer.far.clear();
        }
        for at in (0..self.all.len()).rev() {
            for (id, value) in std::mem::take(&mut rows) {
                self.set(at, &id, Some(value));
            }
            let Some(layer) = self.all.get(at) else {
                break;
            };
            for (group, far) in &layer.far {
                let near = layer.hop.to_near(group, &Rows(far.clone()))?;
                rows.extend(near.0);
            }
        }
        Ok(rows)
    }

    /// Others changed rows at the far end: what the touched groups of the view are by that, and all touched groups.
    /// `view` names the rows of the view in a group.
    pub(super) fn inwards(
        &mut self,
        mut writes: Vec<Write>,
        view: &Members,
    ) -> Result<(Vec<Write>, Touched), MigrationError> {
        let mut touched = vec![BTreeSet::new(); self.len()];
        for at in (0..self.len()).rev() {
            for (id, value) in writes {
                if let Some(layer) = self.all.get(at) {
                    touched[at].insert(layer.hop.far_group(&id.0, &id.1));
                }
                self.set(at, &id, value);
            }
            writes = Vec::new();
            for group in &touched[at] {
                writes.extend(self.near_change(at, group, view)?);
            }
        }
        Ok((writes, touched))
    }

    /// What the rows of a group on the near side become by those on the far side.
    fn near_change(
        &self,
        at: usize,
        group: &str,
        view: &Members,
    ) -> Result<Vec<Write>, MigrationError> {
        let Some(layer) = self.all.get(at) else {
            return Ok(Vec::new());
        };
        let target = layer.hop.to_near(group, &self.far_rows(at, group))?;
        if at > 0 {
            return Ok(between(&self.near_rows(at, group).0, target));
        }
        let mut now = target.0;
        let mut writes = Vec::new();
        for id in view.get(group).into_iter().flatten() {
            let value = now.remove(id);
            writes.push((id.clone(), value));
        }
        writes.extend(now.into_iter().map(|(id, value)| (id, Some(value))));
        Ok(writes)
    }

    /// Rows of the view changed: what changes at the far end by that, what takes it back, and all touched groups.
    /// `view` gives the view's rows of a group.
    pub(super) fn outwards(
        &mut self,
        ids: impl IntoIterator<Item = RowId>,
        view: impl Fn(&str) -> Rows,
    ) -> Result<(Vec<Write>, Undo, Touched), MigrationError> {
        let mut ids: Vec<RowId> = ids.into_iter().collect();
        let (mut writes, mut undo, mut touched) = (Vec::new(), Undo::new(), Touched::new());
        for at in 0..self.len() {
            let Some(hop) = self.hop(at) else {
                break;
            };
            let groups: BTreeSet<String> = ids.iter().map(|(t, k)| hop.near_group(t, k)).collect();
            writes = Vec::new();
            for group in &groups {
                let near = match at {
                    0 => view(group),
                    _ => self.near_rows(at, group),
                };
                let target = hop.to_far(group, &near)?;
                writes.extend(self.differences(at, group, target));
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

    /// Takes back what [`Layers::outwards`] did, if nothing came after it.
    pub(super) fn undo(&mut self, undo: Undo) {
        for (at, (id, value)) in undo.into_iter().rev() {
            self.set(at, &id, value);
        }
    }
}

/// What leads from these rows to those.
pub(super) fn between(there: &Grouped, target: Rows) -> Vec<Write> {
    let gone = there.keys().filter(|id| !target.0.contains_key(*id));
    let mut writes: Vec<Write> = gone.map(|id| (id.clone(), None)).collect();
    let new = target.0.into_iter();
    let new = new.filter(|(id, value)| there.get(id) != Some(value));
    writes.extend(new.map(|(id, value)| (id, Some(value))));
    writes
}

/// Notes whether a row is there; true where that is new.
pub(super) fn member(groups: &mut Members, group: String, id: RowId, there: bool) -> bool {
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
