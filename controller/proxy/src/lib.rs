//! morph-proxy, the mediator: it holds the switches and runs no application code.
//!
//! Everything that decides is a machine without `async`: `Channel` (one switch connection), `Slot` (one app's event
//! stream), `Reconcile` (table 0 and the exits of one switch), and `Mediator`, which owns them. `driver` has the sockets.

mod channel;
mod dispatch;
mod driver;
mod mediator;
mod pipeline;
mod slot;
mod together;
mod turn;
mod wire;

/// The mediator as it is, without its drivers: for the model of the hand-over (`tests/model`), which feeds it itself.
pub mod machine {
    pub use crate::channel::End;
    pub use crate::mediator::{
        Answer, Ask, FenceOutcome, Input, Mediator, Output, QUOTA, Refusal, Settings,
    };
    pub use crate::wire::NotOpenFlow;
}

pub use driver::{ListenError, Options, Proxy, RunDirError, StartError};
