//! Result of judging a transaction: the changes that a backend has to write, or a refusal.

use morph_api::store::{Checkpoint, Keyspace, Refused, Turn};

use super::keys::{KeyspaceKey, RowKey};
use super::lease::Lease;

/// Revisions of rows, which the core reads from a backend. They belong to the state that is passed along.
pub trait Rows {
    type Error;

    /// Returns the revision that wrote the row, or `None` if there is no such row.
    fn revision(&self, at: &RowKey) -> Result<Option<u64>, Self::Error>;
}

#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Accepted(Effects),
    Refused(Refused),
}

/// Changes that a backend has to write, all of them or none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Effects {
    /// True if anything changes, so that the transaction takes a revision of its own.
    pub changed: bool,
    /// Revision of the store afterwards.
    pub revision: u64,
    pub origin: Option<Turn>,
    /// Rows that are written, or deleted (`None`): in order, each once, and none of a dropped keyspace.
    pub rows: Vec<(RowKey, Option<String>)>,
    pub checkpoints: Vec<Checkpoint>,
    pub keyspaces: Vec<Keyspace>,
    /// Keyspaces that are dropped, together with all their rows.
    pub dropped: Vec<KeyspaceKey>,
    /// Keyspaces that were created, even if the same transaction dropped them: their ids are never used again.
    pub used: Vec<KeyspaceKey>,
    /// Leases that are touched; `None` for one that ended. Their rows are among `rows`.
    pub leases: Vec<(String, Option<Lease>)>,
}
