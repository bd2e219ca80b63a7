//! An upgrade as a machine: it decides, without clock, store or process.
//!
//! ```text
//!  Staged -> [Backfilling ->] Starting -> Probing -> Ready -> |Hold| -> Announcing -> Quiescing -> |Fence| -> Fencing
//!     |           |              |           |         |                    |             |                      |
//!     +-----------+---- Leaving -+-----------+---------+--------------------+             |                  Resuming
//!                          |                                                              |                      |
//!                          |          Back: Recording -> Waiting -> Holding -> Fencing <--+----------------- Upgraded
//!                          |                                  ^                   |       |                      |
//!                          |                                  | the source died   v       |                  Settling
//!                          |                                  +--------------- Resuming   |                      |
//!                          |                                                      |       +-----------------CatchingUp
//!                          |                         Settling <-------------------+       |                      |
//!                          |                            |         Restoring <-----+       +--------------- |Commit|
//!                          v                            v             v                                          |
//!                     RolledBack <------------------ Closing      Swapping                      Committed <- Committing
//! ```
//!
//! Until the hold a failure only ends the target (`Leaving`). From the hold on the slot belongs to the upgrade, and every
//! failure takes `Back`, which has no failure exit: it starts the source again for as long as it takes. `|Barrier|`: the
//! member waits for the other members of its group.
//!
//! Schemas decide the mode. *Plain*: equal. *Online*: the target brings the migration, serves the primary through it,
//! makes the shadow, and the commit swaps. *Backfill* (a downgrade): the running release has the migration and makes the
//! shadow first, and the fence swaps; going back is then the source through its migration, and a swap.

mod back;
mod facts;
mod forward;
mod group;
mod member;
mod messages;
mod probation;
pub mod rule_loss;
mod shadow;
mod step;
#[cfg(test)]
mod tests;

pub use facts::Numbers;
pub use group::{Group, GroupOutput, Swap};
pub use member::{Back, Barrier, Member, MemberState};
pub use messages::*;
pub use shadow::{ShadowJob, ShadowOutput};
