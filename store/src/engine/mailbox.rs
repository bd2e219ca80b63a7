//! What waits for one watcher: filled by the writer, emptied by the watcher's task.
//!
//! The writer never waits for a watcher. Progress without rows takes no room: it only moves the revision; and where it
//! comes of other apps' turns it waits for a while, so that an app's turns do not wake all others. Rows wait up
//! to a bound, and beyond it the watch ends: a view that misses a change is worse than one that is loaded again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use morph_api::store::ended::Why;
use morph_api::store::{Change, Changes, Ended, RowValue, Turn};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout_at};

use crate::core::{At, Effects, KeyspaceKey};

/// Bytes of rows that may wait for a watcher. As many as some seconds of the fastest writing while a large snapshot is
/// on its way; the rows themselves are shared between watchers.
const BOUND: usize = 16 << 20;
/// Bytes of rows of one message; a transaction that is larger has one to itself.
const MESSAGE: usize = 1 << 20;

/// How long progress that matters to nobody but for its revision may wait.
const LATER: Duration = Duration::from_millis(50);

/// What a transaction changed, as watchers are told.
#[derive(Debug)]
pub(crate) struct Published {
    pub(super) revision: u64,
    pub(super) origin: Option<Turn>,
    pub(super) rows: Vec<(At, Option<String>)>,
    pub(super) dropped: Vec<KeyspaceKey>,
}

impl Published {
    /// Bytes that it takes, about.
    pub(super) fn size(&self) -> usize {
        let row = |(at, value): &(At, Option<String>)| {
            at.app.len() + at.table.len() + at.key.len() + value.as_ref().map_or(0, String::len)
        };
        self.rows.iter().map(|r| row(r) + 128).sum::<usize>() + 256
    }

    /// Whether a keyspace of the app is gone by it.
    pub(super) fn drops_of(&self, app: &str) -> bool {
        self.dropped.iter().any(|(dropped, _)| dropped == app)
    }
}

impl From<Effects> for Published {
    fn from(effects: Effects) -> Self {
        Published {
            revision: effects.revision,
            origin: effects.origin,
            rows: effects.rows,
            dropped: effects.dropped,
        }
    }
}

/// Which rows a watcher wants.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) app: String,
    pub(crate) keyspace: u32,
    /// None: all.
    pub(crate) tables: Vec<String>,
}

impl Selection {
    fn wants(&self, at: &At) -> bool {
        at.app == self.app
            && at.keyspace == self.keyspace
            && (self.tables.is_empty() || self.tables.contains(&at.table))
    }

    /// Whether somebody may wait to hear that it happened, rows or not: all but turns of other apps. Whoever takes over an app
    /// waits until it has seen the fence.
    fn concerns(&self, published: &Published) -> bool {
        let turn = published.origin.as_ref();
        turn.is_none_or(|turn| turn.app == self.app)
    }

    /// Bytes that are kept alive for it: all of a transaction that it wants anything of.
    fn size(&self, published: &Published) -> usize {
        match published.rows.iter().any(|(at, _)| self.wants(at)) {
            true => published.size(),
            false => 0,
        }
    }

    fn change(&self, published: &Published) -> Change {
        let wanted = published.rows.iter().filter(|(at, _)| self.wants(at));
        let row = |(at, value): &(At, Option<String>)| RowValue {
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

/// The next thing that a watcher is told.
#[derive(Debug, PartialEq)]
pub(crate) enum Mail {
    Changes(Changes),
    /// The last.
    Ended(Ended),
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    selection: Selection,
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<(usize, Arc<Published>)>,
    bytes: usize,
    /// Up to where the writer has told, and up to where the watcher knows.
    told: u64,
    known: u64,
    /// Up to where all is on disk, and what of that the watcher knows.
    durable: u64,
    durable_known: u64,
    /// When progress without rows is told.
    due: Option<Instant>,
    ended: Option<Ended>,
}

/// What the watcher's task finds.
enum Found {
    Mail(Mail),
    /// Progress, to be told then.
    Later(Instant),
    Nothing,
}

impl Mailbox {
    /// The watcher knows all up to `revision`; of what is on disk it knows nothing unless that is all.
    pub(super) fn new(selection: Selection, revision: u64, durable: u64) -> Self {
        Mailbox {
            selection,
            inner: Mutex::new(Inner {
                told: revision,
                known: revision,
                durable,
                durable_known: if durable < revision { 0 } else { revision },
                ..Inner::default()
            }),
            wake: Notify::new(),
        }
    }

    /// All up to this revision is on disk.
    pub(super) fn synced(&self, durable: u64) {
        let mut inner = self.lock();
        inner.durable = durable;
        inner.due = Some(Instant::now());
        drop(inner);
        self.wake.notify_one();
    }

    /// A group of transactions, the revision that they end at, and up to where all is on disk.
    pub(super) fn push(&self, group: &[Arc<Published>], revision: u64, durable: u64) {
        let mut inner = self.lock();
        // It waits to hear that what it knows is on disk.
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
        inner.told = revision;
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
        // The task sleeps until what is due, if anything is.
        let wake = now || inner.due.is_none();
        inner.due = Some(inner.due.map_or(later, |due| due.min(later)));
        drop(inner);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Ends the watch; what waits is not told any more.
    pub(crate) fn end(&self, why: Why, message: impl Into<String>) {
        self.lock().end(ended(why, message));
        self.wake.notify_one();
    }

    /// Waits for news. For one task only.
    pub(crate) async fn next(&self) -> Mail {
        loop {
            match self.take() {
                Found::Mail(mail) => return mail,
                // Woken before it is due or not, what is there tells.
                Found::Later(due) => drop(timeout_at(due, self.wake.notified()).await),
                Found::Nothing => self.wake.notified().await,
            }
        }
    }

    fn take(&self) -> Found {
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
        let progress = inner.known < inner.told || inner.durable_known < inner.durable;
        let later = inner.due.filter(|due| *due > Instant::now());
        if let (true, true, Some(due)) = (progress, changes.is_empty(), later) {
            return Found::Later(due);
        }
        if inner.waiting.is_empty() {
            inner.due = None;
        }
        if inner.waiting.is_empty() && progress {
            inner.known = inner.told;
        } else if changes.is_empty() {
            let ended = inner.ended.clone().map(Mail::Ended);
            return ended.map_or(Found::Nothing, Found::Mail);
        }
        let (revision, durable) = (inner.known, inner.durable);
        inner.durable_known = durable;
        drop(inner);
        Found::Mail(Mail::Changes(Changes {
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
        self.told = self.known;
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

    fn mailbox() -> Mailbox {
        let selection = Selection {
            app: "router".into(),
            keyspace: 1,
            tables: Vec::new(),
        };
        Mailbox::new(selection, 0, 0)
    }

    /// A transaction that changes no row of the selection: a turn of an app, or none.
    fn published(revision: u64, app: Option<&str>) -> Arc<Published> {
        let origin = app.map(|app| Turn {
            app: app.into(),
            ..Turn::default()
        });
        Arc::new(Published {
            revision,
            origin,
            rows: Vec::new(),
            dropped: Vec::new(),
        })
    }

    fn push(mailbox: &Mailbox, revision: u64, app: Option<&str>) {
        mailbox.push(&[published(revision, app)], revision, revision);
    }

    /// What its task finds: that is told at once.
    fn told(mailbox: &Mailbox) -> (u64, u64) {
        match mailbox.take() {
            Found::Mail(Mail::Changes(changes)) => (changes.revision, changes.durable),
            Found::Later(_) | Found::Nothing | Found::Mail(Mail::Ended(_)) => panic!("not told"),
        }
    }

    #[tokio::test]
    async fn turns_of_other_apps_are_told_together_and_later() {
        let (mailbox, begun) = (mailbox(), Instant::now());
        for round in [0, 10] {
            for revision in 1..=9 {
                push(&mailbox, round + revision, Some("topology"));
            }
            let Mail::Changes(changes) = mailbox.next().await else {
                panic!("ended");
            };
            assert_eq!(changes.revision, round + 9);
        }
        assert!(begun.elapsed() >= 2 * LATER);
    }

    #[test]
    fn a_fence_and_the_apps_own_turns_are_told_at_once() {
        for own in [None, Some("router")] {
            let mailbox = mailbox();
            push(&mailbox, 1, own);
            assert_eq!(told(&mailbox), (1, 1));
            let before = Instant::now();
            push(&mailbox, 2, Some("topology"));
            assert!(mailbox.lock().due.unwrap() >= before + LATER);
            push(&mailbox, 3, own);
            assert_eq!(told(&mailbox), (3, 3));
        }
    }

    #[test]
    fn what_was_told_and_is_on_disk_now_is_told_at_once() {
        let mailbox = mailbox();
        mailbox.push(&[published(1, Some("router"))], 1, 0);
        assert_eq!(told(&mailbox), (1, 0));
        mailbox.push(&[published(2, Some("topology"))], 2, 2);
        assert_eq!(told(&mailbox), (2, 2));
        mailbox.push(&[published(3, Some("router"))], 3, 2);
        assert_eq!(told(&mailbox), (3, 2));
        mailbox.synced(3);
        assert_eq!(told(&mailbox), (3, 3));
    }

    #[tokio::test]
    async fn that_there_was_nothing_to_tell_keeps_nothing_back() {
        let mailbox = mailbox();
        mailbox.synced(0);
        assert!(matches!(mailbox.take(), Found::Nothing));
        let wait = async {
            tokio::task::yield_now().await;
            push(&mailbox, 1, Some("topology"));
        };
        let (mail, ()) = tokio::join!(mailbox.next(), wait);
        assert!(matches!(mail, Mail::Changes(changes) if changes.revision == 1));
    }
}
