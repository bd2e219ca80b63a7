//! Task of one watcher: sends the snapshot page by page, then what arrives in its subscriber queue, until either side
//! ends.

use std::ops::ControlFlow;
use std::time::Duration;

use morph_api::store::ended::Why;
use morph_api::store::{Ended, Rows, Synced, WatchReply, watch_reply};
use tokio::sync::{mpsc, watch as watching};
use tonic::Status;

use super::status::status;
use crate::engine::{Notice, OpenWatch, Scan, SubscriberQueue};

/// Time that one page of a snapshot may wait for its reader. The snapshot's view of the store keeps old pages of the
/// file alive.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Rows of a page. Its size in bytes is bounded by the scan.
const ROWS: usize = 4096;

type Replies = mpsc::Sender<Result<WatchReply, Status>>;

pub(super) async fn run(
    started: Result<OpenWatch, Ended>,
    replies: Replies,
    mut ended: watching::Receiver<bool>,
) {
    tokio::select! {
        () = serve(started, &replies) => {}
        () = replies.closed() => {}
        // An error means that the daemon is gone already.
        _ = ended.wait_for(|end| *end) => {
            let shutdown = Ended { why: Why::Shutdown.into(), message: "the store is shutting down".into() };
            // The queue may be full, and at the end nobody waits for slow readers.
            let _ = replies.try_send(reply(watch_reply::Reply::Ended(shutdown)));
        }
    }
}

async fn serve(started: Result<OpenWatch, Ended>, replies: &Replies) {
    let OpenWatch {
        scan,
        synced,
        queue,
    } = match started {
        Ok(watching) => watching,
        Err(ended) => return end(replies, ended).await,
    };
    if let ControlFlow::Continue(()) = begin(scan, synced, &queue, replies).await {
        follow(&queue, replies).await;
    }
}

async fn snapshot(mut scan: Scan, queue: &SubscriberQueue, replies: &Replies) -> ControlFlow<()> {
    loop {
        let page = tokio::task::spawn_blocking(move || {
            let page = scan.page(ROWS);
            (scan, page)
        });
        let (rows, more) = match page.await {
            Ok((back, Ok(page))) => {
                scan = back;
                page
            }
            Ok((_, Err(error))) => return fail(replies, status(&error)).await,
            Err(error) => return fail(replies, Status::internal(error.to_string())).await,
        };
        if !rows.is_empty() {
            let rows = reply(watch_reply::Reply::Snapshot(Rows { rows }));
            match tokio::time::timeout(PAGE_TIMEOUT, replies.send(rows)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return ControlFlow::Break(()),
                Err(_) => {
                    queue.end(
                        Why::TooSlow,
                        format!("the snapshot was not read for {PAGE_TIMEOUT:?}"),
                    );
                    drop(scan);
                    follow(queue, replies).await;
                    return ControlFlow::Break(());
                }
            }
        }
        if !more {
            return ControlFlow::Continue(());
        }
    }
}

async fn begin(
    scan: Option<Scan>,
    synced: Synced,
    queue: &SubscriberQueue,
    replies: &Replies,
) -> ControlFlow<()> {
    if let Some(scan) = scan {
        snapshot(scan, queue, replies).await?;
    }
    let synced = reply(watch_reply::Reply::Synced(synced));
    match replies.send(synced).await {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

async fn follow(queue: &SubscriberQueue, replies: &Replies) {
    loop {
        let changes = match queue.next().await {
            Notice::Changes(changes) => changes,
            Notice::Ended(ended) => return end(replies, ended).await,
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
