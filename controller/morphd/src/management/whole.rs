//! The store as a whole: its figures, its changes as they come, backups and checks.

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

use super::state::away;

/// Parts on their way to whoever asked: what is read no faster waits in the store.
const AHEAD: usize = 2;

pub(super) type Parts<T> = ReceiverStream<Result<T, Status>>;

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

/// Every change of an app's primary from now on.
pub(super) async fn watch(
    store: &Client,
    request: StoreWatchRequest,
) -> Result<Parts<StoreChange>, Status> {
    let app = request.app;
    let status = store.status().await.map_err(away)?;
    let keyspaces = || {
        status
            .keyspaces
            .iter()
            .filter(|keyspace| keyspace.app == app)
    };
    let Some(primary) = keyspaces().find(|keyspace| keyspace.primary) else {
        return Err(Status::not_found(format!(
            "{app} has no state in the store"
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
    let watch = store.watch(request).await.map_err(away)?;
    let (parts, stream) = mpsc::channel(AHEAD);
    tokio::spawn(tell_changes(watch, parts));
    Ok(ReceiverStream::new(stream))
}

async fn tell_changes(
    mut watch: Streaming<WatchReply>,
    parts: mpsc::Sender<Result<StoreChange, Status>>,
) {
    loop {
        let reply = tokio::select! {
            reply = watch.message() => reply,
            () = parts.closed() => return,
        };
        let told = match reply {
            Ok(Some(reply)) => reply.reply,
            Ok(None) => return,
            Err(status) => return drop(parts.send(Err(status)).await),
        };
        match told {
            Some(watch_reply::Reply::Changes(Changes { changes, .. })) => {
                for told in changes.into_iter().flat_map(told_rows) {
                    if parts.send(Ok(told)).await.is_err() {
                        return;
                    }
                }
            }
            Some(watch_reply::Reply::Ended(ended)) => {
                let why = format!("the store ended it: {}; watch again", ended.message);
                return drop(parts.send(Err(Status::aborted(why))).await);
            }
            Some(watch_reply::Reply::Snapshot(_) | watch_reply::Reply::Synced(_)) | None => {}
        }
    }
}

fn told_rows(change: Change) -> impl Iterator<Item = StoreChange> {
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

pub(super) async fn backup(store: &Client) -> Result<Parts<StoreBackupPart>, Status> {
    let parts = store.backup().await.map_err(away)?;
    Ok(passed(parts, |part: BackupPart| StoreBackupPart {
        data: part.data,
        done: part.done,
        revision: part.revision,
        rows: part.rows,
    }))
}

/// What the store finds, and at the end what morphd knows beyond that.
pub(super) async fn check(
    store: &Client,
    ours: Vec<StoreFinding>,
) -> Result<Parts<StoreCheckProgress>, Status> {
    let parts = store.check().await.map_err(away)?;
    let mut ours = Some(ours);
    Ok(passed(parts, move |progress: CheckProgress| {
        let found = progress.findings.into_iter().map(|found| StoreFinding {
            place: found.r#where,
            message: found.message,
        });
        let mut findings: Vec<StoreFinding> = found.collect();
        if progress.done {
            findings.extend(ours.take().into_iter().flatten());
        }
        StoreCheckProgress {
            rows: progress.rows,
            findings,
            done: progress.done,
            revision: progress.revision,
        }
    }))
}

/// Keyspaces whose schema version no release declares that runs or would: whoever starts could not read them.
pub(super) fn unread(
    status: &StatusReply,
    releases: &[morph_api::management::Release],
) -> Vec<StoreFinding> {
    let primaries = status.keyspaces.iter().filter(|keyspace| keyspace.primary);
    let unread = primaries.filter_map(|keyspace| {
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
                "it has schema version {}, which no current or permanent release of {} declares",
                keyspace.schema, keyspace.app
            ),
        })
    });
    unread.collect()
}

fn passed<T: Send + 'static, U: Send + 'static>(
    mut parts: Streaming<T>,
    mut as_told: impl FnMut(T) -> U + Send + 'static,
) -> Parts<U> {
    let (sender, stream) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        loop {
            let part = match parts.message().await {
                Ok(Some(part)) => Ok(as_told(part)),
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
