//! Latest changes, for watchers that come back and would otherwise have to load everything again.
//!
//! The changes are shared with the subscriber queues and kept up to a bound. A start begins with an empty history.

use std::collections::VecDeque;
use std::sync::Arc;

use super::subscriber_queue::Publication;

/// Bytes of changes that are kept, enough for a client that was away for some seconds.
const BOUND: usize = 16 << 20;

pub(super) struct History {
    changes: VecDeque<Arc<Publication>>,
    bytes: usize,
    /// Revision after which all changes are known.
    floor: u64,
}

impl History {
    /// Creates an empty history that begins after a revision.
    pub(super) fn after(revision: u64) -> Self {
        History {
            changes: VecDeque::new(),
            bytes: 0,
            floor: revision,
        }
    }

    /// Appends changes in order.
    pub(super) fn take(&mut self, published: &[Arc<Publication>]) {
        for change in published {
            self.bytes += change.size();
            self.changes.push_back(Arc::clone(change));
        }
        while self.bytes > BOUND
            && let Some(oldest) = self.changes.pop_front()
        {
            self.bytes -= oldest.size();
            self.floor = oldest.revision;
        }
    }

    /// Returns all changes after a revision for a watcher of this app, or the reason why they are not known.
    pub(super) fn since(&self, app: &str, revision: u64) -> Result<Vec<Arc<Publication>>, String> {
        if revision < self.floor {
            let floor = self.floor;
            return Err(format!(
                "changes are known after revision {floor}, not after {revision}: load again"
            ));
        }
        let since = self.changes.iter().rev();
        let mut since: Vec<_> = since
            .take_while(|change| change.revision > revision)
            .cloned()
            .collect();
        since.reverse();
        // Rows of the app may belong to another keyspace now, of which the watcher has nothing.
        if since.iter().any(|change| change.drops_of(app)) {
            return Err(format!(
                "a keyspace of app {app:?} was dropped after revision {revision}: load again"
            ));
        }
        Ok(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Effects, RowKey};

    fn change(revision: u64, bytes: usize, dropped: &[&str]) -> Arc<Publication> {
        let at = RowKey {
            app: "a".into(),
            keyspace: 1,
            table: "t".into(),
            key: "k".into(),
        };
        Arc::new(Publication::from(Effects {
            changed: true,
            revision,
            rows: vec![(at, Some("x".repeat(bytes)))],
            dropped: dropped.iter().map(|app| ((*app).to_owned(), 1)).collect(),
            ..Effects::default()
        }))
    }

    fn since(history: &History, revision: u64) -> Option<Vec<u64>> {
        let changes = history.since("a", revision).ok()?;
        Some(changes.iter().map(|change| change.revision).collect())
    }

    #[test]
    fn it_has_all_after_a_revision_or_says_that_it_has_not() {
        let mut history = History::after(7);
        assert_eq!(since(&history, 6), None);
        assert_eq!(since(&history, 7), Some(vec![]));
        history.take(&[change(8, 1, &[]), change(11, 1, &["b"])]);
        assert_eq!(since(&history, 7), Some(vec![8, 11]));
        assert_eq!(since(&history, 8), Some(vec![11]));
        assert_eq!(since(&history, 9), Some(vec![11]));
        assert_eq!(since(&history, 11), Some(vec![]));
    }

    #[test]
    fn it_keeps_no_more_than_its_bound() {
        let mut history = History::after(0);
        for revision in 1..=100 {
            history.take(&[change(revision, BOUND / 10, &[])]);
            assert!(history.bytes <= BOUND);
        }
        assert_eq!(since(&history, 50), None);
        assert_eq!(since(&history, 91), Some((92..=100).collect()));
        // A change larger than the bound is not kept at all.
        history.take(&[change(101, 2 * BOUND, &[])]);
        assert_eq!((since(&history, 100), history.bytes), (None, 0));
        assert_eq!(since(&history, 101), Some(vec![]));
    }

    #[test]
    fn who_followed_a_keyspace_that_is_gone_has_to_load_again() {
        let mut history = History::after(0);
        history.take(&[change(1, 1, &[]), change(2, 1, &["a"]), change(3, 1, &[])]);
        assert_eq!(since(&history, 1), None);
        assert_eq!(since(&history, 2), Some(vec![3]));
    }
}
