//! Garbage collection in etcd: rows of dropped keyspaces, whose ids are never used again, and etcd's history.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::link::{CallError, Link};

/// Keys that are deleted at once. etcd does nothing else meanwhile.
const KEYS_AT_ONCE: usize = 500;

/// Deletes everything under these prefixes. What remains after an error is found at the next start.
pub(super) fn delete_rows(mut link: Link, prefixes: impl IntoIterator<Item = String>) {
    let prefixes: Vec<String> = prefixes.into_iter().collect();
    if prefixes.is_empty() {
        return;
    }
    tokio::spawn(async move {
        for prefix in prefixes {
            if let Err(trouble) = all(&mut link, &prefix).await {
                tracing::warn!(
                    prefix,
                    ?trouble,
                    "rows of a dropped keyspace are left in etcd"
                );
            }
        }
    });
}

async fn all(link: &mut Link, prefix: &str) -> Result<(), CallError> {
    while link.delete_some(prefix, KEYS_AT_ONCE).await? {}
    Ok(())
}

/// Task that repeatedly compacts history older than `keep`. It ends with this handle.
pub(super) struct HistoryCompaction(JoinHandle<()>);

impl Drop for HistoryCompaction {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HistoryCompaction {
    pub(super) fn start(
        mut link: Link,
        keep: Duration,
        known: Arc<AtomicI64>,
    ) -> HistoryCompaction {
        HistoryCompaction(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(keep);
            let mut before = 0;
            loop {
                ticks.tick().await;
                let now = known.load(Ordering::Relaxed);
                if before > 0
                    && before < now
                    && let Err(trouble) = link.compact(before).await
                {
                    tracing::warn!(?trouble, "etcd's history was not compacted");
                }
                before = now;
            }
        }))
    }
}
