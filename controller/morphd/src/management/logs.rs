//! A log as a stream of lines.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use morph_api::management::LogLine;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::log::{self, Follower};

/// Time between two polls of a log that is followed.
const PERIOD: Duration = Duration::from_millis(200);
/// Bound of the lines on their way to the client; a slow client slows down the reading, and the file keeps the rest.
const LINES: usize = 64;

type Lines = ReceiverStream<Result<LogLine, Status>>;

/// Last lines of a log and, if it is followed, all later ones until the client goes away.
pub(super) async fn lines(path: PathBuf, tail: usize, follow: bool) -> io::Result<Lines> {
    let (sender, receiver) = mpsc::channel(LINES);
    // Begin to follow before reading the last lines, so that no line is lost or sent twice.
    let opened = blocking(move || {
        let follower = follow.then(|| Follower::begin(&path)).transpose()?;
        let until = follower.as_ref().map(Follower::position);
        Ok((log::tail_until(&path, until, tail)?, follower))
    });
    let (first, follower) = opened.await?;
    tokio::spawn(async move {
        if send(&sender, first).await
            && let Some(follower) = follower
        {
            forward(follower, &sender).await;
        }
    });
    Ok(ReceiverStream::new(receiver))
}

async fn forward(mut follower: Follower, sender: &mpsc::Sender<Result<LogLine, Status>>) {
    let mut polls = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            _ = polls.tick() => {}
            () = sender.closed() => return,
        }
        let polled = blocking(move || Ok((follower.poll()?, follower)));
        match polled.await {
            Ok((lines, same)) => {
                follower = same;
                if !send(sender, lines).await {
                    return;
                }
            }
            Err(error) => {
                let status = Status::internal(format!("the log cannot be read: {error}"));
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
    done.unwrap_or_else(|_| {
        Err(io::Error::other(
            "the task that reads the log was cancelled",
        ))
    })
}
