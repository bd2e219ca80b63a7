//! The app: brings the stored trees in line with the network, and delivers what no rule knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use morph_sdk::{App, AppError, Changes, Event, MacAddr, Rules, Touched, Turn, View};

use crate::deliver;
use crate::graph::{DEFAULT_COST, End, Graph};
use crate::release::Release;
use crate::rules::{self, Group};
use crate::tables::{self, APPLIED, HOSTS, LINKS, SWITCHES};
use crate::tree::{self, Tree};

/// The router, as one of its releases.
pub struct Router<R>(PhantomData<R>);

impl<R> Router<R> {
    /// It holds nothing: all stands in its tables.
    pub fn new() -> Self {
        Router(PhantomData)
    }
}

impl<R> Default for Router<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for Router<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Router")
    }
}

impl<R: Release> App for Router<R> {
    type Group = Group;

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        // All else is topology's to learn; what it learned comes as changes of its tables.
        if let Event::PacketIn(packet) = event {
            deliver::packet_in(packet, turn);
        }
        Ok(())
    }

    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let view = turn.view();
        let everywhere = changes.touch(&SWITCHES)
            || changes.touch(&LINKS)
            || tables::weights(&view) != tables::applied(&view);
        let destinations: BTreeSet<MacAddr> = if everywhere {
            let hosts = turn.view().iter(&HOSTS).map(|(mac, _)| mac);
            hosts.chain(R::destinations(&turn.view())).collect()
        } else {
            changes.keys(&HOSTS).collect()
        };
        if everywhere || !destinations.is_empty() {
            settle::<R>(&destinations, turn);
        }
        Ok(())
    }

    fn groups(&self, what: &Touched<'_>, _view: &View<'_>) -> Vec<Group> {
        rules::groups::<R>(what)
    }

    fn rules(&self, group: &Group, view: &View<'_>, rules: &mut Rules) {
        rules::rules::<R>(group, view, rules);
    }
}

/// Brings the trees of these destinations in line with the view.
///
/// 1. A tree that a port whose weight has changed is on is unsettled: it is computed afresh. A lower weight elsewhere
///    moves no tree, however much better it would be: what carries traffic moves only when it is touched. Where
///    weights do not count, neither do their changes.
/// 2. Each destination's tree is kept, extended or computed afresh (`tree`); that of one that is no longer known goes.
/// 3. From now on the trees take the present weights for granted.
fn settle<R: Release>(destinations: &BTreeSet<MacAddr>, turn: &mut Turn<'_>) {
    let weights = tables::weights(&turn.view());
    let applied = tables::applied(&turn.view());
    let mut graph = tables::graph(&turn.view());
    let mut unsettled = BTreeSet::new();
    if R::WEIGHTED {
        unsettled = differing(&weights, &applied); // 1
        graph = graph.with_costs(weights.clone());
    }
    for &destination in destinations {
        let old = R::tree(&turn.view(), destination);
        let new = tree_of(destination, old.as_ref(), &graph, &unsettled, turn); // 2
        if old.as_ref() != Some(&new) {
            R::put(turn, destination, &new);
        }
    }
    take_for_granted(&weights, &applied, turn); // 3
}

fn tree_of(
    destination: MacAddr,
    old: Option<&Tree>,
    graph: &Graph,
    unsettled: &BTreeSet<End>,
    turn: &Turn<'_>,
) -> Tree {
    match turn.get(&HOSTS, &destination) {
        Some(host) => tree::settle(old, host.into(), graph, |end| unsettled.contains(&end)),
        None => Tree::new(),
    }
}

/// The ports whose weight is not the same in both.
fn differing(a: &BTreeMap<End, u32>, b: &BTreeMap<End, u32>) -> BTreeSet<End> {
    let weight = |of: &BTreeMap<End, u32>, end| of.get(end).copied().unwrap_or(DEFAULT_COST);
    a.keys()
        .chain(b.keys())
        .filter(|end| weight(a, end) != weight(b, end))
        .copied()
        .collect()
}

fn take_for_granted(
    weights: &BTreeMap<End, u32>,
    applied: &BTreeMap<End, u32>,
    turn: &mut Turn<'_>,
) {
    for end in applied.keys().filter(|end| !weights.contains_key(end)) {
        turn.delete(&APPLIED, &(end.dpid, end.port));
    }
    for (end, weight) in weights {
        turn.put(&APPLIED, &(end.dpid, end.port), weight);
    }
}
