//! Claim of a morphd to the records of its node: a row names the writer, and every write of records expects that row.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use morph_api::store::{Expect, Reason, Row};
use morph_store::{Refusal, op};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use super::{AGAIN, CONFLICTS, Records};
use crate::machine::record::{APPS, EVENTS, RELEASES, UPGRADES};

/// Table of [`Writer`], by the node's name.
const WRITER: &str = "writer";
/// Time for a store that can be read to take the first record.
const TAKE_OVER: Duration = Duration::from_secs(2);
/// Tables that morphd keeps in memory.
const KEPT: [&str; 4] = [APPS, RELEASES, UPGRADES, EVENTS];

const OUTRANKED: &str = "another morphd has taken over the records of this node: give each morphd a store of its own, or a prefix of its own in \
     etcd";
const MOVED: &str = "the records have changed since they were loaded: a write of an earlier morphd was committed since, or the store was \
     put back in time; start morphd again";

/// Row that names the writer of a node's records.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Writer {
    /// Rises with each morphd that takes the records over.
    term: u64,
    /// Unique: process id and time.
    id: String,
}

/// Claim as it stands in the store.
#[derive(Debug, Clone, Copy)]
struct Standing {
    term: u64,
    revision: u64,
}

#[derive(Debug)]
struct Owner {
    node: String,
    id: String,
}

impl Owner {
    fn row(&self) -> Row {
        op::row(morph_api::RECORDS, WRITER, self.node.as_str())
    }
}

/// Claim of this morphd to the records of its node.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// None: no claim is made, and every write is let in.
    owner: OnceLock<Owner>,
    /// None: the claim is not in the store, or not any longer.
    standing: Mutex<Option<Standing>>,
    /// The records are in memory, or are being loaded.
    begun: AtomicBool,
    /// Set with the reason once nothing that this morphd writes is committed any longer.
    lost: watch::Sender<Option<&'static str>>,
}

impl Claim {
    fn lose(&self, why: &'static str) -> Refusal {
        self.lost.send_replace(Some(why));
        Refusal {
            reason: Reason::Conflict,
            message: why.into(),
            checkpoint: None,
        }
    }
}

impl Records {
    /// Takes the records of a node over, before they are loaded. What the writer before has still on its way to the store is
    /// refused from then on, or is committed already and is loaded. Where the store takes no writes, the first write makes
    /// the claim, and checks that the records are still as they were loaded. Without a claim every write is let in.
    ///
    /// # Errors
    /// Other processes take the records over again and again.
    pub async fn take_over(&self, node: &str) -> anyhow::Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = time.unwrap_or_default().as_nanos();
        let owner = Owner {
            node: node.to_owned(),
            id: format!("{}-{time}", std::process::id()),
        };
        // A morphd has one claim, and takes over once.
        let _ = self.claim.owner.set(owner);
        let held = tokio::time::timeout(TAKE_OVER, self.hold()).await;
        self.claim.begun.store(true, Ordering::Relaxed);
        let why = match held {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(refusal)) if refusal.reason == Reason::Conflict => {
                bail!("the records of {node} cannot be taken over: {refusal}")
            }
            Ok(Err(refusal)) => refusal.to_string(),
            Err(_) => format!("no answer in {TAKE_OVER:?}"),
        };
        tracing::warn!(
            why,
            "the store takes no records yet; all that runs is looked after"
        );
        Ok(())
    }

    /// Returns once nothing that this morphd writes is committed any longer, with the reason.
    pub async fn lost(&self) -> &'static str {
        let mut lost = self.claim.lost.subscribe();
        loop {
            if let Some(why) = *lost.borrow_and_update() {
                return why;
            }
            // The sender is owned by `self`, so it is there.
            if lost.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Expectation of every write. Makes the claim first where it is not in the store.
    pub(super) async fn hold(&self) -> Result<Option<Expect>, Refusal> {
        let Some(owner) = self.claim.owner.get() else {
            return Ok(None);
        };
        // No write of this morphd goes out before the claim is committed, so none of its rows changes meanwhile.
        let mut standing = self.claim.standing.lock().await;
        let is = match *standing {
            Some(standing) => standing,
            None => {
                let made = self.make(owner).await?;
                if self.claim.begun.load(Ordering::Relaxed) && self.have_moved().await {
                    return Err(self.claim.lose(MOVED));
                }
                *standing.insert(made)
            }
        };
        Ok(Some(op::expect(&owner.row(), is.revision)))
    }

    async fn make(&self, owner: &Owner) -> Result<Standing, Refusal> {
        let mut conflicts = 0;
        loop {
            let (found, revision) = self.writer(owner).await;
            if found.id == owner.id {
                // The answer to an earlier try was lost.
                let term = found.term;
                return Ok(Standing { term, revision });
            }
            let term = found.term + 1;
            let id = owner.id.clone();
            let text = serde_json::to_string(&Writer { term, id }).unwrap_or_default();
            let put = op::put(owner.row(), text.as_str());
            let transaction = op::shared([op::expect(&owner.row(), revision)], [put]);
            match self.store.commit(transaction).await {
                Ok(Ok(committed)) => {
                    let revision = committed.revision;
                    return Ok(Standing { term, revision });
                }
                Ok(Err(refusal)) if refusal.reason == Reason::Conflict && conflicts < CONFLICTS => {
                    conflicts += 1;
                }
                Ok(Err(refusal)) => return Err(refusal),
                Err(away) => {
                    tracing::warn!(error = %away, "the records are not taken over yet");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Checks after a refused expectation that the records are still this morphd's. In a store that was put back in time, or
    /// is empty, the next try claims them anew.
    pub(super) async fn still_ours(&self) -> Result<(), Refusal> {
        let Some(owner) = self.claim.owner.get() else {
            return Ok(());
        };
        let mut standing = self.claim.standing.lock().await;
        let Some(is) = standing.as_mut() else {
            return Ok(());
        };
        match self.writer(owner).await {
            (found, revision) if found.id == owner.id => is.revision = revision,
            (found, _) if found.term >= is.term => return Err(self.claim.lose(OUTRANKED)),
            _ => *standing = None,
        }
        Ok(())
    }

    /// The present writer and the revision of its row; without a row nobody, at revision 0.
    async fn writer(&self, owner: &Owner) -> (Writer, u64) {
        let Some((text, revision)) = self.look(WRITER, &owner.node).await else {
            return (Writer::default(), 0);
        };
        (serde_json::from_str(&text).unwrap_or_default(), revision)
    }

    /// Whether any record in memory has changed in the store. Waits for the store.
    async fn have_moved(&self) -> bool {
        for table in KEPT {
            let rows = loop {
                match self.store.list(morph_api::RECORDS, table, "").await {
                    Ok(rows) => break rows,
                    Err(away) => {
                        tracing::warn!(error = %away, "the records cannot be compared yet")
                    }
                }
                tokio::time::sleep(AGAIN).await;
            };
            let revisions = self.revisions();
            let known = revisions.keys().filter(|(of, _)| *of == table).count();
            let same = |row: &morph_api::store::RowValue| {
                revisions.get(&(table, row.key.clone())) == Some(&row.revision)
            };
            if rows.len() != known || !rows.iter().all(same) {
                return true;
            }
        }
        false
    }
}
