//! The network as a graph: switches, and the links between them that work both ways.

use std::collections::{BTreeMap, BTreeSet};

use morph_sdk::Dpid;

/// One port of one switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    pub dpid: Dpid,
    pub port: u32,
}

/// Cost of sending out of any port without a weight.
pub const DEFAULT_COST: u32 = 1;

/// Switches and links over which trees are computed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    links: BTreeMap<Dpid, BTreeMap<u32, End>>,
    connected: BTreeSet<Dpid>,
    costs: BTreeMap<End, u32>,
}

impl Graph {
    /// Makes a graph of directed links. A link without its opposite, or back to its own switch, carries nothing.
    /// `connected` are the switches that would take new rules now.
    pub fn new(
        directed: impl IntoIterator<Item = (End, End)>,
        connected: impl IntoIterator<Item = Dpid>,
    ) -> Self {
        let directed: BTreeMap<End, End> = directed.into_iter().collect();
        let mut links: BTreeMap<Dpid, BTreeMap<u32, End>> = BTreeMap::new();
        for (&near, &far) in &directed {
            if near.dpid != far.dpid && directed.get(&far) == Some(&near) {
                links.entry(near.dpid).or_default().insert(near.port, far);
            }
        }
        Graph {
            links,
            connected: connected.into_iter().collect(),
            costs: BTreeMap::new(),
        }
    }

    /// Sets the costs of sending out of some ports. A cost of 0 counts as 1, so that a cost always grows along a path.
    pub fn with_costs(mut self, costs: impl IntoIterator<Item = (End, u32)>) -> Self {
        self.costs = costs
            .into_iter()
            .map(|(end, cost)| (end, cost.max(1)))
            .collect();
        self
    }

    pub fn far_end(&self, near: End) -> Option<End> {
        self.links.get(&near.dpid)?.get(&near.port).copied()
    }

    pub fn cost(&self, end: End) -> u64 {
        u64::from(*self.costs.get(&end).unwrap_or(&DEFAULT_COST))
    }

    /// Whether the switch would take new rules now.
    pub fn is_connected(&self, dpid: Dpid) -> bool {
        self.connected.contains(&dpid)
    }

    /// Links, each once, with its lower end first, in a fixed order.
    pub fn cables(&self) -> impl Iterator<Item = (End, End)> + '_ {
        let links = self.links.iter().flat_map(|(&dpid, ports)| {
            let ends = ports.iter();
            ends.map(move |(&port, &far)| (End { dpid, port }, far))
        });
        links.filter(|(near, far)| near < far)
    }

    /// Switches that would take new rules now.
    pub fn connected(&self) -> impl Iterator<Item = Dpid> + '_ {
        self.connected.iter().copied()
    }

    /// Ports of neighbours that lead to this switch.
    pub fn into_switch(&self, dpid: Dpid) -> impl Iterator<Item = End> + '_ {
        self.links
            .get(&dpid)
            .into_iter()
            .flat_map(|ports| ports.values().copied())
    }
}
