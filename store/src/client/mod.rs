//! A client of `morph-stored`.

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

/// How long a call may take unless told otherwise. A commit is a few milliseconds; a disk that stalls may take seconds.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often [`Client::ready`] tries to connect. Nothing announces a socket file, so it has to look.
const KNOCK: Duration = Duration::from_millis(10);

/// A handle to the store: cheap to clone, connects on its first call and again after the daemon was away.
#[derive(Debug, Clone)]
pub struct Client {
    socket: Arc<PathBuf>,
    deadline: Duration,
    /// Made by the first call, as a channel needs the runtime that it will live in.
    calls: Arc<OnceLock<StoreClient<Channel>>>,
}

impl Client {
    /// For the daemon on this socket. Does nothing until the first call.
    pub fn new(socket: impl AsRef<Path>) -> Client {
        Client {
            socket: Arc::new(socket.as_ref().to_owned()),
            deadline: DEADLINE,
            calls: Arc::new(OnceLock::new()),
        }
    }

    /// The same client with another deadline for each call.
    pub fn with_deadline(self, deadline: Duration) -> Client {
        Client { deadline, ..self }
    }

    /// Where the daemon is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Applies a transaction, whole or not at all. The outer error says that the outcome is unknown.
    pub async fn commit(
        &self,
        transaction: Transaction,
    ) -> Result<Result<Committed, Refusal>, Unavailable> {
        let size = transaction.encoded_len();
        if size > limits::TRANSACTION {
            // Not sent: it might not even fit a message.
            return Ok(Err(Refusal {
                reason: Reason::TooLarge,
                message: format!(
                    "a transaction of {size} bytes; at most {} are taken",
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

    /// Starts a watch. Each has a connection of its own: one that is not read must not hold up anything else.
    pub async fn watch(&self, request: WatchRequest) -> Result<Streaming<WatchReply>, Unavailable> {
        let mut connection = connect(&self.socket);
        self.call(connection.watch(request)).await
    }

    /// Rows by key or by prefix. An app or a keyspace that is not there has no rows.
    pub async fn read(&self, request: ReadRequest) -> Result<ReadReply, Unavailable> {
        let mut calls = self.calls();
        self.call(calls.read(request)).await
    }

    /// Value and revision of one row of an app's primary.
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

    /// All rows of one table of an app's primary whose keys start with `prefix`. Pages are read one after the other, so
    /// rows that change meanwhile may be from different revisions.
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

    /// Checkpoints, keyspaces, revision, incarnation.
    pub async fn status(&self) -> Result<StatusReply, Unavailable> {
        let mut calls = self.calls();
        self.call(calls.status(StatusRequest {})).await
    }

    /// Everything as it is now, as the bytes of a backup; the last part says that it is whole.
    pub async fn backup(&self) -> Result<Streaming<BackupPart>, Unavailable> {
        // A connection of its own, as for a watch.
        let mut connection = connect(&self.socket);
        self.call(connection.backup(BackupRequest {})).await
    }

    /// Looks at everything; the last message says that it has seen all.
    pub async fn check(&self) -> Result<Streaming<CheckProgress>, Unavailable> {
        let mut connection = connect(&self.socket);
        self.call(connection.check(CheckRequest {})).await
    }

    /// Waits until the daemon answers, for `deadline` at most.
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
