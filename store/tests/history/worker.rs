//! Client that reads and writes shared rows, by compare-and-set and by turn, and sometimes fences another client's
//! checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use morph_api::store::{ReadRequest, Reason, Seq, Transaction, Turn};
use morph_store::client::Refusal;
use morph_store::{Client, op};

use super::checker::Operation;
use super::models::{Answer, CheckpointOp, RowOp, Value};
use super::{History, Seen};

pub const APP: &str = "kv";
/// Number of rows in use. They are few so that clients meet, and others after each fault, so that operations without
/// an answer do not burden the search for ever.
const ROWS: u64 = 3;
/// Time that the store may be away.
const AWAY: Duration = Duration::from_secs(60);

/// State shared by all workers of a run.
pub struct Shared {
    pub start: Instant,
    pub round: AtomicU64,
    pub stop: AtomicBool,
    pub answered: AtomicU64,
    /// Highest known epoch of each checkpoint.
    pub epochs: Vec<AtomicU64>,
}

impl Shared {
    pub fn new(workers: usize) -> Arc<Shared> {
        Arc::new(Shared {
            start: Instant::now(),
            round: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            epochs: (0..workers).map(|_| AtomicU64::new(1)).collect(),
        })
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// Creates an app that all share, and a checkpoint for each worker.
pub async fn prepare(client: &Client, workers: usize) {
    let mut ops = vec![op::create_primary(APP, 1, 1)];
    ops.extend((0..workers).map(|n| op::fence(APP, node(n), 0, "1.0.0")));
    client.commit(op::shared([], ops)).await.unwrap().unwrap();
}

fn node(n: usize) -> String {
    format!("node{n}")
}

pub struct Worker {
    id: usize,
    client: Client,
    shared: Arc<Shared>,
    /// True if its reads must be current, as with a single daemon.
    reads: bool,
    random: u64,
    values: Value,
    epoch: u64,
    turns: u64,
    /// Value and revision of each row when it was last seen.
    known: BTreeMap<String, (Option<Value>, u64)>,
    history: History,
}

/// Result of a commit.
enum Outcome {
    Done(u64),
    Refused(Refusal),
    Unknown,
}

impl Worker {
    pub fn new(id: usize, client: Client, shared: &Arc<Shared>, reads: bool) -> Worker {
        Worker {
            id,
            client,
            shared: Arc::clone(shared),
            reads,
            random: 0x9E37_79B9_7F4A_7C15 ^ (id as u64 + 1) << 32,
            values: (id as u64 + 1) << 32,
            epoch: 1,
            turns: 0,
            known: BTreeMap::new(),
            history: History::default(),
        }
    }

    /// Works until told to stop, and finishes the operation that it has begun.
    pub async fn run(mut self) -> History {
        while !self.shared.stop.load(Ordering::SeqCst) {
            let row = self.row();
            let answered = match self.draw(20) {
                0..8 => self.read(row).await,
                8..13 => self.change(row, true).await,
                13..15 => self.change(row, false).await,
                15..19 => self.turn(row).await,
                _ => self.fence().await,
            };
            match answered {
                true => {
                    self.shared.answered.fetch_add(1, Ordering::SeqCst);
                }
                false => self.back().await,
            }
        }
        self.history
    }

    /// Waits until the store answers again: further attempts would only add operations without an answer.
    async fn back(&self) {
        self.client.ready(AWAY).await.unwrap();
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn row(&mut self) -> String {
        let round = self.shared.round.load(Ordering::SeqCst);
        format!("{round:04}-{}", self.draw(ROWS))
    }

    fn value(&mut self) -> Value {
        self.values += 1;
        self.values
    }

    /// Reads a row. A failed read proves nothing and is not recorded.
    async fn read(&mut self, key: String) -> bool {
        let request = ReadRequest {
            row: Some(op::row(APP, "t", &key)),
            ..ReadRequest::default()
        };
        let called = self.shared.now();
        let Ok(reply) = self.client.read(request).await else {
            return false;
        };
        let answered = self.shared.now();
        let row = reply.rows.into_iter().next();
        let found = row.map(|row| (row.value.unwrap().parse().unwrap(), row.revision));
        let value = found.map(|(value, _)| value);
        let revision = found.map_or(0, |(_, revision)| revision);
        self.known.insert(key.clone(), (value, revision));
        if self.reads {
            self.seen(called, answered, reply.revision, false);
            self.note(key, called, Some(answered), RowOp::Read(value));
        }
        true
    }

    /// Writes or deletes a row if it is unchanged since it was last seen.
    async fn change(&mut self, key: String, put: bool) -> bool {
        let (from, revision) = self.known.get(&key).copied().unwrap_or((None, 0));
        if from.is_none() && !put {
            return self.read(key).await;
        }
        let to = put.then(|| self.value());
        let row = op::row(APP, "t", &key);
        let write = match to {
            Some(value) => op::put(row.clone(), value.to_string()),
            None => op::delete(row.clone()),
        };
        let transaction = op::shared([op::expect(&row, revision)], [write]);
        let called = self.shared.now();
        let outcome = self.commit(transaction).await;
        let answered = self.shared.now();
        let (answered, done) = match outcome {
            Outcome::Done(revision) => {
                self.known
                    .insert(key.clone(), (to, to.map_or(0, |_| revision)));
                (Some(answered), Some(true))
            }
            Outcome::Refused(refusal) => {
                assert_eq!(refusal.reason, Reason::Conflict, "{refusal}");
                self.known.remove(&key);
                (Some(answered), Some(false))
            }
            Outcome::Unknown => {
                self.known.remove(&key);
                (None, None)
            }
        };
        self.note(key, called, answered, RowOp::Change { from, to, done });
        answered.is_some()
    }

    /// Writes a row by a turn of its own checkpoint, and repeats the turn until its outcome is known.
    async fn turn(&mut self, key: String) -> bool {
        let value = self.value();
        let put = op::put(op::row(APP, "t", &key), value.to_string());
        let turn = Turn {
            app: APP.into(),
            node: node(self.id),
            epoch: self.epoch,
            follows: self.turns,
            cursor: Some(Seq {
                incarnation: 1,
                n: self.turns + 1,
            }),
        };
        let called = self.shared.now();
        let mut unknown = false;
        let committed = loop {
            match self.commit(op::turn(turn.clone(), [put.clone()])).await {
                Outcome::Done(_) => break true,
                Outcome::Refused(refusal) => break self.refused(&turn, &refusal, unknown),
                Outcome::Unknown => self.back().await,
            }
            unknown = true;
        };
        let answered = Some(self.shared.now());
        let (epoch, follows) = (turn.epoch, turn.follows);
        let answer = Some(if committed {
            Answer::Done
        } else {
            Answer::Stale
        });
        let of_checkpoint = CheckpointOp::Turn {
            epoch,
            follows,
            answer,
        };
        self.note_checkpoint(self.id, called, answered, of_checkpoint);
        if committed {
            self.turns = follows + 1;
            self.note(key, called, answered, RowOp::Write(Some(value)));
        }
        if self.epoch == 0 {
            self.enter().await;
        }
        true
    }

    /// Returns whether the turn was committed when it was sent before. After a fence it can no longer be committed,
    /// and the checkpoint shows the outcome.
    fn refused(&mut self, turn: &Turn, refusal: &Refusal, sent: bool) -> bool {
        let checkpoint = refusal.checkpoint.as_ref().unwrap();
        match answer(refusal) {
            Answer::Already if sent => true,
            Answer::Stale => {
                self.epoch = 0;
                self.shared.epochs[self.id].fetch_max(checkpoint.epoch, Ordering::SeqCst);
                let committed = checkpoint.turn > turn.follows;
                assert!(
                    checkpoint.turn - turn.follows <= u64::from(sent),
                    "{refusal}"
                );
                committed
            }
            answer => panic!("{answer:?}: {refusal}"),
        }
    }

    /// Fences its own checkpoint, to write in it again.
    async fn enter(&mut self) {
        loop {
            let expect = self.shared.epochs[self.id].load(Ordering::SeqCst);
            match self.fence_at(self.id, expect).await {
                Some(Answer::Done) => {
                    self.epoch = expect + 1;
                    return;
                }
                Some(_) => {}
                None => self.back().await,
            }
        }
    }

    /// Fences another worker's checkpoint.
    async fn fence(&mut self) -> bool {
        let checkpoints = self.shared.epochs.len();
        let checkpoint = self.draw(checkpoints as u64) as usize;
        if checkpoint == self.id {
            return true;
        }
        let expect = self.shared.epochs[checkpoint].load(Ordering::SeqCst);
        self.fence_at(checkpoint, expect).await.is_some()
    }

    async fn fence_at(&mut self, checkpoint: usize, expect: u64) -> Option<Answer> {
        let fence = op::shared([], [op::fence(APP, node(checkpoint), expect, "1.0.0")]);
        let called = self.shared.now();
        let outcome = self.commit(fence).await;
        let answered = self.shared.now();
        let (answer, epoch) = match &outcome {
            Outcome::Done(_) => (Some(Answer::Done), expect + 1),
            Outcome::Refused(refusal) => {
                let epoch = refusal.checkpoint.as_ref().unwrap().epoch;
                (Some(answer(refusal)), epoch)
            }
            Outcome::Unknown => (None, 0),
        };
        self.shared.epochs[checkpoint].fetch_max(epoch, Ordering::SeqCst);
        let of_checkpoint = CheckpointOp::Fence { expect, answer };
        self.note_checkpoint(checkpoint, called, answer.map(|_| answered), of_checkpoint);
        answer
    }

    async fn commit(&mut self, transaction: Transaction) -> Outcome {
        let called = self.shared.now();
        match self.client.commit(transaction).await {
            Ok(Ok(committed)) => {
                self.seen(called, self.shared.now(), committed.revision, true);
                Outcome::Done(committed.revision)
            }
            Ok(Err(refusal)) => Outcome::Refused(refusal),
            Err(_) => Outcome::Unknown,
        }
    }

    fn seen(&mut self, called: u64, answered: u64, revision: u64, wrote: bool) {
        self.history.seen.push(Seen {
            called,
            answered,
            revision,
            wrote,
        });
    }

    fn note(&mut self, key: String, called: u64, answered: Option<u64>, op: RowOp) {
        self.history.rows.entry(key).or_default().push(Operation {
            client: self.id,
            called,
            answered,
            op,
        });
    }

    fn note_checkpoint(
        &mut self,
        checkpoint: usize,
        called: u64,
        answered: Option<u64>,
        op: CheckpointOp,
    ) {
        let checkpoint = self
            .history
            .checkpoints
            .entry(node(checkpoint))
            .or_default();
        checkpoint.push(Operation {
            client: self.id,
            called,
            answered,
            op,
        });
    }
}

fn answer(refusal: &Refusal) -> Answer {
    match refusal.reason {
        Reason::StaleEpoch => Answer::Stale,
        Reason::Gap => Answer::Gap,
        Reason::Already => Answer::Already,
        reason => panic!("{reason:?}: {refusal}"),
    }
}
