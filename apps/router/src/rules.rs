//! Rules that follow from the tables.
//!
//! ```text
//! first table
//! 110  eth_dst = 01:80:c2:00:00:0X               drop: what bridges keep to themselves
//! 100  eth_dst = a known host, and its VLAN      out of the port that leads to it
//!  97  in_port = a host port, a group, ARP       punt: the app answers, or delivers
//!  96  in_port, a known host, a group            second table
//!  95  in_port = a port of the tree, a group     second table
//!  90  in_port = a link port, a group            drop
//!   0                                            punt
//! second table
//!   0                                            out of the ports of the tree and of the host ports, of a bond by one
//!   0                                            punt, while links do not connect all switches
//! ```
//!
//! A frame to a group whose source is not known at its port is punted, so a copy that comes back by a loop is delivered to nobody.
//!
//! The tree of links (`spanning`) changes without a loop. A link carries a frame only where its far end accepts frames, by the rule
//! of priority 95. These rules are deleted first where a link leaves the tree, and added last, once the deletions are confirmed,
//! where one joins it: at any time the links that accept frames are part of one tree. Where links do not connect all switches, what
//! is between them may be a network of others, by which a frame comes in again: then the app delivers frames to groups.
//!
//! Paths move without loss: the rank of a rule to a destination is its distance from it, so a switch leads packets along a new
//! path once the switches on it do. The proof is the SDK's (`instance/rule_sync/order.rs`); what it asks for is that the next hop
//! of each switch has a lower rank.

use std::collections::{BTreeMap, BTreeSet};

use morph_sdk::packet::ether_type;
use morph_sdk::{Action, Dpid, MacAddr, Match, RuleInput, Rules, View};

use crate::graph::End;
use crate::hosts::{self, Destination, Hosts};
use crate::release::Release;
use crate::spanning::SpanningTree;
use crate::tables::{self, BONDS, Kind, LINKS, PORTS, SWITCHES};
use crate::tree;

const BRIDGES_PRIORITY: u16 = 110;
const DESTINATION_PRIORITY: u16 = 100;
const ADDRESS_PRIORITY: u16 = 97;
const SOURCE_PRIORITY: u16 = 96;
const TREE_PRIORITY: u16 = 95;
const GROUP_PRIORITY: u16 = 90;
const MISS_PRIORITY: u16 = 0;

/// Table of the rule that sends to a group.
const TREE_TABLE: u8 = 1;

/// Rank at which links leave the tree.
const LEAVES: u16 = 0;
/// Rank at which switches send by other ports.
const SENDS: u16 = 1;
/// Rank at which links join the tree.
const JOINS: u16 = 2;

/// Bit of an Ethernet address that makes it a group address.
const GROUP_BIT: MacAddr = MacAddr([1, 0, 0, 0, 0, 0]);
/// Addresses that bridges keep to themselves (IEEE 802.1Q, table 8-1), and the bits that tell them.
pub const OF_BRIDGES: (MacAddr, MacAddr) = (
    MacAddr([0x01, 0x80, 0xc2, 0, 0, 0]),
    MacAddr([0xff, 0xff, 0xff, 0xff, 0xff, 0xf0]),
);

/// Rules that are computed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Rules of a switch for all its ports.
    Switch(Dpid),
    /// Rules of one port.
    Port((Dpid, u32)),
    /// Rule for frames to groups from one host.
    Source(Destination),
    /// Rules to one destination, on all switches.
    Destination(Destination),
    /// Rules that send to groups, on all switches.
    Tree,
}

/// Groups that a row has a part in. A switch that comes or goes changes the rules of the tree alone.
pub fn groups<R: Release>(input: &RuleInput<'_>) -> Vec<Group> {
    let switch = input.key(&SWITCHES);
    let port = input.key(&PORTS);
    let host = input.key(&hosts::hosts::<R::Hosts>());
    let rest = input.key(&LINKS).or_else(|| input.key(&BONDS));
    let is_of_tree = switch.is_some() || port.is_some() || rest.is_some();
    let groups = [
        switch.map(Group::Switch),
        port.map(Group::Port),
        host.map(|host| Group::Source(R::Hosts::destination(host))),
        R::destination_of(input).map(Group::Destination),
        is_of_tree.then_some(Group::Tree),
    ];
    groups.into_iter().flatten().collect()
}

pub fn rules<R: Release>(group: &Group, view: &View<'_>, rules: &mut Rules) {
    match *group {
        Group::Switch(dpid) => switch_rules(dpid, view, rules),
        Group::Port(port) => port_rules(port, view, rules),
        Group::Source(host) => {
            if let Some(place) = hosts::place::<R::Hosts>(view, host) {
                let from = R::Hosts::sent_by(host).in_port(place.port);
                let rule = rules.on(place.dpid).priority(SOURCE_PRIORITY);
                rule.matching(from.eth_dst_masked(GROUP_BIT, GROUP_BIT))
                    .actions_then_table(Vec::new(), TREE_TABLE);
            }
        }
        Group::Destination(destination) => {
            let tree = R::tree(view, destination).unwrap_or_default();
            // Ranks alone depend on the links, so a group does not.
            let far_end = |near: End| view.get(&LINKS, &(near.dpid, near.port));
            let distances = tree::distances(&tree, |near| Some(far_end(near)?.dpid));
            for (dpid, port) in tree {
                rules
                    .on(dpid)
                    .rank(distances.get(&dpid).copied().unwrap_or_default())
                    .priority(DESTINATION_PRIORITY)
                    .matching(R::Hosts::matching(destination))
                    .actions(vec![Action::output(port)]);
            }
        }
        Group::Tree => tree_rules(view, rules),
    }
}

fn to_group() -> Match {
    Match::new().eth_dst_masked(GROUP_BIT, GROUP_BIT)
}

fn switch_rules(dpid: Dpid, view: &View<'_>, rules: &mut Rules) {
    if view.get(&SWITCHES, &dpid).is_some() {
        rules.on(dpid).priority(MISS_PRIORITY).punt();
        let (mac, mask) = OF_BRIDGES;
        let to_bridges = Match::new().eth_dst_masked(mac, mask);
        let rule = rules.on(dpid).priority(BRIDGES_PRIORITY);
        rule.matching(to_bridges).drop_();
    }
}

fn port_rules((dpid, port): (Dpid, u32), view: &View<'_>, rules: &mut Rules) {
    match view.get(&PORTS, &(dpid, port)).map(|row| row.kind) {
        Some(Kind::Link) => rules
            .on(dpid)
            .priority(GROUP_PRIORITY)
            .matching(to_group().in_port(port))
            .drop_(),
        Some(Kind::Host) => rules
            .on(dpid)
            .priority(ADDRESS_PRIORITY)
            .matching(to_group().in_port(port).eth_type(ether_type::ARP))
            .punt(),
        None | Some(Kind::Unknown | Kind::Blocked) => {}
    }
}

fn tree_rules(view: &View<'_>, rules: &mut Rules) {
    let tree = SpanningTree::of(&tables::graph(view));
    let mut ports: BTreeMap<Dpid, BTreeSet<u32>> = BTreeMap::new();
    for End { dpid, port } in tree.ends.iter().copied().chain(tables::group_ports(view)) {
        ports.entry(dpid).or_default().insert(port);
    }
    for (dpid, _) in view.iter(&SWITCHES) {
        let rule = rules.on(dpid).table(TREE_TABLE).rank(SENDS);
        if tree.is_whole {
            let ports = ports.remove(&dpid).unwrap_or_default();
            rule.actions(ports.into_iter().map(Action::output).collect());
        } else {
            rule.punt();
        }
    }
    if !tree.is_whole {
        return;
    }
    for &End { dpid, port } in &tree.ends {
        rules
            .on(dpid)
            .rank(JOINS)
            .removal_rank(LEAVES)
            .priority(TREE_PRIORITY)
            .matching(to_group().in_port(port))
            .actions_then_table(Vec::new(), TREE_TABLE);
    }
}
