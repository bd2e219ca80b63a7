//! A queue between the mediator, which never waits, and a writer, which does.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What waits for one writer. The mediator keeps its bound: it counts what was put in and what was written, lets turns
/// wait above 4 MiB (channels) and gives a session up above 16 MiB.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    inner: Mutex<Inner<T>>,
    changed: Notify,
    /// Said once, at the end.
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

    /// Nothing more will be pushed; what is queued is still taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
        self.ended.notify_one();
    }

    /// Comes back once it is closed. For one waiter.
    pub(super) async fn closed(&self) {
        if !self.lock().closed {
            self.ended.notified().await;
        }
    }

    /// All that is queued, once there is something; `None` at the end. For one taker.
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
