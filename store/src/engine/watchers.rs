//! All who watch: told of every group, and begun between two groups, when state, view and mailboxes agree. One who comes
//! back goes on after what it knows, if the history still has what came since.

use std::sync::Arc;

use morph_api::store::ended::Why;
use morph_api::store::{Ended, Keyspace, Synced, WatchRequest, watch_request};

use super::error::EngineError;
use super::file::File;
use super::history::History;
use super::mailbox::{Mailbox, Published, Selection, ended};
use super::reader::Walk;
use crate::core::State;

/// Watches that may be open: some for each instance of each app. Each may keep [`mailbox`](super::mailbox)'s bound of rows
/// alive, and those of one app share them.
const WATCHES: usize = 512;

/// A watch begins, or ends at once.
pub(super) type Started = Result<Watching, Ended>;

/// A watch that has begun: the walk over the snapshot, if it needs one, and the mailbox with all that comes after it.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) walk: Option<Walk>,
    pub(crate) synced: Synced,
    pub(crate) mailbox: Arc<Mailbox>,
}

pub(super) struct Watchers {
    incarnation: u64,
    mailboxes: Vec<Arc<Mailbox>>,
    history: History,
    /// Up to where they have been told.
    told: u64,
}

impl Watchers {
    pub(super) fn new(incarnation: u64, told: u64) -> Self {
        Watchers {
            incarnation,
            mailboxes: Vec::new(),
            history: History::after(told),
            told,
        }
    }

    /// Up to where watchers have been told.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Tells what a group has changed; it ends at `revision`.
    pub(super) fn publish(&mut self, published: &[Arc<Published>], revision: u64, durable: u64) {
        self.forget_the_gone();
        self.told = revision;
        self.history.take(published);
        if !published.is_empty() {
            for mailbox in &self.mailboxes {
                mailbox.push(published, revision, durable);
            }
        }
    }

    /// All up to this revision is on disk.
    pub(super) fn synced(&mut self, durable: u64) {
        self.forget_the_gone();
        for mailbox in &self.mailboxes {
            mailbox.synced(durable);
        }
    }

    /// The data is at a revision that nobody was told of: who watches has to load again.
    pub(super) fn start_over(&mut self, revision: u64, message: &str) {
        self.told = revision;
        self.history = History::after(revision);
        for mailbox in self.mailboxes.drain(..) {
            mailbox.end(Why::TooSlow, message);
        }
    }

    /// Ends every watch.
    pub(super) fn shut_down(&mut self) {
        for mailbox in self.mailboxes.drain(..) {
            mailbox.end(Why::Shutdown, "the store is shutting down");
        }
    }

    /// Between two groups the state, the view and the mailbox agree on the revision: nothing is seen twice or missed.
    pub(super) fn begin(
        &mut self,
        view: &File,
        state: &State,
        request: WatchRequest,
    ) -> Result<Started, EngineError> {
        let keyspace = match keyspace_of(state, &request) {
            Ok(keyspace) => keyspace.clone(),
            Err((why, message)) => return Ok(Err(ended(why, message))),
        };
        self.forget_the_gone();
        if self.mailboxes.len() >= WATCHES {
            return Err(EngineError::TooManyWatches(WATCHES));
        }
        let resumed = request.from_revision != 0;
        let since = match resumed.then(|| self.since(state, &request)).transpose() {
            Ok(since) => since.unwrap_or_default(),
            Err(message) => return Ok(Err(ended(Why::Compacted, message))),
        };
        let walk = match resumed {
            true => None,
            false => {
                let (app, tables) = (&request.app, &request.tables);
                Some(Walk::tables(&view.begin_read()?, app, keyspace.id, tables)?)
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
        let mailbox = Arc::new(Mailbox::new(selection, revision, durable));
        if resumed {
            mailbox.push(&since, state.revision, view.durable().min(state.revision));
        }
        self.mailboxes.push(Arc::clone(&mailbox));
        let synced = Synced {
            revision,
            incarnation: self.incarnation,
            keyspace: Some(keyspace),
            resumed,
        };
        Ok(Ok(Watching {
            walk,
            synced,
            mailbox,
        }))
    }

    /// What came since a watcher was last told, or why that is not known.
    fn since(&self, state: &State, request: &WatchRequest) -> Result<Vec<Arc<Published>>, String> {
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

    /// A watcher is gone when its task has let go of the mailbox.
    fn forget_the_gone(&mut self) {
        self.mailboxes
            .retain(|mailbox| Arc::strong_count(mailbox) > 1);
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

/// The primary if it has this schema version, else the shadow. That is read once it has been whole.
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
