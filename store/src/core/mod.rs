//! The meaning of a transaction: all decisions of the store, without a disk, a clock or a task.
//!
//! ```text
//!  transaction --> check (limits, form) --> turn (epoch, follows, cursor) --> expectations --> ops in order
//!                        |                        |                               |               |
//!                        +------------------------+--------- Refused -------------+---------------+
//!                                                                                                 |
//!  State::advance(&effects)  <-- backend writes effects, makes them durable <-- Effects ----------+
//! ```
//!
//! [`apply`] changes nothing. It reads the [`State`] and, through [`Rows`], the revisions of rows, and returns what would
//! change. A backend writes these effects and then advances the state by them. So a refused transaction leaves no trace,
//! and a failed write leaves the state as it was.

mod check;
mod draft;
mod effects;
mod keys;
mod lease;
mod lease_ops;
mod ops;
mod refuse;
mod state;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use morph_api::store::Transaction;

use draft::Draft;
pub use effects::{Decision, Effects, Rows};
pub use keys::{CheckpointKey, KeyspaceKey, RowKey};
pub use lease::{LEASES, Lease};
use refuse::Interrupt;
pub use state::State;

/// Judges one transaction. Nothing changes until [`State::advance`].
///
/// 1. Limits and form: an overlarge or malformed transaction is refused whatever the state.
/// 2. The turn: its checkpoint's epoch, then its place after the last turn, then its cursor.
/// 3. Every expectation, against the rows as they were before.
/// 4. Every operation in order, each seeing the changes of earlier ones.
pub fn apply<R: Rows>(
    state: &State,
    transaction: Transaction,
    rows: &R,
) -> Result<Decision, R::Error> {
    match judge(state, transaction, rows) {
        Ok(effects) => Ok(Decision::Accepted(effects)),
        Err(Interrupt::Refused(refused)) => Ok(Decision::Refused(*refused)),
        Err(Interrupt::Failed(error)) => Err(error),
    }
}

fn judge<R: Rows>(
    state: &State,
    transaction: Transaction,
    rows: &R,
) -> Result<Effects, Interrupt<R::Error>> {
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
