//! What the proxy wants of the store: a stream, and a fence when a hold expires.

use std::path::Path;
use std::time::Duration;

use morph_api::RECORDS;
use morph_api::store::store_client::StoreClient;
use morph_api::store::{
    CommitReply, Expect, Fence, Op, Put, ReadRequest, Reason, Row, Seq, StatusRequest, Transaction,
    commit_reply, op,
};
use serde::{Deserialize, Serialize};
use tonic::Status;
use tonic::transport::Channel;

use crate::mediator::FenceOutcome;

/// One request, at most.
const DEADLINE: Duration = Duration::from_secs(2);
/// Between attempts while the store is away.
const AGAIN: Duration = Duration::from_millis(200);
/// Attempts between two lines in the log.
const QUIET: u32 = 25;

/// The row `streams/proxy`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stream {
    stream: u64,
}

/// The store, as the proxy sees it.
#[derive(Debug, Clone)]
pub(super) struct Store {
    client: StoreClient<Channel>,
    node: String,
}

impl Store {
    pub(super) fn new(socket: &Path, node: &str) -> Self {
        Store {
            client: StoreClient::new(morph_api::unix::connect_lazy(socket)),
            node: node.to_owned(),
        }
    }

    /// A stream that nobody has had; waits for the store.
    pub(super) async fn take_stream(&self) -> u64 {
        let mut attempts = 0u32;
        loop {
            match self.try_stream().await {
                Ok(stream) => return stream,
                Err(error) if attempts.is_multiple_of(QUIET) => {
                    tracing::warn!("no stream yet, waiting for the store: {}", error.message());
                }
                Err(_) => {}
            }
            attempts += 1;
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn try_stream(&self) -> Result<u64, Status> {
        let row = Row {
            app: RECORDS.to_owned(),
            space: 0,
            table: "streams".to_owned(),
            key: "proxy".to_owned(),
        };
        let read = ReadRequest {
            row: Some(row.clone()),
            ..ReadRequest::default()
        };
        let mut client = self.client.clone();
        let reply = within(client.read(read)).await?;
        let (before, revision) = match reply
            .rows
            .first()
            .map(|row| (row.value.as_deref(), row.revision))
        {
            Some((Some(value), revision)) => (parse(value)?, revision),
            Some((None, _)) | None => (Stream::default(), 0),
        };
        let stream = Stream {
            stream: before.stream + 1,
        };
        let value =
            serde_json::to_string(&stream).map_err(|error| Status::internal(error.to_string()))?;
        let put = op::Op::Put(Put {
            row: Some(row.clone()),
            value,
        });
        let reply = self
            .commit(Transaction {
                turn: None,
                expect: vec![Expect {
                    row: Some(row),
                    revision,
                }],
                ops: vec![Op { op: Some(put) }],
            })
            .await?;
        match reply.result {
            Some(commit_reply::Result::Committed(_)) => Ok(stream.stream),
            // Somebody else took it: the next attempt reads again.
            Some(commit_reply::Result::Refused(refused)) => Err(Status::aborted(refused.message)),
            None => Err(Status::internal("the store answered nothing")),
        }
    }

    async fn commit(&self, transaction: Transaction) -> Result<CommitReply, Status> {
        let mut client = self.client.clone();
        within(client.commit(transaction)).await
    }

    /// Raises the epoch of an app's lane, for the release that the lane names.
    pub(super) async fn fence(&self, app: &str) -> FenceOutcome {
        match self.try_fence(app).await {
            Ok(outcome) => outcome,
            Err(status) => FenceOutcome::Away(status.message().to_owned()),
        }
    }

    async fn try_fence(&self, app: &str) -> Result<FenceOutcome, Status> {
        let mut client = self.client.clone();
        let status = within(client.status(StatusRequest {})).await?;
        let mine = |lane: &&morph_api::store::Lane| lane.app == app && lane.node == self.node;
        let Some(lane) = status.lanes.iter().find(mine) else {
            return Ok(FenceOutcome::NoLane);
        };
        let fence = op::Op::Fence(Fence {
            app: app.to_owned(),
            node: self.node.clone(),
            expect_epoch: lane.epoch,
            release: lane.release.clone(),
        });
        let reply = self
            .commit(Transaction {
                ops: vec![Op { op: Some(fence) }],
                ..Transaction::default()
            })
            .await?;
        Ok(match reply.result {
            Some(commit_reply::Result::Committed(committed)) => {
                match committed.lanes.iter().find(mine) {
                    Some(lane) => FenceOutcome::Won {
                        epoch: lane.epoch,
                        cursor: lane.cursor.unwrap_or(Seq::ZERO),
                        turn: lane.turn,
                        release: lane.release.clone(),
                        revision: committed.revision,
                    },
                    None => {
                        FenceOutcome::Away("the store raised an epoch and did not say which".into())
                    }
                }
            }
            Some(commit_reply::Result::Refused(refused))
                if refused.reason() == Reason::StaleEpoch =>
            {
                FenceOutcome::Raced
            }
            Some(commit_reply::Result::Refused(refused)) => FenceOutcome::Away(refused.message),
            None => FenceOutcome::Away("the store answered nothing".into()),
        })
    }
}

fn parse(value: &str) -> Result<Stream, Status> {
    serde_json::from_str(value)
        .map_err(|error| Status::internal(format!("the row streams/proxy is {value:?}: {error}")))
}

async fn within<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(reply) => reply.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(
            "the store did not answer within 2 s",
        )),
    }
}
