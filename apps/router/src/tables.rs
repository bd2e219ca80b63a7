//! The tables that the router reads, and those that both of its schemas have.
//!
//! ```text
//! schema 1: trees/DST      = {"DPID": PORT, ...}     on each switch, the port that leads to the destination
//! schema 2: hops/DST/DPID  = {"port": PORT}          the same, a row a switch
//! both:     weights/DPID/PORT = N     set by people: what sending out of this port costs; 1 where nothing is said
//!           applied/DPID/PORT = N     the weights that the trees take for granted; 1 where nothing is said
//! ```
//!
//! `applied` is what makes a change of a weight visible whenever one looks, also for the next instance.

use std::collections::BTreeMap;

use morph_sdk::{Dpid, Key, MacAddr, Table, View};
use serde::Deserialize;

use crate::graph::{DEFAULT_COST, End, Graph};

/// Whose tables are read.
const TOPOLOGY: &str = "topology";
/// Every switch that was ever seen.
pub const SWITCHES: Table<Dpid, SwitchRow> = Table::of(TOPOLOGY, "switches");
/// Their ports.
pub const PORTS: Table<(Dpid, u32), PortRow> = Table::of(TOPOLOGY, "ports");
/// Directed links.
pub const LINKS: Table<(Dpid, u32), EndRow> = Table::of(TOPOLOGY, "links");
/// Where hosts are.
pub const HOSTS: Table<MacAddr, EndRow> = Table::of(TOPOLOGY, "hosts");
/// Which host bears an IP address.
pub const IPS: Table<String, MacAddr> = Table::of(TOPOLOGY, "ips");

/// What people say a port costs. They may write datapath ids as they like.
pub const WEIGHTS: Table<String, u32> = Table::new("weights");
/// What was said when trees were last looked at.
pub const APPLIED: Table<(Dpid, u32), u32> = Table::new("applied");

/// A switch, as far as the router looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct SwitchRow {
    /// Has a channel now.
    pub connected: bool,
}

/// A port, as far as the router looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct PortRow {
    /// Can send.
    pub up: bool,
    /// What is behind it.
    pub kind: Kind,
}

/// What is behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Not known yet.
    Unknown,
    /// Hosts, if anything.
    Host,
    /// Another switch.
    Link,
}

/// A place in the network: where a link leads, where a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct EndRow {
    /// The switch.
    pub dpid: Dpid,
    /// Its port.
    pub port: u32,
}

impl From<EndRow> for End {
    fn from(row: EndRow) -> Self {
        End {
            dpid: row.dpid,
            port: row.port,
        }
    }
}

/// An end as a key.
pub fn end((dpid, port): (Dpid, u32)) -> End {
    End { dpid, port }
}

/// The network as it is stored now.
pub fn graph(view: &View<'_>) -> Graph {
    let links = view
        .iter(&LINKS)
        .map(|(near, far)| (end(near), End::from(far)));
    let connected = view
        .iter(&SWITCHES)
        .filter(|(_, row)| row.connected)
        .map(|(dpid, _)| dpid);
    Graph::new(links, connected)
}

/// What is said now, without what goes without saying; nothing is cheaper than 1.
pub fn weights(view: &View<'_>) -> BTreeMap<End, u32> {
    view.iter(&WEIGHTS)
        .filter_map(|(key, weight)| Some((end(Key::parse(&key)?), weight.max(1))))
        .filter(|(_, weight)| *weight != DEFAULT_COST)
        .collect()
}

/// What was said when trees were last looked at.
pub fn applied(view: &View<'_>) -> BTreeMap<End, u32> {
    view.iter(&APPLIED)
        .map(|(key, weight)| (end(key), weight))
        .collect()
}
