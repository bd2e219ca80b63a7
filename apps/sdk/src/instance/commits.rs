//! Turns that were sent, until they are durable.
//!
//! 1. Accepted: the rows and the cursor are committed, if there are any.
//! 2. Committed: the proxy may forget the event.
//! 3. The store is away, or has no space: the turn is kept and sent again until its outcome is known.
//! 4. Refused: see [`Instance::refused`].

use std::time::Duration;

use morph_api::session::{Durable, from_app};
use morph_api::store::{Reason, Seq, Transaction, Turn};
use morph_store::{Refusal, op};

use super::session::Delivered;
use super::turns::{Hand, Stage};
use super::{Fatal, Instance, Now, Outcome, Output, Role};
use crate::App;
use crate::turn::Journal;

/// How soon a transaction is sent again when its outcome is not known, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

impl<A: App> Instance<A> {
    /// The proxy has the turn's commands on their way.
    pub(super) fn accepted(&mut self, turn: u64, out: &mut Vec<Output>) {
        let Some(mut hand) = self
            .hand
            .take_if(|hand| hand.stage == Stage::Accepting && hand.follows + 1 == turn)
        else {
            tracing::debug!("turn {turn} was accepted late");
            return;
        };
        self.say_synced(std::mem::take(&mut hand.synced), out);
        let cursor = match &self.role {
            Role::Live(live) => live.cursor,
            Role::Waiting | Role::Paused => Seq::ZERO,
        };
        let past = hand.seq().is_some_and(|seq| seq <= cursor);
        if past {
            // Its effects are durable; the proxy had not heard of that.
            out.push(durable(cursor));
        }
        if (past || hand.seq().is_none()) && hand.writes.is_empty() {
            self.touch_copy(&hand.journal);
            return;
        }
        self.last_commit += 1;
        hand.stage = Stage::Committing {
            id: self.last_commit,
        };
        out.push(Output::Commit {
            id: self.last_commit,
            transaction: self.transaction(&hand),
        });
        self.hand = Some(hand);
    }

    fn transaction(&self, hand: &Hand) -> Transaction {
        let app = &self.config.manifest.name;
        let space = self.truth.space.as_ref().map_or(0, |space| space.id);
        let turn = Turn {
            app: app.clone(),
            node: self.config.node.clone(),
            epoch: hand.epoch,
            follows: hand.follows,
            cursor: hand.seq(),
        };
        let ops = hand.writes.iter().map(|((table, key), value)| {
            let row = op::row_in(app, space, table, key);
            match value {
                Some(value) => op::put(row, value.to_string()),
                None => op::delete(row),
            }
        });
        op::turn(turn, ops)
    }

    /// The proxy sent nothing of the turn.
    pub(super) fn rejected(&mut self, turn: u64, stale: bool, message: &str) -> Result<(), Fatal> {
        if !stale {
            return Err(Fatal(format!("turn {turn} was rejected: {message}")));
        }
        tracing::info!("turn {turn} was rejected: {message}");
        self.drop_unaccepted();
        self.pause();
        Ok(())
    }

    /// Takes back a turn that the proxy has not accepted, and will not.
    pub(super) fn drop_unaccepted(&mut self) {
        if let Some(hand) = self.hand.take_if(|hand| hand.stage == Stage::Accepting) {
            self.undo(hand.journal);
        }
    }

    fn undo(&mut self, journal: Journal) {
        let ids: Vec<_> = journal.keys().cloned().collect();
        self.engine.undo(journal);
        self.truth.note(ids.iter(), &self.engine.tables);
        self.settle();
    }

    /// Sends the transaction in hand again, when it is time.
    pub(super) fn commit_again(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(hand) = &mut self.hand else {
            return;
        };
        let Stage::Waiting { id, at } = hand.stage else {
            return;
        };
        if at > now.instant {
            return;
        }
        hand.stage = Stage::Committing { id };
        if let Some(hand) = &self.hand {
            out.push(Output::Commit {
                id,
                transaction: self.transaction(hand),
            });
        }
    }

    /// What came of a transaction: of the turn's in hand, or of the copy's.
    pub(super) fn committed(
        &mut self,
        id: u64,
        outcome: Outcome,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), Fatal> {
        let is_it = |hand: &mut Hand| hand.stage == Stage::Committing { id };
        let Some(mut hand) = self.hand.take_if(is_it) else {
            self.copy_committed(id, &outcome, now, out);
            return Ok(());
        };
        let away = match outcome {
            Outcome::Committed(committed) => {
                self.durable(hand, committed.revision, out);
                return Ok(());
            }
            Outcome::Refused(refusal) if refusal.reason != Reason::NoSpace => {
                return self.refused(hand, &refusal, out);
            }
            Outcome::Refused(refusal) => refusal.to_string(),
            Outcome::Unknown(away) => away,
        };
        if hand.patience.is_zero() {
            tracing::warn!("turn {} waits: {away}", hand.follows + 1);
        }
        let (least, most) = AGAIN;
        hand.patience = (hand.patience * 2).clamp(least, most);
        let at = now.instant + hand.patience;
        hand.stage = Stage::Waiting { id, at };
        self.hand = Some(hand);
        Ok(())
    }

    fn durable(&mut self, hand: Hand, revision: u64, out: &mut Vec<Output>) {
        let seq = hand.seq();
        self.truth.committed(revision, hand.writes);
        self.touch_copy(&hand.journal);
        let Role::Live(live) = &mut self.role else {
            return;
        };
        if live.epoch != hand.epoch {
            // The resume since then knows of it: nothing of an older epoch lands after the fence.
            return;
        }
        live.turn = hand.follows + 1;
        if let Some(seq) = seq {
            live.cursor = seq;
            out.push(durable(seq));
        }
    }

    /// The store refused a turn that the proxy had accepted.
    fn refused(
        &mut self,
        hand: Hand,
        refusal: &Refusal,
        out: &mut Vec<Output>,
    ) -> Result<(), Fatal> {
        let turn = hand.follows + 1;
        match refusal.reason {
            // Sent before, and its answer was lost. At which revision it was applied, a new snapshot shows.
            Reason::Already => {
                let revision = self.truth.revision;
                self.durable(hand, revision, out);
                self.reload();
            }
            // Another instance has been let in.
            Reason::StaleEpoch => {
                tracing::info!("turn {turn} was refused: {refusal}");
                let current = matches!(&self.role, Role::Live(live) if live.epoch == hand.epoch);
                self.undo(hand.journal);
                if current {
                    self.pause();
                }
            }
            // The view was not what is stored: load it again, and answer the event again from there.
            Reason::Conflict | Reason::Gap => {
                tracing::warn!("turn {turn} was refused: {refusal}");
                self.undo(hand.journal);
                self.answer_again(hand.epoch, hand.answers, refusal);
                self.reload();
            }
            _ => return Err(Fatal(format!("turn {turn} was refused: {refusal}"))),
        }
        Ok(())
    }

    fn answer_again(&mut self, epoch: u64, answers: Option<Delivered>, refusal: &Refusal) {
        let Role::Live(live) = &mut self.role else {
            return;
        };
        if live.epoch != epoch {
            return;
        }
        if let Some(lane) = &refusal.lane {
            live.turn = lane.turn;
            live.cursor = lane.cursor.unwrap_or(live.cursor);
        }
        if let Some(delivered) = answers.filter(|delivered| delivered.seq > live.cursor) {
            // Its packets have left.
            self.queue.push_front(Delivered {
                again: true,
                ..delivered
            });
        }
    }
}

fn durable(cursor: Seq) -> Output {
    let cursor = Some(cursor);
    Output::Control(from_app::Record::Durable(Durable { cursor }))
}
