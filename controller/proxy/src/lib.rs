//! morph-proxy, the mediator: holds the channels of the switches and runs no application code.
//!
//! All decisions are made by machines without `async`: `Channel` (one switch connection), `Slot` (the events of one app),
//! `Group` (apps upgraded as one), `Reconciliation` and `Verification` (table 0 and the exit tables of one switch), and `Mediator`, which owns
//! them. `driver` has the sockets.

mod channel;
mod command;
mod dispatch;
mod driver;
mod group;
mod mediator;
mod pipeline;
mod reads;
mod slot;
mod verification;
mod wire;

/// Mediator without its drivers, for the model checker in `tests/model`, which feeds it directly.
pub mod machine {
    pub use crate::channel::ConnectionEnd;
    pub use crate::mediator::{
        ControlReply, ControlRequest, FenceOutcome, Input, Mediator, Output, QUOTA, Refusal,
        Settings, TARGET_DELAY,
    };
    pub use crate::wire::NotOpenFlow;
}

pub use driver::{ListenError, Options, Proxy, RunDirError, StartError};
