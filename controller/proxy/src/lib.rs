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

pub use driver::{ListenError, Options, Proxy, RunDirError, StartError};
