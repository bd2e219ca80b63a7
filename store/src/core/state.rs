//! State that the core keeps in memory: everything but rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use morph_api::store::{Checkpoint, Keyspace};

use super::effects::Effects;
use super::keys::{CheckpointKey, KeyspaceKey, RowKey};
use super::lease::{self, Lease};

/// The store without its rows. A backend loads it at its start and advances it by each transaction. Parts that grow
/// with time are shared between clones until one of them is changed, since every group works on a clone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// Revision of the last transaction that changed anything.
    pub revision: u64,
    pub checkpoints: BTreeMap<CheckpointKey, Checkpoint>,
    pub keyspaces: BTreeMap<KeyspaceKey, Keyspace>,
    /// Keyspaces that exist or ever existed.
    pub used: Arc<BTreeSet<KeyspaceKey>>,
    pub leases: Arc<BTreeMap<String, Lease>>,
    /// Lease of each row that is bound to one.
    pub bound: Arc<BTreeMap<RowKey, String>>,
}

impl State {
    /// Applies the changes of a transaction.
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

    /// Applies the stored row of a lease. Leases are rows of table [`LEASES`](super::LEASES) in Morpheus's records,
    /// and nothing else is stored of them. `None` means that the row was deleted. Other rows are ignored.
    ///
    /// # Errors
    ///
    /// A description of what is wrong with the lease's row.
    pub fn take_row(&mut self, at: &RowKey, row: Option<(u64, &str)>) -> Result<(), String> {
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
            // The row may have been bound to another lease meanwhile, which came first in the order of names.
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

    /// Returns an app's keyspaces by id: the primary and at most one shadow.
    pub fn keyspaces_of(&self, app: &str) -> impl Iterator<Item = &Keyspace> {
        self.keyspaces
            .range((app.to_owned(), 0)..=(app.to_owned(), u32::MAX))
            .map(|(_, keyspace)| keyspace)
    }

    pub fn primary(&self, app: &str) -> Option<&Keyspace> {
        self.keyspaces_of(app).find(|keyspace| keyspace.primary)
    }
}
