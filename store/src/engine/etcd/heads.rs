//! Heads that are in the view, on their way to it, or known to be there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::feed::{Feed, FeedItem};
use super::link::Link;
use crate::engine::error::EngineError;
use crate::engine::health::Health;

/// Time after which the watch connects again, if a head that is known to exist does not arrive.
const ARRIVAL: Duration = Duration::from_secs(1);

/// Position of the view in the sequence of heads. Revisions are those of etcd.
pub(super) struct Heads {
    feed: Feed,
    /// Revision that wrote the head which the view reflects; shared with the compaction of etcd's history.
    at: Arc<AtomicI64>,
    /// Heads that were received and are not in the view yet.
    received: VecDeque<(i64, Vec<u8>)>,
    /// Revision of a head that is known to exist. Nothing is judged before it is in the view.
    target: Option<i64>,
    /// Reason why heads are missing: everything has to be loaded.
    pub(super) gap: Option<String>,
}

impl Heads {
    /// Follows all heads after a revision, within the writer's runtime.
    pub(super) fn start(link: Link, key: String, at: i64, health: Health) -> Heads {
        Heads {
            feed: Feed::start(link, key, at, health),
            at: Arc::new(AtomicI64::new(at)),
            received: VecDeque::new(),
            target: None,
            gap: None,
        }
    }

    /// Follows all heads after the one that was reached, and forgets what was received before.
    pub(super) fn restart(&mut self, link: Link, key: String, health: Health) {
        self.feed = Feed::start(link, key, self.at(), health);
        self.received.clear();
        (self.target, self.gap) = (None, None);
    }

    pub(super) fn at(&self) -> i64 {
        self.at.load(Ordering::Relaxed)
    }

    pub(super) fn shared_at(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.at)
    }

    /// Advances to the head of this revision, which the view reflects now.
    pub(super) fn reach(&mut self, at: i64) {
        self.at.store(at, Ordering::Relaxed);
        self.forget_reached();
    }

    /// Takes note of the revision of the head in etcd. One that is missing or older means that etcd was set back.
    pub(super) fn learn(&mut self, found: Option<i64>) {
        match found {
            Some(found) if found > self.at() => self.target = Some(found),
            Some(found) if found == self.at() => {}
            Some(_) | None => self.gap = Some("etcd has lost data that it had".into()),
        }
    }

    /// True if a head is known to exist that is not in the view.
    pub(super) fn is_behind(&self) -> bool {
        self.target.is_some_and(|target| target > self.at())
    }

    pub(super) fn has_next(&self) -> bool {
        !self.received.is_empty()
    }

    /// Next head that is not in the view, and the revision that wrote it.
    pub(super) fn next(&self) -> Option<(i64, &[u8])> {
        let next = self.received.front();
        next.map(|(at, value)| (*at, &value[..]))
    }

    /// Waits for a head that is not in the view, or for a gap.
    pub(super) async fn wait(&mut self) {
        while self.gap.is_none() && self.received.is_empty() {
            let item = self.feed.next().await;
            self.take(item);
        }
    }

    /// Waits for a head that is known to exist, for one round at most.
    pub(super) async fn wait_until(&mut self, deadline: Instant) -> Result<(), EngineError> {
        let until = (Instant::now() + ARRIVAL).min(deadline);
        match timeout_at(until, self.feed.next()).await {
            Ok(item) => self.take(item),
            Err(_) => self.feed.reconnect(),
        }
        match Instant::now() < deadline {
            true => Ok(()),
            false => Err(EngineError::Unreachable(
                "changes of other daemons do not arrive from etcd".into(),
            )),
        }
    }

    /// Takes what has arrived already.
    pub(super) fn take_ready(&mut self) {
        while let Some(item) = self.feed.ready() {
            self.take(item);
        }
    }

    fn take(&mut self, item: FeedItem) {
        match item {
            FeedItem::Head(at, value) => self.received.push_back((at, value)),
            FeedItem::Gap(why) => self.gap = Some(why),
        }
        self.forget_reached();
    }

    /// Drops heads that the view has already, among them those that this daemon has written itself.
    fn forget_reached(&mut self) {
        let at = self.at();
        self.received.retain(|(received, _)| *received > at);
    }
}
