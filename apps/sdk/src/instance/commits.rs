//! Turns in flight, from acceptance by the proxy until they are durable.
//!
//! 1. Accepted: the rows and the cursor are sent to the store, if there are any. The next turn is made meanwhile. Each
//!    transaction names the turn that it follows, so that none is applied without those before it. A turn that changed no
//!    row has no transaction of its own: the next one takes its cursor along, which otherwise is sent after 10 ms, and at once
//!    where something waits for it.
//! 2. Committed, and all turns before it: the proxy may forget the events. With `durability = "async"` the store answers
//!    before a turn is on disk; such turns stay in flight until they are. A flush sends their transactions again: the
//!    store answers a repeated transaction from the disk.
//! 3. The store is away, or its disk is full: the turns are kept and sent again until their outcome is known. The one
//!    that failed goes first and alone; once it is durable all those behind it go together, so that the store can group
//!    them.
//! 4. Refused: see [`Instance::refused`].

use std::time::Duration;

use morph_api::manifest::Durability;
use morph_api::session::{Accepted, Durable, Rejected, from_app};
use morph_api::store::{self, Reason, Seq, Transaction};
use morph_store::{Refusal, op};

use super::delivery::Delivery;
use super::in_flight::{InFlightTurn, Stage};
use super::{CommitOutcome, FatalError, Instance, Now, Output, Role};
use crate::App;
use crate::alarms;
use crate::backoff::Backoff;

/// Backoff before a transaction of unknown outcome is sent again: shortest and longest.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

/// Time until the cursor of turns that changed no row is committed by itself.
const CURSOR: Duration = Duration::from_millis(10);

impl<A: App> Instance<A> {
    /// Handles the proxy's acceptance: the turn's commands are on their way to the switches.
    pub(super) fn accepted(&mut self, accepted: &Accepted, now: Now, out: &mut Vec<Output>) {
        let &Accepted {
            turn: number,
            epoch,
        } = accepted;
        let is_it = |turn: &mut InFlightTurn| {
            turn.follows + 1 == number && (epoch == 0 || turn.epoch == epoch)
        };
        let Some(mut turn) = self.in_flight.accepting.take_if(is_it) else {
            tracing::debug!(
                "the proxy accepted turn {number} of epoch {epoch}, which is no longer in flight"
            );
            return;
        };
        if turn.cancelled {
            self.redeliver([turn]);
            return;
        }
        let cursor = match &self.role {
            Role::Live(live) => live.cursor,
            Role::Waiting | Role::Paused => Seq::ZERO,
        };
        let past = turn.seq().is_some_and(|seq| seq <= cursor);
        if past {
            // The events' effects are durable already, and the proxy does not know yet.
            out.push(durable(cursor));
        }
        if (past || turn.seq().is_none()) && turn.translation.writes.is_empty() {
            return;
        }
        if turn.moves_cursor_only() && !turn.is_awaited() {
            let due = now.instant + CURSOR;
            return self.in_flight.keep_unwritten(turn, due);
        }
        self.in_flight.take_along(&mut turn);
        self.put_in_store(turn, out);
    }

    /// Sends the transaction of an accepted turn, or keeps it until those before it are sent.
    fn put_in_store(&mut self, mut turn: InFlightTurn, out: &mut Vec<Output>) {
        self.last_commit += 1;
        turn.commit.id = self.last_commit;
        if self.in_flight.any_unsent() {
            // Turns before it are not sent yet: the store would refuse this one.
            turn.commit.stage = Stage::Unsent;
        } else {
            let durability = match turn.is_awaited() {
                true => Durability::Sync,
                false => self.config.manifest.durability,
            };
            out.push(self.commit(&turn, durability));
        }
        self.in_flight.committing.push_back(turn);
    }

    fn commit(&self, turn: &InFlightTurn, durability: Durability) -> Output {
        let app = &self.config.manifest.name;
        let keyspace = self.primary.keyspace.as_ref();
        let keyspace = keyspace.map_or(0, |keyspace| keyspace.id);
        let ops = turn.translation.writes.iter().map(|((table, key), value)| {
            let row = op::row_in(app, keyspace, table, key);
            match value {
                Some(value) => op::put(row, value.to_string()),
                None => op::delete(row),
            }
        });
        let id = turn.commit.id;
        let turn = store::Turn {
            app: app.clone(),
            node: self.config.node.clone(),
            epoch: turn.epoch,
            follows: turn.follows,
            cursor: turn.seq(),
        };
        let transaction: Transaction = op::turn(turn, ops);
        let transaction = match durability {
            Durability::Sync => transaction,
            Durability::Async => op::unsynced(transaction),
        };
        Output::Commit { id, transaction }
    }

    /// Handles the proxy's rejection: nothing of the turn was sent.
    pub(super) fn rejected(&mut self, rejected: &Rejected) -> Result<(), FatalError> {
        let rejection = format!(
            "the proxy rejected turn {}: {}",
            rejected.turn, rejected.message
        );
        if !rejected.stale {
            return Err(FatalError(rejection));
        }
        tracing::info!("{rejection}");
        if rejected.epoch != 0
            && matches!(&self.role, Role::Live(live) if live.epoch > rejected.epoch)
        {
            // The rejected turn is of an earlier epoch: the instance is live again.
            return Ok(());
        }
        self.drop_unaccepted();
        self.pause();
        Ok(())
    }

    /// Reverts the turn that the proxy has not accepted.
    pub(super) fn drop_unaccepted(&mut self) {
        if let Some(mut turn) = self.in_flight.accepting.take() {
            self.undo(&mut turn);
        }
    }

    fn undo(&mut self, turn: &mut InFlightTurn) {
        let journal = std::mem::take(&mut turn.journal);
        let ids: Vec<_> = journal.keys().cloned().collect();
        self.engine.undo(journal);
        self.primary.note(ids.iter(), &self.engine.tables);
        self.primary
            .undo(std::mem::take(&mut turn.translation.undo));
        self.settle();
    }

    /// Handles the outcome of a transaction, of a turn or of the shadow.
    pub(super) fn committed(
        &mut self,
        id: u64,
        outcome: CommitOutcome,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), FatalError> {
        let mut turns = self.in_flight.committing.iter_mut().enumerate();
        let Some((at, turn)) = turns.find(|(_, turn)| turn.commit.id == id) else {
            self.shadow_committed(id, &outcome, now, out);
            return Ok(());
        };
        let (number, follows, commit) = (turn.follows + 1, turn.follows, &mut turn.commit);
        commit.outcome_unknown |= matches!(outcome, CommitOutcome::Unknown(_));
        let reason = match outcome {
            CommitOutcome::Committed(committed) => {
                let revision = committed.revision;
                commit.stage = Stage::Applied { revision };
                commit.applied = Some(revision);
                // The checkpoint moves turn by turn: all turns before this one are applied too.
                self.in_flight.synced(committed.durable);
                return Ok(());
            }
            // The outcome has a meaning only once the turns before it are known.
            _ if at > 0 => {
                commit.stage = Stage::Unsent;
                return Ok(());
            }
            // The transaction arrived before those that are durable now.
            CommitOutcome::Refused(refusal) if is_behind(&refusal, follows) => refusal.to_string(),
            CommitOutcome::Refused(refusal) if refusal.reason != Reason::DiskFull => {
                return self.refused(&refusal);
            }
            CommitOutcome::Refused(refusal) => refusal.to_string(),
            CommitOutcome::Unknown(away) => {
                commit.applied = None;
                away
            }
        };
        if commit.backoff.is_zero() {
            tracing::warn!("turn {number} is not stored yet, and is sent again: {reason}");
        }
        commit.backoff = BACKOFF.after(commit.backoff);
        commit.stage = Stage::Waiting {
            until: now.instant + commit.backoff,
        };
        Ok(())
    }

    /// Releases durable turns in order, and sends those again whose backoff is over.
    pub(super) fn continue_commits(&mut self, now: Now, out: &mut Vec<Output>) {
        let in_haste = self.deferred.is_some() || self.shadow.is_some() || self.is_ending();
        if in_haste {
            self.in_flight.flush();
        }
        let due = (!in_haste).then_some(now.instant);
        if let Some(turn) = self.in_flight.take_unwritten(due) {
            self.put_in_store(turn, out);
        }
        while let Some(turn) = self.in_flight.committing.front_mut() {
            match turn.commit.stage {
                Stage::Durable { revision } => {
                    if let Some(turn) = self.in_flight.committing.pop_front() {
                        self.durable(turn, revision, out);
                    }
                }
                Stage::Waiting { until } if until > now.instant => return,
                Stage::Sent | Stage::Applied { .. } => return,
                Stage::Waiting { .. } => {
                    turn.commit.stage = Stage::Unsent;
                    return self.send_unsent(1, out);
                }
                Stage::Unsent => return self.send_unsent(usize::MAX, out),
            }
        }
    }

    /// Whether something waits for the last in-flight turn.
    fn is_ending(&self) -> bool {
        match &self.role {
            Role::Live(live) => live.quiesce || live.flush.is_some(),
            Role::Waiting | Role::Paused => true,
        }
    }

    /// Sends the transactions of the first `most` turns that are to be sent, in order.
    fn send_unsent(&mut self, most: usize, out: &mut Vec<Output>) {
        let mut turns = std::mem::take(&mut self.in_flight.committing);
        let unsent = turns
            .iter_mut()
            .filter(|turn| turn.commit.stage == Stage::Unsent);
        for turn in unsent.take(most) {
            turn.commit.stage = Stage::Sent;
            out.push(self.commit(turn, Durability::Sync));
        }
        self.in_flight.committing = turns;
    }

    fn durable(&mut self, turn: InFlightTurn, revision: u64, out: &mut Vec<Output>) {
        let seq = turn.seq();
        alarms::log(&turn.journal, &turn.translation.writes);
        self.primary.committed(revision, turn.translation.writes);
        let Role::Live(live) = &mut self.role else {
            return;
        };
        if live.epoch != turn.epoch {
            // The resume has counted it already: nothing of an older epoch commits after the fence.
            return;
        }
        live.turn = turn.follows + 1;
        if let Some(seq) = seq {
            live.cursor = seq;
            out.push(durable(seq));
        }
    }

    /// Handles the store's refusal of the oldest accepted turn; the turns behind it are refused with it.
    fn refused(&mut self, refusal: &Refusal) -> Result<(), FatalError> {
        let Some(first) = self.in_flight.committing.front_mut() else {
            return Ok(());
        };
        let (number, epoch) = (first.follows + 1, first.epoch);
        let message = format!("the store refused turn {number}: {refusal}");
        match refusal.reason {
            Reason::Already if first.commit.applied.is_some() => {
                let revision = first.commit.applied.unwrap_or_default();
                first.commit.stage = Stage::Durable { revision };
            }
            // Sent before, and the answer was lost. Only a new snapshot shows at which revision it was applied.
            Reason::Already => {
                let revision = self.primary.revision;
                first.commit.stage = Stage::Durable { revision };
                self.reload();
            }
            // Another instance has become live.
            Reason::StaleEpoch => {
                tracing::info!("{message}");
                // Turns that were applied before the fence became durable with it.
                let is_applied = |turn: &mut InFlightTurn| turn.commit.applied.is_some();
                while let Some(turn) = self.in_flight.committing.pop_front_if(is_applied) {
                    let revision = turn.commit.applied.unwrap_or_default();
                    alarms::log(&turn.journal, &turn.translation.writes);
                    self.primary.committed(revision, turn.translation.writes);
                }
                // Further ones may have been applied, with their answers lost: only a new snapshot shows.
                let mut turns = self.in_flight.committing.iter();
                let outcome_unknown = turns.any(|turn| turn.commit.outcome_unknown);
                for mut turn in self.in_flight.drain() {
                    self.undo(&mut turn);
                }
                if outcome_unknown {
                    self.reload();
                }
                if matches!(&self.role, Role::Live(live) if live.epoch == epoch) {
                    self.pause();
                }
            }
            // The view is not what the store has: load it again, and handle the events again on it.
            Reason::Conflict | Reason::Gap => {
                tracing::warn!("{message}");
                self.replay(epoch, refusal);
                self.reload();
            }
            // Nothing of it was stored: its events are handled again, each in a turn of its own.
            Reason::TooLarge if first.deliveries.len() > 1 => {
                tracing::warn!("{message}; its events are handled again one by one");
                let last = first.seq().unwrap_or(Seq::ZERO);
                self.replay(epoch, refusal);
                if let Role::Live(live) = &mut self.role {
                    live.singly_to = last;
                }
            }
            _ => return Err(FatalError(message)),
        }
        Ok(())
    }

    fn replay(&mut self, epoch: u64, refusal: &Refusal) {
        let unaccepted = self.in_flight.accepting.is_some();
        let mut turns = self.in_flight.drain();
        for turn in &mut turns {
            self.undo(turn);
        }
        let Role::Live(live) = &mut self.role else {
            return;
        };
        if live.epoch != epoch {
            return;
        }
        if let Some(checkpoint) = &refusal.checkpoint {
            live.turn = checkpoint.turn;
            live.cursor = checkpoint.cursor.unwrap_or(live.cursor);
        }
        if unaccepted {
            // The proxy is still to accept or reject it.
            let mut latest = turns.remove(0);
            latest.cancelled = true;
            latest.translation.touched.clear();
            self.in_flight.accepting = Some(latest);
        }
        self.redeliver(turns.into_iter().rev());
    }

    /// Puts the events of accepted turns, in order, before the unhandled ones. Their packets have left already.
    fn redeliver(&mut self, turns: impl IntoIterator<Item = InFlightTurn>) {
        let Role::Live(live) = &self.role else {
            return;
        };
        let cursor = live.cursor;
        let place = self.queue.iter().take_while(|queued| queued.repeated);
        let place = place.count();
        let handled = turns.into_iter().flat_map(|turn| turn.deliveries);
        let handled = handled.filter(|delivery| delivery.place.seq > cursor);
        for (place, delivery) in (place..).zip(handled) {
            let delivery = Delivery {
                repeated: true,
                ..delivery
            };
            self.queue.insert(place, delivery);
        }
    }
}

/// Whether the store found a gap because an earlier turn was not stored yet.
fn is_behind(refusal: &Refusal, follows: u64) -> bool {
    let checkpoint = refusal.checkpoint.as_ref();
    refusal.reason == Reason::Gap && checkpoint.is_some_and(|found| found.turn < follows)
}

fn durable(cursor: Seq) -> Output {
    let cursor = Some(cursor);
    Output::Control(from_app::Record::Durable(Durable { cursor }))
}
