//! Guarantees of every backend, tested on a daemon whose data is in etcd.
#![allow(
    clippy::duplicate_mod,
    reason = "each file of tests brings its fixture"
)]

#[path = "conformance.rs"]
mod conformance;
#[path = "leases.rs"]
mod leases;
#[path = "watch.rs"]
mod watch;
