//! What a transaction means: the store's decisions, without a disk, a clock or a task.
//!
//! ```text
//!  transaction --> check (limits, form) --> turn (epoch, follows, cursor) --> expectations --> ops in order
//!                        |                        |                               |               |
//!                        +------------------------+--------- Refused -------------+---------------+
//!                                                                                                 |
//!  State::advance(&effects)  <-- backend writes effects, makes them durable <-- Effects ----------+
//! ```
//!
//! [`apply`] changes nothing: it reads the [`State`] and, through [`Rows`], the revisions of rows, and says what
//! would be different. A backend writes these effects and then advances the state by them. So a refused transaction
//! cannot leave a trace, and a failed write leaves the state as it was.

mod check;
mod draft;
mod lease;
mod ops;
mod refuse;
mod state;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use morph_api::store::{Checkpoint, Keyspace, Refused, Transaction, Turn};

use draft::Draft;
pub use lease::{LEASES, Lease};
use refuse::Stop;
pub use state::{CheckpointKey, KeyspaceKey, State};

/// Where a row is. Ordered as rows are on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// Whose it is.
    pub app: String,
    /// In which keyspace; never 0.
    pub keyspace: u32,
    /// In which table.
    pub table: String,
    /// Its key within the table.
    pub key: String,
}

/// What the core reads of a backend: revisions of rows, as of the state that it is asked with.
pub trait Rows {
    /// What can go wrong with reading.
    type Error;

    /// The revision that wrote the row, `None` where there is none.
    fn revision(&self, at: &At) -> Result<Option<u64>, Self::Error>;
}

/// What becomes of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// To be written.
    Accepted(Effects),
    /// Nothing changes.
    Refused(Refused),
}

/// What a backend has to write, all of it or nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Effects {
    /// Something changes, so the transaction takes a revision of its own.
    pub changed: bool,
    /// The store's revision afterwards.
    pub revision: u64,
    /// The app's turn that does this.
    pub origin: Option<Turn>,
    /// Rows written (some) and deleted (none), ordered, each once; never of a dropped keyspace.
    pub rows: Vec<(At, Option<String>)>,
    /// Checkpoints as they are afterwards, each that is touched.
    pub checkpoints: Vec<Checkpoint>,
    /// Keyspaces as they are afterwards, each that is touched and not dropped.
    pub keyspaces: Vec<Keyspace>,
    /// Keyspaces that go, and all their rows with them.
    pub dropped: Vec<KeyspaceKey>,
    /// Keyspaces that were created, even if dropped by the same transaction: their ids are used for good.
    pub used: Vec<KeyspaceKey>,
    /// Leases as they are afterwards, each that is touched; none: ended. Their rows are among `rows`.
    pub leases: Vec<(String, Option<Lease>)>,
}

/// Judges one transaction. Nothing changes until [`State::advance`].
///
/// 1. Limits and form: an overlarge or malformed transaction always is, whatever the state.
/// 2. The turn: its checkpoint's epoch, then its place in the checkpoint, then its cursor.
/// 3. Every expectation, against the rows as they are before.
/// 4. Every operation in order, each seeing the earlier ones.
pub fn apply<R: Rows>(
    state: &State,
    transaction: Transaction,
    rows: &R,
) -> Result<Verdict, R::Error> {
    match judge(state, transaction, rows) {
        Ok(effects) => Ok(Verdict::Accepted(effects)),
        Err(Stop::Refused(refused)) => Ok(Verdict::Refused(*refused)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn judge<R: Rows>(
    state: &State,
    transaction: Transaction,
    rows: &R,
) -> Result<Effects, Stop<R::Error>> {
    check::check(&transaction)?; // 1
    let mut draft = Draft::new(state, rows, &transaction);
    draft.turn()?; // 2
    for expect in &transaction.expect {
        draft.expect(expect)?; // 3
    }
    for op in transaction.ops {
        draft.op(op)?; // 4
    }
    Ok(draft.finish())
}
