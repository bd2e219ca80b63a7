//! Client of `morph-stored`.

mod error;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use morph_api::store::store_client::StoreClient;
use morph_api::store::{
    BackupPart, BackupRequest, CheckProgress, CheckRequest, Committed, ReadReply, ReadRequest,
    Reason, RowValue, StatusReply, StatusRequest, Transaction, WatchReply, WatchRequest,
    commit_reply,
};
use prost::Message;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

pub use error::{Refusal, Unavailable};

use crate::{limits, op};

/// Default deadline of a call. A commit takes a few milliseconds, but a disk that stalls may take seconds.
const DEADLINE: Duration = Duration::from_secs(5);
/// Interval in which [`Client::ready`] tries to connect. It has to poll, since nothing announces a socket file.
const KNOCK: Duration = Duration::from_millis(10);

/// Handle to the store. It is cheap to clone, connects on its first call, and reconnects after the daemon was away.
#[derive(Debug, Clone)]
pub struct Client {
    socket: Arc<PathBuf>,
    deadline: Duration,
    /// Created by the first call, because a channel needs the runtime in which it will live.
    calls: Arc<OnceLock<StoreClient<Channel>>>,
}

impl Client {
    /// Creates a client for the daemon on this socket. Nothing is sent before the first call.
    pub fn new(socket: impl AsRef<Path>) -> Client {
        Client {
            socket: Arc::new(socket.as_ref().to_owned()),
            deadline: DEADLINE,
            calls: Arc::new(OnceLock::new()),
        }
    }

    /// Sets the deadline of each call.
    pub fn with_deadline(self, deadline: Duration) -> Client {
        Client { deadline, ..self }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Applies a transaction, whole or not at all. The outer error means that the outcome is unknown.
    pub async fn commit(
        &self,
        transaction: Transaction,
    ) -> Result<Result<Committed, Refusal>, Unavailable> {
        let size = transaction.encoded_len();
        if size > limits::TRANSACTION {
            // Not sent, since it might not even fit into a message.
            return Ok(Err(Refusal {
                reason: Reason::TooLarge,
                message: format!(
                    "a transaction of {size} bytes; at most {} are allowed",
                    limits::TRANSACTION
                ),
                checkpoint: None,
            }));
        }
        let mut calls = self.calls();
        let reply = self.call(calls.commit(transaction)).await?;
        match reply.result {
            Some(commit_reply::Result::Committed(committed)) => Ok(Ok(committed)),
            Some(commit_reply::Result::Refused(refused)) => Ok(Err(refused.into())),
            None => Err(Unavailable::Failed {
                socket: self.socket.display().to_string(),
                message: "an answer to a commit without a result".into(),
            }),
        }
    }

    /// Starts a watch on a connection of its own: a watch that is not read must not delay other calls.
    pub async fn watch(&self, request: WatchRequest) -> Result<Streaming<WatchReply>, Unavailable> {
        let mut connection = connect(&self.socket);
        self.call(connection.watch(request)).await
    }

    /// Reads rows by key or by prefix. An app or a keyspace that does not exist has no rows.
    pub async fn read(&self, request: ReadRequest) -> Result<ReadReply, Unavailable> {
        let mut calls = self.calls();
        self.call(calls.read(request)).await
    }

    /// Reads value and revision of one row of an app's primary.
    pub async fn get(
        &self,
        app: &str,
        table: &str,
        key: &str,
    ) -> Result<Option<(String, u64)>, Unavailable> {
        let request = ReadRequest {
            row: Some(op::row(app, table, key)),
            ..ReadRequest::default()
        };
        let reply = self.read(request).await?;
        let first = reply.rows.into_iter().next();
        Ok(first.and_then(|row| Some((row.value?, row.revision))))
    }

    /// Reads all rows of one table of an app's primary whose keys start with `prefix`. It reads page by page, so rows
    /// that change meanwhile may be from different revisions.
    pub async fn list(
        &self,
        app: &str,
        table: &str,
        prefix: &str,
    ) -> Result<Vec<RowValue>, Unavailable> {
        let mut request = ReadRequest {
            row: Some(op::row(app, table, prefix)),
            prefix: true,
            ..ReadRequest::default()
        };
        let mut rows: Vec<RowValue> = Vec::new();
        loop {
            let reply = self.read(request.clone()).await?;
            rows.extend(reply.rows);
            match rows.last() {
                Some(last) if reply.more => {
                    request.after_table.clone_from(&last.table);
                    request.after_key.clone_from(&last.key);
                }
                _ => return Ok(rows),
            }
        }
    }

    /// Reads checkpoints, keyspaces, revision and incarnation.
    pub async fn status(&self) -> Result<StatusReply, Unavailable> {
        let mut calls = self.calls();
        self.call(calls.status(StatusRequest {})).await
    }

    /// Streams everything as it is now, as the bytes of a backup. The last part is marked as such.
    pub async fn backup(&self) -> Result<Streaming<BackupPart>, Unavailable> {
        // The stream has a connection of its own, as a watch has.
        let mut connection = connect(&self.socket);
        self.call(connection.backup(BackupRequest {})).await
    }

    /// Checks everything in the store. The last message is marked as such.
    pub async fn check(&self) -> Result<Streaming<CheckProgress>, Unavailable> {
        let mut connection = connect(&self.socket);
        self.call(connection.check(CheckRequest {})).await
    }

    /// Waits until the daemon answers, at most for `deadline`.
    pub async fn ready(&self, deadline: Duration) -> Result<StatusReply, Unavailable> {
        let until = Instant::now() + deadline;
        let mut knocks = tokio::time::interval(KNOCK);
        knocks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            knocks.tick().await;
            let away = match tokio::time::timeout_at(until, self.status()).await {
                Ok(Ok(status)) => return Ok(status),
                Ok(Err(away)) => away,
                Err(_) => {
                    return Err(Unavailable::Deadline {
                        socket: self.socket.display().to_string(),
                        deadline,
                    });
                }
            };
            if Instant::now() >= until {
                return Err(away);
            }
        }
    }

    fn calls(&self) -> StoreClient<Channel> {
        self.calls.get_or_init(|| connect(&self.socket)).clone()
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Unavailable> {
        let socket = || self.socket.display().to_string();
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Unavailable::from_status(socket(), &status)),
            Err(_) => Err(Unavailable::Deadline {
                socket: socket(),
                deadline: self.deadline,
            }),
        }
    }
}

fn connect(socket: &Path) -> StoreClient<Channel> {
    StoreClient::new(morph_api::unix::connect_lazy(socket))
        .max_decoding_message_size(limits::MESSAGE)
        .max_encoding_message_size(limits::MESSAGE)
}
