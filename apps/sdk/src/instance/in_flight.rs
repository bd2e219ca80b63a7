//! Turns in flight: made, and not durable yet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use morph_api::manifest::Durability;
use morph_api::store::Seq;

use super::delivery::Delivery;
use super::primary::Translation;
use crate::turn::Journal;

/// Most accepted turns on their way to the store. The store commits in groups; more than a group or two would only wait
/// there.
const PIPELINE: usize = 64;

/// Limit for an app with `durability = "async"`, whose turns do not wait for the disk.
const PIPELINE_UNSYNCED: usize = 4096;

/// Progress of an accepted turn towards the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// The transaction was sent.
    Sent,
    /// The store applied the transaction, and has not written it to disk yet.
    Applied { revision: u64 },
    /// The turn is on disk; an earlier one is not answered yet.
    Durable { revision: u64 },
    /// The transaction is to be sent, once the earlier ones are durable.
    Unsent,
    /// The oldest turn, to be sent again at this time.
    Waiting { until: Instant },
}

/// Transaction of a turn.
#[derive(Debug, Clone)]
pub(super) struct TurnCommit {
    pub(super) id: u64,
    pub(super) stage: Stage,
    /// Revision at which the store applied it, as long as the store has not been away since.
    pub(super) applied: Option<u64>,
    /// Whether it may have been applied without an answer: one was lost, or the store was away since.
    pub(super) outcome_unknown: bool,
    pub(super) backoff: Duration,
}

impl Default for TurnCommit {
    fn default() -> Self {
        TurnCommit {
            id: 0,
            stage: Stage::Sent,
            applied: None,
            outcome_unknown: false,
            backoff: Duration::ZERO,
        }
    }
}

/// A turn that is not durable yet.
#[derive(Debug, Clone)]
pub(super) struct InFlightTurn {
    pub(super) epoch: u64,
    /// Turn number of the checkpoint before this turn.
    pub(super) follows: u64,
    /// Events that the turn handled, in order.
    pub(super) deliveries: Vec<Delivery>,
    pub(super) journal: Journal,
    pub(super) translation: Translation,
    /// Reverted before the proxy accepted it; its events are to be handled again.
    pub(super) cancelled: bool,
    pub(super) commit: TurnCommit,
}

impl InFlightTurn {
    /// Whether it handled events and changed nothing, so that only its cursor is to be stored.
    pub(super) fn moves_cursor_only(&self) -> bool {
        !self.deliveries.is_empty()
            && self.journal.is_empty()
            && self.translation.writes.is_empty()
            && self.translation.undo.is_empty()
    }

    /// Whether the proxy delivers nothing before its event is durable.
    pub(super) fn is_awaited(&self) -> bool {
        self.deliveries.iter().any(|event| event.place.alone)
    }

    /// Last event that the turn handled.
    pub(super) fn seq(&self) -> Option<Seq> {
        self.deliveries.last().map(|delivery| delivery.place.seq)
    }
}

/// The turn that the proxy has not accepted, if there is one, and before it those that are not durable yet.
#[derive(Debug, Clone, Default)]
pub(super) struct InFlight {
    pub(super) accepting: Option<InFlightTurn>,
    pub(super) committing: VecDeque<InFlightTurn>,
    /// Accepted turns after those, as one, that changed no row, and the time at which their cursor is to be committed. A turn
    /// that is accepted before takes it along.
    unwritten: Option<(InFlightTurn, Instant)>,
    /// Revision up to which all is on disk. The watch may know this before the answer to an earlier turn arrives.
    durable_to: u64,
}

impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.accepting.is_none() && self.committing.is_empty() && self.unwritten.is_none()
    }

    /// Whether another turn may be made in this epoch.
    pub(super) fn has_room(&self, epoch: u64, durability: Durability) -> bool {
        let most = match durability {
            Durability::Sync => PIPELINE,
            Durability::Async => PIPELINE_UNSYNCED,
        };
        self.accepting.is_none()
            && self.committing.len() < most
            && self.committing.iter().all(|turn| turn.epoch == epoch)
    }

    /// Notes that all up to this revision is on disk.
    pub(super) fn synced(&mut self, durable: u64) {
        self.durable_to = durable.max(self.durable_to);
        for turn in &mut self.committing {
            if let Stage::Applied { revision } = turn.commit.stage
                && revision <= self.durable_to
            {
                turn.commit.stage = Stage::Durable { revision };
            }
        }
    }

    /// Forgets revisions, after which the store may be another one.
    pub(super) fn forget_revisions(&mut self) {
        self.durable_to = 0;
    }

    /// Has the turns sent again that are applied but not on disk: the store answers a repeated transaction from the
    /// disk.
    pub(super) fn flush(&mut self) {
        for turn in &mut self.committing {
            if matches!(turn.commit.stage, Stage::Applied { .. }) {
                turn.commit.stage = Stage::Unsent;
            }
        }
    }

    /// Makes all outcomes unknown: the store may be another one than the one that reported them.
    pub(super) fn forget_outcomes(&mut self) {
        self.flush();
        self.forget_revisions();
        for turn in &mut self.committing {
            (turn.commit.applied, turn.commit.outcome_unknown) = (None, true);
        }
    }

    /// Whether any turn is still to be sent to the store.
    pub(super) fn any_unsent(&self) -> bool {
        let is_unsent = |turn: &InFlightTurn| {
            matches!(turn.commit.stage, Stage::Unsent | Stage::Waiting { .. })
        };
        self.committing.iter().any(is_unsent)
    }

    /// Whether any turn changed rows of this group of a step.
    pub(super) fn changed(&self, step: usize, group: &str) -> bool {
        let all = self.accepting.iter().chain(&self.committing);
        let mut touched = all.filter_map(|turn| turn.translation.touched.get(step));
        touched.any(|groups| groups.contains(group))
    }

    /// Groups of the view's rows that the turns changed.
    pub(super) fn groups(&self) -> impl Iterator<Item = String> {
        let all = self.accepting.iter().chain(&self.committing);
        let touched = all.filter_map(|turn| turn.translation.touched.first());
        touched.flat_map(|groups| groups.iter().cloned())
    }

    /// Removes all turns, latest first.
    pub(super) fn drain(&mut self) -> Vec<InFlightTurn> {
        let latest = self.accepting.take().into_iter();
        let unwritten = self.unwritten.take().map(|(turn, _)| turn);
        latest
            .chain(unwritten)
            .chain(self.committing.drain(..).rev())
            .collect()
    }

    /// Keeps an accepted turn that changed no row: its cursor is committed with the next turn, or at this time.
    pub(super) fn keep_unwritten(&mut self, turn: InFlightTurn, due: Instant) {
        match &mut self.unwritten {
            Some((before, _)) => before.deliveries.extend(turn.deliveries),
            None => self.unwritten = Some((turn, due)),
        }
    }

    /// Has an accepted turn take the cursor along that is not committed yet.
    pub(super) fn take_along(&mut self, turn: &mut InFlightTurn) {
        if let Some((before, _)) = self.unwritten.take() {
            turn.deliveries.splice(0..0, before.deliveries);
        }
    }

    /// Removes the turn whose cursor is to be committed by itself, now or because its time has come. While a turn is
    /// unaccepted it stays: that turn has its number.
    pub(super) fn take_unwritten(&mut self, now: Option<Instant>) -> Option<InFlightTurn> {
        let is_due = |due: Instant| now.is_none_or(|now| due <= now);
        let is_free = self.accepting.is_none();
        let due = self.unwritten.take_if(|(_, due)| is_free && is_due(*due));
        due.map(|(turn, _)| turn)
    }

    /// Forgets the turns whose cursor is not committed: their events are delivered again.
    pub(super) fn drop_unwritten(&mut self) {
        self.unwritten = None;
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let resend = self
            .committing
            .front()
            .and_then(|turn| match turn.commit.stage {
                Stage::Waiting { until } => Some(until),
                Stage::Sent | Stage::Applied { .. } | Stage::Durable { .. } | Stage::Unsent => None,
            });
        let unwritten = self.unwritten.as_ref().map(|(_, due)| *due);
        let unwritten = unwritten.filter(|_| self.accepting.is_none());
        resend.into_iter().chain(unwritten).min()
    }
}
