//! One watcher's task: the snapshot page by page, then what comes into its mailbox, until either side ends it.

use std::ops::ControlFlow;
use std::time::Duration;

use morph_api::store::ended::Why;
use morph_api::store::{Ended, Rows, Synced, WatchReply, watch_reply};
use tokio::sync::{mpsc, watch as watching};
use tonic::Status;

use super::service::status;
use crate::engine::{Mail, Mailbox, Walk, Watching};

/// How long one page of a snapshot may wait for its reader: its view of the store keeps old pages of the file alive.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rows of a page; its bytes are bounded by the walk.
const ROWS: usize = 4096;

type Replies = mpsc::Sender<Result<WatchReply, Status>>;

pub(super) async fn run(
    started: Result<Watching, Ended>,
    replies: Replies,
    mut ended: watching::Receiver<bool>,
) {
    tokio::select! {
        () = tell(started, &replies) => {}
        () = replies.closed() => {}
        // An error says that the daemon is gone already.
        _ = ended.wait_for(|end| *end) => {
            let shutdown = Ended { why: Why::Shutdown.into(), message: "the store is shutting down".into() };
            // Its queue may be full, and nobody waits for slow readers now.
            let _ = replies.try_send(reply(watch_reply::Reply::Ended(shutdown)));
        }
    }
}

async fn tell(started: Result<Watching, Ended>, replies: &Replies) {
    let Watching {
        walk,
        synced,
        mailbox,
    } = match started {
        Ok(watching) => watching,
        Err(ended) => return end(replies, ended).await,
    };
    if let ControlFlow::Continue(()) = begun(walk, synced, &mailbox, replies).await {
        follow(&mailbox, replies).await;
    }
}

async fn snapshot(mut walk: Walk, mailbox: &Mailbox, replies: &Replies) -> ControlFlow<()> {
    loop {
        let page = tokio::task::spawn_blocking(move || {
            let page = walk.page(ROWS);
            (walk, page)
        });
        let (rows, more) = match page.await {
            Ok((back, Ok(page))) => {
                walk = back;
                page
            }
            Ok((_, Err(error))) => return fail(replies, status(&error)).await,
            Err(error) => return fail(replies, Status::internal(error.to_string())).await,
        };
        if !rows.is_empty() {
            let rows = reply(watch_reply::Reply::Snapshot(Rows { rows }));
            match tokio::time::timeout(PATIENCE, replies.send(rows)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return ControlFlow::Break(()),
                Err(_) => {
                    mailbox.end(Why::TooSlow, format!("a page waited for {PATIENCE:?}"));
                    drop(walk);
                    follow(mailbox, replies).await;
                    return ControlFlow::Break(());
                }
            }
        }
        if !more {
            return ControlFlow::Continue(());
        }
    }
}

async fn begun(
    walk: Option<Walk>,
    synced: Synced,
    mailbox: &Mailbox,
    replies: &Replies,
) -> ControlFlow<()> {
    if let Some(walk) = walk {
        snapshot(walk, mailbox, replies).await?;
    }
    let synced = reply(watch_reply::Reply::Synced(synced));
    match replies.send(synced).await {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

async fn follow(mailbox: &Mailbox, replies: &Replies) {
    loop {
        let changes = match mailbox.next().await {
            Mail::Changes(changes) => changes,
            Mail::Ended(ended) => return end(replies, ended).await,
        };
        let changes = reply(watch_reply::Reply::Changes(changes));
        if replies.send(changes).await.is_err() {
            return;
        }
    }
}

async fn end(replies: &Replies, ended: Ended) {
    tracing::info!(
        why = ended.why().as_str_name(),
        message = ended.message,
        "a watch ends"
    );
    let _ = replies.send(reply(watch_reply::Reply::Ended(ended))).await; // or the watcher went first
}

async fn fail(replies: &Replies, status: Status) -> ControlFlow<()> {
    tracing::error!(%status, "a watch fails");
    let _ = replies.send(Err(status)).await; // or the watcher went first
    ControlFlow::Break(())
}

fn reply(reply: watch_reply::Reply) -> Result<WatchReply, Status> {
    Ok(WatchReply { reply: Some(reply) })
}
