//! Reads and writes Morpheus's own records in the store ([`crate::machine::record`]).
//!
//! Every write names the revision that it replaces. The supervisor is the only writer (its lock says so); a write whose
//! outcome is unknown is read back. What a morphd that was killed has still on its way to the store is void once the next one
//! has taken the records over.

mod claim;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use morph_api::store::{Checkpoint, Committed, Expect, Op, Reason, Row, Transaction};
use morph_store::{Client, Refusal, Unavailable, op};
use serde::de::{DeserializeOwned, IgnoredAny};

use self::claim::Claim;
use crate::machine::InstanceId;
use crate::machine::call::NewPrimary;
use crate::machine::record::{Fenced, Fencing, Write};

/// Between two tries while the store is away.
const AGAIN: Duration = Duration::from_millis(100);
/// Times that a refused expectation is read again before it is taken as a refusal.
const CONFLICTS: u32 = 5;

/// Records, and the revisions at which they were last seen.
#[derive(Debug)]
pub struct Records {
    store: Client,
    /// Revisions of the rows that are there: what is gone is forgotten.
    revisions: Mutex<HashMap<(&'static str, String), u64>>,
    /// Tables whose rows are all known, as nobody else writes them.
    whole: Mutex<BTreeSet<&'static str>>,
    claim: Claim,
}

impl Records {
    pub fn new(store: Client) -> Self {
        Records {
            store,
            revisions: Mutex::default(),
            whole: Mutex::default(),
            claim: Claim::default(),
        }
    }

    /// All rows of a table, each as it was read, or as an error that says why it cannot be read.
    pub async fn load<T: DeserializeOwned>(
        &self,
        table: &'static str,
    ) -> Result<Vec<(String, Result<T, serde_json::Error>)>, Unavailable> {
        let rows = self.store.list(morph_api::RECORDS, table, "").await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            self.revisions()
                .insert((table, row.key.clone()), row.revision);
            let value = serde_json::from_str(row.value.as_deref().unwrap_or_default());
            found.push((row.key, value));
        }
        Ok(found)
    }

    /// Keys of a table, in order. The store is asked the first time only.
    pub async fn keys(&self, table: &'static str) -> Result<Vec<String>, Unavailable> {
        if !self.whole().contains(table) {
            self.load::<IgnoredAny>(table).await?;
            self.whole().insert(table);
        }
        let revisions = self.revisions();
        let of = revisions.keys().filter(|(known, _)| *known == table);
        let mut keys: Vec<String> = of.map(|(_, key)| key.clone()).collect();
        keys.sort();
        Ok(keys)
    }

    /// Writes rows, with more operations in the same transaction. Waits for the store.
    pub async fn write(&self, writes: &[Write], more: &[Op]) -> Result<Committed, Refusal> {
        let mut conflicts = 0;
        loop {
            let claim = self.hold().await?;
            let transaction = self.transaction(writes, more, claim);
            match self.store.commit(transaction).await {
                Ok(Ok(committed)) => {
                    self.seen(writes, committed.revision);
                    return Ok(committed);
                }
                Ok(Err(refusal)) if refusal.reason == Reason::Conflict && conflicts < CONFLICTS => {
                    conflicts += 1;
                    self.still_ours().await?;
                }
                Ok(Err(refusal)) => return Err(refusal),
                Err(away) => {
                    tracing::warn!(error = %away, "the records are not written yet");
                    tokio::time::sleep(AGAIN).await;
                }
            }
            if let Some(revision) = self.read_back(writes).await {
                return Ok(Committed {
                    revision,
                    durable: revision,
                    checkpoints: Vec::new(),
                });
            }
        }
    }

    /// Raises the epochs of checkpoints, with the rows that `writes` makes of the new epochs, in one transaction. Waits for the
    /// store. The results are in the order of the parts.
    pub async fn fence(
        &self,
        mut fencings: Vec<Fencing>,
        writes: impl Fn(&[u64]) -> Vec<Write>,
    ) -> Result<Vec<Fenced>, Refusal> {
        loop {
            let epochs: Vec<u64> = fencings.iter().map(|fencing| fencing.epoch + 1).collect();
            let rows = writes(&epochs);
            let more = self.fence_ops(&fencings).await?;
            match self.write(&rows, &more).await {
                Ok(committed) if committed.checkpoints.len() == fencings.len() => {
                    let checkpoints = fenced(&fencings, &committed.checkpoints, committed.revision);
                    return checkpoints.map_err(no_checkpoint);
                }
                Ok(committed) => return self.fenced_before(&fencings, committed.revision).await,
                Err(refusal) if refusal.reason == Reason::StaleEpoch => {
                    if let Some(revision) = self.read_back(&rows).await {
                        return self.fenced_before(&fencings, revision).await;
                    }
                    let stale = refusal.checkpoint.as_ref();
                    let is_it = |f: &&mut Fencing| {
                        f.force && stale.is_none_or(|l| l.app == f.app && l.node == f.node)
                    };
                    let epoch = stale.map_or(0, |checkpoint| checkpoint.epoch);
                    match fencings.iter_mut().find(is_it) {
                        Some(fencing) if fencing.epoch != epoch => fencing.epoch = epoch,
                        Some(_) | None => return Err(refusal),
                    }
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    async fn fence_ops(&self, fencings: &[Fencing]) -> Result<Vec<Op>, Refusal> {
        let mut ops = Vec::new();
        for fencing in fencings {
            let Fencing {
                app, node, release, ..
            } = fencing;
            ops.push(op::fence(app, node, fencing.epoch, release));
            if let Some((from, to)) = fencing.skip {
                ops.push(op::skip(app, node, from, to));
            }
            if let Some(shadow) = fencing.swap {
                ops.push(self.swap(app, shadow, "").await?);
            }
        }
        Ok(ops)
    }

    /// Operation that swaps an app's primary with a shadow. The former primary is dropped, or kept as a shadow of the
    /// instance `keep`.
    pub async fn swap(&self, app: &str, shadow: u32, keep: &str) -> Result<Op, Refusal> {
        let status = self.status().await;
        let primary = status
            .keyspaces
            .iter()
            .find(|keyspace| keyspace.app == app && keyspace.primary);
        match primary {
            Some(primary) => Ok(op::swap_keeping(app, primary.id, shadow, keep)),
            None => Err(Refusal {
                reason: Reason::Invalid,
                message: format!("{app} has no primary"),
                checkpoint: None,
            }),
        }
    }

    /// Operations that swap the primaries of those apps for which a shadow is named. A former primary that is read is kept.
    pub async fn swaps(
        &self,
        apps: &[(String, Option<u32>)],
        keeps: &BTreeMap<String, InstanceId>,
    ) -> Result<Vec<Op>, Refusal> {
        let mut ops = Vec::new();
        for (app, shadow) in apps {
            if let Some(shadow) = shadow {
                let keep = keeps.get(app).map_or("", String::as_str);
                ops.push(self.swap(app, *shadow, keep).await?);
            }
        }
        Ok(ops)
    }

    /// Schema versions of these apps' primaries. Waits for the store.
    pub async fn primaries(&self, apps: &[String]) -> Vec<Option<u32>> {
        let keyspaces = self.status().await.keyspaces;
        let primary = |app: &String| {
            keyspaces
                .iter()
                .find(|keyspace| keyspace.primary && keyspace.app == *app)
        };
        apps.iter()
            .map(|app| primary(app).map(|t| t.schema))
            .collect()
    }

    /// Status of the store. Waits for the store.
    pub async fn status(&self) -> morph_api::store::StatusReply {
        loop {
            match self.store.status().await {
                Ok(status) => return status,
                Err(away) => tracing::warn!(error = %away, "the store does not answer"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Result of a fence whose answer was lost, from the checkpoints as they are now.
    async fn fenced_before(
        &self,
        fencings: &[Fencing],
        revision: u64,
    ) -> Result<Vec<Fenced>, Refusal> {
        fenced(fencings, &self.status().await.checkpoints, revision).map_err(no_checkpoint)
    }

    fn transaction(&self, writes: &[Write], more: &[Op], claim: Option<Expect>) -> Transaction {
        let revisions = self.revisions();
        let known = |w: &Write| {
            revisions
                .get(&(w.table, w.key.clone()))
                .copied()
                .unwrap_or(0)
        };
        let expects = writes.iter().map(|w| op::expect(&row(w), known(w)));
        let expects = claim.into_iter().chain(expects).collect::<Vec<_>>();
        let puts = writes.iter().map(|w| match &w.value {
            Some(value) => op::put(row(w), value.as_str()),
            None => op::delete(row(w)),
        });
        op::shared(
            expects,
            more.iter().cloned().chain(puts).collect::<Vec<_>>(),
        )
    }

    fn seen(&self, writes: &[Write], revision: u64) {
        for write in writes {
            self.know(write, write.value.as_ref().map(|_| revision));
        }
    }

    /// Notes the revision of a row; `None`: the row is not there.
    fn know(&self, write: &Write, revision: Option<u64>) {
        let (mut revisions, row) = (self.revisions(), (write.table, write.key.clone()));
        match revision {
            Some(revision) => revisions.insert(row, revision),
            None => revisions.remove(&row),
        };
    }

    /// Reads the rows again; returns their revision if they are what was to be written.
    async fn read_back(&self, writes: &[Write]) -> Option<u64> {
        let mut newest = (!writes.is_empty()).then_some(0);
        for write in writes {
            let found = self.look(write.table, &write.key).await;
            let there = found.as_ref().map(|(_, revision)| *revision);
            self.know(write, there);
            let revision = there.unwrap_or(0);
            let same = match (&found, &write.value) {
                (Some((found, _)), Some(value)) => same_json(found, value),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            newest = newest.filter(|_| same).map(|n| n.max(revision));
        }
        newest
    }

    /// Reads a row and its revision. Waits for the store.
    async fn look(&self, table: &str, key: &str) -> Option<(String, u64)> {
        loop {
            match self.store.get(morph_api::RECORDS, table, key).await {
                Ok(found) => return found,
                Err(away) => tracing::warn!(error = %away, "the records cannot be read yet"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn whole(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revisions(&self) -> MutexGuard<'_, HashMap<(&'static str, String), u64>> {
        self.revisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Operations that create an app's state, with the rows that it begins with.
pub fn create(primary: &NewPrimary) -> Vec<Op> {
    let NewPrimary {
        app, schema, rows, ..
    } = primary;
    let rows = rows.iter().map(|(table, key, value)| {
        let row = op::row(app, table.as_str(), key.as_str());
        op::put(row, value.as_str())
    });
    let created = op::create_primary(app, 1, *schema);
    std::iter::once(created).chain(rows).collect()
}

/// Results of a fence, from these checkpoints. The error is the first part without a checkpoint.
fn fenced<'a>(
    fencings: &'a [Fencing],
    checkpoints: &[Checkpoint],
    revision: u64,
) -> Result<Vec<Fenced>, &'a Fencing> {
    let of = |fencing: &'a Fencing| {
        let mut checkpoints = checkpoints.iter();
        let found = checkpoints
            .find(|checkpoint| checkpoint.app == fencing.app && checkpoint.node == fencing.node);
        let checkpoint = found.ok_or(fencing)?;
        Ok(Fenced {
            epoch: checkpoint.epoch,
            cursor: checkpoint.cursor.unwrap_or_default(),
            turn: checkpoint.turn,
            revision,
        })
    };
    fencings.iter().map(of).collect()
}

fn no_checkpoint(fencing: &Fencing) -> Refusal {
    Refusal {
        reason: Reason::Invalid,
        message: format!("{} has no checkpoint on {}", fencing.app, fencing.node),
        checkpoint: None,
    }
}

fn row(write: &Write) -> Row {
    op::row(morph_api::RECORDS, write.table, write.key.as_str())
}

/// The store may keep a document in another form than it was given.
fn same_json(a: &str, b: &str) -> bool {
    let parse = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    a == b || parse(a).is_some_and(|a| Some(a) == parse(b))
}
