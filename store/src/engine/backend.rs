//! The seam between the engine and what keeps its data.
//!
//! The writer judges a group of transactions within one write transaction of the *view*, the [`File`] that all readers
//! read. A backend makes such a group durable, and with that the view true; and it says what became of a group that
//! came to an error. All else is written once: grouping, verdicts, watchers, answers, reads.

use morph_api::store::Transaction;
use redb::WriteTransaction;

use super::embedded::Embedded;
use super::error::EngineError;
use super::file::File;
use crate::core::{State, Verdict};

/// What keeps the data.
pub(super) enum Backend {
    /// The view itself, on disk.
    Embedded(Embedded),
}

/// What a group comes to while it is judged, one verdict a transaction.
pub(super) struct Group {
    pub(super) verdicts: Vec<Verdict>,
    /// As it is after all of them.
    pub(super) state: State,
}

/// What became of a group that came to an error.
pub(super) enum Settled {
    /// It is durable all the same.
    Landed,
    /// Nothing of it has happened; this is what holds.
    Nothing(State, EngineError),
    /// Nobody knows: the backend is broken until [`Backend::recover`] succeeds, and no refusal may say that nothing
    /// has happened.
    Unknown(EngineError),
}

impl Group {
    pub(super) fn after(state: State, room: usize) -> Self {
        Group {
            verdicts: Vec::with_capacity(room),
            state,
        }
    }

    pub(super) fn take(&mut self, verdict: Verdict) {
        if let Verdict::Accepted(effects) = &verdict
            && effects.changed
        {
            self.state.advance(effects);
        }
        self.verdicts.push(verdict);
    }
}

impl Backend {
    /// The view of all readers.
    pub(super) fn view(&self) -> &File {
        match self {
            Backend::Embedded(embedded) => embedded.view(),
        }
    }

    /// May this join the group, or is it the next group's? The first one always may.
    pub(super) fn has_room(&self, _group: &Group, _next: &Transaction) -> bool {
        match self {
            Backend::Embedded(_) => true,
        }
    }

    /// Makes the group durable, which `write` holds, and lets readers see it.
    pub(super) async fn commit(
        &mut self,
        write: WriteTransaction,
        _group: &Group,
    ) -> Result<(), EngineError> {
        match self {
            Backend::Embedded(_) => Ok(write.commit()?),
        }
    }

    /// After an error on the way to or in [`commit`](Self::commit): finds out what became of the group that would have
    /// ended at revision `target`; watchers have been told up to `told`.
    pub(super) async fn settle(&mut self, error: EngineError, target: u64, told: u64) -> Settled {
        match self {
            Backend::Embedded(embedded) => embedded.settle(error, target, told),
        }
    }

    /// After [`Settled::Unknown`]: tries to go on, and says what holds now.
    pub(super) async fn recover(&mut self) -> Result<State, EngineError> {
        match self {
            Backend::Embedded(embedded) => embedded.recover(),
        }
    }

    /// The last call.
    pub(super) async fn close(&mut self) {
        match self {
            Backend::Embedded(embedded) => embedded.view().close(),
        }
    }
}
