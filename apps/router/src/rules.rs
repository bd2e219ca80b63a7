//! Rules that follow from the tables.
//!
//! ```text
//! 100  eth_dst = a known host, and its VLAN          out of the port that leads to it
//!  90  in_port = a link port, eth_dst = a group      drop: frames to a group are delivered by the app, once
//!   0                                                punt
//! ```
//!
//! Paths move without loss: the rank of a rule to a destination is its distance from it, so a switch leads packets along a new
//! path once the switches on it do. The proof is the SDK's (`instance/rule_sync/order.rs`); what it asks for is that the next hop
//! of each switch has a lower rank.

use morph_sdk::{Action, Dpid, MacAddr, Match, RuleInput, Rules, View};

use crate::graph::End;
use crate::hosts::{Destination, Hosts};
use crate::release::Release;
use crate::tables::{Kind, LINKS, PORTS, SWITCHES};
use crate::tree;

const DESTINATION_PRIORITY: u16 = 100;
const GROUP_PRIORITY: u16 = 90;
const MISS_PRIORITY: u16 = 0;

/// Bit of an Ethernet address that makes it a group address.
const GROUP_BIT: MacAddr = MacAddr([1, 0, 0, 0, 0, 0]);

/// Rules that are computed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The miss rule of a switch.
    Switch(Dpid),
    /// Rules of one port.
    Port((Dpid, u32)),
    /// Rules to one destination, on all switches.
    Destination(Destination),
}

/// Groups that a row has a part in. Rules follow from the tables alone: a switch that comes or goes changes none.
pub fn groups<R: Release>(input: &RuleInput<'_>) -> Vec<Group> {
    let switch = input.key(&SWITCHES).map(Group::Switch);
    let port = input.key(&PORTS).map(Group::Port);
    let destination = R::destination_of(input).map(Group::Destination);
    [switch, port, destination].into_iter().flatten().collect()
}

pub fn rules<R: Release>(group: &Group, view: &View<'_>, rules: &mut Rules) {
    match *group {
        Group::Switch(dpid) => {
            if view.get(&SWITCHES, &dpid).is_some() {
                rules.on(dpid).priority(MISS_PRIORITY).punt();
            }
        }
        Group::Port((dpid, port)) => {
            let kind = view.get(&PORTS, &(dpid, port)).map(|row| row.kind);
            if kind == Some(Kind::Link) {
                let to_many = Match::new()
                    .in_port(port)
                    .eth_dst_masked(GROUP_BIT, GROUP_BIT);
                rules
                    .on(dpid)
                    .priority(GROUP_PRIORITY)
                    .matching(to_many)
                    .drop_();
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
    }
}
