//! The real morphctl against a fake morphd: its requests, its output and its exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by them"
)]

mod endpoints;
mod fake;
mod service;
mod upgrades;
mod verbs;
