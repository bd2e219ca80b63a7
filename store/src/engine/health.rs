//! Condition of etcd in problems, for `Status`.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared by the parts that talk to etcd and those that report its condition.
#[derive(Debug, Clone, Default)]
pub(super) struct Health(Arc<Mutex<Problems>>);

#[derive(Debug, Default)]
struct Problems {
    watch: Option<String>,
    write: Option<String>,
}

impl Health {
    /// Sets the problem of the watch, or `None`.
    pub(super) fn watch(&self, trouble: Option<String>) {
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log(&problems.watch, trouble.as_ref());
        if trouble.is_none() && problems.watch.is_some() {
            // etcd answers again; the next write shows whether it also takes writes.
            problems.write = None;
        }
        problems.watch = trouble;
    }

    /// Sets the problem of the last write, or `None`.
    pub(super) fn write(&self, trouble: Option<String>) {
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log(&problems.write, trouble.as_ref());
        problems.write = trouble;
    }

    pub(super) fn trouble(&self) -> Option<String> {
        let problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        problems.write.clone().or_else(|| problems.watch.clone())
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
