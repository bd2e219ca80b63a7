//! Requests of the proxy to the store: an incarnation number, and a fence when a hold expires.

use std::path::Path;
use std::time::Duration;

use morph_api::RECORDS;
use morph_api::store::{Checkpoint, Reason, Seq};
use morph_store::{Client, op};
use serde::{Deserialize, Serialize};

use crate::mediator::FenceOutcome;

/// Time limit of one request; a hold continues meanwhile.
const DEADLINE: Duration = Duration::from_secs(2);
/// Delay between attempts to obtain an incarnation number.
const AGAIN: Duration = Duration::from_millis(200);
/// Attempts between two log lines.
const QUIET: u32 = 25;

/// Row that counts the incarnations of the proxy. Table, key and field keep the names of store format 2, so that the count
/// never restarts.
#[derive(Debug, Default, Serialize, Deserialize)]
struct IncarnationRow {
    #[serde(rename = "stream")]
    incarnation: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Store {
    client: Client,
    node: String,
}

impl Store {
    pub(super) fn new(socket: &Path, node: &str) -> Self {
        Store {
            client: Client::new(socket).with_deadline(DEADLINE),
            node: node.to_owned(),
        }
    }

    /// Obtains an unused incarnation number; waits for the store.
    pub(super) async fn take_incarnation(&self) -> u64 {
        let mut attempts = 0u32;
        loop {
            match self.try_incarnation().await {
                Ok(incarnation) => return incarnation,
                Err(error) if attempts.is_multiple_of(QUIET) => {
                    tracing::warn!(
                        "cannot obtain an incarnation number from the store, trying again: {error}"
                    );
                }
                Err(_) => {}
            }
            attempts += 1;
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn try_incarnation(&self) -> anyhow::Result<u64> {
        let (before, revision): (IncarnationRow, u64) =
            match self.client.get(RECORDS, "streams", "proxy").await? {
                Some((value, revision)) => (serde_json::from_str(&value)?, revision),
                None => (IncarnationRow::default(), 0),
            };
        let incarnation = before.incarnation + 1;
        let row = op::row(RECORDS, "streams", "proxy");
        let value = serde_json::to_string(&IncarnationRow { incarnation })?;
        let expect = [op::expect(&row, revision)];
        // A concurrent writer causes a refusal, and the next attempt reads again.
        self.client
            .commit(op::shared(expect, [op::put(row, value)]))
            .await??;
        Ok(incarnation)
    }

    /// Raises the epoch of an app's checkpoint, for the release named there.
    pub(super) async fn fence(&self, app: &str) -> FenceOutcome {
        match self.try_fence(app).await {
            Ok(outcome) => outcome,
            Err(error) => FenceOutcome::StoreUnavailable(error.to_string()),
        }
    }

    async fn try_fence(&self, app: &str) -> anyhow::Result<FenceOutcome> {
        let mine = |checkpoint: &Checkpoint| checkpoint.app == app && checkpoint.node == self.node;
        let status = self.client.status().await?;
        let Some(checkpoint) = status.checkpoints.into_iter().find(mine) else {
            return Ok(FenceOutcome::NoCheckpoint);
        };
        let fence = op::fence(app, &self.node, checkpoint.epoch, checkpoint.release);
        let committed = match self.client.commit(op::shared([], [fence])).await? {
            Ok(committed) => committed,
            Err(refusal) if refusal.reason == Reason::StaleEpoch => {
                return Ok(FenceOutcome::LostRace);
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let revision = committed.revision;
        let checkpoint = committed.checkpoints.into_iter().find(mine);
        let checkpoint = checkpoint.ok_or_else(|| {
            anyhow::anyhow!("the store committed a fence without returning the checkpoint")
        })?;
        Ok(FenceOutcome::Committed {
            epoch: checkpoint.epoch,
            cursor: checkpoint.cursor.unwrap_or(Seq::ZERO),
            turn: checkpoint.turn,
            release: checkpoint.release,
            revision,
        })
    }
}
