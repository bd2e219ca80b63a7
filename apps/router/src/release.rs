//! Differences between the releases: how they choose paths, and in which rows they store them.

use std::collections::{BTreeMap, BTreeSet};

use morph_sdk::{Dpid, MacAddr, RuleInput, Table, TableShape, Turn, View, Vlan};
use serde::{Deserialize, Serialize};

use crate::hosts::{ByVlan, Destination, Hosts, WithoutVlans};
use crate::tree::Tree;

/// A release of the router.
pub trait Release: Send + 'static {
    /// Topology's tables of hosts, as the release reads them.
    type Hosts: Hosts;
    /// Whether paths have least cost over weights; otherwise they have fewest hops.
    const WEIGHTED: bool;

    /// Shapes of the release's own tables, beside those that all releases have.
    fn tables() -> Vec<TableShape>;
    /// Destination whose tree a row of the app is part of.
    fn destination_of(input: &RuleInput<'_>) -> Option<Destination>;
    fn destinations(view: &View<'_>) -> BTreeSet<Destination>;
    fn tree(view: &View<'_>, destination: Destination) -> Option<Tree>;
    /// Stores the tree of a destination. An empty tree deletes it.
    fn put(turn: &mut Turn<'_>, destination: Destination, tree: &Tree);
}

/// Schema 1: a destination's tree in one row.
pub const TREES: Table<MacAddr, BTreeMap<Dpid, u32>> = Table::new("trees");
/// Schema 2: a row for each destination and switch.
pub const HOPS: Table<(MacAddr, Dpid), Hop> = Table::new("hops");
/// Schema 3: a row for each destination and switch, and destinations by VLAN.
pub const VLAN_HOPS: Table<(MacAddr, Vlan, Dpid), Hop> = Table::new("hops");

/// Next hop of one switch towards one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hop {
    /// Port that leads there.
    pub port: u32,
}

/// Router 1.0.0: fewest hops.
#[derive(Debug)]
pub struct V1;

impl Release for V1 {
    type Hosts = WithoutVlans;
    const WEIGHTED: bool = false;

    fn tables() -> Vec<TableShape> {
        vec![TREES.shape()]
    }

    fn destination_of(input: &RuleInput<'_>) -> Option<Destination> {
        input.key(&TREES).map(WithoutVlans::destination)
    }

    fn destinations(view: &View<'_>) -> BTreeSet<Destination> {
        let trees = view.iter(&TREES);
        trees
            .map(|(mac, _)| WithoutVlans::destination(mac))
            .collect()
    }

    fn tree(view: &View<'_>, destination: Destination) -> Option<Tree> {
        view.get(&TREES, &destination.mac)
    }

    fn put(turn: &mut Turn<'_>, destination: Destination, tree: &Tree) {
        if tree.is_empty() {
            turn.delete(&TREES, &destination.mac);
        } else {
            turn.put(&TREES, &destination.mac, tree);
        }
    }
}

/// Router 2.0.0: least cost over weights.
#[derive(Debug)]
pub struct V2;

impl Release for V2 {
    type Hosts = WithoutVlans;
    const WEIGHTED: bool = true;

    fn tables() -> Vec<TableShape> {
        vec![HOPS.shape()]
    }

    fn destination_of(input: &RuleInput<'_>) -> Option<Destination> {
        let (mac, _) = input.key(&HOPS)?;
        Some(WithoutVlans::destination(mac))
    }

    fn destinations(view: &View<'_>) -> BTreeSet<Destination> {
        let hops = view.iter(&HOPS);
        let macs = hops.map(|((mac, _), _)| mac);
        macs.map(WithoutVlans::destination).collect()
    }

    fn tree(view: &View<'_>, destination: Destination) -> Option<Tree> {
        let hops = view.prefix(&HOPS, &destination.mac);
        whole(hops.map(|((_, dpid), hop)| (dpid, hop)))
    }

    fn put(turn: &mut Turn<'_>, Destination { mac, .. }: Destination, tree: &Tree) {
        let hops = turn.view().prefix(&HOPS, &mac);
        let hops = hops.map(|(key, _)| key).collect::<Vec<_>>();
        for key in hops.iter().filter(|key| !tree.contains_key(&key.1)) {
            turn.delete(&HOPS, key);
        }
        for (&dpid, &port) in tree {
            turn.put(&HOPS, &(mac, dpid), &Hop { port });
        }
    }
}

/// Router 3.0.0: as 2.0.0, for each VLAN.
#[derive(Debug)]
pub struct V3;

impl Release for V3 {
    type Hosts = ByVlan;
    const WEIGHTED: bool = true;

    fn tables() -> Vec<TableShape> {
        vec![VLAN_HOPS.shape()]
    }

    fn destination_of(input: &RuleInput<'_>) -> Option<Destination> {
        let (mac, vlan, _) = input.key(&VLAN_HOPS)?;
        Some(Destination { mac, vlan })
    }

    fn destinations(view: &View<'_>) -> BTreeSet<Destination> {
        let hops = view.iter(&VLAN_HOPS);
        let destinations = hops.map(|((mac, vlan, _), _)| Destination { mac, vlan });
        destinations.collect()
    }

    fn tree(view: &View<'_>, Destination { mac, vlan }: Destination) -> Option<Tree> {
        let hops = view.prefix(&VLAN_HOPS, &(mac, vlan));
        whole(hops.map(|((_, _, dpid), hop)| (dpid, hop)))
    }

    fn put(turn: &mut Turn<'_>, Destination { mac, vlan }: Destination, tree: &Tree) {
        let hops = turn.view().prefix(&VLAN_HOPS, &(mac, vlan));
        let hops = hops.map(|(key, _)| key).collect::<Vec<_>>();
        for key in hops.iter().filter(|key| !tree.contains_key(&key.2)) {
            turn.delete(&VLAN_HOPS, key);
        }
        for (&dpid, &port) in tree {
            turn.put(&VLAN_HOPS, &(mac, vlan, dpid), &Hop { port });
        }
    }
}

/// Tree of these hops; `None` if there are none.
fn whole(hops: impl Iterator<Item = (Dpid, Hop)>) -> Option<Tree> {
    let tree: Tree = hops.map(|(dpid, hop)| (dpid, hop.port)).collect();
    (!tree.is_empty()).then_some(tree)
}
