//! The watch on the head key: every head that anyone writes, in order, without a gap, across reconnects.
//!
//! ```text
//!  task: connect --> watch from the next revision --> heads --> queue (bounded) --> the writer
//!           ^                |
//!           '--- pause <-----+ an error, no leader, or the writer says that it waits in vain
//!                            '-- compacted: told, and the end; the writer loads again and starts another feed
//! ```

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::health::Health;
use super::link::{Link, Trouble, words};

/// Heads that may wait for the writer; it looks at them between two groups. Each is a group, of 600 KiB at most.
const QUEUE: usize = 32;
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes of a message. The history after a long absence comes in parts.
const MESSAGE: usize = 64 << 20;

/// What the watch says.
#[derive(Debug)]
pub(super) enum Fed {
    /// A head, and the revision of etcd that wrote it.
    Head(i64, Vec<u8>),
    /// Some are missing, for this reason: load everything. The last.
    Gap(String),
}

pub(super) struct Feed {
    queue: mpsc::Receiver<Fed>,
    /// Connect anew: the connection may be dead without knowing it.
    anew: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    /// Of all heads after a revision of etcd. Within the writer's runtime.
    pub(super) fn start(link: Link, key: String, after: i64, health: Health) -> Feed {
        let (tell, queue) = mpsc::channel(QUEUE);
        let anew = Arc::new(Notify::new());
        let watch = Watch {
            link,
            key,
            next: after + 1,
            tell,
            anew: Arc::clone(&anew),
            health,
        };
        Feed {
            queue,
            anew,
            task: tokio::spawn(watch.run()),
        }
    }

    /// Waits for the next one; nothing is lost if it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Fed {
        let gone = || Fed::Gap("the watch on etcd has ended".into());
        self.queue.recv().await.unwrap_or_else(gone)
    }

    /// What is there already.
    pub(super) fn ready(&mut self) -> Option<Fed> {
        self.queue.try_recv().ok()
    }

    pub(super) fn connect_anew(&self) {
        self.anew.notify_one();
    }
}

struct Watch {
    link: Link,
    key: String,
    next: i64,
    tell: mpsc::Sender<Fed>,
    anew: Arc<Notify>,
    health: Health,
}

/// Why a connection was given up.
enum Stop {
    Again(String),
    Gap(String),
}

impl Watch {
    async fn run(mut self) {
        loop {
            let stop = match self.connect().await {
                Ok(stream) => {
                    let anew = Arc::clone(&self.anew);
                    tokio::select! {
                        stop = self.follow(stream) => stop,
                        () = anew.notified() => Stop::Again("no news where some are expected".into()),
                    }
                }
                Err(trouble) => trouble.into(),
            };
            match stop {
                Stop::Again(why) => {
                    self.health.watch(Some(why));
                    self.link.leave();
                    tokio::time::sleep(PAUSE).await;
                }
                Stop::Gap(why) => {
                    // The writer may have gone.
                    let _ = self.tell.send(Fed::Gap(why)).await;
                    return;
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<WatchStream, Trouble> {
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

    async fn follow(&mut self, mut stream: WatchStream) -> Stop {
        loop {
            let message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Stop::Again("etcd has ended the watch".into()),
                Err(error) => return Stop::Again(words(&error)),
            };
            if message.compact_revision() > 0 {
                return Stop::Gap("etcd's history was compacted before it was seen".into());
            }
            if message.canceled() {
                return Stop::Again(message.cancel_reason().to_owned());
            }
            self.health.watch(None);
            for event in message.events() {
                let Some(kv) = event.kv() else { continue };
                self.next = kv.mod_revision() + 1;
                let fed = match event.event_type() {
                    EventType::Put => Fed::Head(kv.mod_revision(), kv.value().to_vec()),
                    EventType::Delete => return Stop::Gap(format!("{} was deleted", self.key)),
                };
                if self.tell.send(fed).await.is_err() {
                    return Stop::Gap("nobody listens".into());
                }
            }
        }
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Away(why) => Stop::Again(why),
            Trouble::Refused(error) => Stop::Again(error.to_string()),
            Trouble::Compacted => Stop::Gap("etcd's history was compacted".into()),
        }
    }
}
