//! The shadow: a copy of the primary in another schema version, built beside the turns and kept up to date.
//!
//! 1. At first every group of the view is stale. Later the groups are stale that a turn or others changed.
//! 2. The rows of some stale groups are computed, except for groups that an in-flight turn changed. Differences from
//!    the shadow are written in one transaction with the watermark. On a path of several steps the differences after
//!    one step make groups of the next one stale, and so on to the last.
//! 3. Each of these groups is mapped there and back; groups that come back different are counted, see
//!    [`super::losses`].
//! 4. The shadow is *current* when nothing is stale, nothing is being written, and the watermark has reached the last
//!    change of the primary.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use morph_api::store::{Keyspace, Op, Reason, Transaction};
use morph_api::supervisor::ShadowProgress;
use morph_store::op;
use serde_json::Value;

use super::in_flight::InFlight;
use super::io::CommitOutcome;
use super::losses::{Losses, loss};
use super::path::MigrationPath;
use super::primary::Primary;
use super::rows::{RowWrite, TouchedGroups, between};
use crate::MigrationError;
use crate::migration::Step;
use crate::turn::RowId;
use crate::view::Tables;

/// Rows in one transaction: small enough to pass between two turns unnoticed.
const CHUNK: usize = 500;
/// Shortest interval between updates of a complete shadow, so that many turns cost the store one update. A flush
/// updates it at once.
const UPKEEP: Duration = Duration::from_millis(20);
/// Backoff before a transaction is sent again whose outcome is unknown, or for which the disk was full.
const BACKOFF: Duration = Duration::from_millis(100);

/// Rows that the shadow is derived from.
#[derive(Debug, Clone)]
enum Basis {
    /// The app's own schema version, while the primary has another one: the view itself. Holds the shadow's rows by
    /// group.
    View(BTreeMap<String, BTreeMap<RowId, Value>>),
    /// Another schema version: the end of this path from the view.
    Path(MigrationPath),
}

#[derive(Debug, Clone)]
pub(super) struct Shadow {
    app: String,
    owner: String,
    pub(super) keyspace: u32,
    basis: Basis,
    /// Groups to be mapped, by step of the path.
    stale: TouchedGroups,
    rows: u64,
    /// Groups that would lose something on the way back.
    losses: Losses,
    watermark: u64,
    complete: bool,
    /// Time of the next update, unless a flush comes first.
    rests_until: Option<Instant>,
    sent: Option<PendingWrite>,
}

/// A transaction that is not answered yet.
#[derive(Debug, Clone)]
struct PendingWrite {
    id: u64,
    watermark: u64,
    transaction: Transaction,
    /// Whether all groups are in the shadow after this, but for those that in-flight turns changed.
    whole: bool,
    /// Time at which it is sent again.
    retry_at: Option<Instant>,
}

impl Shadow {
    /// Shadow in the app's own schema version, where the primary has another one.
    pub(super) fn of_view(
        app: &str,
        owner: &str,
        keyspace: u32,
        primary: &Primary,
        in_flight: &InFlight,
    ) -> Self {
        let mut stale = first_groups(primary, in_flight);
        let path = primary.path();
        stale.resize(path.len(), BTreeSet::new());
        for (at, stale) in stale.iter_mut().enumerate() {
            // Groups without rows in the source as well: they have to be checked.
            stale.extend(path.groups(at));
        }
        Shadow::new(app, owner, keyspace, Basis::View(BTreeMap::new()), stale)
    }

    /// Shadow in the schema version that these steps lead to.
    pub(super) fn over(
        app: &str,
        owner: &str,
        keyspace: u32,
        steps: Vec<Step>,
        primary: &Primary,
        in_flight: &InFlight,
    ) -> Self {
        let mut stale = first_groups(primary, in_flight);
        stale.resize(steps.len(), BTreeSet::new());
        let basis = Basis::Path(MigrationPath::new(steps));
        Shadow::new(app, owner, keyspace, basis, stale)
    }

    /// The former primary, kept as shadow of the one that it was swapped with. Its rows are those at the end of this
    /// path.
    pub(super) fn kept(app: &str, owner: &str, keyspace: &Keyspace, path: MigrationPath) -> Self {
        let stale = vec![BTreeSet::new(); path.len()];
        let rows = keyspace.keys;
        Shadow {
            rows,
            watermark: keyspace.watermark,
            complete: true,
            ..Shadow::new(app, owner, keyspace.id, Basis::Path(path), stale)
        }
    }

    fn new(app: &str, owner: &str, keyspace: u32, basis: Basis, stale: TouchedGroups) -> Self {
        Shadow {
            app: app.to_owned(),
            owner: owner.to_owned(),
            keyspace,
            basis,
            stale,
            rows: 0,
            losses: Losses::default(),
            watermark: 0,
            complete: false,
            rests_until: None,
            sent: None,
        }
    }

    /// Ends the pause between two updates.
    pub(super) fn flush(&mut self) {
        self.rests_until = None;
    }

    pub(super) fn touch(&mut self, touched: &TouchedGroups) {
        for (stale, touched) in self.stale.iter_mut().zip(touched) {
            stale.extend(touched.iter().cloned());
        }
    }

    /// Marks all groups beyond the first step as stale, after the primary was loaded again.
    pub(super) fn reloaded(&mut self, primary: &Primary) {
        if let Basis::View(_) = self.basis {
            for (at, stale) in self.stale.iter_mut().enumerate().skip(1) {
                stale.extend(primary.path().groups(at));
            }
        }
    }

    /// Whether it reflects all known changes of the primary.
    pub(super) fn is_current(&self, primary: &Primary) -> bool {
        self.is_clean()
            && self.sent.is_none()
            && self.watermark >= primary.modified
            && self.complete
    }

    fn is_clean(&self) -> bool {
        self.stale.iter().all(BTreeSet::is_empty)
    }

    pub(super) fn watermark(&self) -> u64 {
        self.watermark
    }

    /// Next transaction to be sent, if any.
    pub(super) fn next(
        &mut self,
        primary: &Primary,
        tables: &Tables,
        in_flight: &InFlight,
        id: &mut u64,
        now: Instant,
    ) -> Result<Option<(u64, Transaction)>, MigrationError> {
        if let Some(sent) = &mut self.sent {
            if sent.retry_at.is_none_or(|at| at > now) {
                return Ok(None);
            }
            sent.retry_at = None;
            return Ok(Some((sent.id, sent.transaction.clone())));
        }
        if self.rests_until.is_some_and(|until| until > now) {
            return Ok(None);
        }
        self.rests_until = None;
        let behind = self.watermark < primary.modified && primary.revision >= primary.modified;
        let idle = self.is_clean() && in_flight.is_empty() && (behind || !self.complete);
        let mut ops = Vec::new();
        let mut mapped = 0;
        while ops.len() < CHUNK && mapped < CHUNK {
            let Some((at, group)) = self.take(in_flight) else {
                break;
            };
            mapped += 1;
            self.write_group(at, &group, primary, tables, &mut ops)?;
        }
        if mapped == 0 && !idle {
            return Ok(None);
        }
        Ok(Some(self.send(ops, primary, in_flight, id)))
    }

    fn send(
        &mut self,
        mut ops: Vec<Op>,
        primary: &Primary,
        in_flight: &InFlight,
        id: &mut u64,
    ) -> (u64, Transaction) {
        let whole = self.next_settled(in_flight).is_none();
        // Until all groups are in it, the shadow reflects the revision that it did before.
        let watermark = match self.is_clean() && in_flight.is_empty() {
            true => self.watermark.max(primary.revision),
            false => self.watermark,
        };
        ops.push(op::watermark(
            &self.app,
            self.keyspace,
            &self.owner,
            watermark,
        ));
        let transaction = op::shared([], ops);
        *id += 1;
        self.sent = Some(PendingWrite {
            id: *id,
            watermark,
            whole,
            transaction: transaction.clone(),
            retry_at: None,
        });
        (*id, transaction)
    }

    /// First stale group that no in-flight turn changed, with its step.
    fn next_settled(&self, in_flight: &InFlight) -> Option<(usize, &String)> {
        let steps = self.stale.iter().enumerate();
        let mut all = steps.flat_map(|(at, stale)| stale.iter().map(move |group| (at, group)));
        match &self.basis {
            Basis::View(_) => all.find(|(at, group)| !in_flight.changed(*at, group)),
            // Beyond the first step only durable turns have left traces.
            Basis::Path(_) => all.find(|(at, group)| *at > 0 || !in_flight.changed(0, group)),
        }
    }

    fn take(&mut self, in_flight: &InFlight) -> Option<(usize, String)> {
        let (at, group) = self.next_settled(in_flight)?;
        let group = group.clone();
        self.stale.get_mut(at)?.remove(&group);
        Some((at, group))
    }

    fn write_group(
        &mut self,
        at: usize,
        group: &str,
        primary: &Primary,
        tables: &Tables,
        ops: &mut Vec<Op>,
    ) -> Result<(), MigrationError> {
        let source = |path: &MigrationPath| match at {
            0 => primary.own_group(group, tables),
            _ => path.source_rows(at, group),
        };
        let writes = match &mut self.basis {
            Basis::View(there) => {
                let path = primary.path();
                let (source, target) = (source(path), path.target_rows(at, group));
                let found = path
                    .step(at)
                    .and_then(|step| loss(step, group, &source, &target));
                self.losses.note(at, group, found);
                if at > 0 {
                    return Ok(());
                }
                let before = there.remove(group).unwrap_or_default();
                if !source.0.is_empty() {
                    there.insert(group.to_owned(), source.0.clone());
                }
                self.rows = (self.rows + source.0.len() as u64).saturating_sub(before.len() as u64);
                between(&before, source)
            }
            Basis::Path(path) => {
                let Some(step) = path.step(at) else {
                    return Ok(());
                };
                let source = source(path);
                let target = step.to_target(group, &source)?;
                let found = loss(step, group, &source, &target);
                self.losses.note(at, group, found);
                let writes = path.differences(at, group, target);
                let last = at + 1 == path.len();
                for (id, value) in &writes {
                    let before = path.set(at, id, value.clone());
                    if last {
                        let (more, less) = (value.is_some() as u64, before.is_some() as u64);
                        self.rows = (self.rows + more).saturating_sub(less);
                    }
                }
                if let Some(next) = path.step(at + 1)
                    && let Some(stale) = self.stale.get_mut(at + 1)
                {
                    let groups = writes.iter().map(|((t, k), _)| next.source_group(t, k));
                    stale.extend(groups);
                    return Ok(());
                }
                writes
            }
        };
        ops.extend(writes.into_iter().map(|write| self.op(write)));
        Ok(())
    }

    fn op(&self, ((table, key), value): RowWrite) -> Op {
        let row = op::row_in(&self.app, self.keyspace, table, key);
        match value {
            Some(value) => op::put(row, value.to_string()),
            None => op::delete(row),
        }
    }

    /// Handles the outcome of a transaction, if it is one of this shadow. An inner error: the shadow cannot be built.
    pub(super) fn committed(
        &mut self,
        id: u64,
        outcome: &CommitOutcome,
        now: Instant,
    ) -> Option<Result<(), String>> {
        let sent = self.sent.as_mut().filter(|sent| sent.id == id)?;
        match outcome {
            CommitOutcome::Committed(_) => {
                self.watermark = sent.watermark;
                self.complete |= sent.whole;
                self.rests_until = self.complete.then(|| now + UPKEEP);
                self.sent = None;
                Some(Ok(()))
            }
            CommitOutcome::Refused(refusal) if refusal.reason != Reason::DiskFull => {
                Some(Err(refusal.to_string()))
            }
            CommitOutcome::Refused(_) | CommitOutcome::Unknown(_) => {
                sent.retry_at = Some(now + BACKOFF);
                None
            }
        }
    }

    pub(super) fn progress(&self, primary: &Primary) -> ShadowProgress {
        let further = match &self.basis {
            Basis::View(_) => primary.path().further_groups(),
            Basis::Path(path) => path.further_groups(),
        };
        let groups_total = primary.groups().len() as u64 + further;
        let stale: usize = self.stale.iter().map(BTreeSet::len).sum();
        ShadowProgress {
            keyspace: self.keyspace,
            watermark: self.watermark,
            rows: self.rows,
            complete: self.complete,
            error: String::new(),
            groups: groups_total.saturating_sub(stale as u64),
            groups_total,
            source_rows: primary.rows(),
            lossy: self.losses.count(),
            losses: self.losses.first(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.sent {
            Some(sent) => sent.retry_at,
            None => self.rests_until,
        }
    }
}

/// All groups of the first step. Groups of in-flight turns are among them: a reverted turn may bring their rows back.
fn first_groups(primary: &Primary, in_flight: &InFlight) -> TouchedGroups {
    vec![
        primary
            .groups()
            .cloned()
            .chain(in_flight.groups())
            .collect(),
    ]
}
