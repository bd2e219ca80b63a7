//! Operations on the whole store: statistics, a stream of changes, backup and check.

use morph_api::management::{
    StoreBackupPart, StoreChange, StoreCheckProgress, StoreFinding, StoreStats, StoreWatchRequest,
};
use morph_api::store::watch_request::Which;
use morph_api::store::{
    BackupPart, Change, Changes, CheckProgress, RowValue, StatusReply, WatchReply, WatchRequest,
    watch_reply,
};
use morph_store::Client;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::rows::unavailable;

/// Bound of the parts on their way to the client; for a slow client the rest waits in the store.
const BUFFERED: usize = 2;

pub(super) type ReplyStream<T> = ReceiverStream<Result<T, Status>>;

pub(super) fn stats(status: StatusReply) -> StoreStats {
    let primaries = status
        .keyspaces
        .iter()
        .filter(|keyspace| keyspace.primary)
        .count();
    StoreStats {
        version: status.version,
        backend: status.backend,
        trouble: status.trouble,
        format: status.format,
        incarnation: status.incarnation,
        revision: status.revision,
        durable: status.durable,
        apps: primaries as u64,
        keyspaces: status.keyspaces.len() as u64,
        keys: status.keyspaces.iter().map(|keyspace| keyspace.keys).sum(),
        checkpoints: status.checkpoints.len() as u64,
        leases: status.leases.len() as u64,
        watches: u64::from(status.watches),
    }
}

/// Streams every later change of an app's primary.
pub(super) async fn watch(
    store: &Client,
    request: StoreWatchRequest,
) -> Result<ReplyStream<StoreChange>, Status> {
    let app = request.app;
    let status = store.status().await.map_err(unavailable)?;
    let keyspaces = || {
        status
            .keyspaces
            .iter()
            .filter(|keyspace| keyspace.app == app)
    };
    let Some(primary) = keyspaces().find(|keyspace| keyspace.primary) else {
        return Err(Status::not_found(format!(
            "{app} has no state in the store; see `morphctl store list`"
        )));
    };
    let request = WatchRequest {
        app,
        which: Some(Which::Keyspace(primary.id)),
        tables: Some(request.table)
            .into_iter()
            .filter(|t| !t.is_empty())
            .collect(),
        from_revision: status.revision,
        incarnation: status.incarnation,
    };
    let watch = store.watch(request).await.map_err(unavailable)?;
    let (parts, stream) = mpsc::channel(BUFFERED);
    tokio::spawn(forward_changes(watch, parts));
    Ok(ReceiverStream::new(stream))
}

async fn forward_changes(
    mut watch: Streaming<WatchReply>,
    parts: mpsc::Sender<Result<StoreChange, Status>>,
) {
    loop {
        let reply = tokio::select! {
            reply = watch.message() => reply,
            () = parts.closed() => return,
        };
        let reply = match reply {
            Ok(Some(reply)) => reply.reply,
            Ok(None) => return,
            Err(status) => return drop(parts.send(Err(status)).await),
        };
        match reply {
            Some(watch_reply::Reply::Changes(Changes { changes, .. })) => {
                for change in changes.into_iter().flat_map(changed_rows) {
                    if parts.send(Ok(change)).await.is_err() {
                        return;
                    }
                }
            }
            Some(watch_reply::Reply::Ended(ended)) => {
                let why = format!("the store ended the watch: {}; watch again", ended.message);
                return drop(parts.send(Err(Status::aborted(why))).await);
            }
            Some(watch_reply::Reply::Snapshot(_) | watch_reply::Reply::Synced(_)) | None => {}
        }
    }
}

fn changed_rows(change: Change) -> impl Iterator<Item = StoreChange> {
    let by = match change.origin {
        Some(turn) => format!("turn {} of epoch {}", turn.follows + 1, turn.epoch),
        None => String::new(),
    };
    change.rows.into_iter().map(move |row| {
        let RowValue {
            table,
            key,
            value,
            revision,
        } = row;
        StoreChange {
            revision,
            table,
            key,
            deleted: value.is_none(),
            value: value.unwrap_or_default(),
            by: by.clone(),
        }
    })
}

pub(super) async fn backup(store: &Client) -> Result<ReplyStream<StoreBackupPart>, Status> {
    let parts = store.backup().await.map_err(unavailable)?;
    Ok(forward(parts, |part: BackupPart| StoreBackupPart {
        data: part.data,
        done: part.done,
        revision: part.revision,
        rows: part.rows,
    }))
}

/// Streams what the store finds, and at the end what only morphd can find.
pub(super) async fn check(
    store: &Client,
    more: Vec<StoreFinding>,
) -> Result<ReplyStream<StoreCheckProgress>, Status> {
    let parts = store.check().await.map_err(unavailable)?;
    let mut more = Some(more);
    Ok(forward(parts, move |progress: CheckProgress| {
        let found = progress.findings.into_iter().map(|found| StoreFinding {
            place: found.r#where,
            message: found.message,
            orphaned: false,
        });
        let mut findings: Vec<StoreFinding> = found.collect();
        if progress.done {
            findings.extend(more.take().into_iter().flatten());
        }
        StoreCheckProgress {
            rows: progress.rows,
            findings,
            done: progress.done,
            revision: progress.revision,
        }
    }))
}

/// Finds primaries whose schema version no current or permanent release declares: no instance that starts could read them.
pub(super) fn unreadable(
    status: &StatusReply,
    releases: &[morph_api::management::Release],
) -> Vec<StoreFinding> {
    let primaries = status.keyspaces.iter().filter(|keyspace| keyspace.primary);
    let unreadable = primaries.filter_map(|keyspace| {
        let of = |r: &&morph_api::management::Release| {
            r.app == keyspace.app && matches!(r.status.as_str(), "current" | "permanent")
        };
        let mut used = releases.iter().filter(of).peekable();
        used.peek()?;
        if used.any(|release| release.schema == keyspace.schema) {
            return None;
        }
        Some(StoreFinding {
            place: format!("keyspace {} of app {}", keyspace.id, keyspace.app),
            message: format!(
                "it has schema version {}, which no current or permanent release of {} declares; install a release that does",
                keyspace.schema, keyspace.app
            ),
            orphaned: false,
        })
    });
    unreadable.collect()
}

fn forward<T: Send + 'static, U: Send + 'static>(
    mut parts: Streaming<T>,
    mut convert: impl FnMut(T) -> U + Send + 'static,
) -> ReplyStream<U> {
    let (sender, stream) = mpsc::channel(BUFFERED);
    tokio::spawn(async move {
        loop {
            let part = match parts.message().await {
                Ok(Some(part)) => Ok(convert(part)),
                Ok(None) => return,
                Err(status) => Err(status),
            };
            let failed = part.is_err();
            if sender.send(part).await.is_err() || failed {
                return;
            }
        }
    });
    ReceiverStream::new(stream)
}
