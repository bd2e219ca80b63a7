//! Tables that the router reads, and those of its own that all schema versions have. Hosts stand in [`crate::hosts`].
//!
//! ```text
//! schema 1: trees/DST      = {"DPID": PORT, ...}     on each switch, the port that leads to the destination
//! schema 2: hops/DST/DPID  = {"port": PORT}          as in schema 1, a row a switch
//! schema 3: hops/DST/VLAN/DPID = {"port": PORT}      as in schema 2, for each VLAN, which is a number from 1, or `none`
//! all:      weights/DPID/PORT = N     set by people: cost of sending out of this port; 1 if absent
//!           applied/DPID/PORT = N     weights that the trees were computed with; 1 if absent
//! ```
//!
//! `applied` makes a change of a weight visible at any later time, also for the next instance.

use std::collections::BTreeMap;

use morph_sdk::{Dpid, Key, Table, Turn, View};
use serde::{Deserialize, Serialize};

use crate::graph::{DEFAULT_COST, End, Graph};

/// App whose tables are read.
pub(crate) const TOPOLOGY: &str = "topology";
/// Every switch that was ever seen.
pub const SWITCHES: Table<Dpid, SwitchRow> = Table::of(TOPOLOGY, "switches");
/// Ports of all switches.
pub const PORTS: Table<(Dpid, u32), PortRow> = Table::of(TOPOLOGY, "ports");
/// Directed links between ports.
pub const LINKS: Table<(Dpid, u32), EndRow> = Table::of(TOPOLOGY, "links");

/// Bonds without LACP: ports by which nothing for a group leaves, with those that get it. Topology before 2.0.0 has none.
pub const BONDS: Table<(Dpid, u32), EndRow> = Table::of(TOPOLOGY, "bonds");

/// Costs of ports, set by people, who may write datapath ids as they like.
pub const WEIGHTS: Table<String, u32> = Table::new("weights");
/// Weights at the time when trees were last looked at.
pub const APPLIED: Table<(Dpid, u32), u32> = Table::new("applied");

/// A switch, as far as the router looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRow {
    /// Whether it has a channel now.
    pub connected: bool,
}

/// A port, as far as the router looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRow {
    /// Whether it can send.
    pub up: bool,
    pub kind: Kind,
}

/// Kind of neighbour behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Not known yet.
    Unknown,
    /// Hosts, if anything.
    Host,
    /// Another switch.
    Link,
    /// A network that another port is connected with, too: nothing passes.
    Blocked,
}

/// A place in the network: the end of a link, or a host's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRow {
    pub dpid: Dpid,
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

pub fn end((dpid, port): (Dpid, u32)) -> End {
    End { dpid, port }
}

/// Graph of the network as it is stored now.
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

/// Host ports by which frames to groups leave: of a bond, one.
pub fn group_ports(view: &View<'_>) -> impl Iterator<Item = End> {
    let ports = view.iter(&PORTS);
    let ports = ports.filter(|(_, row)| row.up && row.kind == Kind::Host);
    let ports = ports.filter(|(key, _)| view.get(&BONDS, key).is_none());
    ports.map(|(key, _)| end(key))
}

/// Weights set by people that differ from the default; none is below 1.
pub fn weights(view: &View<'_>) -> BTreeMap<End, u32> {
    view.iter(&WEIGHTS)
        .filter_map(|(key, weight)| Some((end(Key::parse(&key)?), weight.max(1))))
        .filter(|(_, weight)| *weight != DEFAULT_COST)
        .collect()
}

pub fn applied(view: &View<'_>) -> BTreeMap<End, u32> {
    view.iter(&APPLIED)
        .map(|(key, weight)| (end(key), weight))
        .collect()
}

/// Deletes the weights of a switch that is gone for good.
pub fn forget_weights(dpid: Dpid, turn: &mut Turn<'_>) {
    let is_of = |key: &String| <(Dpid, u32)>::parse(key).is_some_and(|(of, _)| of == dpid);
    let keys: Vec<String> = turn.view().iter(&WEIGHTS).map(|(key, _)| key).collect();
    for key in keys.into_iter().filter(is_of) {
        turn.delete(&WEIGHTS, &key);
    }
}
