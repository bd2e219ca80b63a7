//! How etcd does, in words, for `Status`.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared by those who talk with etcd and whoever asks.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Health(Arc<Mutex<Words>>);

#[derive(Debug, Default)]
struct Words {
    /// Of the watch.
    watch: Option<String>,
    /// Of the last write.
    write: Option<String>,
}

impl Health {
    /// None: all is well.
    pub(super) fn watch(&self, trouble: Option<String>) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tell(&words.watch, trouble.as_ref());
        if trouble.is_none() && words.watch.is_some() {
            // It answers again; the next write will say if it takes none.
            words.write = None;
        }
        words.watch = trouble;
    }

    /// None: all is well.
    pub(super) fn write(&self, trouble: Option<String>) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tell(&words.write, trouble.as_ref());
        words.write = trouble;
    }

    /// What is wrong; none: nothing.
    pub(in crate::engine) fn trouble(&self) -> Option<String> {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        words.write.clone().or_else(|| words.watch.clone())
    }
}

/// Once when it begins and once when it ends, however often it is tried in between.
fn tell(before: &Option<String>, now: Option<&String>) {
    match (before, now) {
        (None, Some(trouble)) => tracing::warn!(trouble, "etcd fails"),
        (Some(_), None) => tracing::info!("etcd is well again"),
        (None, None) | (Some(_), Some(_)) => {}
    }
}
