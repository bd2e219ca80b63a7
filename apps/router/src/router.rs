//! The app: brings the stored trees in line with the network, and delivers packets that match no rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use morph_sdk::{App, AppError, Changes, Event, RuleInput, Rules, TableShape, Turn, View};

use crate::deliver::Delivery;
use crate::graph::{DEFAULT_COST, End, Graph};
use crate::hosts::{self, Destination};
use crate::release::Release;
use crate::rules::{self, Group};
use crate::tables::{self, APPLIED, BONDS, LINKS, PORTS, SWITCHES, WEIGHTS};
use crate::tree::{self, Tree};

/// Most hops that one turn changes, not counting the last tree: well below the limit of a transaction.
pub const MOST_HOPS: usize = 8000;
/// Number of hops of a one-row tree that take as much room as a row.
const HOPS_A_ROW: usize = 4;

/// The router app, in one of its releases.
pub struct Router<R: Release> {
    /// Destinations whose trees have to be looked at: all of them after a resume.
    pending: BTreeSet<Destination>,
    delivery: Delivery<R::Hosts>,
    release: PhantomData<R>,
}

impl<R: Release> Router<R> {
    pub fn new() -> Self {
        Router {
            pending: BTreeSet::new(),
            delivery: Delivery::default(),
            release: PhantomData,
        }
    }
}

impl<R: Release> Default for Router<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Release> fmt::Debug for Router<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("pending", &self.pending.len())
            .finish()
    }
}

impl<R: Release> App for Router<R> {
    type Group = Group;

    fn tables() -> Vec<TableShape> {
        let mut tables = R::tables();
        tables.extend([WEIGHTS.shape(), APPLIED.shape()]);
        tables
    }

    fn reads() -> Vec<TableShape> {
        let of_hosts = [
            hosts::hosts::<R::Hosts>().shape(),
            hosts::ips::<R::Hosts>().shape(),
        ];
        let of_switches = [
            SWITCHES.shape(),
            PORTS.shape(),
            LINKS.shape(),
            BONDS.shape(),
        ];
        of_hosts.into_iter().chain(of_switches).collect()
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        // Other events are topology's to handle; its results arrive as changes of its tables.
        match event {
            Event::PacketIn(packet) => self.delivery.packet_in(packet, turn),
            Event::SwitchForgotten(dpid) => tables::forget_weights(*dpid, turn),
            _ => {}
        }
        Ok(())
    }

    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        self.delivery.fresh.note(changes, turn.now());
        let view = turn.view();
        let everywhere = changes.touch(&SWITCHES)
            || changes.touch(&LINKS)
            || tables::weights(&view) != tables::applied(&view);
        if everywhere {
            self.pending.extend(hosts::all::<R::Hosts>(&view));
            self.pending.extend(R::destinations(&view));
        } else {
            let hosts = hosts::changed::<R::Hosts>(changes);
            self.pending.extend(hosts);
        }
        self.settle(turn);
        Ok(())
    }

    fn tick(&mut self, turn: &mut Turn<'_>) -> Result<(), AppError> {
        self.delivery.fresh.age(turn.now());
        self.settle(turn);
        Ok(())
    }

    fn groups(&self, input: &RuleInput<'_>, _view: &View<'_>) -> Vec<Group> {
        rules::groups::<R>(input)
    }

    fn rules(&self, group: &Group, view: &View<'_>, rules: &mut Rules) {
        rules::rules::<R>(group, view, rules);
    }
}

impl<R: Release> Router<R> {
    /// Brings the trees of the pending destinations in line with the view, as many as fit into a turn.
    ///
    /// 1. A tree over a port whose weight has changed is computed afresh. A lower weight elsewhere moves no tree,
    ///    however much better it would be: a path that carries traffic moves only when it is touched. Where weights do
    ///    not count, neither do their changes.
    /// 2. Each destination's tree is kept, extended or computed afresh (`tree`). The tree of an unknown destination is
    ///    deleted.
    /// 3. Once no destination is pending, the present weights are noted as applied.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        if self.pending.is_empty() {
            return;
        }
        let weights = tables::weights(&turn.view());
        let applied = tables::applied(&turn.view());
        let mut graph = tables::graph(&turn.view());
        let mut reweighted = BTreeSet::new();
        if R::WEIGHTED {
            reweighted = differing(&weights, &applied); // 1
            graph = graph.with_costs(weights.clone());
        }
        let mut hops = 0;
        while hops < MOST_HOPS
            && let Some(destination) = self.pending.pop_first()
        {
            let old = R::tree(&turn.view(), destination).unwrap_or_default();
            let new = tree_of::<R>(destination, &old, &graph, &reweighted, turn); // 2
            if old != new {
                R::put(turn, destination, &new);
                hops += changed_hops(&old, &new).max(new.len() / HOPS_A_ROW);
            }
        }
        if self.pending.is_empty() {
            note_applied(&weights, &applied, turn); // 3
        }
    }
}

/// Number of switches that have another port in one tree than in the other, or are in one of them only.
fn changed_hops(old: &Tree, new: &Tree) -> usize {
    let set = new
        .iter()
        .filter(|(dpid, port)| old.get(dpid) != Some(port));
    let gone = old.keys().filter(|dpid| !new.contains_key(dpid));
    set.count() + gone.count()
}

fn tree_of<R: Release>(
    destination: Destination,
    old: &Tree,
    graph: &Graph,
    reweighted: &BTreeSet<End>,
    turn: &Turn<'_>,
) -> Tree {
    match hosts::place::<R::Hosts>(&turn.view(), destination) {
        Some(host) => tree::settle(Some(old), host.into(), graph, |end| {
            reweighted.contains(&end)
        }),
        None => Tree::new(),
    }
}

/// Ports whose weight differs between the two.
fn differing(a: &BTreeMap<End, u32>, b: &BTreeMap<End, u32>) -> BTreeSet<End> {
    let weight = |of: &BTreeMap<End, u32>, end| of.get(end).copied().unwrap_or(DEFAULT_COST);
    a.keys()
        .chain(b.keys())
        .filter(|end| weight(a, end) != weight(b, end))
        .copied()
        .collect()
}

fn note_applied(weights: &BTreeMap<End, u32>, applied: &BTreeMap<End, u32>, turn: &mut Turn<'_>) {
    for end in applied.keys().filter(|end| !weights.contains_key(end)) {
        turn.delete(&APPLIED, &(end.dpid, end.port));
    }
    for (end, weight) in weights {
        turn.put(&APPLIED, &(end.dpid, end.port), weight);
    }
}
