//! The seam between the engine and what keeps its data.
//!
//! The writer judges a group of transactions within one write transaction of the *view*, the [`File`] that all readers
//! read. A backend makes such a group durable, and with that the view true; and it says what became of a group that
//! came to an error. All else is written once: grouping, verdicts, watchers, answers, reads.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use morph_api::store::Transaction;
use redb::WriteTransaction;
use tokio::time::Instant;

use super::embedded::Embedded;
use super::error::EngineError;
use super::etcd::{Etcd, Weight};
use super::file::File;
use super::mailbox::Published;
use super::step::Step;
use crate::core::{State, Verdict};

/// How long a commit waits for etcd: a new leader is there before that, and a client waits longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What keeps the data.
pub(super) enum Backend {
    /// The view itself, on disk.
    Embedded(Embedded),
    /// etcd; the view is in memory.
    Etcd(Box<Etcd>),
}

/// What a group comes to while it is judged, one verdict a transaction.
pub(super) struct Group {
    pub(super) verdicts: Vec<Verdict>,
    /// As it is after all of them.
    pub(super) state: State,
    /// What they change, where the backend has to write that itself.
    pub(super) steps: Vec<Step>,
    pub(super) weight: Weight,
}

/// What has become of a group.
pub(super) enum Settled {
    /// It is durable.
    Landed,
    /// Another daemon was first: it has to be judged again.
    Overtaken,
    /// Nothing of it has happened; what holds is this, or what held before.
    Nothing {
        found: Option<State>,
        error: EngineError,
    },
    /// Nobody knows: no refusal may say that nothing has happened.
    Unknown(EngineError),
}

/// What has happened without the writer.
#[derive(Default)]
pub(super) struct News {
    /// What holds now, if it is not what held before.
    pub(super) state: Option<State>,
    /// What watchers are to be told.
    pub(super) published: Vec<Arc<Published>>,
    /// Not all of it is known: they have to load again.
    pub(super) start_over: bool,
}

impl Group {
    pub(super) fn after(state: State, room: usize) -> Self {
        Group {
            verdicts: Vec::with_capacity(room),
            state,
            steps: Vec::new(),
            weight: Weight::default(),
        }
    }
}

impl Backend {
    /// The view of all readers.
    pub(super) fn view(&self) -> &Arc<File> {
        match self {
            Backend::Embedded(embedded) => embedded.view(),
            Backend::Etcd(etcd) => etcd.view(),
        }
    }

    /// Does somebody else write as well, so that a group may have to be judged again?
    pub(super) fn is_shared(&self) -> bool {
        match self {
            Backend::Embedded(_) => false,
            Backend::Etcd(_) => true,
        }
    }

    /// Is the view not to be trusted now?
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Backend::Embedded(embedded) => embedded.is_broken(),
            Backend::Etcd(_) => false,
        }
    }

    /// How long a commit waits while the backend is away; none: it is told at once.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Backend::Embedded(_) => Duration::ZERO,
            Backend::Etcd(_) => PATIENCE,
        }
    }

    /// Waits until there may be news; without an end where nobody else writes.
    pub(super) async fn wait_for_news(&mut self) {
        match self {
            Backend::Embedded(_) => pending().await,
            Backend::Etcd(etcd) => etcd.wait_for_news().await,
        }
    }

    /// What has happened since the last call.
    pub(super) fn take_news(&mut self) -> News {
        match self {
            Backend::Embedded(embedded) => embedded.take_news(),
            Backend::Etcd(etcd) => etcd.take_news(),
        }
    }

    /// Before a group is judged: brings the view to what is known to hold. There may be news, also after an error.
    pub(super) async fn prepare(&mut self, deadline: Instant) -> Result<(), EngineError> {
        match self {
            Backend::Embedded(embedded) => embedded.prepare(),
            Backend::Etcd(etcd) => etcd.prepare(deadline).await,
        }
    }

    /// May this join the group, or is it the next group's? The first one always may.
    pub(super) fn has_room(&self, group: &Group, next: &Transaction) -> bool {
        match self {
            Backend::Embedded(_) => true,
            Backend::Etcd(_) => group.weight.has_room(next),
        }
    }

    /// Takes what a transaction changes into the group; the view has it already.
    pub(super) fn add(&self, group: &mut Group, step: Step) {
        match self {
            Backend::Embedded(_) => {}
            Backend::Etcd(_) => {
                group.weight.add(&step);
                group.steps.push(step);
            }
        }
    }

    /// Makes the group durable, which `write` holds, and lets readers see it. Watchers have been told up to `told`.
    pub(super) async fn commit(
        &mut self,
        write: WriteTransaction,
        group: &Group,
        told: u64,
        sync: bool,
        deadline: Instant,
    ) -> Settled {
        match self {
            Backend::Embedded(embedded) => embedded.commit(write, group.state.revision, told, sync),
            Backend::Etcd(etcd) => etcd.commit(write, group, deadline).await,
        }
    }

    /// For a group that changes nothing: whether it was judged on what holds. A refusal is as definite as a commit.
    pub(super) async fn confirm(&mut self, deadline: Instant) -> Settled {
        match self {
            Backend::Embedded(_) => Settled::Landed,
            Backend::Etcd(etcd) => etcd.confirm(deadline).await,
        }
    }

    /// After an error on the way to [`commit`](Self::commit) of a group that would have ended at revision `target`.
    pub(super) fn give_up(&mut self, error: EngineError, target: u64, told: u64) -> Settled {
        match self {
            Backend::Embedded(embedded) => embedded.settle(error, target, told),
            Backend::Etcd(_) => Settled::Nothing { found: None, error },
        }
    }

    /// When [`flush`](Self::flush) is due.
    pub(super) fn next_sync(&self) -> Option<Instant> {
        match self {
            Backend::Embedded(embedded) => embedded.next_sync(),
            Backend::Etcd(_) => None,
        }
    }

    /// Makes durable what was committed and has waited.
    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        match self {
            Backend::Embedded(embedded) => embedded.flush(),
            Backend::Etcd(_) => Ok(()),
        }
    }

    /// Up to where all is durable, where all is committed up to `revision`.
    pub(super) fn durable(&self, revision: u64) -> u64 {
        match self {
            Backend::Embedded(embedded) => embedded.view().durable().min(revision),
            Backend::Etcd(_) => revision,
        }
    }

    /// The last call.
    pub(super) fn close(&mut self) {
        match self {
            Backend::Embedded(embedded) => embedded.close(),
            Backend::Etcd(_) => self.view().close(),
        }
    }
}
