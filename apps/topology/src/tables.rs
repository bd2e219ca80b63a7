//! Topology's tables, schema 2. Other apps and Morpheus read them; a change here is a new schema version. The tables `hosts` and
//! `ips` stand in [`crate::host_tables`], the table `secrets`, which nobody else reads, in [`crate::secrets`].
//!
//! ```text
//! switches/DPID   = {"connected": bool}
//! ports/DPID/PORT = {"name": text, "mac": MAC, "up": bool, "kind": "unknown" | "host" | "link" | "blocked"}
//! links/DPID/PORT = {"dpid": DPID, "port": PORT}     from the key's port to the value's; the opposite is a row of its own
//! hosts/MAC/VLAN  = {"dpid": DPID, "port": PORT, "ips": [IP, ...]}     in the order in which they were learned
//! ips/IP/VLAN     = MAC     the host that bears the address there: each address of each host once
//! limits/NAME     = N       settings, written by people; releases before 1.1.0 do not read them
//! edges/DPID/PORT = bool    whether this is an edge port; `morphctl config set app=topology edges.DPID/PORT=true`
//! bonds/DPID/PORT = {"dpid": DPID, "port": PORT}     a bond without LACP: what is for a group leaves by the value's port only
//! ```
//!
//! `VLAN` is a number from 1, or `none`. Schema 1 knew no VLANs: see [`crate::migration`].

use std::fmt;

use morph_sdk::{Dpid, MacAddr, Table, Turn};
use serde::{Deserialize, Serialize};

/// Every switch that was ever seen.
pub const SWITCHES: Table<Dpid, SwitchRow> = Table::new("switches");
/// Ports of all switches, with LOCAL, the bridge's own.
pub const PORTS: Table<End, PortRow> = Table::new("ports");
/// Links that probes have passed, each from its sender to its receiver.
pub const LINKS: Table<End, LinkRow> = Table::new("links");
/// Ports where there are hosts only (`true`), as an operator says.
pub const EDGES: Table<End, bool> = Table::new("edges");
/// Bonds without LACP: ports by which nothing for a group leaves, with those that get it.
pub const BONDS: Table<End, LinkRow> = Table::new("bonds");

/// Settings by name.
pub const LIMITS: Table<String, u32> = Table::new("limits");

/// One port of one switch, as a key.
pub type End = (Dpid, u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRow {
    /// Whether it has a channel to Morpheus now.
    pub connected: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRow {
    /// Name of the port on the switch.
    pub name: String,
    /// Hardware address of the port itself.
    pub mac: MacAddr,
    /// Whether it is neither switched off nor without a signal.
    pub up: bool,
    pub kind: Kind,
}

/// Kind of neighbour behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Not known yet: nothing passes.
    Unknown,
    /// No switch of ours: hosts, if anything.
    Host,
    /// Another port of ours.
    Link,
    /// A network that another port of ours is connected with, too: nothing passes.
    Blocked,
}

/// End of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    pub dpid: Dpid,
    pub port: u32,
}

impl LinkRow {
    pub fn end(self) -> End {
        (self.dpid, self.port)
    }
}

impl From<End> for LinkRow {
    fn from((dpid, port): End) -> Self {
        LinkRow { dpid, port }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    pub dpid: Dpid,
    pub port: u32,
    /// IP addresses in the order in which they were learned.
    pub ips: Vec<String>,
}

impl HostRow {
    pub fn end(&self) -> End {
        (self.dpid, self.port)
    }
}

/// Whether a port is an edge port, where no probe is believed.
pub fn is_edge(end: End, turn: &Turn<'_>) -> bool {
    turn.get(&EDGES, &end) == Some(true)
}

/// Whether a port is up, and one of hosts.
pub fn is_host_port(end: End, turn: &Turn<'_>) -> bool {
    turn.get(&PORTS, &end)
        .is_some_and(|port| port.up && port.kind == Kind::Host)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Unknown => "unknown",
            Kind::Host => "host",
            Kind::Link => "link",
            Kind::Blocked => "blocked",
        })
    }
}
