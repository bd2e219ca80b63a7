//! A shadow of the primary in another schema version, made beside the turns and kept up.
//!
//! 1. At first every group of the view is stale. Later those are that a turn or others changed.
//! 2. The rows of some stale groups, except those that a turn in flight changed, are computed, and what differs from the shadow
//!    is written, in one transaction with the watermark. Over several steps, what differs after the first makes groups of the next
//!    one stale, and so on to the last.
//! 3. Each of these groups is mapped there and back: those that are not the same then are counted, see [`super::losses`].
//! 4. The shadow is *current* when nothing is stale, nothing is on its way, and the watermark has reached the last change of the primary.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use morph_api::store::{Keyspace, Op, Reason, Transaction};
use morph_api::supervisor::ShadowProgress;
use morph_store::op;
use serde_json::Value;

use super::Outcome;
use super::hands::Hands;
use super::layers::{Layers, Touched, between};
use super::losses::{Losses, loss};
use super::primary::{Primary, Write};
use crate::MigrationError;
use crate::migration::Hop;
use crate::turn::RowId;
use crate::view::Tables;

/// Rows in one transaction: small enough to pass between two turns unnoticed.
const CHUNK: usize = 500;
/// A shadow that is whole follows the primary in steps of at least this, so that its upkeep takes the store's time once for many
/// turns. When somebody waits for it, it follows at once.
const UPKEEP: Duration = Duration::from_millis(20);
/// When a transaction whose outcome is not known, or for which there was no space, is sent again.
const AGAIN: Duration = Duration::from_millis(100);

/// What it is made of.
#[derive(Debug, Clone)]
enum Made {
    /// In the app's own schema version: of the view, which is read through the migrations. What the shadow's rows are, by group.
    OfView(BTreeMap<String, BTreeMap<RowId, Value>>),
    /// In another one: of the layers from the view to it.
    OfLayers(Layers),
}

#[derive(Debug, Clone)]
pub(super) struct Shadow {
    app: String,
    owner: String,
    pub(super) keyspace: u32,
    made: Made,
    /// Groups to be mapped, by step.
    stale: Touched,
    /// How many rows it has.
    rows: u64,
    /// What would be lost on the way back.
    losses: Losses,
    watermark: u64,
    complete: bool,
    /// When it is brought up to date next, unless somebody waits for it.
    rests_until: Option<Instant>,
    sent: Option<Sent>,
}

#[derive(Debug, Clone)]
struct Sent {
    id: u64,
    watermark: u64,
    transaction: Transaction,
    /// All groups are in it or were before, but for those that turns in flight changed.
    whole: bool,
    /// When it is sent again.
    again: Option<Instant>,
}

impl Shadow {
    /// In the app's own schema version, where the primary has another one.
    pub(super) fn of_view(
        app: &str,
        owner: &str,
        keyspace: u32,
        primary: &Primary,
        hands: &Hands,
    ) -> Self {
        let mut stale = first(primary, hands);
        let layers = primary.layers();
        stale.resize(layers.len(), BTreeSet::new());
        for (at, stale) in stale.iter_mut().enumerate() {
            // Also those that have no rows on the near side: they are to be checked.
            stale.extend(layers.groups(at));
        }
        Shadow::new(app, owner, keyspace, Made::OfView(BTreeMap::new()), stale)
    }

    /// In another one, that these steps lead to.
    pub(super) fn over(
        app: &str,
        owner: &str,
        keyspace: u32,
        way: Vec<Hop>,
        primary: &Primary,
        hands: &Hands,
    ) -> Self {
        let mut stale = first(primary, hands);
        stale.resize(way.len(), BTreeSet::new());
        let made = Made::OfLayers(Layers::new(way));
        Shadow::new(app, owner, keyspace, made, stale)
    }

    /// The former primary, which stays beside the one that it was swapped with: what it has stands in these layers.
    pub(super) fn kept(app: &str, owner: &str, keyspace: &Keyspace, layers: Layers) -> Self {
        let stale = vec![BTreeSet::new(); layers.len()];
        let rows = keyspace.keys;
        Shadow {
            rows,
            watermark: keyspace.watermark,
            complete: true,
            ..Shadow::new(app, owner, keyspace.id, Made::OfLayers(layers), stale)
        }
    }

    fn new(app: &str, owner: &str, keyspace: u32, made: Made, stale: Touched) -> Self {
        Shadow {
            app: app.to_owned(),
            owner: owner.to_owned(),
            keyspace,
            made,
            stale,
            rows: 0,
            losses: Losses::default(),
            watermark: 0,
            complete: false,
            rests_until: None,
            sent: None,
        }
    }

    /// Somebody waits until it reflects all turns.
    pub(super) fn hurry(&mut self) {
        self.rests_until = None;
    }

    /// Groups changed, by step.
    pub(super) fn touch(&mut self, touched: &Touched) {
        for (stale, touched) in self.stale.iter_mut().zip(touched) {
            stale.extend(touched.iter().cloned());
        }
    }

    /// The primary was loaded again: what is known of it beyond the view may be other rows.
    pub(super) fn look_again(&mut self, primary: &Primary) {
        if let Made::OfView(_) = self.made {
            for (at, stale) in self.stale.iter_mut().enumerate().skip(1) {
                stale.extend(primary.layers().groups(at));
            }
        }
    }

    /// Whether it reflects all that is known of the primary.
    pub(super) fn is_current(&self, primary: &Primary) -> bool {
        self.is_done() && self.sent.is_none() && self.watermark >= primary.modified && self.complete
    }

    fn is_done(&self) -> bool {
        self.stale.iter().all(BTreeSet::is_empty)
    }

    pub(super) fn watermark(&self) -> u64 {
        self.watermark
    }

    /// The next transaction, if there is one to be sent.
    pub(super) fn next(
        &mut self,
        primary: &Primary,
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
        if self.rests_until.is_some_and(|until| until > now) {
            return Ok(None);
        }
        self.rests_until = None;
        let behind = self.watermark < primary.modified && primary.revision >= primary.modified;
        let idle = self.is_done() && hands.is_empty() && (behind || !self.complete);
        let mut ops = Vec::new();
        let mut mapped = 0;
        while ops.len() < CHUNK && mapped < CHUNK {
            let Some((at, group)) = self.take(hands) else {
                break;
            };
            mapped += 1;
            self.write_group(at, &group, primary, tables, &mut ops)?;
        }
        if mapped == 0 && !idle {
            return Ok(None);
        }
        Ok(Some(self.send(ops, primary, hands, id)))
    }

    fn send(
        &mut self,
        mut ops: Vec<Op>,
        primary: &Primary,
        hands: &Hands,
        id: &mut u64,
    ) -> (u64, Transaction) {
        let whole = self.settled(hands).is_none();
        // Until all is in it, the shadow reflects what it did.
        let watermark = match self.is_done() && hands.is_empty() {
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
        self.sent = Some(Sent {
            id: *id,
            watermark,
            whole,
            transaction: transaction.clone(),
            again: None,
        });
        (*id, transaction)
    }

    /// A stale group that no turn in flight changed, of the first step that has one.
    fn settled(&self, hands: &Hands) -> Option<(usize, &String)> {
        let steps = self.stale.iter().enumerate();
        let mut all = steps.flat_map(|(at, stale)| stale.iter().map(move |group| (at, group)));
        match &self.made {
            Made::OfView(_) => all.find(|(at, group)| !hands.changed(*at, group)),
            // Beyond the first step only what was settled is known.
            Made::OfLayers(_) => all.find(|(at, group)| *at > 0 || !hands.changed(0, group)),
        }
    }

    fn take(&mut self, hands: &Hands) -> Option<(usize, String)> {
        let (at, group) = self.settled(hands)?;
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
        let near = |layers: &Layers| match at {
            0 => primary.own_group(group, tables),
            _ => layers.near_rows(at, group),
        };
        let writes = match &mut self.made {
            Made::OfView(there) => {
                let layers = primary.layers();
                let (near, far) = (near(layers), layers.far_rows(at, group));
                let found = layers.hop(at).and_then(|hop| loss(hop, group, &near, &far));
                self.losses.note(at, group, found);
                if at > 0 {
                    return Ok(());
                }
                let before = there.remove(group).unwrap_or_default();
                if !near.0.is_empty() {
                    there.insert(group.to_owned(), near.0.clone());
                }
                self.rows = (self.rows + near.0.len() as u64).saturating_sub(before.len() as u64);
                between(&before, near)
            }
            Made::OfLayers(layers) => {
                let Some(hop) = layers.hop(at) else {
                    return Ok(());
                };
                let near = near(layers);
                let target = hop.to_far(group, &near)?;
                let found = loss(hop, group, &near, &target);
                self.losses.note(at, group, found);
                let writes = layers.differences(at, group, target);
                let last = at + 1 == layers.len();
                for (id, value) in &writes {
                    let before = layers.set(at, id, value.clone());
                    if last {
                        let (more, less) = (value.is_some() as u64, before.is_some() as u64);
                        self.rows = (self.rows + more).saturating_sub(less);
                    }
                }
                if let Some(next) = layers.hop(at + 1)
                    && let Some(stale) = self.stale.get_mut(at + 1)
                {
                    let groups = writes.iter().map(|((t, k), _)| next.near_group(t, k));
                    stale.extend(groups);
                    return Ok(());
                }
                writes
            }
        };
        ops.extend(writes.into_iter().map(|write| self.op(write)));
        Ok(())
    }

    fn op(&self, ((table, key), value): Write) -> Op {
        let row = op::row_in(&self.app, self.keyspace, table, key);
        match value {
            Some(value) => op::put(row, value.to_string()),
            None => op::delete(row),
        }
    }

    /// A transaction's outcome, if it is one of this shadow. An error: the shadow cannot be made.
    pub(super) fn committed(
        &mut self,
        id: u64,
        outcome: &Outcome,
        now: Instant,
    ) -> Option<Result<(), String>> {
        let sent = self.sent.as_mut().filter(|sent| sent.id == id)?;
        match outcome {
            Outcome::Committed(_) => {
                self.watermark = sent.watermark;
                self.complete |= sent.whole;
                self.rests_until = self.complete.then(|| now + UPKEEP);
                self.sent = None;
                Some(Ok(()))
            }
            Outcome::Refused(refusal) if refusal.reason != Reason::DiskFull => {
                Some(Err(refusal.to_string()))
            }
            Outcome::Refused(_) | Outcome::Unknown(_) => {
                sent.again = Some(now + AGAIN);
                None
            }
        }
    }

    pub(super) fn progress(&self, primary: &Primary) -> ShadowProgress {
        let further = match &self.made {
            Made::OfView(_) => primary.layers().further_groups(),
            Made::OfLayers(layers) => layers.further_groups(),
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
            Some(sent) => sent.again,
            None => self.rests_until,
        }
    }
}

/// All groups at the first step: a turn in flight may yet be taken back, and its rows be there again.
fn first(primary: &Primary, hands: &Hands) -> Touched {
    vec![primary.groups().cloned().chain(hands.groups()).collect()]
}
