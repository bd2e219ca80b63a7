//! The versioned store: its client, and with the feature `server` the daemon that serves it.
//!
//! [`Client`] speaks to `morph-stored` over `RUN_DIR/store.sock`; [`op`] builds what it sends. What a transaction
//! means is written in `store.proto`, and decided in one place, the core.

pub mod client;
pub mod limits;
pub mod op;

pub use client::{Client, Refusal, Unavailable};
