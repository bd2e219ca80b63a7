//! Progress of the watch of one source of the view.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use morph_api::store::watch_request::Which;
use morph_api::store::{Synced, WatchRequest};
use serde_json::Value;

use super::io::{Output, RowSource};
use crate::backoff::Backoff;
use crate::turn::RowId;

/// Interval at which a missing keyspace is looked for again.
const ABSENT: Duration = Duration::from_millis(200);
/// Backoff while the store is away: shortest and longest.
const AWAY: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

#[derive(Debug, Clone, Default)]
pub(super) enum WatchState {
    /// Has to be started.
    #[default]
    Idle,
    /// The store was asked which keyspace to follow.
    Asking,
    Watching,
    /// Has to be started at this time.
    Waiting(Instant),
}

/// Progress of the watch of one source.
#[derive(Debug, Clone, Default)]
pub(super) struct SourceWatch {
    pub(super) state: WatchState,
    pub(super) generation: u64,
    /// Whether its rows are in the view.
    pub(super) loaded: bool,
    /// Whether the store has reported that there is no such keyspace.
    pub(super) absent: bool,
    /// Time since which it exists in other schema versions only.
    pub(super) other_since: Option<Instant>,
    backoff: Duration,
    /// Revision that the view has reached, and the store's incarnation: the next watch goes on there.
    reached: Option<(u64, u64)>,
    /// Another app's rows while a snapshot is being received.
    pub(super) snapshot: BTreeMap<RowId, Value>,
}

impl SourceWatch {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            WatchState::Waiting(at) => Some(at),
            WatchState::Idle | WatchState::Asking | WatchState::Watching => None,
        }
    }

    /// Whether the rows are in the view, or there are none.
    pub(super) fn is_settled(&self) -> bool {
        self.loaded || self.absent
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self.state {
            WatchState::Idle => true,
            WatchState::Waiting(at) => at <= now,
            WatchState::Asking | WatchState::Watching => false,
        }
    }

    /// Watches `which`, from where the view has got to if possible.
    pub(super) fn watch(&mut self, source: RowSource, app: String, which: Option<Which>) -> Output {
        self.generation += 1;
        self.state = WatchState::Watching;
        self.snapshot.clear();
        let reached = self.reached.filter(|_| self.loaded);
        let (from_revision, incarnation) = reached.unwrap_or_default();
        let request = WatchRequest {
            app,
            which,
            from_revision,
            incarnation,
            ..WatchRequest::default()
        };
        Output::Watch {
            source,
            generation: self.generation,
            request,
        }
    }

    /// Notes that the view has all rows as of this point.
    pub(super) fn synced(&mut self, synced: &Synced) {
        self.loaded = true;
        self.absent = false;
        self.other_since = None;
        self.backoff = Duration::ZERO;
        self.reached = Some((synced.revision, synced.incarnation));
    }

    /// Notes that the view has all changes up to this revision.
    pub(super) fn progress(&mut self, revision: u64) {
        if let Some((reached, _)) = &mut self.reached {
            *reached = revision.max(*reached);
        }
    }

    /// Has the next watch begin with a snapshot.
    pub(super) fn forget(&mut self) {
        self.reached = None;
        self.state = WatchState::Idle;
    }

    /// Starts again after a backoff: the store is away.
    pub(super) fn retry(&mut self, now: Instant) {
        self.backoff = AWAY.after(self.backoff);
        self.state = WatchState::Waiting(now + self.backoff);
    }

    /// Starts again later: there is no such keyspace.
    pub(super) fn retry_absent(&mut self, now: Instant) {
        self.absent = true;
        self.state = WatchState::Waiting(now + ABSENT);
    }
}
