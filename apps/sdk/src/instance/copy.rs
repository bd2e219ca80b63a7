//! A copy of the truth in the neighbouring schema version, made beside the turns and kept up.
//!
//! 1. At first every group of the view is stale. Later those are that a turn or others changed.
//! 2. The rows of some stale groups, except those that a turn in hand changed, are computed, and what differs from the copy
//!    is written, in one transaction with the mark.
//! 3. Each of these groups is mapped there and back: those that are not the same then are counted, see [`super::losses`].
//! 4. The copy is *current* when nothing is stale, nothing is on its way, and the mark has reached the last change of the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use morph_api::store::{Op, Reason, Transaction};
use morph_api::supervisor::CopyProgress;
use morph_store::op;
use serde_json::Value;

use super::Outcome;
use super::hands::Hands;
use super::losses::{Losses, loss};
use super::truth::{Truth, Write};
use crate::turn::RowId;
use crate::view::Tables;
use crate::{MigrationError, Rows};

/// Rows in one transaction: small enough to pass between two turns unnoticed.
const CHUNK: usize = 500;
/// When a transaction whose outcome is not known, or for which there was no space, is sent again.
const AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Copy {
    app: String,
    owner: String,
    pub(super) space: u32,
    /// Its schema version is the app's own; else the neighbouring one.
    own_schema: bool,
    stale: BTreeSet<String>,
    /// What the copy's rows are, by group.
    rows: BTreeMap<String, BTreeMap<RowId, Value>>,
    /// How many these are.
    written: u64,
    /// What would be lost on the way back.
    losses: Losses,
    mark: u64,
    complete: bool,
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    id: u64,
    mark: u64,
    transaction: Transaction,
    /// All groups are in it or were before, but for those that turns in hand changed.
    whole: bool,
    /// When it is sent again.
    again: Option<Instant>,
}

impl Copy {
    pub(super) fn new(
        app: &str,
        owner: &str,
        space: u32,
        own_schema: bool,
        groups: impl Iterator<Item = String>,
    ) -> Self {
        Copy {
            app: app.to_owned(),
            owner: owner.to_owned(),
            space,
            own_schema,
            stale: groups.collect(),
            rows: BTreeMap::new(),
            written: 0,
            losses: Losses::default(),
            mark: 0,
            complete: false,
            sent: None,
        }
    }

    /// Groups of the view changed.
    pub(super) fn touch(&mut self, groups: impl IntoIterator<Item = String>) {
        self.stale.extend(groups);
    }

    /// Whether it reflects all that is known of the truth.
    pub(super) fn is_current(&self, truth: &Truth) -> bool {
        self.stale.is_empty() && self.sent.is_none() && self.mark >= truth.modified && self.complete
    }

    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    /// The next transaction, if there is one to be sent.
    pub(super) fn next(
        &mut self,
        truth: &Truth,
        tables: &Tables,
        hands: &Hands,
        id: &mut u64,
        now: Instant,
    ) -> Result<Option<(u64, Transaction)>, MigrationError> {
        if let Some(sent) = &mut self.sent {
            if sent.again.is_none_or(|at| at > now) {
                return Ok(None);
            }
            sent.again = None;
            return Ok(Some((sent.id, sent.transaction.clone())));
        }
        let reached = truth.revision;
        let settled = |group: &&String| !hands.changed(group);
        let next: Vec<String> = self
            .stale
            .iter()
            .filter(settled)
            .take(CHUNK)
            .cloned()
            .collect();
        let behind = self.mark < truth.modified && reached >= truth.modified;
        let idle = self.stale.is_empty() && hands.is_empty() && (behind || !self.complete);
        if next.is_empty() && !idle {
            return Ok(None);
        }
        let mut ops = Vec::new();
        let mut rest = next.into_iter().peekable();
        while let Some(group) = rest.next_if(|_| ops.len() < CHUNK) {
            self.write_group(&group, truth, tables, &mut ops)?;
            self.stale.remove(&group);
        }
        let whole = rest.peek().is_none() && !self.stale.iter().any(|group| settled(&group));
        // Until all is in it, the copy reflects what it did.
        let mark = if self.stale.is_empty() && hands.is_empty() {
            self.mark.max(reached)
        } else {
            self.mark
        };
        ops.push(op::mark(&self.app, self.space, &self.owner, mark));
        let transaction = op::shared([], ops);
        *id += 1;
        self.sent = Some(Sent {
            id: *id,
            mark,
            whole,
            transaction: transaction.clone(),
            again: None,
        });
        Ok(Some((*id, transaction)))
    }

    fn write_group(
        &mut self,
        group: &str,
        truth: &Truth,
        tables: &Tables,
        ops: &mut Vec<Op>,
    ) -> Result<(), MigrationError> {
        let own = truth.own_group(group, tables);
        let target = match truth.mapping() {
            Some(mapping) if !self.own_schema => {
                let other = mapping.to_other(group, &own)?;
                self.losses.note(group, loss(mapping, group, &own, &other));
                other
            }
            Some(mapping) => {
                let other = truth.raw_group(group);
                self.losses.note(group, loss(mapping, group, &own, &other));
                own
            }
            None => own,
        };
        let there = self.rows.remove(group).unwrap_or_default();
        for ((table, key), value) in between(&there, &target) {
            let row = op::row_in(&self.app, self.space, table, key);
            ops.push(match value {
                Some(value) => op::put(row, value.to_string()),
                None => op::delete(row),
            });
        }
        self.written += target.0.len() as u64;
        self.written -= there.len() as u64;
        if !target.0.is_empty() {
            self.rows.insert(group.to_owned(), target.0);
        }
        Ok(())
    }

    /// A transaction's outcome, if it is one of this copy. An error: the copy cannot be made.
    pub(super) fn committed(
        &mut self,
        id: u64,
        outcome: &Outcome,
        now: Instant,
    ) -> Option<Result<(), String>> {
        let sent = self.sent.as_mut().filter(|sent| sent.id == id)?;
        match outcome {
            Outcome::Committed(_) => {
                self.mark = sent.mark;
                self.complete |= sent.whole;
                self.sent = None;
                Some(Ok(()))
            }
            Outcome::Refused(refusal) if refusal.reason != Reason::NoSpace => {
                Some(Err(refusal.to_string()))
            }
            Outcome::Refused(_) | Outcome::Unknown(_) => {
                sent.again = Some(now + AGAIN);
                None
            }
        }
    }

    pub(super) fn progress(&self, truth: &Truth) -> CopyProgress {
        let groups_total = truth.groups().len() as u64;
        CopyProgress {
            space: self.space,
            mark: self.mark,
            rows: self.written,
            complete: self.complete,
            error: String::new(),
            groups: groups_total.saturating_sub(self.stale.len() as u64),
            groups_total,
            source_rows: truth.rows(),
            losing: self.losses.count(),
            losses: self.losses.first(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.sent.as_ref()?.again
    }
}

/// What leads from these rows to those.
fn between(there: &BTreeMap<RowId, Value>, target: &Rows) -> Vec<Write> {
    let gone = there.keys().filter(|id| !target.0.contains_key(*id));
    let gone = gone.map(|id| (id.clone(), None));
    let new = target.0.iter();
    let new = new.filter(|(id, value)| there.get(*id) != Some(value));
    gone.chain(new.map(|(id, value)| (id.clone(), Some(value.clone()))))
        .collect()
}
