//! Delivery of packets that match no rule: each goes out where it belongs, once, and never over a link.
//!
//! 1. To a bridge (`01:80:c2:00:00:0X`): dropped, as no bridge passes it on.
//! 2. To a group, in by a link port: dropped, as its first switch has delivered it already.
//! 3. To a known host: out of the host's port.
//! 4. By a host port, and seen at another one less than a second ago: dropped, as it was flooded and has come back.
//! 5. To a group, by a host port that is not its source's, where links connect all switches: dropped. Switches have flooded it,
//!    and it has come back; or its host has just moved, and is known there in a moment. ARP is no part of this: all of it is
//!    punted where it comes in, so 4 knows its copies. Nor is the other port of a bond: switches flood nothing that comes in there.
//! 6. An ARP request for the address of a known host: answered on behalf of the host, unless others have yet to hear of the one
//!    that asks.
//! 7. All else: out of every other host port of the network, of a bond by one.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use morph_sdk::packet::{Arp, Ethernet};
use morph_sdk::{Action, Bytes, Dpid, MacAddr, PacketIn, RecentFrames, Turn, View, port};

use crate::bindings::FreshBindings;
use crate::graph::End;
use crate::hosts::{Destination, Hosts, ips, place};
use crate::rules::OF_BRIDGES;
use crate::spanning::SpanningTree;
use crate::tables::{self, BONDS, Kind, PORTS};

/// Delivery of packets that match no rule. What it remembers is of seconds ago at most.
#[derive(Debug)]
pub struct Delivery<H: Hosts> {
    /// Addresses that have just got another bearer.
    pub fresh: FreshBindings<H>,
    /// Frames that were flooded lately.
    flooded: RecentFrames,
}

impl<H: Hosts> Default for Delivery<H> {
    fn default() -> Self {
        Delivery {
            fresh: FreshBindings::default(),
            flooded: RecentFrames::default(),
        }
    }
}

impl<H: Hosts> Delivery<H> {
    /// Delivers a punted packet.
    pub fn packet_in(&mut self, packet: &PacketIn, turn: &mut Turn<'_>) {
        let Some(frame) = Ethernet::parse(&packet.data) else {
            return;
        };
        let ingress = End {
            dpid: packet.dpid,
            port: packet.in_port,
        };
        if is_of_bridges(frame.dst) {
            return; // 1
        }
        if frame.dst.is_multicast() && is_link(ingress, turn) {
            return; // 2
        }
        if let Some(home) = home_of::<H>(&frame, frame.dst, &turn.view()) {
            if home != ingress {
                forward(packet, home.dpid, &[home.port], turn); // 3
            }
            return;
        }
        let (at, now) = ((ingress.dpid, ingress.port), turn.now());
        let is_host_port = !is_link(ingress, turn);
        let data = &packet.data;
        if is_host_port && self.flooded.has_returned(data, at, now) {
            return; // 4
        }
        if is_host_port && frame.arp().is_none() && is_returned::<H>(&frame, ingress, turn) {
            return; // 5
        }
        if let Some(answer) = answer(&frame, &mut self.fresh, turn) {
            let back = vec![Action::output(ingress.port)];
            turn.packet_out(ingress.dpid, port::CONTROLLER, back, answer); // 6
        } else {
            let home = home_of::<H>(&frame, frame.src, &turn.view());
            flood(ingress, home, packet, turn); // 7
        }
    }
}

fn is_of_bridges(mac: MacAddr) -> bool {
    let (bridges, mask) = OF_BRIDGES;
    (0..6).all(|at| mac.0[at] & mask.0[at] == bridges.0[at])
}

fn is_link(ingress: End, turn: &Turn<'_>) -> bool {
    turn.get(&PORTS, &(ingress.dpid, ingress.port))
        .is_some_and(|row| row.kind == Kind::Link)
}

/// Whether a frame to a group came in by a host port that is not its source's, no port of a bond with that, and no network of
/// others may have brought it.
fn is_returned<H: Hosts>(frame: &Ethernet<'_>, ingress: End, turn: &Turn<'_>) -> bool {
    let home = home_of::<H>(frame, frame.src, &turn.view());
    let bond = turn.get(&BONDS, &(ingress.dpid, ingress.port));
    let is_own = |home: End| home == ingress || bond.map(End::from) == Some(home);
    frame.dst.is_multicast()
        && home.is_some_and(|home| !is_own(home))
        && SpanningTree::of(&tables::graph(&turn.view())).is_whole
}

/// Place of a host with this address, on the VLAN of a frame.
fn home_of<H: Hosts>(frame: &Ethernet<'_>, mac: MacAddr, view: &View<'_>) -> Option<End> {
    let vlan = frame.vlan;
    place::<H>(view, Destination { mac, vlan }).map(End::from)
}

/// Answer to a broadcast ARP request for a known host other than the sender, with the tag of the request. A sender that asks for
/// its own address claims it, or looks for another bearer: all have to hear that, and the bearer has to answer.
fn answer<H: Hosts>(
    frame: &Ethernet<'_>,
    fresh: &mut FreshBindings<H>,
    turn: &Turn<'_>,
) -> Option<Bytes> {
    let asked = frame.arp().filter(|arp| {
        arp.operation == Arp::REQUEST
            && (H::VLANS || frame.tag.is_empty())
            && frame.dst.is_multicast()
            && !arp.sender_ip.is_unspecified()
            && arp.sender_ip != arp.target_ip
    })?;
    let ip = |ip: Ipv4Addr| H::ip(ip.to_string(), frame.vlan);
    if fresh.take(&ip(asked.sender_ip), asked.sender_mac, turn) {
        return None;
    }
    let target = turn.get(&ips::<H>(), &ip(asked.target_ip))?;
    let other = target != asked.sender_mac && target != frame.src;
    let known = home_of::<H>(frame, target, &turn.view()).is_some();
    (other && known).then(|| frame.tagged(&asked.reply(target)))
}

/// Sends a frame out of every host port but its own: not by its ingress, and not by the port of its source, `home`.
fn flood(ingress: End, home: Option<End>, packet: &PacketIn, turn: &mut Turn<'_>) {
    let mut ports: BTreeMap<Dpid, Vec<u32>> = BTreeMap::new();
    let view = turn.view();
    let others = tables::group_ports(&view);
    for end in others.filter(|end| *end != ingress && Some(*end) != home) {
        ports.entry(end.dpid).or_default().push(end.port);
    }
    for (dpid, ports) in ports {
        forward(packet, dpid, &ports, turn);
    }
}

/// Sends a packet out of ports of a switch, if it is connected.
fn forward(packet: &PacketIn, dpid: Dpid, ports: &[u32], turn: &mut Turn<'_>) {
    if turn.view().switch(dpid).is_some() {
        let actions = ports.iter().map(|&port| Action::output(port)).collect();
        turn.forward(packet, dpid, port::CONTROLLER, actions);
    }
}
