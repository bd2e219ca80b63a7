//! Shortest-path trees to one destination, and the reasons why they stay as they are.
//!
//! A tree names for each switch the port that leads to the destination. It is *sticky*:
//!
//! 1. a tree that still stands (its root is where the destination is, all its links are there) is kept, whatever one
//!    would choose today;
//! 2. switches that should be in it and are not are attached to it by least cost, and the rest stays;
//! 3. any other is computed afresh, from its root alone.
//!
//! 2 and 3 are one algorithm, Dijkstra's, begun from what is there. Ties are broken by the next hop's datapath id,
//! lowest first, then by port. The result depends on the old tree, the graph and the root, and on nothing else.

use std::collections::{BTreeMap, BTreeSet};

use morph_sdk::Dpid;

use crate::graph::{End, Graph};

/// Port that leads to the destination, by switch; at the destination's own switch it is the destination's port.
pub type Tree = BTreeMap<Dpid, u32>;

/// Next tree of a destination at `root`. `reweighted` tells whether the weight of a port on it has changed.
pub fn settle(
    old: Option<&Tree>,
    root: End,
    graph: &Graph,
    reweighted: impl Fn(End) -> bool,
) -> Tree {
    let kept = old.filter(|tree| {
        !links(tree, root).any(&reweighted)
            && costs(tree, root, graph).is_some_and(|c| c.len() == tree.len())
    });
    let mut tree = kept.cloned().unwrap_or_else(|| fresh_root(root));
    attach(&mut tree, root, graph);
    tree
}

/// Number of links between the destination and each switch of a tree that links lead from to it.
pub fn distances(tree: &Tree, far_end: impl Fn(End) -> Option<Dpid>) -> BTreeMap<Dpid, u16> {
    let mut by_next: BTreeMap<Option<Dpid>, Vec<Dpid>> = BTreeMap::new();
    for (&dpid, &port) in tree {
        by_next
            .entry(far_end(End { dpid, port }))
            .or_default()
            .push(dpid);
    }
    let mut distances = BTreeMap::new();
    let mut reached: Vec<(Option<Dpid>, u16)> = vec![(None, 0)];
    while let Some((next, distance)) = reached.pop() {
        for dpid in by_next.remove(&next).unwrap_or_default() {
            distances.insert(dpid, distance);
            reached.push((Some(dpid), distance.saturating_add(1)));
        }
    }
    distances
}

/// Ports of the tree that are ends of links: all but the destination's.
fn links(tree: &Tree, root: End) -> impl Iterator<Item = End> + '_ {
    tree.iter()
        .map(|(&dpid, &port)| End { dpid, port })
        .filter(move |end| end.dpid != root.dpid)
}

fn fresh_root(root: End) -> Tree {
    Tree::from([(root.dpid, root.port)])
}

/// Cost of the path to the root from each switch that has one; `None` if the tree has another root.
fn costs(tree: &Tree, root: End, graph: &Graph) -> Option<BTreeMap<Dpid, u64>> {
    if tree.get(&root.dpid) != Some(&root.port) {
        return None;
    }
    let mut children: BTreeMap<Dpid, Vec<End>> = BTreeMap::new();
    for end in links(tree, root) {
        if let Some(far) = graph.far_end(end) {
            children.entry(far.dpid).or_default().push(end);
        }
    }
    let mut costs = BTreeMap::from([(root.dpid, 0)]);
    let mut reached = vec![(root.dpid, 0)];
    while let Some((dpid, cost)) = reached.pop() {
        for &child in children.get(&dpid).into_iter().flatten() {
            let cost = cost + graph.cost(child);
            costs.insert(child.dpid, cost);
            reached.push((child.dpid, cost));
        }
    }
    Some(costs)
}

/// Possible next hop of a switch that is not in the tree yet, in the order of preference.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    cost: u64,
    next_hop: Dpid,
    port: u32,
    dpid: Dpid,
}

/// Attaches every connected switch that can be reached, by least cost.
fn attach(tree: &mut Tree, root: End, graph: &Graph) {
    let mut candidates = BTreeSet::new();
    for (dpid, cost) in costs(tree, root, graph).unwrap_or_default() {
        offer(&mut candidates, dpid, cost, tree, graph);
    }
    while let Some(best) = candidates.pop_first() {
        if tree.contains_key(&best.dpid) {
            continue;
        }
        tree.insert(best.dpid, best.port);
        offer(&mut candidates, best.dpid, best.cost, tree, graph);
    }
}

/// Offers `next_hop`, which is in the tree, to its neighbours that are not.
fn offer(
    candidates: &mut BTreeSet<Candidate>,
    next_hop: Dpid,
    cost: u64,
    tree: &Tree,
    graph: &Graph,
) {
    for end in graph.into_switch(next_hop) {
        if graph.is_connected(end.dpid) && !tree.contains_key(&end.dpid) {
            candidates.insert(Candidate {
                cost: cost + graph.cost(end),
                next_hop,
                port: end.port,
                dpid: end.dpid,
            });
        }
    }
}
