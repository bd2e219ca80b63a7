//! Rules for a port and its hosts, as a function of the tables.
//!
//! ```text
//! 210  eth_type = that of segment probes  punt
//! 200  in_port, eth_type=arp              punt and pass    host ports: addresses of hosts
//! 200  in_port, icmpv6 133 to 136         punt and pass
//! 100  in_port, vlan, eth_src             pass             known hosts; idle for five minutes: forgotten
//!  50  in_port                            punt and pass    host ports
//!  50  in_port                            pass             link ports
//!   0                                     drop             blocked ports, and those of which nothing is known yet
//! ```
//!
//! A frame to a group is punted where its source is not known, which shows copies that come back by a loop that no probe passes.

use morph_sdk::packet::ether_type;
use morph_sdk::{Dpid, Match, RuleInput, Rules, View, lldp};

use crate::host_tables::{HOSTS, HostId, from_host};
use crate::tables::{End, Kind, PORTS, SWITCHES};

/// Probes that bridges pass on.
const PROBE_PRIORITY: u16 = 210;
/// Packets that name the bearer of an address.
const ADDRESS_PRIORITY: u16 = 200;
/// Packets of known hosts.
pub const HOST_PRIORITY: u16 = 100;
/// Other packets at a port whose kind is known.
const PORT_PRIORITY: u16 = 50;
/// All other packets.
const MISS_PRIORITY: u16 = 0;

/// Seconds without a packet after which a host is forgotten.
pub const IDLE: u16 = 300;

const ICMPV6: u8 = 58;
/// Router and neighbour solicitations and advertisements (RFC 4861, section 4).
const NEIGHBOUR_DISCOVERY: [u8; 4] = [133, 134, 135, 136];

/// Rules that are computed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Rules of a switch, for all its ports.
    Switch(Dpid),
    /// Rules of one port.
    Port(End),
    /// Rules of one host.
    Host(HostId),
}

/// Group that a row has a part in. Rules follow from the tables alone: a switch that comes or goes changes none.
pub fn groups(input: &RuleInput<'_>) -> Vec<Group> {
    let switch = input.key(&SWITCHES).map(Group::Switch);
    let port = input.key(&PORTS).map(Group::Port);
    let host = input.key(&HOSTS).map(Group::Host);
    [switch, port, host].into_iter().flatten().collect()
}

pub fn rules(group: &Group, view: &View<'_>, rules: &mut Rules) {
    match group {
        Group::Switch(dpid) => {
            if view.get(&SWITCHES, dpid).is_some() {
                rules.on(*dpid).priority(MISS_PRIORITY).drop_();
                let probes = Match::new().eth_type(lldp::SEGMENT_ETHER_TYPE);
                let probes = rules.on(*dpid).priority(PROBE_PRIORITY).matching(probes);
                probes.punt();
            }
        }
        Group::Port(end) => port_rules(*end, view, rules),
        Group::Host(id) => {
            if let Some(host) = view.get(&HOSTS, id) {
                rules
                    .on(host.dpid)
                    .priority(HOST_PRIORITY)
                    .matching(from_host(Match::new().in_port(host.port), *id))
                    .idle_timeout(IDLE)
                    .next();
            }
        }
    }
}

fn port_rules(end: End, view: &View<'_>, rules: &mut Rules) {
    let (dpid, port) = end;
    let here = || Match::new().in_port(port);
    match view.get(&PORTS, &end).map(|row| row.kind) {
        None | Some(Kind::Unknown | Kind::Blocked) => {}
        Some(Kind::Link) => rules
            .on(dpid)
            .priority(PORT_PRIORITY)
            .matching(here())
            .next(),
        Some(Kind::Host) => {
            rules
                .on(dpid)
                .priority(PORT_PRIORITY)
                .matching(here())
                .punt_and_next();
            let mut addresses = vec![here().eth_type(ether_type::ARP)];
            addresses.extend(NEIGHBOUR_DISCOVERY.map(|kind| {
                here()
                    .eth_type(ether_type::IPV6)
                    .ip_proto(ICMPV6)
                    .icmpv6_type(kind)
            }));
            for matching in addresses {
                rules
                    .on(dpid)
                    .priority(ADDRESS_PRIORITY)
                    .matching(matching)
                    .punt_and_next();
            }
        }
    }
}
