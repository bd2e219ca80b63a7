//! What the core keeps in memory: everything but rows.

use std::collections::{BTreeMap, BTreeSet};

use morph_api::store::{Lane, Space};

use super::Effects;

/// App and node.
pub type LaneKey = (String, String);
/// App and id.
pub type SpaceKey = (String, u32);

/// The store without its rows. A backend loads it when it opens and advances it by what it has written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// Of the last transaction that changed anything.
    pub revision: u64,
    /// Every lane there is.
    pub lanes: BTreeMap<LaneKey, Lane>,
    /// Every space there is.
    pub spaces: BTreeMap<SpaceKey, Space>,
    /// Every space there ever was.
    pub used: BTreeSet<SpaceKey>,
}

impl State {
    /// Takes over what a transaction changed.
    pub fn advance(&mut self, effects: &Effects) {
        self.revision = effects.revision;
        for lane in &effects.lanes {
            self.lanes
                .insert((lane.app.clone(), lane.node.clone()), lane.clone());
        }
        for space in &effects.spaces {
            self.spaces
                .insert((space.app.clone(), space.id), space.clone());
        }
        for key in &effects.dropped {
            self.spaces.remove(key);
        }
        self.used.extend(effects.used.iter().cloned());
    }

    /// The spaces of an app, by id: its truth, and a copy at most.
    pub fn spaces_of(&self, app: &str) -> impl Iterator<Item = &Space> {
        self.spaces
            .range((app.to_owned(), 0)..=(app.to_owned(), u32::MAX))
            .map(|(_, space)| space)
    }

    /// The truth of an app.
    pub fn truth(&self, app: &str) -> Option<&Space> {
        self.spaces_of(app).find(|space| space.truth)
    }
}
