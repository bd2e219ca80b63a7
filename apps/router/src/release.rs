//! Differences between the releases: how they choose paths, and in which rows they store them.

use std::collections::{BTreeMap, BTreeSet};

use morph_sdk::{Dpid, MacAddr, RuleInput, Table, TableShape, Turn, View};
use serde::{Deserialize, Serialize};

use crate::tree::Tree;

/// A release of the router.
pub trait Release: Send + 'static {
    /// Whether paths have least cost over weights; otherwise they have fewest hops.
    const WEIGHTED: bool;

    /// Shapes of the release's own tables, beside those that all releases have.
    fn tables() -> Vec<TableShape>;
    /// Destination whose tree a row of the app is part of.
    fn destination_of(input: &RuleInput<'_>) -> Option<MacAddr>;
    fn destinations(view: &View<'_>) -> BTreeSet<MacAddr>;
    fn tree(view: &View<'_>, destination: MacAddr) -> Option<Tree>;
    /// Stores the tree of a destination. An empty tree deletes it.
    fn put(turn: &mut Turn<'_>, destination: MacAddr, tree: &Tree);
}

/// Schema 1: a destination's tree in one row.
pub const TREES: Table<MacAddr, BTreeMap<Dpid, u32>> = Table::new("trees");
/// Schema 2: a row for each destination and switch.
pub const HOPS: Table<(MacAddr, Dpid), Hop> = Table::new("hops");

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
    const WEIGHTED: bool = false;

    fn tables() -> Vec<TableShape> {
        vec![TREES.shape()]
    }

    fn destination_of(input: &RuleInput<'_>) -> Option<MacAddr> {
        input.key(&TREES)
    }

    fn destinations(view: &View<'_>) -> BTreeSet<MacAddr> {
        view.iter(&TREES).map(|(mac, _)| mac).collect()
    }

    fn tree(view: &View<'_>, destination: MacAddr) -> Option<Tree> {
        view.get(&TREES, &destination)
    }

    fn put(turn: &mut Turn<'_>, destination: MacAddr, tree: &Tree) {
        if tree.is_empty() {
            turn.delete(&TREES, &destination);
        } else {
            turn.put(&TREES, &destination, tree);
        }
    }
}

/// Router 2.0.0: least cost over weights.
#[derive(Debug)]
pub struct V2;

impl Release for V2 {
    const WEIGHTED: bool = true;

    fn tables() -> Vec<TableShape> {
        vec![HOPS.shape()]
    }

    fn destination_of(input: &RuleInput<'_>) -> Option<MacAddr> {
        input.key(&HOPS).map(|(mac, _)| mac)
    }

    fn destinations(view: &View<'_>) -> BTreeSet<MacAddr> {
        view.iter(&HOPS).map(|((mac, _), _)| mac).collect()
    }

    fn tree(view: &View<'_>, destination: MacAddr) -> Option<Tree> {
        let tree: Tree = view
            .prefix(&HOPS, &destination)
            .map(|((_, dpid), hop)| (dpid, hop.port))
            .collect();
        (!tree.is_empty()).then_some(tree)
    }

    fn put(turn: &mut Turn<'_>, destination: MacAddr, tree: &Tree) {
        for dpid in Self::tree(&turn.view(), destination)
            .unwrap_or_default()
            .into_keys()
        {
            if !tree.contains_key(&dpid) {
                turn.delete(&HOPS, &(destination, dpid));
            }
        }
        for (&dpid, &port) in tree {
            turn.put(&HOPS, &(destination, dpid), &Hop { port });
        }
    }
}
