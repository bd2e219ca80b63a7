//! Tree of links that frames to a group go along, so that each host gets one copy.
//!
//! The tree follows from the links alone: of the links in a fixed order, each belongs to it that joins two parts of the network (Kruskal's
//! algorithm). So a link that fails or comes back replaces one link of it at most, and all instances and releases have the same.

use std::collections::{BTreeMap, BTreeSet};

use morph_sdk::Dpid;

use crate::graph::{End, Graph};

/// Tree over all links; a forest while they do not connect all switches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanningTree {
    /// Both ends of each link of the tree.
    pub ends: BTreeSet<End>,
    /// Whether links connect all switches. Otherwise what is between the parts may be a network of others.
    pub is_whole: bool,
}

impl SpanningTree {
    pub fn of(graph: &Graph) -> Self {
        let mut parts = Parts::default();
        let mut ends = BTreeSet::new();
        for (near, far) in graph.cables() {
            if parts.join(near.dpid, far.dpid) {
                ends.extend([near, far]);
            }
        }
        let switches = graph.connected().chain(ends.iter().map(|end| end.dpid));
        let parts: BTreeSet<Dpid> = switches.map(|dpid| parts.part(dpid)).collect();
        SpanningTree {
            ends,
            is_whole: parts.len() <= 1,
        }
    }
}

/// Parts of the network that are joined so far; each is named by one of its switches.
#[derive(Debug, Default)]
struct Parts(BTreeMap<Dpid, Dpid>);

impl Parts {
    fn part(&self, mut dpid: Dpid) -> Dpid {
        while let Some(next) = self.0.get(&dpid) {
            dpid = *next;
        }
        dpid
    }

    /// Joins the parts of two switches. False if they are one already.
    fn join(&mut self, a: Dpid, b: Dpid) -> bool {
        let (a, b) = (self.part(a), self.part(b));
        if a == b {
            return false;
        }
        self.0.insert(a.max(b), a.min(b));
        true
    }
}
