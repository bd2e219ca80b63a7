//! morphd's records, with the fence: transactions of the store, with the revisions that their writer has seen.

use std::collections::BTreeMap;

use morph_api::store::{Op, Reason, Seq, Transaction};
use morph_api::{RECORDS, store::Checkpoint};
use morph_sdk::machine::CommitOutcome;
use morph_store::{Refusal, op};
use serde_json::Value;

use crate::store::Store;

/// How often a refused expectation is read again.
const CONFLICTS: u32 = 5;

/// A row to be written.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) table: &'static str,
    pub(crate) key: String,
    pub(crate) value: Value,
}

/// A checkpoint to be fenced.
#[derive(Debug, Clone)]
pub(crate) struct Fencing {
    pub(crate) app: String,
    pub(crate) release: String,
    pub(crate) epoch: u64,
    pub(crate) force: bool,
    pub(crate) writes: Vec<Write>,
}

/// What a fence answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fenced {
    pub(crate) epoch: u64,
    pub(crate) cursor: Seq,
    pub(crate) turn: u64,
    pub(crate) revision: u64,
}

/// The revisions that were seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records(BTreeMap<(&'static str, String), Seen>);

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    seen_at: u64,
}

impl Records {
    /// Whether each row is as it was seen: all that their revisions say.
    pub(crate) fn are_current(&self, store: &Store) -> Vec<bool> {
        let is = |((table, key), seen): (&(&'static str, String), &Seen)| {
            store.row(RECORDS, table, key).map_or(0, |row| row.revision) == seen.seen_at
        };
        self.0.iter().map(is).collect()
    }
}

/// The node of the model.
pub(crate) const NODE: &str = "n";

impl Records {
    pub(crate) fn transaction(&self, writes: &[Write], more: Vec<Op>) -> Transaction {
        let row = |w: &Write| op::row(RECORDS, w.table, w.key.as_str());
        let known = |w: &Write| {
            self.0
                .get(&(w.table, w.key.clone()))
                .map_or(0, |seen| seen.seen_at)
        };
        let expects: Vec<_> = writes
            .iter()
            .map(|w| op::expect(&row(w), known(w)))
            .collect();
        let puts = writes.iter().map(|w| op::put(row(w), w.value.to_string()));
        op::shared(expects, more.into_iter().chain(puts).collect::<Vec<_>>())
    }

    /// Reads the rows again; says whether they are what was to be written.
    pub(crate) fn read_back(&mut self, store: &Store, writes: &[Write]) -> bool {
        let mut same = !writes.is_empty();
        for write in writes {
            let found = store.row(RECORDS, write.table, &write.key);
            let value = found.and_then(|row| serde_json::from_str::<Value>(&row.value).ok());
            self.0.insert(
                (write.table, write.key.clone()),
                Seen {
                    seen_at: found.map_or(0, |row| row.revision),
                },
            );
            same &= value.as_ref() == Some(&write.value);
        }
        same
    }

    /// The answer; `None`: the rows are there already.
    pub(crate) fn write(
        &mut self,
        store: &mut Store,
        writes: &[Write],
        more: &[Op],
        unflushed: bool,
    ) -> Result<Option<Vec<Checkpoint>>, Box<Refusal>> {
        for _ in 0..CONFLICTS {
            match store.commit(self.transaction(writes, more.to_vec()), unflushed) {
                CommitOutcome::Committed(committed) => {
                    for write in writes {
                        self.0.insert(
                            (write.table, write.key.clone()),
                            Seen {
                                seen_at: committed.revision,
                            },
                        );
                    }
                    return Ok(Some(committed.checkpoints));
                }
                CommitOutcome::Refused(refusal) if refusal.reason != Reason::Conflict => {
                    return Err(refusal);
                }
                CommitOutcome::Refused(_) | CommitOutcome::Unknown(_) => {}
            }
            if self.read_back(store, writes) {
                return Ok(None);
            }
        }
        let message = "refused again and again".into();
        Err(Box::new(Refusal {
            reason: Reason::Conflict,
            message,
            checkpoint: None,
        }))
    }

    /// Raises the epochs of checkpoints together with their rows.
    pub(crate) fn fence(
        &mut self,
        store: &mut Store,
        fencings: &[Fencing],
        unflushed: bool,
    ) -> Result<Vec<Fenced>, Box<Refusal>> {
        let mut fencings = fencings.to_vec();
        loop {
            let writes = writes_of(&fencings);
            match self.write(store, &writes, &ops_of(&fencings), unflushed) {
                Ok(_) => return Ok(fencings.iter().map(|f| fenced(store, &f.app)).collect()),
                Err(refusal) if refusal.reason == Reason::StaleEpoch => {
                    if self.read_back(store, &writes) {
                        return Ok(fencings.iter().map(|f| fenced(store, &f.app)).collect());
                    }
                    let stale = refusal.checkpoint.clone().unwrap_or_default();
                    let is_it = |f: &&mut Fencing| f.force && f.app == stale.app;
                    match fencings.iter_mut().find(is_it) {
                        Some(fencing) if fencing.epoch != stale.epoch => {
                            fencing.epoch = stale.epoch
                        }
                        Some(_) | None => return Err(refusal),
                    }
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }
}

/// Their rows, each app's with its epoch after the fence.
pub(crate) fn writes_of(fencings: &[Fencing]) -> Vec<Write> {
    let writes = fencings.iter().flat_map(|fencing| {
        fencing.writes.iter().map(|write| {
            let mut write = write.clone();
            if let Some(epoch) = write.value.get_mut("epoch") {
                *epoch = (fencing.epoch + 1).into();
            }
            write
        })
    });
    writes.collect()
}

pub(crate) fn ops_of(fencings: &[Fencing]) -> Vec<Op> {
    let op = |f: &Fencing| op::fence(&f.app, NODE, f.epoch, &f.release);
    fencings.iter().map(op).collect()
}

pub(crate) fn fenced(store: &Store, app: &str) -> Fenced {
    let checkpoint = store.checkpoint(app).cloned().unwrap_or_default();
    Fenced {
        epoch: checkpoint.epoch,
        cursor: checkpoint.cursor.unwrap_or(Seq::ZERO),
        turn: checkpoint.turn,
        revision: store.revision(),
    }
}
