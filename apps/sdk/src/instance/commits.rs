//! Turns that were sent, until they are durable.
//!
//! 1. Accepted: the rows and the cursor are sent to the store, if there are any. The next turn is made meanwhile; each
//!    transaction names the turn it follows, so that none is applied without those before it.
//! 2. Committed, and all before it: the proxy may forget the event. An app that is `async` is answered before its turns are on
//!    disk; they are kept until they are, as if they were on their way. Whatever waits for them has them asked again:
//!    what is asked a second time is answered from the disk.
//! 3. The store is away, or has no space: the turns are kept and sent again until their outcome is known. First the one that
//!    failed, alone; once it is durable all those behind it, together, so that the store has groups to write again.
//! 4. Refused: see [`Instance::refused`].

use std::time::Duration;

use morph_api::manifest::Durability;
use morph_api::session::{Durable, from_app};
use morph_api::store::{Reason, Seq, Transaction, Turn};
use morph_store::{Refusal, op};

use super::hands::{Hand, Stage};
use super::session::Delivered;
use super::{Fatal, Instance, Now, Outcome, Output, Role};
use crate::App;

/// How soon a transaction is sent again when its outcome is not known, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

impl<A: App> Instance<A> {
    /// The proxy has the turn's commands on their way.
    pub(super) fn accepted(&mut self, turn: u64, out: &mut Vec<Output>) {
        let is_it = |hand: &mut Hand| hand.follows + 1 == turn;
        let Some(mut hand) = self.hands.accepting.take_if(is_it) else {
            tracing::debug!("turn {turn} was accepted late");
            return;
        };
        self.say_synced(std::mem::take(&mut hand.synced), out);
        if hand.hollow {
            self.answer_again([hand]);
            return;
        }
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
            return;
        }
        self.last_commit += 1;
        hand.id = self.last_commit;
        if self.hands.are_held_up() {
            // Where those before it are not sent yet, it could only be refused.
            hand.stage = Stage::Again;
        } else {
            let alone = hand.answers.as_ref().is_some_and(|event| event.alone);
            let durability = match alone {
                true => Durability::Sync,
                false => self.config.manifest.durability,
            };
            out.push(self.commit(&hand, durability));
        }
        self.hands.committing.push_back(hand);
    }

    fn commit(&self, hand: &Hand, durability: Durability) -> Output {
        let app = &self.config.manifest.name;
        let keyspace = self
            .primary
            .keyspace
            .as_ref()
            .map_or(0, |keyspace| keyspace.id);
        let turn = Turn {
            app: app.clone(),
            node: self.config.node.clone(),
            epoch: hand.epoch,
            follows: hand.follows,
            cursor: hand.seq(),
        };
        let ops = hand.writes.iter().map(|((table, key), value)| {
            let row = op::row_in(app, keyspace, table, key);
            match value {
                Some(value) => op::put(row, value.to_string()),
                None => op::delete(row),
            }
        });
        let transaction: Transaction = op::turn(turn, ops);
        let transaction = match durability {
            Durability::Sync => transaction,
            Durability::Async => op::unsynced(transaction),
        };
        Output::Commit {
            id: hand.id,
            transaction,
        }
    }

    /// The proxy sent nothing of the turn.
    pub(super) fn rejected(&mut self, turn: u64, stale: bool, message: &str) -> Result<(), Fatal> {
        if !stale {
            return Err(Fatal(format!("turn {turn} was rejected: {message}")));
        }
        tracing::info!("turn {turn} was rejected: {message}");
        if self.hands.given_up == Some(turn) {
            self.hands.given_up = None;
            return Ok(());
        }
        self.drop_unaccepted();
        self.pause();
        Ok(())
    }

    /// Takes back a turn that the proxy has not accepted, and will not.
    pub(super) fn drop_unaccepted(&mut self) {
        if let Some(mut hand) = self.hands.accepting.take() {
            self.undo(&mut hand);
        }
    }

    fn undo(&mut self, hand: &mut Hand) {
        let journal = std::mem::take(&mut hand.journal);
        let ids: Vec<_> = journal.keys().cloned().collect();
        self.engine.undo(journal);
        self.primary.note(ids.iter(), &self.engine.tables);
        self.primary.undo(std::mem::take(&mut hand.undo));
        self.settle();
    }

    /// What came of a transaction: of a turn's, or of the shadow's.
    pub(super) fn committed(
        &mut self,
        id: u64,
        outcome: Outcome,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), Fatal> {
        let mut hands = self.hands.committing.iter_mut();
        let Some((at, hand)) = hands.by_ref().enumerate().find(|(_, hand)| hand.id == id) else {
            self.shadow_committed(id, &outcome, now, out);
            return Ok(());
        };
        hand.doubtful |= matches!(outcome, Outcome::Unknown(_));
        let away = match outcome {
            Outcome::Committed(committed) => {
                let revision = committed.revision;
                hand.stage = Stage::Stored { revision };
                hand.stored = Some(revision);
                // It is of the checkpoint's next turn, so all before it are there too.
                self.hands.synced(committed.durable);
                return Ok(());
            }
            // What it means is seen once those before it are known.
            _ if at > 0 => {
                hand.stage = Stage::Again;
                return Ok(());
            }
            // It came before those that are durable now.
            Outcome::Refused(refusal) if is_behind(&refusal, hand.follows) => refusal.to_string(),
            Outcome::Refused(refusal) if refusal.reason != Reason::DiskFull => {
                return self.refused(&refusal);
            }
            Outcome::Refused(refusal) => refusal.to_string(),
            Outcome::Unknown(away) => {
                hand.stored = None;
                away
            }
        };
        if hand.patience.is_zero() {
            tracing::warn!("turn {} waits: {away}", hand.follows + 1);
        }
        let (least, most) = AGAIN;
        hand.patience = (hand.patience * 2).clamp(least, most);
        let at = now.instant + hand.patience;
        hand.stage = Stage::Waiting { at };
        Ok(())
    }

    /// Lets go of the turns that are durable, in order, and asks again about those that are not, if it is time.
    pub(super) fn go_on_committing(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.deferred.is_some() || self.shadow.is_some() || self.is_ending() {
            self.hands.hurry();
        }
        while let Some(hand) = self.hands.committing.front_mut() {
            match hand.stage {
                Stage::Durable { revision } => {
                    if let Some(hand) = self.hands.committing.pop_front() {
                        self.durable(hand, revision, out);
                    }
                }
                Stage::Waiting { at } if at > now.instant => return,
                Stage::Asked | Stage::Stored { .. } => return,
                Stage::Waiting { .. } => {
                    hand.stage = Stage::Again;
                    return self.ask_again(1, out);
                }
                Stage::Again => return self.ask_again(usize::MAX, out),
            }
        }
    }

    /// Somebody waits for the last turn.
    fn is_ending(&self) -> bool {
        match &self.role {
            Role::Live(live) => live.quiesce || live.flush.is_some(),
            Role::Waiting | Role::Paused => true,
        }
    }

    /// Sends the first ones of those that are to be sent again, in order.
    fn ask_again(&mut self, most: usize, out: &mut Vec<Output>) {
        let mut hands = std::mem::take(&mut self.hands.committing);
        let again = hands.iter_mut().filter(|hand| hand.stage == Stage::Again);
        for hand in again.take(most) {
            hand.stage = Stage::Asked;
            out.push(self.commit(hand, Durability::Sync));
        }
        self.hands.committing = hands;
    }

    fn durable(&mut self, hand: Hand, revision: u64, out: &mut Vec<Output>) {
        let seq = hand.seq();
        self.primary.committed(revision, hand.writes);
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

    /// The store refused the first of the turns that the proxy had accepted; so it does those behind it.
    fn refused(&mut self, refusal: &Refusal) -> Result<(), Fatal> {
        let Some(first) = self.hands.committing.front_mut() else {
            return Ok(());
        };
        let (turn, epoch) = (first.follows + 1, first.epoch);
        match refusal.reason {
            // Sent before, and its answer was lost. At which revision it was applied, a new snapshot shows.
            Reason::Already if first.stored.is_some() => {
                let revision = first.stored.unwrap_or_default();
                first.stage = Stage::Durable { revision };
            }
            Reason::Already => {
                let revision = self.primary.revision;
                first.stage = Stage::Durable { revision };
                self.reload();
            }
            // Another instance has been let in.
            Reason::StaleEpoch => {
                tracing::info!("turn {turn} was refused: {refusal}");
                // What was applied before the fence is on disk with it.
                while let Some(hand) = self.hands.committing.pop_front_if(|h| h.stored.is_some()) {
                    let revision = hand.stored.unwrap_or_default();
                    self.primary.committed(revision, hand.writes);
                }
                // Others may have been too, and their answers lost: only a new snapshot shows.
                let doubtful = self.hands.committing.iter().any(|hand| hand.doubtful);
                for mut hand in self.hands.take_back() {
                    self.undo(&mut hand);
                }
                if doubtful {
                    self.reload();
                }
                if matches!(&self.role, Role::Live(live) if live.epoch == epoch) {
                    self.pause();
                }
            }
            // The view was not what is stored: load it again, and answer the events again from there.
            Reason::Conflict | Reason::Gap => {
                tracing::warn!("turn {turn} was refused: {refusal}");
                self.replay(epoch, refusal);
                self.reload();
            }
            _ => return Err(Fatal(format!("turn {turn} was refused: {refusal}"))),
        }
        Ok(())
    }

    fn replay(&mut self, epoch: u64, refusal: &Refusal) {
        let unaccepted = self.hands.accepting.is_some();
        let mut hands = self.hands.take_back();
        for hand in &mut hands {
            self.undo(hand);
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
            // The proxy will still answer it.
            let mut latest = hands.remove(0);
            latest.hollow = true;
            latest.touched.clear();
            self.hands.accepting = Some(latest);
        }
        self.answer_again(hands.into_iter().rev());
    }

    /// Puts the events of accepted turns, in order, before those that were not answered yet. Their packets have left.
    fn answer_again(&mut self, hands: impl IntoIterator<Item = Hand>) {
        let Role::Live(live) = &self.role else {
            return;
        };
        let cursor = live.cursor;
        let place = self.queue.iter().take_while(|queued| queued.again).count();
        let answered = hands.into_iter().filter_map(|hand| hand.answers);
        let answered = answered.filter(|delivered| delivered.seq > cursor);
        for (place, delivered) in (place..).zip(answered) {
            let delivered = Delivered {
                again: true,
                ..delivered
            };
            self.queue.insert(place, delivered);
        }
    }
}

/// A gap that was found when a turn before this one was not stored yet.
fn is_behind(refusal: &Refusal, follows: u64) -> bool {
    let checkpoint = refusal.checkpoint.as_ref();
    refusal.reason == Reason::Gap && checkpoint.is_some_and(|checkpoint| checkpoint.turn < follows)
}

fn durable(cursor: Seq) -> Output {
    let cursor = Some(cursor);
    Output::Control(from_app::Record::Durable(Durable { cursor }))
}
