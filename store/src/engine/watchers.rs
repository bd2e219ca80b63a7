//! All who watch: told of every group, and begun between two groups, when state, view and mailboxes agree.

use std::sync::Arc;

use morph_api::store::ended::Why;
use morph_api::store::{Ended, Space, Synced, WatchRequest, watch_request};

use super::error::EngineError;
use super::file::File;
use super::mailbox::{Mailbox, Published, Selection, ended};
use super::reader::Walk;
use crate::core::State;

/// A watch begins, or ends at once.
pub(super) type Started = Result<Watching, Ended>;

/// A watch that has begun: the walk over the snapshot, and the mailbox with all that comes after it.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) walk: Walk,
    pub(crate) synced: Synced,
    pub(crate) mailbox: Arc<Mailbox>,
}

pub(super) struct Watchers {
    incarnation: u64,
    mailboxes: Vec<Arc<Mailbox>>,
    /// Up to where they have been told.
    told: u64,
}

impl Watchers {
    pub(super) fn new(incarnation: u64, told: u64) -> Self {
        Watchers {
            incarnation,
            mailboxes: Vec::new(),
            told,
        }
    }

    /// Up to where watchers have been told.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Tells what a group has changed; it ends at `revision`.
    pub(super) fn publish(&mut self, published: &[Arc<Published>], revision: u64) {
        self.forget_the_gone();
        self.told = revision;
        if !published.is_empty() {
            for mailbox in &self.mailboxes {
                mailbox.push(published, revision);
            }
        }
    }

    /// The data is at a revision that nobody was told of: who watches has to load again.
    pub(super) fn start_over(&mut self, revision: u64, message: &str) {
        self.told = revision;
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
        let space = match space_of(state, &request) {
            Ok(space) => space.clone(),
            Err(message) => return Ok(Err(ended(Why::SpaceGone, message))),
        };
        let view = view.begin_read()?;
        let walk = Walk::tables(&view, &request.app, space.id, &request.tables)?;
        let selection = Selection {
            app: request.app,
            space: space.id,
            tables: request.tables,
        };
        let mailbox = Arc::new(Mailbox::new(selection, state.revision));
        self.forget_the_gone();
        self.mailboxes.push(Arc::clone(&mailbox));
        let synced = Synced {
            revision: state.revision,
            incarnation: self.incarnation,
            space: Some(space),
            resumed: false,
        };
        Ok(Ok(Watching {
            walk,
            synced,
            mailbox,
        }))
    }

    /// A watcher is gone when its task has let go of the mailbox.
    fn forget_the_gone(&mut self) {
        self.mailboxes
            .retain(|mailbox| Arc::strong_count(mailbox) > 1);
    }
}

fn space_of<'s>(state: &'s State, request: &WatchRequest) -> Result<&'s Space, String> {
    let app = &request.app;
    let truth = state.truth(app);
    match request.which {
        None | Some(watch_request::Which::Space(0)) => {
            truth.ok_or_else(|| format!("app {app:?} has no truth"))
        }
        Some(watch_request::Which::Space(id)) => {
            let space = state.spaces.get(&(app.clone(), id));
            space.ok_or_else(|| format!("app {app:?} has no space {id}"))
        }
        Some(watch_request::Which::Schema(schema)) => match truth {
            Some(truth) if truth.schema == schema => Ok(truth),
            Some(truth) => {
                let now = truth.schema;
                Err(format!(
                    "the truth of app {app:?} has schema {now}, not {schema}"
                ))
            }
            None => Err(format!("app {app:?} has no truth")),
        },
    }
}
