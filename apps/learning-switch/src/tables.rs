//! The app's tables.

use morph_sdk::{Dpid, MacAddr, Table};
use serde::{Deserialize, Serialize};

/// Port of each host, by switch.
pub(crate) const MACS: Table<(Dpid, MacAddr), u32> = Table::new("macs");

/// Pairs that talk: switch, source, destination.
pub(crate) const PAIRS: Table<(Dpid, MacAddr, MacAddr), Pair> = Table::new("pairs");

/// Ports between which a pair's packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) in_port: u32,
    /// Egress port, or `FLOOD` to a group address.
    pub(crate) out: u32,
}
