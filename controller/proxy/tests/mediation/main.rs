//! Tests of the proxy over real sockets: a real store, fake switches that speak OpenFlow over TCP, fake instances that
//! speak the session protocol, and Open vSwitch.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a panic is a failure told"
)]

mod channels;
mod deadline;
mod fixture;
mod handover;
mod instance;
#[cfg(feature = "system-tests")]
mod ovs;
mod switch;
mod switch10;
mod turns;
