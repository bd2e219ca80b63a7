//! The versioned store: its client, and with the feature `server` the daemon that serves it.
//!
//! [`Client`] speaks to `morph-stored` over `RUN_DIR/store.sock`, and [`op`] builds what it sends. The meaning of a
//! transaction is documented in `store.proto` and implemented in one place, the core.

#[cfg(feature = "server")]
mod backup;
pub mod client;
#[cfg(feature = "server")]
pub mod core;
#[cfg(feature = "server")]
mod engine;
pub mod limits;
pub mod op;
#[cfg(feature = "server")]
pub mod server;

pub use client::{Client, Refusal, Unavailable};
#[cfg(feature = "server")]
pub use engine::etcd::EtcdUrl;
