//! morphd's records, with the fence: transactions of the store, with the revisions that their writer has seen.

use std::collections::BTreeMap;

use morph_api::RECORDS;
use morph_api::store::{Op, Reason, Seq, Transaction};
use morph_sdk::machine::CommitOutcome;
use morph_store::{Refusal, op};
use morphd::machine::call::{FenceAnswer, FenceRefusal, FenceRequest, RecordWrite};
use morphd::machine::record::{APPS, AppRow, Fenced, Fencing, Write};
use serde_json::Value;

use crate::store::Store;

/// Limit of tries after a refused expectation.
const CONFLICTS: u32 = 5;

/// The node of the model.
pub(crate) const NODE: &str = "n";

/// Revisions at which the rows were seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records(BTreeMap<(&'static str, String), Known>);

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    seen_at: u64,
}

impl Records {
    /// Whether each row is as it was seen: all that their revisions say.
    pub(crate) fn are_current(&self, store: &Store) -> Vec<bool> {
        let is = |((table, key), known): (&(&'static str, String), &Known)| {
            store.row(RECORDS, table, key).map_or(0, |row| row.revision) == known.seen_at
        };
        self.0.iter().map(is).collect()
    }

    /// Notes the rows of a table as they are; returns their keys and values.
    pub(crate) fn load(&mut self, store: &Store, table: &'static str) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        for (key, row) in store.records(table) {
            self.know(table, key, row.revision);
            rows.push((key.to_owned(), row.value.clone()));
        }
        rows
    }

    fn know(&mut self, table: &'static str, key: &str, revision: u64) {
        let known = Known { seen_at: revision };
        self.0.insert((table, key.to_owned()), known);
    }

    fn transaction(&self, writes: &[Write], more: &[Op]) -> Transaction {
        let row = |w: &Write| op::row(RECORDS, w.table, w.key.as_str());
        let known = |w: &Write| {
            let known = self.0.get(&(w.table, w.key.clone()));
            known.map_or(0, |known| known.seen_at)
        };
        let expects = writes.iter().map(|w| op::expect(&row(w), known(w)));
        let puts = writes.iter().map(|w| match &w.value {
            Some(value) => op::put(row(w), value.as_str()),
            None => op::delete(row(w)),
        });
        let ops = more.iter().cloned().chain(puts);
        op::shared(expects.collect::<Vec<_>>(), ops.collect::<Vec<_>>())
    }

    /// Reads the rows again; returns whether they are what was to be written.
    fn read_back(&mut self, store: &Store, writes: &[Write]) -> bool {
        let mut same = !writes.is_empty();
        for write in writes {
            let found = store.row(RECORDS, write.table, &write.key);
            let json = |text: &str| serde_json::from_str::<Value>(text).ok();
            same &= match (found, &write.value) {
                (Some(row), Some(value)) => json(&row.value) == json(value),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            self.know(write.table, &write.key, found.map_or(0, |row| row.revision));
        }
        same
    }

    /// Writes rows, with more in the same transaction.
    pub(crate) fn write(
        &mut self,
        store: &mut Store,
        writes: &[Write],
        more: &[Op],
        unflushed: bool,
    ) -> Result<(), Box<Refusal>> {
        let mut refused = None;
        for _ in 0..CONFLICTS {
            match store.commit(self.transaction(writes, more), unflushed) {
                CommitOutcome::Committed(committed) => {
                    for write in writes {
                        let revision = write.value.as_ref().map_or(0, |_| committed.revision);
                        self.know(write.table, &write.key, revision);
                    }
                    return Ok(());
                }
                CommitOutcome::Refused(refusal) if refusal.reason != Reason::Conflict => {
                    return Err(refusal);
                }
                CommitOutcome::Refused(refusal) => refused = Some(refusal),
                CommitOutcome::Unknown(_) => {}
            }
            if self.read_back(store, writes) {
                return Ok(());
            }
        }
        let message = "no answer".into();
        Err(refused.unwrap_or(Box::new(Refusal {
            reason: Reason::Conflict,
            message,
            checkpoint: None,
        })))
    }

    /// Writes records, with their swaps.
    pub(crate) fn record(&mut self, store: &mut Store, write: &RecordWrite) -> Result<(), String> {
        let mut ops = Vec::new();
        for (app, shadow) in &write.swaps {
            let mut keeps = write.keeps.iter();
            let keep = keeps.find(|(kept, _)| kept == app);
            let keep = keep.map_or("", |(_, instance)| instance.as_str());
            if let Some(shadow) = shadow {
                ops.push(swap(store, app, *shadow, keep)?);
            }
        }
        let written = self.write(store, &write.writes, &ops, false);
        written.map_err(|refusal| refusal.to_string())
    }

    /// Raises the epochs of checkpoints together with their rows.
    pub(crate) fn fence(
        &mut self,
        store: &mut Store,
        request: &FenceRequest,
        unflushed: bool,
    ) -> Result<FenceAnswer, FenceRefusal> {
        let mut fencings: Vec<Fencing> = request.parts.iter().map(|p| p.fencing.clone()).collect();
        loop {
            let writes = writes_of(request, &fencings);
            let ops = ops_of(store, &fencings).map_err(|message| FenceRefusal {
                conflict: false,
                message,
            })?;
            let refusal = match self.write(store, &writes, &ops, unflushed) {
                Ok(()) => return Ok(answer(store, request)),
                Err(refusal) => refusal,
            };
            let refused = FenceRefusal {
                conflict: refusal.reason == Reason::Conflict,
                message: refusal.to_string(),
            };
            if refusal.reason != Reason::StaleEpoch {
                return Err(refused);
            }
            if self.read_back(store, &writes) {
                return Ok(answer(store, request));
            }
            let stale = refusal.checkpoint.clone().unwrap_or_default();
            let is_it = |f: &&mut Fencing| f.force && f.app == stale.app;
            match fencings.iter_mut().find(is_it) {
                Some(fencing) if fencing.epoch != stale.epoch => fencing.epoch = stale.epoch,
                Some(_) | None => return Err(refused),
            }
        }
    }

    /// The first transaction of a fence, as it is on its way to the store.
    pub(crate) fn fence_transaction(&self, store: &Store, request: &FenceRequest) -> Transaction {
        let fencings: Vec<Fencing> = request.parts.iter().map(|p| p.fencing.clone()).collect();
        let ops = ops_of(store, &fencings).unwrap_or_default();
        self.transaction(&writes_of(request, &fencings), &ops)
    }
}

/// Rows of a fence, each app's with its epoch after the fence.
fn writes_of(request: &FenceRequest, fencings: &[Fencing]) -> Vec<Write> {
    let mut writes = Vec::new();
    for (part, fencing) in request.parts.iter().zip(fencings) {
        let row = AppRow {
            epoch: fencing.epoch + 1,
            ..part.row.clone()
        };
        writes.extend(part.writes.iter().cloned());
        writes.push(Write::new(APPS, fencing.app.as_str(), &row));
    }
    writes
}

fn ops_of(store: &Store, fencings: &[Fencing]) -> Result<Vec<Op>, String> {
    let mut ops = Vec::new();
    for fencing in fencings {
        let (app, release) = (&fencing.app, &fencing.release);
        ops.push(op::fence(app, NODE, fencing.epoch, release));
        if let Some((from, to)) = fencing.skip {
            ops.push(op::skip(app, NODE, from, to));
        }
        if let Some(shadow) = fencing.swap {
            ops.push(swap(store, app, shadow, "")?);
        }
    }
    Ok(ops)
}

fn swap(store: &Store, app: &str, shadow: u32, keep: &str) -> Result<Op, String> {
    let primary = store.primary(app);
    let primary = primary.ok_or_else(|| format!("{app} has no primary"))?;
    Ok(op::swap_keeping(app, primary.id, shadow, keep))
}

fn answer(store: &Store, request: &FenceRequest) -> FenceAnswer {
    let apps = request.parts.iter().map(|part| &part.fencing.app);
    let fenced = apps.clone().map(|app| fenced(store, app)).collect();
    let primaries = apps.filter(|_| request.primaries);
    let primaries = primaries.map(|app| Some(store.primary(app)?.schema));
    FenceAnswer {
        fenced,
        primaries: primaries.collect(),
    }
}

fn fenced(store: &Store, app: &str) -> Fenced {
    let checkpoint = store.checkpoint(app).cloned().unwrap_or_default();
    Fenced {
        epoch: checkpoint.epoch,
        cursor: checkpoint.cursor.unwrap_or(Seq::ZERO),
        turn: checkpoint.turn,
        revision: store.revision(),
    }
}
