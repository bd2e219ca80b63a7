//! Trees over random graphs.

#![allow(clippy::unwrap_used, clippy::panic)]

mod net;

use std::collections::{BTreeMap, BTreeSet};

use morph_sdk::Dpid;
use net::{Net, any_net, any_weights, end};
use proptest::prelude::*;
use router::graph::{End, Graph};
use router::tree::{Tree, settle};

fn graph(net: &Net, weights: &BTreeMap<End, u32>) -> Graph {
    graph_without(net, weights, &BTreeSet::new())
}

fn graph_without(net: &Net, weights: &BTreeMap<End, u32>, away: &BTreeSet<Dpid>) -> Graph {
    let cables = net.cables.iter().map(|(a, b)| (*a, *b));
    let connected = net.switches.iter().filter(|dpid| !away.contains(dpid));
    let weights = weights.iter().map(|(end, weight)| (*end, *weight));
    Graph::new(cables, connected.copied()).with_costs(weights)
}

const STAY: fn(End) -> bool = |_| false;

/// Cost of the path from each switch, by walking it; `None` where it does not lead to the root.
fn walked(tree: &Tree, root: End, graph: &Graph) -> BTreeMap<Dpid, Option<u64>> {
    let walk = |mut dpid: Dpid| {
        let mut cost = 0;
        for _ in 0..=tree.len() {
            if dpid == root.dpid {
                return Some(cost);
            }
            let end = End {
                dpid,
                port: *tree.get(&dpid)?,
            };
            cost += graph.cost(end);
            dpid = graph.far_end(end)?.dpid;
        }
        None
    };
    tree.keys().map(|dpid| (*dpid, walk(*dpid))).collect()
}

/// Least cost from each switch that has a path, by relaxing every edge until nothing changes.
fn by_brute_force(net: &Net, graph: &Graph, root: End) -> BTreeMap<Dpid, Option<u64>> {
    let mut costs = BTreeMap::from([(root.dpid, Some(0))]);
    for _ in 0..=net.switches.len() {
        for (near, far) in &net.cables {
            if let Some(Some(cost)) = costs.get(&far.dpid).copied() {
                let cost = cost + graph.cost(*near);
                let known = costs.entry(near.dpid).or_insert(Some(u64::MAX));
                *known = (*known).min(Some(cost));
            }
        }
    }
    costs
}

proptest! {
    #[test]
    fn a_fresh_tree_reaches_every_switch_at_least_cost(net in any_net(), weights in any_weights()) {
        let graph = graph(&net, &weights);
        for root in net.hosts.values().copied() {
            let tree = settle(None, root, &graph, STAY);
            prop_assert_eq!(tree.get(&root.dpid), Some(&root.port));
            prop_assert_eq!(walked(&tree, root, &graph), by_brute_force(&net, &graph, root));
        }
    }

    #[test]
    fn each_next_hop_is_the_lowest_of_the_best(net in any_net(), weights in any_weights()) {
        let graph = graph(&net, &weights);
        for root in net.hosts.values().copied() {
            let tree = settle(None, root, &graph, STAY);
            let costs = by_brute_force(&net, &graph, root);
            for (&dpid, &port) in tree.iter().filter(|(dpid, _)| **dpid != root.dpid) {
                let best = net.cables.iter().filter(|(near, _)| near.dpid == dpid).map(|(near, far)| {
                    (costs[&far.dpid].map(|cost| cost + graph.cost(*near)), far.dpid, near.port)
                });
                prop_assert_eq!(best.min().map(|(.., port)| port), Some(port));
            }
        }
    }

    #[test]
    fn a_tree_does_not_depend_on_the_order_of_what_is_known(net in any_net(), weights in any_weights()) {
        let graph = graph(&net, &weights);
        let backwards = Graph::new(
            net.cables.iter().rev().map(|(a, b)| (*a, *b)),
            net.switches.iter().rev().copied(),
        )
        .with_costs(weights.iter().rev().map(|(end, weight)| (*end, *weight)));
        prop_assert_eq!(graph, backwards);
    }

    #[test]
    fn a_tree_that_stands_is_kept_whatever_is_better_now(
        net in any_net(), before in any_weights(), after in any_weights(), more in any_net()
    ) {
        let mut better = net.clone();
        for (n, (a, b)) in more.cables.iter().enumerate() {
            better.cable(end(a.dpid.0, 100 + n as u32), end(b.dpid.0, 200 + n as u32));
        }
        for root in net.hosts.values().copied() {
            let old = settle(None, root, &graph(&net, &before), STAY);
            let new = settle(Some(&old), root, &graph(&better, &after), STAY);
            prop_assert!(old.iter().all(|(dpid, port)| new.get(dpid) == Some(port)));
        }
    }

    #[test]
    fn a_cut_moves_the_trees_over_it_and_no_others(net in any_net(), weights in any_weights(), which: prop::sample::Index) {
        prop_assume!(!net.cables.is_empty());
        let (a, b) = net.cables.iter().nth(which.index(net.cables.len())).map(|(a, b)| (*a, *b)).unwrap();
        let mut without = net.clone();
        without.cables.retain(|near, _| *near != a && *near != b);
        let without = graph(&without, &weights);
        for root in net.hosts.values().copied() {
            let old = settle(None, root, &graph(&net, &weights), STAY);
            let new = settle(Some(&old), root, &without, STAY);
            let over = [a, b].iter().any(|end| old.get(&end.dpid) == Some(&end.port));
            if over {
                prop_assert_eq!(new, settle(None, root, &without, STAY));
            } else {
                prop_assert_eq!(new, old);
            }
        }
    }

    #[test]
    fn a_tree_is_extended_to_those_that_come_back(net in any_net(), away in proptest::collection::btree_set(1u64..9, 0..8)) {
        let away: BTreeSet<_> = away.into_iter().map(Dpid).collect();
        let (all, some) = (graph(&net, &BTreeMap::new()), graph_without(&net, &BTreeMap::new(), &away));
        for root in net.hosts.values().copied() {
            let part = settle(None, root, &some, STAY);
            prop_assert!(part.keys().all(|dpid| *dpid == root.dpid || !away.contains(dpid)));
            let whole = settle(Some(&part), root, &all, STAY);
            prop_assert!(part.iter().all(|(dpid, port)| whole.get(dpid) == Some(port)));
            let reached: BTreeSet<_> = walked(&whole, root, &all).into_iter().filter_map(|(d, c)| c.map(|_| d)).collect();
            let reachable: BTreeSet<_> = by_brute_force(&net, &all, root).into_keys().collect();
            prop_assert_eq!(reached, reachable);
            // Switches that disconnect again stay in it: they go on forwarding.
            prop_assert_eq!(&settle(Some(&whole), root, &some, STAY), &whole);
        }
    }

    #[test]
    fn any_stored_tree_settles_without_loops(
        net in any_net(), stored in proptest::collection::btree_map((1u64..9).prop_map(Dpid), 1u32..20, 0..8)
    ) {
        let graph = graph(&net, &BTreeMap::new());
        for root in net.hosts.values().copied() {
            let tree = settle(Some(&stored), root, &graph, STAY);
            prop_assert!(walked(&tree, root, &graph).values().all(Option::is_some));
        }
    }
}

#[test]
fn a_link_that_works_one_way_only_carries_nothing() {
    let graph = Graph::new([(end(1, 1), end(2, 1))], [Dpid(1), Dpid(2)]);
    assert_eq!(
        settle(None, end(2, 9), &graph, STAY),
        Tree::from([(Dpid(2), 9)])
    );
}

#[test]
fn a_destination_that_moves_gets_a_new_tree() {
    // A ring of four, with the destination first at 1 and then at 3.
    let net = Net::of([(1, 2), (2, 3), (3, 4), (4, 1)]);
    let graph = graph(&net, &BTreeMap::new());
    let old = settle(None, end(1, 9), &graph, STAY);
    let new = settle(Some(&old), end(3, 9), &graph, STAY);
    assert_eq!(new, settle(None, end(3, 9), &graph, STAY));
}
