//! The router app: forwards packets as one Ethernet segment.
//!
//! 1. Each known host has a tree of paths to it (`tree`), stored in the app's tables. It changes only when it must
//!    (`router`).
//! 2. Each switch of a tree has one rule: to this destination, out of this port (`rules`).
//! 3. Frames to a group go along one tree of links to all host ports (`spanning`), by rules.
//! 4. Packets that match no rule are punted and delivered where they belong (`deliver`), so nothing loops and no first
//!    packet waits. ARP requests for known hosts are answered.
//!
//! The releases differ in how they choose paths, how they store them (`release`), and whether they know VLANs (`hosts`), and in
//! nothing else. A later one can turn its form into the earlier ones and back (`migration`).

pub mod bindings;
pub mod deliver;
pub mod graph;
pub mod hosts;
pub mod migration;
pub mod release;
pub mod router;
pub mod rules;
pub mod spanning;
pub mod tables;
pub mod tree;

pub use migration::{V1ToV2, V2ToV3};
pub use release::{Release, V1, V2, V3};
pub use router::Router;
