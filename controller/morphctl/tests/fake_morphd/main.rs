//! The real morphctl against a fake morphd: what it asks, prints and returns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by them"
)]

mod endpoints;
mod fake;
mod morphd;
mod upgrades;
mod verbs;
