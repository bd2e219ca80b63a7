//! Group of transactions that is committed as one, and its possible outcomes.

use std::sync::Arc;

use super::error::EngineError;
use super::subscriber_queue::Publication;
use super::weight::Weight;
use super::write_set::WriteSet;
use crate::core::{Decision, State};

/// A group while it is judged, with one decision for each transaction.
pub(super) struct Group {
    pub(super) decisions: Vec<Decision>,
    /// State after all of them.
    pub(super) state: State,
    /// Changes of the group, where the backend has to write them itself.
    pub(super) write_sets: Vec<WriteSet>,
    pub(super) weight: Weight,
}

pub(super) enum GroupOutcome {
    /// The group is durable.
    Committed,
    /// Another daemon committed first, so the group has to be judged again.
    LostRace,
    /// Nothing was committed. The state is the given one, or that before the group.
    NotCommitted {
        found: Option<State>,
        error: EngineError,
    },
    /// The outcome is unknown, so no refusal may claim that nothing was committed.
    Unknown(EngineError),
}

/// Changes that were not made by this daemon's writer.
#[derive(Default)]
pub(super) struct News {
    /// Current state, if it differs from the one before.
    pub(super) state: Option<State>,
    /// Changes that watchers have to be told.
    pub(super) published: Vec<Arc<Publication>>,
    /// True if changes are missing, so that watchers have to load again.
    pub(super) restart: bool,
}

impl Group {
    pub(super) fn after(state: State, room: usize) -> Self {
        Group {
            decisions: Vec::with_capacity(room),
            state,
            write_sets: Vec::new(),
            weight: Weight::default(),
        }
    }
}
