//! Queue between the mediator, which never waits, and a writer task, which does.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Queue of one writer. The mediator bounds it by counting queued and written bytes: above 1 MiB packet-outs are
/// dropped and above 4 MiB sessions wait (channels), and a session is closed above 16 MiB.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    inner: Mutex<Inner<T>>,
    changed: Notify,
    /// Notified once, when the outbox is closed.
    ended: Notify,
}

#[derive(Debug)]
struct Inner<T> {
    queue: VecDeque<T>,
    closed: bool,
}

impl<T> Outbox<T> {
    pub(super) fn new() -> Self {
        Outbox {
            inner: Mutex::new(Inner {
                queue: VecDeque::new(),
                closed: false,
            }),
            changed: Notify::new(),
            ended: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, item: T) {
        self.lock().queue.push_back(item);
        self.changed.notify_one();
    }

    /// Marks the end: nothing more is pushed, and queued items are still taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
        self.ended.notify_one();
    }

    /// Waits until the outbox is closed. For a single waiter.
    pub(super) async fn closed(&self) {
        if !self.lock().closed {
            self.ended.notified().await;
        }
    }

    /// Waits for items and takes all of them; `None` at the end. For a single taker.
    pub(super) async fn take(&self) -> Option<VecDeque<T>> {
        loop {
            {
                let mut inner = self.lock();
                if !inner.queue.is_empty() {
                    return Some(std::mem::take(&mut inner.queue));
                }
                if inner.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }
}
