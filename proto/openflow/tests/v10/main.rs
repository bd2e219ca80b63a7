//! OpenFlow 1.0: vectors, frames of others, what others print of ours, properties, and lengths that lie.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod cases;
mod foreign;
#[path = "../hex/mod.rs"]
mod hex;
mod malformed;
#[cfg(feature = "system-tests")]
mod printed;
mod properties;
#[path = "../recorded/mod.rs"]
mod recorded;
mod vectors;
