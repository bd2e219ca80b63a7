//! morphd's decisions, as one machine without clock, process, store or proxy.
//!
//! ```text
//!   requests, reports of the proxy, ends of processes, answers of calls, time
//!       |
//!       v                     +--> calls with an id (records, fences, holds, resumes, instructions)
//!     Node -- State, signals -+--> processes to start, end, kill
//!                             +--> replies to requests, statuses for those who follow
//! ```
//!
//! [`Node`] hands each input to the part that it is for. Parts are functions over the [`State`]; what one has for
//! another's machine it leaves as a signal, which the node feeds before the next input. A call is made with a *purpose*, which
//! says what its answer is for. Every call has a limit, so nothing waits without a deadline.
//!
//! | part | what stands there |
//! |---|---|
//! | [`lifecycle`], [`takeover`], `apps`, `crash_loop` | one app while nothing upgrades it: restarts, fence and resume, crash loops |
//! | [`upgrade`], `upgrading` | an upgrade of one app or of several as one: its machine, and what it asks for |
//! | [`poison`], [`quarantine`], `retry` | events that kill, set apart and tried again |
//! | `processes`, [`instances`] | instances as processes and sessions |
//! | [`pipeline`], [`moving`] | tables of the apps, their order, and its change |
//! | `shadows` | shadows as their makers report them, and those for readers of another schema |
//! | `adoption` | what a new morphd makes of what it finds |
//! | `requests`, [`checks`], [`plan`], [`query`] | what people ask for, and what they are told |
//! | [`liveness`], [`daemon`] | machines of their own beside the node: probes of instances; the store daemon and the proxy |
//! | [`record`], `changes`, [`call`], [`outbox`] | records in the store, calls, and what is in hand |

mod adoption;
mod apps;
pub mod call;
mod changes;
pub mod checks;
mod crash_loop;
pub mod daemon;
pub mod instances;
pub mod lifecycle;
pub mod liveness;
pub mod moving;
mod node;
mod observe;
pub mod outbox;
pub mod pipeline;
pub mod plan;
pub mod poison;
mod processes;
pub mod quarantine;
pub mod query;
pub mod record;
pub mod request;
mod requests;
pub mod restarts;
mod retry;
mod shadows;
mod state;
mod status;
pub mod takeover;
pub mod upgrade;
mod upgrading;

pub use adoption::{FoundInstance, Records, first_apps, first_row};
pub use instances::InstanceId;
pub use node::{Node, NodeInput};
pub use observe::{Observed, Snapshot};
pub use requests::staged;
pub use state::{NodeConfig, State};
