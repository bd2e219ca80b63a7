//! All watchers. They are told of every group, and begin between two groups, when state, view and queues agree. A
//! watcher that comes back continues after what it knows, if the history still has the changes since.

use std::sync::Arc;

use morph_api::store::ended::Why;
use morph_api::store::{Ended, Keyspace, Synced, WatchRequest, watch_request};

use super::error::EngineError;
use super::file::File;
use super::history::History;
use super::read::Scan;
use super::subscriber_queue::{Publication, Selection, SubscriberQueue, ended};
use crate::core::State;

/// Watches that may be open: some for each instance of each app. Each may keep the bound of its [subscriber
/// queue](super::subscriber_queue) alive, and those of one app share it.
const WATCHES: usize = 512;

pub(super) type WatchStart = Result<OpenWatch, Ended>;

/// Watch that has begun: a scan of the snapshot, if one is needed, and the queue with everything after it.
#[derive(Debug)]
pub(crate) struct OpenWatch {
    pub(crate) scan: Option<Scan>,
    pub(crate) synced: Synced,
    pub(crate) queue: Arc<SubscriberQueue>,
}

pub(super) struct Watchers {
    incarnation: u64,
    queues: Vec<Arc<SubscriberQueue>>,
    history: History,
    /// Revision up to which watchers have been told.
    last_published: u64,
}

impl Watchers {
    pub(super) fn new(incarnation: u64, last_published: u64) -> Self {
        Watchers {
            incarnation,
            queues: Vec::new(),
            history: History::after(last_published),
            last_published,
        }
    }

    pub(super) fn last_published(&self) -> u64 {
        self.last_published
    }

    /// Publishes the changes of a group that ends at `revision`.
    pub(super) fn publish(&mut self, published: &[Arc<Publication>], revision: u64, durable: u64) {
        self.forget_the_gone();
        self.last_published = revision;
        self.history.take(published);
        if !published.is_empty() {
            for queue in &self.queues {
                queue.push(published, revision, durable);
            }
        }
    }

    /// Takes note that everything up to this revision is on disk.
    pub(super) fn synced(&mut self, durable: u64) {
        self.forget_the_gone();
        for queue in &self.queues {
            queue.synced(durable);
        }
    }

    /// Ends all watches after a jump to a revision that nobody was told of: they have to load again.
    pub(super) fn restart(&mut self, revision: u64, message: &str) {
        self.last_published = revision;
        self.history = History::after(revision);
        for queue in self.queues.drain(..) {
            queue.end(Why::TooSlow, message);
        }
    }

    pub(super) fn shut_down(&mut self) {
        for queue in self.queues.drain(..) {
            queue.end(Why::Shutdown, "the store is shutting down");
        }
    }

    /// Begins a watch. Between two groups state, view and queue agree on the revision, so nothing is missed or seen
    /// twice.
    pub(super) fn begin(
        &mut self,
        view: &File,
        state: &State,
        request: WatchRequest,
    ) -> Result<WatchStart, EngineError> {
        let keyspace = match keyspace_of(state, &request) {
            Ok(keyspace) => keyspace.clone(),
            Err((why, message)) => return Ok(Err(ended(why, message))),
        };
        self.forget_the_gone();
        if self.queues.len() >= WATCHES {
            return Err(EngineError::TooManyWatches(WATCHES));
        }
        let resumed = request.from_revision != 0;
        let since = match resumed.then(|| self.since(state, &request)).transpose() {
            Ok(since) => since.unwrap_or_default(),
            Err(message) => return Ok(Err(ended(Why::Compacted, message))),
        };
        let scan = match resumed {
            true => None,
            false => {
                let (app, tables) = (&request.app, &request.tables);
                Some(Scan::tables(&view.begin_read()?, app, keyspace.id, tables)?)
            }
        };
        let selection = Selection {
            app: request.app,
            keyspace: keyspace.id,
            tables: request.tables,
        };
        let revision = match resumed {
            true => request.from_revision,
            false => state.revision,
        };
        let durable = if resumed {
            0
        } else {
            view.durable().min(revision)
        };
        let queue = Arc::new(SubscriberQueue::new(selection, revision, durable));
        if resumed {
            queue.push(&since, state.revision, view.durable().min(state.revision));
        }
        self.queues.push(Arc::clone(&queue));
        let synced = Synced {
            revision,
            incarnation: self.incarnation,
            keyspace: Some(keyspace),
            resumed,
        };
        Ok(Ok(OpenWatch {
            scan,
            synced,
            queue,
        }))
    }

    /// Returns the changes since a watcher was told last, or the reason why they are not known.
    fn since(
        &self,
        state: &State,
        request: &WatchRequest,
    ) -> Result<Vec<Arc<Publication>>, String> {
        let (from, now) = (request.from_revision, state.revision);
        if request.incarnation != self.incarnation {
            let (then, this) = (request.incarnation, self.incarnation);
            return Err(format!(
                "revision {from} was seen in incarnation {then}, this is {this}: load again"
            ));
        }
        if from > now {
            return Err(format!(
                "revision {from} has not been yet, the store is at {now}: load again"
            ));
        }
        self.history.since(&request.app, from)
    }

    /// Drops the queues of watchers whose task has ended.
    fn forget_the_gone(&mut self) {
        self.queues.retain(|queue| Arc::strong_count(queue) > 1);
    }
}

fn keyspace_of<'s>(
    state: &'s State,
    request: &WatchRequest,
) -> Result<&'s Keyspace, (Why, String)> {
    let app = &request.app;
    let primary = state.primary(app);
    let primary = primary.ok_or_else(|| (Why::KeyspaceGone, format!("app {app:?} has no primary")));
    match request.which {
        None | Some(watch_request::Which::Keyspace(0)) => primary,
        Some(watch_request::Which::Keyspace(id)) => {
            let keyspace = state.keyspaces.get(&(app.clone(), id));
            keyspace.ok_or_else(|| {
                (
                    Why::KeyspaceGone,
                    format!("app {app:?} has no keyspace {id}"),
                )
            })
        }
        Some(watch_request::Which::Schema(schema)) => of_schema(state, primary?, schema),
    }
}

/// Returns the primary if it has this schema version, otherwise the shadow if it has been complete once.
fn of_schema<'s>(
    state: &'s State,
    primary: &'s Keyspace,
    schema: u32,
) -> Result<&'s Keyspace, (Why, String)> {
    if primary.schema == schema {
        return Ok(primary);
    }
    let (app, now) = (&primary.app, primary.schema);
    let mut others = state.keyspaces_of(app);
    let (why, what) = match others.find(|keyspace| !keyspace.primary && keyspace.schema == schema) {
        Some(shadow) if shadow.watermark > 0 => return Ok(shadow),
        Some(_) => (Why::NotWhole, "whose shadow in that one is not whole yet"),
        None => (Why::OtherSchema, "and there is no shadow in that one"),
    };
    let message = format!("the primary of app {app:?} has schema {now}, not {schema}, {what}");
    Err((why, message))
}
