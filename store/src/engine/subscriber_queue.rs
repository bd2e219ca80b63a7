//! Queue of changes for one watcher, filled by the writer and emptied by the watcher's task.
//!
//! The writer never waits for a watcher. Progress without rows takes no room, as it only moves the revision. If it
//! comes from turns of other apps it is delayed, so that the turns of one app do not wake all watchers. Rows wait up
//! to a bound, beyond which the watch ends: a view that misses a change is worse than one that is loaded again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use morph_api::store::ended::Why;
use morph_api::store::{Change, Changes, Ended, RowValue, Turn};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout_at};

use crate::core::{Effects, KeyspaceKey, RowKey};

/// Bytes of rows that may wait for a watcher: some seconds of the fastest writing while a large snapshot is sent. The
/// rows themselves are shared between watchers.
const BOUND: usize = 16 << 20;
/// Bytes of rows of one message. A larger transaction gets a message of its own.
const MESSAGE: usize = 1 << 20;

/// Delay of progress that matters to the watcher only for its revision.
const LATER: Duration = Duration::from_millis(50);

/// Changes of a transaction, as watchers are told.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(super) revision: u64,
    pub(super) origin: Option<Turn>,
    pub(super) rows: Vec<(RowKey, Option<String>)>,
    pub(super) dropped: Vec<KeyspaceKey>,
}

impl Publication {
    /// Approximate size in bytes.
    pub(super) fn size(&self) -> usize {
        let row = |(at, value): &(RowKey, Option<String>)| {
            at.app.len() + at.table.len() + at.key.len() + value.as_ref().map_or(0, String::len)
        };
        self.rows.iter().map(|r| row(r) + 128).sum::<usize>() + 256
    }

    /// Returns true if the transaction drops a keyspace of the app.
    pub(super) fn drops_of(&self, app: &str) -> bool {
        self.dropped.iter().any(|(dropped, _)| dropped == app)
    }
}

impl From<Effects> for Publication {
    fn from(effects: Effects) -> Self {
        Publication {
            revision: effects.revision,
            origin: effects.origin,
            rows: effects.rows,
            dropped: effects.dropped,
        }
    }
}

/// Rows that a watcher wants.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) app: String,
    pub(crate) keyspace: u32,
    /// Tables; empty for all.
    pub(crate) tables: Vec<String>,
}

impl Selection {
    fn wants(&self, at: &RowKey) -> bool {
        at.app == self.app
            && at.keyspace == self.keyspace
            && (self.tables.is_empty() || self.tables.contains(&at.table))
    }

    /// Returns true if the watcher has to hear of the transaction at once, with or without rows. That is true of all
    /// but turns of other apps: the successor of an app's instance waits until it has seen the fence.
    fn concerns(&self, published: &Publication) -> bool {
        let turn = published.origin.as_ref();
        turn.is_none_or(|turn| turn.app == self.app)
    }

    /// Bytes kept alive for the watcher: the whole transaction, if it wants any row of it.
    fn size(&self, published: &Publication) -> usize {
        match published.rows.iter().any(|(at, _)| self.wants(at)) {
            true => published.size(),
            false => 0,
        }
    }

    fn change(&self, published: &Publication) -> Change {
        let wanted = published.rows.iter().filter(|(at, _)| self.wants(at));
        let row = |(at, value): &(RowKey, Option<String>)| RowValue {
            table: at.table.clone(),
            key: at.key.clone(),
            value: value.clone(),
            revision: published.revision,
        };
        Change {
            origin: published.origin.clone(),
            revision: published.revision,
            rows: wanted.map(row).collect(),
        }
    }
}

/// Next message for a watcher.
#[derive(Debug, PartialEq)]
pub(crate) enum Notice {
    Changes(Changes),
    Ended(Ended),
}

#[derive(Debug)]
pub(crate) struct SubscriberQueue {
    selection: Selection,
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<(usize, Arc<Publication>)>,
    bytes: usize,
    /// Revisions that the writer has published, and that the watcher knows.
    last_published: u64,
    known: u64,
    /// Revisions up to which everything is on disk, and which the watcher knows to be there.
    durable: u64,
    durable_known: u64,
    /// Time at which progress without rows is sent.
    due: Option<Instant>,
    ended: Option<Ended>,
}

/// Content of the queue, as its task finds it.
enum Pending {
    Notice(Notice),
    /// Progress that is sent at this time.
    Later(Instant),
    Nothing,
}

impl SubscriberQueue {
    /// Creates a queue for a watcher that knows everything up to `revision`. It knows what is on disk only if that is
    /// everything.
    pub(super) fn new(selection: Selection, revision: u64, durable: u64) -> Self {
        SubscriberQueue {
            selection,
            inner: Mutex::new(Inner {
                last_published: revision,
                known: revision,
                durable,
                durable_known: if durable < revision { 0 } else { revision },
                ..Inner::default()
            }),
            wake: Notify::new(),
        }
    }

    /// Takes note that everything up to this revision is on disk.
    pub(super) fn synced(&self, durable: u64) {
        let mut inner = self.lock();
        inner.durable = durable;
        inner.due = Some(Instant::now());
        drop(inner);
        self.wake.notify_one();
    }

    /// Appends a group of transactions that ends at `revision`, with the revision up to which everything is on disk.
    pub(super) fn push(&self, group: &[Arc<Publication>], revision: u64, durable: u64) {
        let mut inner = self.lock();
        // The watcher waits to hear that what it knows is on disk.
        let mut now = inner.durable_known < inner.known;
        for published in group {
            if inner.ended.is_some() {
                break;
            }
            now |= self.selection.concerns(published);
            let size = self.selection.size(published);
            if size > 0 {
                now = true;
                inner.bytes += size;
                inner.waiting.push_back((size, Arc::clone(published)));
            }
            let gone = |(app, id): &KeyspaceKey| {
                *app == self.selection.app && *id == self.selection.keyspace
            };
            if published.dropped.iter().any(gone) {
                let (app, id) = (&self.selection.app, self.selection.keyspace);
                inner.ended = Some(ended(
                    Why::KeyspaceGone,
                    format!("keyspace {id} of app {app:?} was dropped"),
                ));
            }
        }
        inner.last_published = revision;
        inner.durable = durable;
        if inner.bytes > BOUND {
            let message = format!("more than {BOUND} bytes of changes are waiting to be read");
            inner.end(ended(Why::TooSlow, message));
        }
        now |= inner.ended.is_some();
        let later = match now {
            true => Instant::now(),
            false => Instant::now() + LATER,
        };
        // The task sleeps until the due time, if there is one.
        let wake = now || inner.due.is_none();
        inner.due = Some(inner.due.map_or(later, |due| due.min(later)));
        drop(inner);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Ends the watch without sending what waits.
    pub(crate) fn end(&self, why: Why, message: impl Into<String>) {
        self.lock().end(ended(why, message));
        self.wake.notify_one();
    }

    /// Waits for the next message. Only one task may call this.
    pub(crate) async fn next(&self) -> Notice {
        loop {
            match self.take() {
                Pending::Notice(mail) => return mail,
                // Whether it woke early or not, the queue tells what to do.
                Pending::Later(due) => drop(timeout_at(due, self.wake.notified()).await),
                Pending::Nothing => self.wake.notified().await,
            }
        }
    }

    fn take(&self) -> Pending {
        let mut inner = self.lock();
        let mut changes = Vec::new();
        let mut bytes = 0;
        while let Some((size, published)) = inner.waiting.pop_front() {
            if bytes > 0 && bytes + size > MESSAGE {
                inner.waiting.push_front((size, published));
                break;
            }
            bytes += size;
            inner.bytes -= size;
            inner.known = published.revision;
            changes.push(published);
        }
        let progress = inner.known < inner.last_published || inner.durable_known < inner.durable;
        let later = inner.due.filter(|due| *due > Instant::now());
        if let (true, true, Some(due)) = (progress, changes.is_empty(), later) {
            return Pending::Later(due);
        }
        if inner.waiting.is_empty() {
            inner.due = None;
        }
        if inner.waiting.is_empty() && progress {
            inner.known = inner.last_published;
        } else if changes.is_empty() {
            let ended = inner.ended.clone().map(Notice::Ended);
            return ended.map_or(Pending::Nothing, Pending::Notice);
        }
        let (revision, durable) = (inner.known, inner.durable);
        inner.durable_known = durable;
        drop(inner);
        Pending::Notice(Notice::Changes(Changes {
            revision,
            durable: durable.min(revision),
            changes: changes.iter().map(|p| self.selection.change(p)).collect(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn end(&mut self, ended: Ended) {
        self.waiting.clear();
        self.bytes = 0;
        self.last_published = self.known;
        self.durable = self.durable_known;
        self.ended.get_or_insert(ended);
    }
}

pub(crate) fn ended(why: Why, message: impl Into<String>) -> Ended {
    Ended {
        why: why.into(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> SubscriberQueue {
        let selection = Selection {
            app: "router".into(),
            keyspace: 1,
            tables: Vec::new(),
        };
        SubscriberQueue::new(selection, 0, 0)
    }

    /// Builds a transaction that changes no row of the selection: a turn of an app, or none.
    fn published(revision: u64, app: Option<&str>) -> Arc<Publication> {
        let origin = app.map(|app| Turn {
            app: app.into(),
            ..Turn::default()
        });
        Arc::new(Publication {
            revision,
            origin,
            rows: Vec::new(),
            dropped: Vec::new(),
        })
    }

    fn push(queue: &SubscriberQueue, revision: u64, app: Option<&str>) {
        queue.push(&[published(revision, app)], revision, revision);
    }

    /// Returns what the task finds, which must be due at once.
    fn told(queue: &SubscriberQueue) -> (u64, u64) {
        match queue.take() {
            Pending::Notice(Notice::Changes(changes)) => (changes.revision, changes.durable),
            Pending::Later(_) | Pending::Nothing | Pending::Notice(Notice::Ended(_)) => {
                panic!("not told")
            }
        }
    }

    #[tokio::test]
    async fn turns_of_other_apps_are_told_together_and_later() {
        let (queue, begun) = (queue(), Instant::now());
        for round in [0, 10] {
            for revision in 1..=9 {
                push(&queue, round + revision, Some("topology"));
            }
            let Notice::Changes(changes) = queue.next().await else {
                panic!("ended");
            };
            assert_eq!(changes.revision, round + 9);
        }
        assert!(begun.elapsed() >= 2 * LATER);
    }

    #[test]
    fn a_fence_and_the_apps_own_turns_are_told_at_once() {
        for own in [None, Some("router")] {
            let queue = queue();
            push(&queue, 1, own);
            assert_eq!(told(&queue), (1, 1));
            let before = Instant::now();
            push(&queue, 2, Some("topology"));
            assert!(queue.lock().due.unwrap() >= before + LATER);
            push(&queue, 3, own);
            assert_eq!(told(&queue), (3, 3));
        }
    }

    #[test]
    fn what_was_told_and_is_on_disk_now_is_told_at_once() {
        let queue = queue();
        queue.push(&[published(1, Some("router"))], 1, 0);
        assert_eq!(told(&queue), (1, 0));
        queue.push(&[published(2, Some("topology"))], 2, 2);
        assert_eq!(told(&queue), (2, 2));
        queue.push(&[published(3, Some("router"))], 3, 2);
        assert_eq!(told(&queue), (3, 2));
        queue.synced(3);
        assert_eq!(told(&queue), (3, 3));
    }

    #[tokio::test]
    async fn that_there_was_nothing_to_tell_keeps_nothing_back() {
        let queue = queue();
        queue.synced(0);
        assert!(matches!(queue.take(), Pending::Nothing));
        let wait = async {
            tokio::task::yield_now().await;
            push(&queue, 1, Some("topology"));
        };
        let (mail, ()) = tokio::join!(queue.next(), wait);
        assert!(matches!(mail, Notice::Changes(changes) if changes.revision == 1));
    }
}
