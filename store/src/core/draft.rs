//! A transaction while it is judged: its changes so far, kept beside the state.

use std::collections::{BTreeMap, BTreeSet};

use morph_api::store::op::Op as Kind;
use morph_api::store::{
    Checkpoint, Expect, Keyspace, Reason, Refused, Row, Seq, Transaction, Turn,
};

use super::effects::{Effects, Rows};
use super::keys::{CheckpointKey, KeyspaceKey, RowKey};
use super::lease::{self, Lease};
use super::refuse::{Interrupt, conflict, invalid, of_checkpoint};
use super::state::State;

/// Change of one row by the transaction.
pub(super) struct RowChange {
    before: Option<u64>,
    after: Option<String>,
}

impl RowChange {
    fn changes(&self) -> bool {
        self.before.is_some() || self.after.is_some()
    }
}

pub(super) struct Draft<'a, R> {
    pub(super) state: &'a State,
    rows: &'a R,
    pub(super) turn: Option<Turn>,
    pub(super) checkpoints: BTreeMap<CheckpointKey, Checkpoint>,
    /// Keyspaces that the transaction touches; `None` for one that it drops.
    pub(super) keyspaces: BTreeMap<KeyspaceKey, Option<Keyspace>>,
    pub(super) created: BTreeSet<KeyspaceKey>,
    /// Shadows for which the transaction advances the watermark. Its value is checked when the operation is applied.
    marked: BTreeSet<KeyspaceKey>,
    expected: BTreeSet<RowKey>,
    writes: BTreeMap<RowKey, RowChange>,
    /// Leases that the transaction touches; `None` for one that it ends.
    pub(super) leases: BTreeMap<String, Option<Lease>>,
    /// Rows whose lease the transaction changes, with the new lease.
    pub(super) bindings: BTreeMap<RowKey, Option<String>>,
}

impl<'a, R: Rows> Draft<'a, R> {
    pub(super) fn new(state: &'a State, rows: &'a R, transaction: &Transaction) -> Self {
        let watermarks = transaction.ops.iter().filter_map(|op| match &op.op {
            Some(Kind::AdvanceWatermark(watermark)) => Some((watermark.app.clone(), watermark.id)),
            _ => None,
        });
        Draft {
            state,
            rows,
            turn: transaction.turn.clone(),
            checkpoints: BTreeMap::new(),
            keyspaces: BTreeMap::new(),
            created: BTreeSet::new(),
            marked: watermarks.collect(),
            expected: BTreeSet::new(),
            writes: BTreeMap::new(),
            leases: BTreeMap::new(),
            bindings: BTreeMap::new(),
        }
    }

    /// Checks the turn's epoch, its place and its cursor. The epoch comes first: a fenced writer must stop, whatever
    /// it sends.
    pub(super) fn turn(&mut self) -> Result<(), Box<Refused>> {
        let Some(turn) = &self.turn else {
            return Ok(());
        };
        let mut checkpoint = self.checkpoint(&turn.app, &turn.node);
        let (app, node) = (&turn.app, &turn.node);
        if turn.epoch != checkpoint.epoch || checkpoint.epoch == 0 {
            let (epoch, now) = (turn.epoch, checkpoint.epoch);
            let message = format!(
                "the turn is of epoch {epoch}, and checkpoint {app}@{node} is at epoch {now}"
            );
            return Err(of_checkpoint(Reason::StaleEpoch, checkpoint, message));
        }
        if turn.follows != checkpoint.turn {
            let reason = match turn.follows < checkpoint.turn {
                true => Reason::Already,
                false => Reason::Gap,
            };
            let (follows, now) = (turn.follows, checkpoint.turn);
            let message = format!(
                "the turn follows turn {follows}, and checkpoint {app}@{node} is at turn {now}"
            );
            return Err(of_checkpoint(reason, checkpoint, message));
        }
        if let Some(cursor) = turn.cursor {
            let now = checkpoint.cursor.unwrap_or(Seq::ZERO);
            if cursor <= now {
                return Err(invalid(format!(
                    "cursor {cursor} of the turn is not past {now}, the cursor of checkpoint {app}@{node}"
                )));
            }
            checkpoint.cursor = Some(cursor);
        }
        checkpoint.turn += 1;
        self.checkpoints.insert(
            (checkpoint.app.clone(), checkpoint.node.clone()),
            checkpoint,
        );
        Ok(())
    }

    /// Compares the revision of a row as it was before the transaction.
    pub(super) fn expect(&mut self, expect: &Expect) -> Result<(), Interrupt<R::Error>> {
        let Some(row) = &expect.row else {
            return Err(invalid("expect: no row").into());
        };
        let at = self.resolve(row).ok();
        let revision = match &at {
            Some(at) => self
                .rows
                .revision(at)
                .map_err(Interrupt::Failed)?
                .unwrap_or(0),
            None => 0, // where there is no keyspace there is no row
        };
        if revision != expect.revision {
            let (app, table, key) = (&row.app, &row.table, &row.key);
            let what = |revision| match revision {
                0 => "absent".to_owned(),
                _ => format!("at revision {revision}"),
            };
            return Err(conflict(format!(
                "row {app}/{table}/{key} is {}, not {}",
                what(revision),
                what(expect.revision)
            ))
            .into());
        }
        self.expected.extend(at);
        Ok(())
    }

    /// Returns the checkpoint as changed so far. One that was never fenced is at epoch 0.
    pub(super) fn checkpoint(&self, app: &str, node: &str) -> Checkpoint {
        let key = (app.to_owned(), node.to_owned());
        let checkpoint = self
            .checkpoints
            .get(&key)
            .or_else(|| self.state.checkpoints.get(&key));
        checkpoint.cloned().unwrap_or_else(|| Checkpoint {
            app: key.0,
            node: key.1,
            cursor: Some(Seq::ZERO),
            ..Checkpoint::default()
        })
    }

    pub(super) fn keyspace(&self, app: &str, id: u32) -> Option<&Keyspace> {
        let key = (app.to_owned(), id);
        match self.keyspaces.get(&key) {
            Some(keyspace) => keyspace.as_ref(),
            None => self.state.keyspaces.get(&key),
        }
    }

    /// Returns primary and shadow of an app as changed so far.
    pub(super) fn keyspaces_of(&self, app: &str) -> (Option<&Keyspace>, Option<&Keyspace>) {
        let all = (app.to_owned(), 0)..=(app.to_owned(), u32::MAX);
        let touched = self
            .keyspaces
            .range(all)
            .filter_map(|(_, keyspace)| keyspace.as_ref());
        let (mut primary, mut shadow) = (None, None);
        for keyspace in self.state.keyspaces_of(app).chain(touched) {
            // Keyspaces touched by the transaction override those of the state.
            match self.keyspace(app, keyspace.id) {
                Some(keyspace) if keyspace.primary => primary = Some(keyspace),
                Some(keyspace) => shadow = Some(keyspace),
                None => {}
            }
        }
        (primary, shadow)
    }

    fn resolve(&self, row: &Row) -> Result<RowKey, Box<Refused>> {
        let (app, id) = (&row.app, row.keyspace);
        let keyspace = match id {
            0 => self.keyspaces_of(app).0,
            id => self.keyspace(app, id),
        };
        let keyspace = keyspace.ok_or_else(|| match id {
            0 => invalid(format!("app {app:?} has no primary")),
            id => invalid(format!("app {app:?} has no keyspace {id}")),
        })?;
        Ok(RowKey {
            app: app.clone(),
            keyspace: keyspace.id,
            table: row.table.clone(),
            key: row.key.clone(),
        })
    }

    /// Puts or deletes a row after checking that the writer may do so. A put also binds the row to a lease, or
    /// unbinds it.
    pub(super) fn write(
        &mut self,
        row: &Row,
        after: Option<String>,
        lease: &str,
    ) -> Result<(), Interrupt<R::Error>> {
        let at = self.resolve(row)?;
        self.may_write(&at)?;
        self.bind(&at, lease)?;
        self.set(at, after)
    }

    /// Writes the row without a permission check.
    pub(super) fn set(
        &mut self,
        at: RowKey,
        after: Option<String>,
    ) -> Result<(), Interrupt<R::Error>> {
        match self.writes.get_mut(&at) {
            Some(write) => write.after = after,
            None => {
                let before = self.rows.revision(&at).map_err(Interrupt::Failed)?;
                self.writes.insert(at, RowChange { before, after });
            }
        }
        Ok(())
    }

    fn may_write(&self, at: &RowKey) -> Result<(), Box<Refused>> {
        let key = (at.app.clone(), at.keyspace);
        let primary = self
            .keyspace(&at.app, at.keyspace)
            .is_some_and(|s| s.primary);
        if lease::is_at(at) {
            let name = &at.key;
            return Err(invalid(format!(
                "lease {name:?} cannot be written as a row: grant, keep or revoke it"
            )));
        }
        let allowed = match (&self.turn, primary) {
            (Some(turn), true) => turn.app == at.app,
            (Some(_), false) => false,
            // Nobody can have changed rows of a keyspace that this transaction creates.
            (None, true) => self.expected.contains(at) || self.created.contains(&key),
            (None, false) => self.marked.contains(&key),
        };
        if allowed {
            return Ok(());
        }
        let why = match (&self.turn, primary) {
            (Some(_), _) => "a turn may write only the primary of its own app",
            (None, true) => "a write to a primary that is no turn needs an expectation on the row",
            (None, false) => "a shadow may be written only together with its watermark",
        };
        Err(invalid(format!(
            "row {}/{}/{} of keyspace {}: {why}",
            at.app, at.table, at.key, at.keyspace
        )))
    }

    /// Returns true if the transaction has changed a row of this keyspace so far.
    pub(super) fn writes_to(&self, app: &str, id: u32) -> bool {
        self.writes
            .iter()
            .any(|(at, write)| at.app == app && at.keyspace == id && write.changes())
    }

    pub(super) fn finish(mut self) -> Effects {
        let next = self.state.revision + 1;
        let leases = std::mem::take(&mut self.leases);
        for (name, lease) in &leases {
            let before = self.state.leases.get(name).map(|lease| lease.revision);
            let after = lease.as_ref().map(Lease::to_json);
            self.writes
                .insert(lease::at(name), RowChange { before, after });
        }
        let mut rows = Vec::with_capacity(self.writes.len());
        for (at, write) in std::mem::take(&mut self.writes) {
            let keyspace = self.keyspace(&at.app, at.keyspace);
            if let (true, Some(keyspace)) = (write.changes(), keyspace.cloned()) {
                let keyspace = counted(keyspace, &write, next);
                self.keyspaces
                    .insert((at.app.clone(), at.keyspace), Some(keyspace));
                rows.push((at, write.after));
            }
        }
        let old = |key: &KeyspaceKey| self.state.keyspaces.get(key);
        let changed_keyspaces = self
            .keyspaces
            .iter()
            .any(|(key, new)| old(key) != new.as_ref());
        let changed = changed_keyspaces || !self.checkpoints.is_empty() || !self.created.is_empty();
        let (kept, gone): (Vec<_>, Vec<_>) = self
            .keyspaces
            .into_iter()
            .partition(|(_, keyspace)| keyspace.is_some());
        Effects {
            changed,
            revision: if changed { next } else { self.state.revision },
            origin: self.turn,
            rows,
            checkpoints: self.checkpoints.into_values().collect(),
            keyspaces: kept
                .into_iter()
                .filter_map(|(_, keyspace)| keyspace)
                .collect(),
            dropped: gone.into_iter().map(|(key, _)| key).collect(),
            used: self.created.into_iter().collect(),
            leases: leases.into_iter().collect(),
        }
    }
}

fn counted(mut keyspace: Keyspace, write: &RowChange, revision: u64) -> Keyspace {
    keyspace.modified = revision;
    match (&write.before, &write.after) {
        (None, Some(_)) => keyspace.keys += 1,
        // Saturating, since a wrong count is not worth a panic.
        (Some(_), None) => keyspace.keys = keyspace.keys.saturating_sub(1),
        (Some(_), Some(_)) | (None, None) => {}
    }
    keyspace
}
