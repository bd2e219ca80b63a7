//! What the core keeps in memory: everything but rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use morph_api::store::{Checkpoint, Keyspace};

use super::lease::{self, Lease};
use super::{At, Effects};

/// App and node.
pub type CheckpointKey = (String, String);
/// App and id.
pub type KeyspaceKey = (String, u32);

/// The store without its rows. A backend loads it when it opens and advances it by what it has written. What grows with
/// time, or by lease, is shared between clones until one of them changes it: a clone is made for each group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// Of the last transaction that changed anything.
    pub revision: u64,
    /// Every checkpoint there is.
    pub checkpoints: BTreeMap<CheckpointKey, Checkpoint>,
    /// Every keyspace there is.
    pub keyspaces: BTreeMap<KeyspaceKey, Keyspace>,
    /// Every keyspace there ever was.
    pub used: Arc<BTreeSet<KeyspaceKey>>,
    /// Every lease there is, by name.
    pub leases: Arc<BTreeMap<String, Lease>>,
    /// The lease that a row is bound to, of each that is.
    pub bound: Arc<BTreeMap<At, String>>,
}

impl State {
    /// Takes over what a transaction changed.
    pub fn advance(&mut self, effects: &Effects) {
        self.revision = effects.revision;
        for checkpoint in &effects.checkpoints {
            self.checkpoints.insert(
                (checkpoint.app.clone(), checkpoint.node.clone()),
                checkpoint.clone(),
            );
        }
        for keyspace in &effects.keyspaces {
            self.keyspaces
                .insert((keyspace.app.clone(), keyspace.id), keyspace.clone());
        }
        for key in &effects.dropped {
            self.keyspaces.remove(key);
        }
        if !effects.used.is_empty() {
            Arc::make_mut(&mut self.used).extend(effects.used.iter().cloned());
        }
        for (name, lease) in &effects.leases {
            let lease = lease.clone().map(|lease| Lease {
                revision: effects.revision,
                ..lease
            });
            self.set_lease(name, lease);
        }
    }

    /// Takes over a lease's row as a backend has it: a lease is a row of table [`LEASES`](super::LEASES) of Morpheus's
    /// records, and of what else there is of it nothing is stored. `None`: the row was deleted. Other rows are no matter.
    ///
    /// # Errors
    ///
    /// The row of a lease that makes no sense: what is wrong with it.
    pub fn take_row(&mut self, at: &At, row: Option<(u64, &str)>) -> Result<(), String> {
        if !lease::is_at(at) {
            return Ok(());
        }
        let lease = match row {
            Some((revision, json)) => Some(Lease::from_json(json, revision)?),
            None => None,
        };
        self.set_lease(&at.key, lease);
        Ok(())
    }

    fn set_lease(&mut self, name: &str, lease: Option<Lease>) {
        let leases = Arc::make_mut(&mut self.leases);
        let bound = Arc::make_mut(&mut self.bound);
        for at in leases.remove(name).into_iter().flat_map(|l| l.rows) {
            // It may be another's by now, which came first in the order of names.
            if bound.get(&at).is_some_and(|bound| bound == name) {
                bound.remove(&at);
            }
        }
        if let Some(lease) = lease {
            let rows = lease.rows.iter();
            bound.extend(rows.map(|at| (at.clone(), name.to_owned())));
            leases.insert(name.to_owned(), lease);
        }
    }

    /// The keyspaces of an app, by id: its primary, and a shadow at most.
    pub fn keyspaces_of(&self, app: &str) -> impl Iterator<Item = &Keyspace> {
        self.keyspaces
            .range((app.to_owned(), 0)..=(app.to_owned(), u32::MAX))
            .map(|(_, keyspace)| keyspace)
    }

    /// The primary of an app.
    pub fn primary(&self, app: &str) -> Option<&Keyspace> {
        self.keyspaces_of(app).find(|keyspace| keyspace.primary)
    }
}
