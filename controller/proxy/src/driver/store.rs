//! What the proxy wants of the store: an incarnation, and a fence when a hold expires.

use std::path::Path;
use std::time::Duration;

use morph_api::RECORDS;
use morph_api::store::{Checkpoint, Reason, Seq};
use morph_store::{Client, op};
use serde::{Deserialize, Serialize};

use crate::mediator::FenceOutcome;

/// One request, at most: a hold goes on meanwhile.
const DEADLINE: Duration = Duration::from_secs(2);
/// Between attempts to take an incarnation.
const AGAIN: Duration = Duration::from_millis(200);
/// Attempts between two lines in the log.
const QUIET: u32 = 25;

/// The row `streams/proxy`. It keeps its names of format 2, in which an incarnation is a stream.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Incarnation {
    #[serde(rename = "stream")]
    incarnation: u64,
}

/// The store, as the proxy sees it.
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

    /// An incarnation that nobody has had; waits for the store.
    pub(super) async fn take_incarnation(&self) -> u64 {
        let mut attempts = 0u32;
        loop {
            match self.try_incarnation().await {
                Ok(incarnation) => return incarnation,
                Err(error) if attempts.is_multiple_of(QUIET) => {
                    tracing::warn!("no incarnation of events yet, trying again: {error}");
                }
                Err(_) => {}
            }
            attempts += 1;
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn try_incarnation(&self) -> anyhow::Result<u64> {
        let (before, revision): (Incarnation, u64) =
            match self.client.get(RECORDS, "streams", "proxy").await? {
                Some((value, revision)) => (serde_json::from_str(&value)?, revision),
                None => (Incarnation::default(), 0),
            };
        let incarnation = before.incarnation + 1;
        let row = op::row(RECORDS, "streams", "proxy");
        let value = serde_json::to_string(&Incarnation { incarnation })?;
        let expect = [op::expect(&row, revision)];
        // One that was faster is a refusal: the next attempt reads again.
        self.client
            .commit(op::shared(expect, [op::put(row, value)]))
            .await??;
        Ok(incarnation)
    }

    /// Raises the epoch of an app's checkpoint, for the release that the checkpoint names.
    pub(super) async fn fence(&self, app: &str) -> FenceOutcome {
        match self.try_fence(app).await {
            Ok(outcome) => outcome,
            Err(error) => FenceOutcome::Away(error.to_string()),
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
            Err(refusal) if refusal.reason == Reason::StaleEpoch => return Ok(FenceOutcome::Raced),
            Err(refusal) => return Err(refusal.into()),
        };
        let revision = committed.revision;
        let checkpoint = committed.checkpoints.into_iter().find(mine);
        let checkpoint = checkpoint
            .ok_or_else(|| anyhow::anyhow!("the store raised an epoch and did not say which"))?;
        Ok(FenceOutcome::Won {
            epoch: checkpoint.epoch,
            cursor: checkpoint.cursor.unwrap_or(Seq::ZERO),
            turn: checkpoint.turn,
            release: checkpoint.release,
            revision,
        })
    }
}
