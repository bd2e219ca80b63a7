//! That the records of a node are this morphd's to write: a row of their own says whose they are, and every write of
//! records expects it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use morph_api::store::{Expect, Reason, Row};
use morph_store::{Refusal, op};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use super::{AGAIN, APPS, CONFLICTS, EVENTS, RELEASES, Records, UPGRADES};

/// Table of [`Writer`], by the node's name.
const WRITER: &str = "writer";
/// For a store that can be read to take the first record.
const TAKE_OVER: Duration = Duration::from_secs(2);
/// The records that morphd keeps in memory.
const KEPT: [&str; 4] = [APPS, RELEASES, UPGRADES, EVENTS];

const OUTRANKED: &str = "another morphd has taken over the records of this node: give each morphd a store of its own, or a prefix of its own in \
     etcd";
const MOVED: &str = "the records are not any longer what was loaded: what a former morphd had sent has landed since, or the store was put \
     back in time; start morphd again";

/// Whose the records of a node are.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Writer {
    /// It rises with each that takes them over.
    term: u64,
    /// No other morphd has the same: process id and time.
    id: String,
}

/// As it is in the store.
#[derive(Debug, Clone, Copy)]
struct Landed {
    term: u64,
    revision: u64,
}

#[derive(Debug)]
struct Mine {
    node: String,
    id: String,
}

impl Mine {
    fn row(&self) -> Row {
        op::row(morph_api::RECORDS, WRITER, self.node.as_str())
    }
}

/// A morphd's claim to the records of its node.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// None: it was never made, and whoever writes is let in.
    mine: OnceLock<Mine>,
    /// None: not, or not any longer.
    landed: Mutex<Option<Landed>>,
    /// The records are in memory, or about to be.
    begun: AtomicBool,
    /// Why nothing that is written here lands any longer.
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
    /// Takes the records of a node over, before they are loaded: what the writer before has still on its way to the store is
    /// refused from then on, or has landed and is loaded. Where the store takes nothing, the first write does it, and asks
    /// whether the records are still as they were loaded. One that has not done this writes whoever else does.
    ///
    /// # Errors
    /// When others take the records over again and again.
    pub async fn take_over(&self, node: &str) -> anyhow::Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = time.unwrap_or_default().as_nanos();
        let mine = Mine {
            node: node.to_owned(),
            id: format!("{}-{time}", std::process::id()),
        };
        // One morphd has one of these, and takes over once.
        let _ = self.claim.mine.set(mine);
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

    /// Returns once nothing that is written here lands any longer: why not, for people.
    pub async fn lost(&self) -> &'static str {
        let mut lost = self.claim.lost.subscribe();
        loop {
            if let Some(why) = *lost.borrow_and_update() {
                return why;
            }
            // The sender is ours, so it is there.
            if lost.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What every write expects; where the claim is not in the store it is made first.
    pub(super) async fn hold(&self) -> Result<Option<Expect>, Refusal> {
        let Some(mine) = self.claim.mine.get() else {
            return Ok(None);
        };
        // Nobody writes before it has landed, so nothing moves meanwhile that is ours.
        let mut landed = self.claim.landed.lock().await;
        let is = match *landed {
            Some(landed) => landed,
            None => {
                let made = self.make(mine).await?;
                if self.claim.begun.load(Ordering::Relaxed) && self.have_moved().await {
                    return Err(self.claim.lose(MOVED));
                }
                *landed.insert(made)
            }
        };
        Ok(Some(op::expect(&mine.row(), is.revision)))
    }

    async fn make(&self, mine: &Mine) -> Result<Landed, Refusal> {
        let mut conflicts = 0;
        loop {
            let (found, revision) = self.writer(mine).await;
            if found.id == mine.id {
                // Its answer was lost.
                let term = found.term;
                return Ok(Landed { term, revision });
            }
            let term = found.term + 1;
            let id = mine.id.clone();
            let text = serde_json::to_string(&Writer { term, id }).unwrap_or_default();
            let put = op::put(mine.row(), text.as_str());
            let transaction = op::shared([op::expect(&mine.row(), revision)], [put]);
            match self.store.commit(transaction).await {
                Ok(Ok(committed)) => {
                    let revision = committed.revision;
                    return Ok(Landed { term, revision });
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

    /// After a refused expectation: whether the records are still ours. In a store that was put back in time, or is empty,
    /// they are claimed anew by the next try.
    pub(super) async fn still_ours(&self) -> Result<(), Refusal> {
        let Some(mine) = self.claim.mine.get() else {
            return Ok(());
        };
        let mut landed = self.claim.landed.lock().await;
        let Some(is) = landed.as_mut() else {
            return Ok(());
        };
        match self.writer(mine).await {
            (found, revision) if found.id == mine.id => is.revision = revision,
            (found, _) if found.term >= is.term => return Err(self.claim.lose(OUTRANKED)),
            _ => *landed = None,
        }
        Ok(())
    }

    /// Whose they are by now, and since which revision; no row is nobody's, at none.
    async fn writer(&self, mine: &Mine) -> (Writer, u64) {
        let Some((text, revision)) = self.look(WRITER, &mine.node).await else {
            return (Writer::default(), 0);
        };
        (serde_json::from_str(&text).unwrap_or_default(), revision)
    }

    /// Whether any of the records in memory is another one by now, for as long as it takes.
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
