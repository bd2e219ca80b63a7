//! The turns in flight: made, and not durable yet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use morph_api::manifest::Durability;
use morph_api::store::Seq;
use morph_api::supervisor::RuleDifference;

use super::layers::{Touched, Undo};
use super::primary::Write;
use super::session::Delivered;
use crate::Dpid;
use crate::turn::Journal;

/// Accepted turns that are on their way to the store. It makes what waits durable in groups; with more than a group or two on
/// their way they would only wait there.
const PIPELINE: usize = 64;

/// The same where the store does not write each group: as many as come until it does.
const PIPELINE_UNSYNCED: usize = 4096;

/// Where an accepted turn stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// The store has been asked.
    Asked,
    /// The store has applied it, and not yet on disk.
    Stored { revision: u64 },
    /// The store committed it; an earlier one is not answered yet.
    Durable { revision: u64 },
    /// It is to be asked, for the first time or again, once the earlier ones are durable.
    Again,
    /// The first one: asked again then.
    Waiting { at: Instant },
}

/// A turn that is not durable yet.
#[derive(Debug, Clone)]
pub(super) struct Hand {
    pub(super) epoch: u64,
    /// The checkpoint's turn before it.
    pub(super) follows: u64,
    pub(super) answers: Option<Delivered>,
    pub(super) journal: Journal,
    pub(super) writes: Vec<Write>,
    /// Takes it back from the layers.
    pub(super) undo: Undo,
    /// The groups of rows that it changed, by step.
    pub(super) touched: Touched,
    /// Switches that are in step once it is accepted.
    pub(super) synced: Vec<(Dpid, RuleDifference)>,
    /// Of its transaction.
    pub(super) id: u64,
    pub(super) stage: Stage,
    /// The store said that it was applied at this revision, and has not been away since.
    pub(super) stored: Option<u64>,
    /// It may have been applied without an answer: one was lost, or the store was away since.
    pub(super) doubtful: bool,
    pub(super) patience: Duration,
    /// It was taken back before it was accepted; its event is to be answered again.
    pub(super) hollow: bool,
}

impl Hand {
    pub(super) fn seq(&self) -> Option<Seq> {
        self.answers.as_ref().map(|delivered| delivered.seq)
    }
}

/// At most one that the proxy has not accepted yet, and behind it those that the store has not made durable yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Hands {
    pub(super) accepting: Option<Hand>,
    /// A turn of an earlier epoch, unaccepted when this instance was made live again: the proxy's word that it is stale is
    /// still to come, and says nothing about the present epoch.
    pub(super) given_up: Option<u64>,
    pub(super) committing: VecDeque<Hand>,
    /// All up to this revision is on disk: the watch may say so before the answer to a turn that came earlier.
    durable_to: u64,
}

impl Hands {
    pub(super) fn is_empty(&self) -> bool {
        self.accepting.is_none() && self.committing.is_empty()
    }

    /// Whether another turn may be made in this epoch.
    pub(super) fn have_room(&self, epoch: u64, durability: Durability) -> bool {
        let most = match durability {
            Durability::Sync => PIPELINE,
            Durability::Async => PIPELINE_UNSYNCED,
        };
        self.accepting.is_none()
            && self.committing.len() < most
            && self.committing.iter().all(|hand| hand.epoch == epoch)
    }

    /// All up to this revision is on disk.
    pub(super) fn synced(&mut self, durable: u64) {
        self.durable_to = durable.max(self.durable_to);
        for hand in &mut self.committing {
            if let Stage::Stored { revision } = hand.stage
                && revision <= self.durable_to
            {
                hand.stage = Stage::Durable { revision };
            }
        }
    }

    /// The store may be another one, with other revisions.
    pub(super) fn begin_anew(&mut self) {
        self.durable_to = 0;
    }

    /// Something waits for them: those that are not on disk are asked again, and answered once they are.
    pub(super) fn hurry(&mut self) {
        for hand in &mut self.committing {
            if matches!(hand.stage, Stage::Stored { .. }) {
                hand.stage = Stage::Again;
            }
        }
    }

    /// The store is another than the one that said what it had applied.
    pub(super) fn doubt(&mut self) {
        self.hurry();
        self.begin_anew();
        for hand in &mut self.committing {
            (hand.stored, hand.doubtful) = (None, true);
        }
    }

    /// Whether any of them is still to be sent to the store.
    pub(super) fn are_held_up(&self) -> bool {
        let held = |hand: &Hand| matches!(hand.stage, Stage::Again | Stage::Waiting { .. });
        self.committing.iter().any(held)
    }

    /// Whether any of them changed rows of this group of a step.
    pub(super) fn changed(&self, step: usize, group: &str) -> bool {
        let all = self.accepting.iter().chain(&self.committing);
        let mut touched = all.filter_map(|hand| hand.touched.get(step));
        touched.any(|groups| groups.contains(group))
    }

    /// The groups of the view's rows that they changed.
    pub(super) fn groups(&self) -> impl Iterator<Item = String> {
        let all = self.accepting.iter().chain(&self.committing);
        let touched = all.filter_map(|hand| hand.touched.first());
        touched.flat_map(|groups| groups.iter().cloned())
    }

    /// All of them, the latest first.
    pub(super) fn take_back(&mut self) -> Vec<Hand> {
        let latest = self.accepting.take().into_iter();
        latest.chain(self.committing.drain(..).rev()).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.committing.front()?.stage {
            Stage::Waiting { at } => Some(at),
            Stage::Asked | Stage::Stored { .. } | Stage::Durable { .. } | Stage::Again => None,
        }
    }
}
