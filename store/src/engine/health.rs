//! Condition of etcd in words, for `Status`.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared by the parts that talk to etcd and those that report its condition.
#[derive(Debug, Clone, Default)]
pub(super) struct Health(Arc<Mutex<Words>>);

#[derive(Debug, Default)]
struct Words {
    watch: Option<String>,
    write: Option<String>,
}

impl Health {
    /// Sets the problem of the watch, or `None`.
    pub(super) fn watch(&self, trouble: Option<String>) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log(&words.watch, trouble.as_ref());
        if trouble.is_none() && words.watch.is_some() {
            // etcd answers again; the next write shows whether it also takes writes.
            words.write = None;
        }
        words.watch = trouble;
    }

    /// Sets the problem of the last write, or `None`.
    pub(super) fn write(&self, trouble: Option<String>) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log(&words.write, trouble.as_ref());
        words.write = trouble;
    }

    pub(super) fn trouble(&self) -> Option<String> {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        words.write.clone().or_else(|| words.watch.clone())
    }
}

/// Logs a problem once when it begins and once when it ends.
fn log(before: &Option<String>, now: Option<&String>) {
    match (before, now) {
        (None, Some(trouble)) => tracing::warn!(trouble, "etcd does not answer or refuses writes"),
        (Some(_), None) => tracing::info!("etcd answers again"),
        (None, None) | (Some(_), Some(_)) => {}
    }
}
