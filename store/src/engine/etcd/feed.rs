//! Watch on the head key: all heads in order and without a gap, whoever wrote them, across reconnects.
//!
//! ```text
//!  task: connect --> watch from the next revision --> heads --> queue (bounded) --> the writer
//!           ^                |
//!           '--- pause <-----+ an error, no leader, or a head that the writer expects does not arrive
//!                            '-- compacted: a gap is reported, and the task ends; the writer loads again and starts another
//! ```

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::link::{CallError, Link, words};
use crate::engine::health::Health;

/// Heads that may wait for the writer, which takes them between two groups. Each is a group of at most 600 KiB.
const QUEUE: usize = 32;
/// Pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);
/// Maximum size of a message in bytes. The history after a long absence comes in parts.
const MESSAGE: usize = 64 << 20;

#[derive(Debug)]
pub(super) enum FeedItem {
    /// Head with the revision of etcd that wrote it.
    Head(i64, Vec<u8>),
    /// Last item: heads are missing for this reason, and everything has to be loaded.
    Gap(String),
}

pub(super) struct Feed {
    queue: mpsc::Receiver<FeedItem>,
    /// Signals the task to connect again, since the connection may be dead without knowing it.
    reconnect: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    /// Follows all heads after a revision of etcd. Must be called within the writer's runtime.
    pub(super) fn start(link: Link, key: String, after: i64, health: Health) -> Feed {
        let (heads, queue) = mpsc::channel(QUEUE);
        let reconnect = Arc::new(Notify::new());
        let watch = HeadWatch {
            link,
            key,
            next: after + 1,
            heads,
            reconnect: Arc::clone(&reconnect),
            health,
        };
        Feed {
            queue,
            reconnect,
            task: tokio::spawn(watch.run()),
        }
    }

    /// Waits for the next item. Nothing is lost if the call is cancelled.
    pub(super) async fn next(&mut self) -> FeedItem {
        let gone = || FeedItem::Gap("the watch on etcd has ended".into());
        self.queue.recv().await.unwrap_or_else(gone)
    }

    /// Returns an item that has arrived already.
    pub(super) fn ready(&mut self) -> Option<FeedItem> {
        self.queue.try_recv().ok()
    }

    pub(super) fn reconnect(&self) {
        self.reconnect.notify_one();
    }
}

struct HeadWatch {
    link: Link,
    key: String,
    next: i64,
    heads: mpsc::Sender<FeedItem>,
    reconnect: Arc<Notify>,
    health: Health,
}

/// Reason why a connection was given up.
enum FeedStop {
    Again(String),
    Gap(String),
}

impl HeadWatch {
    async fn run(mut self) {
        loop {
            let stop = match self.connect().await {
                Ok(stream) => {
                    let reconnect = Arc::clone(&self.reconnect);
                    tokio::select! {
                        stop = self.follow(stream) => stop,
                        () = reconnect.notified() => FeedStop::Again("a head that must exist did not arrive".into()),
                    }
                }
                Err(trouble) => trouble.into(),
            };
            match stop {
                FeedStop::Again(why) => {
                    self.health.watch(Some(why));
                    self.link.leave();
                    tokio::time::sleep(PAUSE).await;
                }
                FeedStop::Gap(why) => {
                    // The writer may be gone.
                    let _ = self.heads.send(FeedItem::Gap(why)).await;
                    return;
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<WatchStream, CallError> {
        let (key, next) = (self.key.clone(), self.next);
        self.link
            .call(async |client| {
                let options = WatchOptions::new()
                    .with_start_revision(next)
                    .with_fragment();
                let mut watch = client.watch_client().max_decoding_message_size(MESSAGE);
                watch.watch(key, Some(options)).await
            })
            .await
    }

    async fn follow(&mut self, mut stream: WatchStream) -> FeedStop {
        loop {
            let message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return FeedStop::Again("etcd has ended the watch".into()),
                Err(error) => return FeedStop::Again(words(&error)),
            };
            if message.compact_revision() > 0 {
                return FeedStop::Gap("etcd's history was compacted before it was seen".into());
            }
            if message.canceled() {
                return FeedStop::Again(message.cancel_reason().to_owned());
            }
            self.health.watch(None);
            for event in message.events() {
                let Some(kv) = event.kv() else { continue };
                self.next = kv.mod_revision() + 1;
                let fed = match event.event_type() {
                    EventType::Put => FeedItem::Head(kv.mod_revision(), kv.value().to_vec()),
                    EventType::Delete => return FeedStop::Gap(format!("{} was deleted", self.key)),
                };
                if self.heads.send(fed).await.is_err() {
                    return FeedStop::Gap("nobody listens".into());
                }
            }
        }
    }
}

impl From<CallError> for FeedStop {
    fn from(trouble: CallError) -> Self {
        match trouble {
            CallError::Unreachable(why) => FeedStop::Again(why),
            CallError::Refused(error) => FeedStop::Again(error.to_string()),
            CallError::Compacted => FeedStop::Gap("etcd's history was compacted".into()),
        }
    }
}
