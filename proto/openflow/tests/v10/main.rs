//! OpenFlow 1.0: vectors, frames of other implementations, comparison with `ovs-ofctl`, properties, and wrong
//! lengths.

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
