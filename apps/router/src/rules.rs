//! The rules that follow from the tables.
//!
//! ```text
//! 100  eth_dst = a known host                        out of the port that leads to it
//!  90  in_port = a link port, eth_dst = a group      drop: what is for many is delivered by hand, once
//!   0                                                punt
//! ```

use morph_sdk::{Action, Dpid, MacAddr, Match, Rules, Touched, View};

use crate::release::Release;
use crate::tables::{Kind, PORTS, SWITCHES};

const DESTINATION_PRIORITY: u16 = 100;
const GROUP_PRIORITY: u16 = 90;
const MISS_PRIORITY: u16 = 0;

/// The bit of an Ethernet address that makes it a group's.
const GROUP_BIT: MacAddr = MacAddr([1, 0, 0, 0, 0, 0]);

/// Rules that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Of a switch as a whole.
    Switch(Dpid),
    /// Of one port.
    Port((Dpid, u32)),
    /// Of one destination, on all switches.
    Destination(MacAddr),
}

/// The groups that a row has a part in. Rules follow from the tables alone; a switch that comes or goes changes none.
pub fn groups<R: Release>(what: &Touched<'_>) -> Vec<Group> {
    let switch = what.key(&SWITCHES).map(Group::Switch);
    let port = what.key(&PORTS).map(Group::Port);
    let destination = R::destination_of(what).map(Group::Destination);
    [switch, port, destination].into_iter().flatten().collect()
}

/// The rules of a group.
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
        Group::Destination(mac) => {
            for (dpid, port) in R::tree(view, mac).into_iter().flatten() {
                rules
                    .on(dpid)
                    .priority(DESTINATION_PRIORITY)
                    .matching(Match::new().eth_dst(mac))
                    .actions(vec![Action::output(port)]);
            }
        }
    }
}
