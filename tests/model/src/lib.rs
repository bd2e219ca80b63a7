//! The hand-over as a model: morphd's node, the proxy's mediator with its slots, the store's core and the SDK's instance, all
//! as they are shipped, with everything between them that may be late, lost or die.
//!
//! | module | content |
//! |---|---|
//! | `setup` | settings of an exploration: apps, faults, schemas, what is broken on purpose |
//! | `world` | the state, and its transitions |
//! | `proxy`, `instance`, `store`, `morphd` | a shipped machine each, and what its driver does |
//! | `records` | morphd's records in the store, with the fence |
//! | `scribe`, `releases` | the app, its migration, and its releases |
//! | `canon` | when two states are the same |
//!
//! Each process has a clock of its own, which goes on only when one of its deadlines passes: whatever is late is late there.

mod canon;
mod clock;
mod explore;
mod instance;
mod morphd;
mod proxy;
mod records;
mod releases;
mod scribe;
mod setup;
mod store;
mod switch;
mod walk;
mod world;

pub use explore::{Explored, Handover, explore};
pub use setup::{Kinds, Mutation, Schemas, Setup};
pub use walk::{Walked, walk};
pub use world::{Action, Breach, Seen, Who, World};
