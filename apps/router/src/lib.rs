//! The router app: forwards, as one Ethernet segment.
//!
//! 1. For each known host there is a tree of paths to it (`tree`), kept in the app's tables; it changes only when it
//!    must (`router`).
//! 2. Each switch of a tree has one rule: to this destination, out of this port (`rules`).
//! 3. What no rule knows is punted, and delivered by hand where it belongs (`deliver`), so that nothing loops and no
//!    first packet waits; ARP requests for known hosts are answered.
//!
//! Its two releases differ in how they choose paths and how they store them (`release`), and in nothing else; the
//! second one knows how to turn either form into the other (`migration`).

pub mod deliver;
pub mod graph;
pub mod migration;
pub mod release;
pub mod router;
pub mod rules;
pub mod tables;
pub mod tree;

pub use migration::V1ToV2;
pub use release::{Release, V1, V2};
pub use router::Router;
