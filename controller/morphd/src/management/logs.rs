//! A log as a stream of lines.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use morph_api::management::LogLine;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::log::{self, Follower};

/// Between two looks at a log that is followed.
const LOOK: Duration = Duration::from_millis(200);
/// Lines under way; as fast as it is read.
const LINES: usize = 64;

type Lines = ReceiverStream<Result<LogLine, Status>>;

/// The last lines of a log, and where it is followed all that come, until nobody reads them any more.
pub(super) async fn lines(path: PathBuf, tail: usize, follow: bool) -> io::Result<Lines> {
    let (sender, receiver) = mpsc::channel(LINES);
    // Before the last lines are read: what is written meanwhile is said twice by nobody and left out by nobody.
    let begun = blocking(move || {
        let follower = follow.then(|| Follower::begin(&path)).transpose()?;
        let until = follower.as_ref().map(Follower::position);
        Ok((log::tail_until(&path, until, tail)?, follower))
    });
    let (first, follower) = begun.await?;
    tokio::spawn(async move {
        if send(&sender, first).await
            && let Some(follower) = follower
        {
            pass_on(follower, &sender).await;
        }
    });
    Ok(ReceiverStream::new(receiver))
}

async fn pass_on(mut follower: Follower, sender: &mpsc::Sender<Result<LogLine, Status>>) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = sender.closed() => return,
        }
        let looked = blocking(move || Ok((follower.look()?, follower)));
        match looked.await {
            Ok((lines, same)) => {
                follower = same;
                if !send(sender, lines).await {
                    return;
                }
            }
            Err(error) => {
                let status = Status::internal(format!("the log could not be read: {error}"));
                let _ = sender.send(Err(status)).await;
                return;
            }
        }
    }
}

async fn send(sender: &mpsc::Sender<Result<LogLine, Status>>, lines: Vec<String>) -> bool {
    for line in lines {
        if sender.send(Ok(LogLine { line })).await.is_err() {
            return false;
        }
    }
    true
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(io::Error::other("the reading was broken off")))
}
