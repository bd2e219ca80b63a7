//! The app's tables, schema version 3.
//!
//! ```text
//! macs/DPID/MAC/VLAN              = [PORT, NUMBER]                   a host, and its place in the order of its port
//! order/DPID/PORT/NUMBER/MAC/VLAN = true                             hosts of a port, the one learned first in front
//! ports/DPID/PORT                 = [HOSTS, PAIRS, NEXT NUMBER]      counts of a port; no row where there is nothing
//! switches/DPID                   = [HOSTS, PAIRS]                   counts of a switch; no row where there is nothing
//! one_table/DPID                  = true                             a switch that has only one table
//! pairs/DPID/SRC/DST/VLAN         = {"in_port": PORT, "out": PORT}   addresses that talk, on a switch with one table
//!                                 = null                             only the opposite pair talks
//! limits/NAME                     = N                                settings, written by people
//! ```
//!
//! `VLAN` is a number from 1, or `none`. One address on two VLANs is two hosts. Schema versions 1 and 2 know no VLANs.

use morph_sdk::{Dpid, Key, KeyParts, KeyText, MacAddr, Table, View, Vlan};
use serde::{Deserialize, Serialize};

/// Each host, by switch.
pub(crate) const MACS: Table<(Dpid, MacAddr, Vlan), Host> = Table::new("macs");
/// Hosts of each port, in the order in which they were learned.
pub(crate) const ORDER: Table<(Dpid, u32, (Number, HostId)), bool> = Table::new("order");
/// Counts of each port.
pub(crate) const PORTS: Table<(Dpid, u32), PortCounts> = Table::new("ports");
/// Counts of each switch.
pub(crate) const SWITCHES: Table<Dpid, Counts> = Table::new("switches");
/// Switches that have only one table.
pub(crate) const ONE_TABLE: Table<Dpid, bool> = Table::new("one_table");
/// Pairs that talk. A pair of two hosts has a row in either direction.
pub(crate) const PAIRS: Table<PairKey, Option<Pair>> = Table::new("pairs");
/// Settings by name.
pub(crate) const LIMITS: Table<String, u32> = Table::new("limits");

/// Hardware address and VLAN of a host.
pub(crate) type HostId = (MacAddr, Vlan);
/// Switch, source, destination and the VLAN of both.
pub(crate) type PairKey = (Dpid, MacAddr, (MacAddr, Vlan));

/// Place of a host: its port, and its number in the order of that port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host(pub(crate) u32, pub(crate) Number);

impl Host {
    pub(crate) fn port(self) -> u32 {
        self.0
    }

    pub(crate) fn number(self) -> Number {
        self.1
    }
}

/// Number of a host in the order of its port: a higher one was learned later.
///
/// Hosts of schema version 1, whose order is not known, have their address as number, so that a migration needs one row
/// only; all numbers given since are above these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Number(pub(crate) u64);

impl Number {
    /// First number that is given.
    pub(crate) const FIRST: Number = Number(1 << 48);

    /// Number of a host of schema version 1.
    pub(crate) fn of_old(mac: MacAddr) -> Number {
        let bytes = mac.0.iter();
        Number(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Number after this one. They are given one a host, so they do not run out.
    pub(crate) fn next(self) -> Number {
        Number(self.0.saturating_add(1))
    }
}

impl Key for Number {
    fn least() -> Self {
        Number(0)
    }

    /// Appends sixteen hexadecimal digits: their order as text is that of the numbers.
    fn write(&self, out: &mut KeyText) {
        Dpid(self.0).write(out);
    }

    fn read(parts: &mut KeyParts<'_>) -> Option<Self> {
        Some(Number(Dpid::read(parts)?.0))
    }
}

/// Number of hosts, number of pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts(pub(crate) u32, pub(crate) u32);

/// Number of hosts, number of pairs that come in there, number of the next host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortCounts(pub(crate) u32, pub(crate) u32, pub(crate) Number);

impl PortCounts {
    /// Counts of a port without hosts.
    pub(crate) const NONE: PortCounts = PortCounts(0, 0, Number::FIRST);
}

/// Ports between which a pair's packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) in_port: u32,
    /// Egress port, or `FLOOD` to a group address.
    pub(crate) out: u32,
}

/// Pairs of a switch that talk.
pub(crate) fn pairs<'a>(
    dpid: Dpid,
    view: &View<'a>,
) -> impl Iterator<Item = (PairKey, Pair)> + use<'a> {
    let rows = view.prefix(&PAIRS, &dpid);
    rows.filter_map(|(key, pair)| Some((key, pair?)))
}
