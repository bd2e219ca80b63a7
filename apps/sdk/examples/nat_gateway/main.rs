//! A gateway that hides the hosts behind one port of a switch: their TCP and UDP connections leave by another port with the
//! gateway's address. The first packet of a connection comes to the app; two rules translate the others in the switch.
//!
//! A connection ends when its host has sent nothing for a minute: its rule ends, and with it the row.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use morph_sdk::packet::{Arp, Ethernet, ether_type};
use morph_sdk::{
    Action, App, AppError, Dpid, Event, FlowRemoved, Index, MacAddr, Match, Oxm, PacketIn,
    RuleInput, Rules, Table, TableShape, Turn, View, port,
};
use serde::{Deserialize, Serialize};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Ports of the gateway's address that connections are given.
const PORTS: std::ops::Range<u16> = 20_000..60_000;
const IDLE_SECONDS: u16 = 60;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Gateway {
    inside: u32,
    outside: u32,
    /// Address that the outside sees.
    address: Ipv4Addr,
    mac: MacAddr,
}

/// End of a connection within.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inside {
    address: Ipv4Addr,
    port: u16,
    mac: MacAddr,
}

/// Datapath id, IP protocol, and port of the gateway's address.
type Connection = (Dpid, u8, u16);

const GATEWAYS: Table<Dpid, Gateway> = Table::new("gateways");
const CONNECTIONS: Table<Connection, Inside> = Table::new("connections");
const BY_INSIDE: Index<Connection, Inside, (Ipv4Addr, u16)> =
    Index::new("inside", CONNECTIONS, |inside| {
        (inside.address, inside.port)
    });

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Gateway(Dpid),
    Connection(Connection),
}

struct NatGateway;

impl App for NatGateway {
    type Group = Group;

    fn tables() -> Vec<TableShape> {
        vec![GATEWAYS.shape(), CONNECTIONS.shape().indexed(&BY_INSIDE)]
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        match event {
            Event::PacketIn(packet) => packet_in(packet, turn),
            Event::FlowRemoved(removed) if removed.is_idle() => ended(removed, turn),
            _ => {}
        }
        Ok(())
    }

    fn groups(&self, input: &RuleInput<'_>, view: &View<'_>) -> Vec<Group> {
        if let Some(dpid) = input.key(&GATEWAYS) {
            let connections = view.prefix(&CONNECTIONS, &dpid);
            let connections = connections.map(|(key, _)| Group::Connection(key));
            return connections.chain([Group::Gateway(dpid)]).collect();
        }
        let connection = input.key(&CONNECTIONS).map(Group::Connection);
        connection.into_iter().collect()
    }

    fn rules(&self, group: &Group, view: &View<'_>, rules: &mut Rules) {
        match group {
            Group::Gateway(dpid) => {
                if let Some(gateway) = view.get(&GATEWAYS, dpid) {
                    gateway_rules(*dpid, &gateway, rules);
                }
            }
            Group::Connection(key) => {
                let gateway = view.get(&GATEWAYS, &key.0);
                if let Some((gateway, inside)) = gateway.zip(view.get(&CONNECTIONS, key)) {
                    connection_rules(*key, &gateway, &inside, rules);
                }
            }
        }
    }
}

/// Rules for packets of no known connection.
fn gateway_rules(dpid: Dpid, gateway: &Gateway, rules: &mut Rules) {
    let (inside, outside) = (gateway.inside, gateway.outside);
    let from = |port| Match::new().in_port(port);
    for protocol in [TCP, UDP] {
        let new = from(inside).eth_type(ether_type::IPV4).ip_proto(protocol);
        rules.on(dpid).priority(10).matching(new).punt();
    }
    let arp = |port| from(port).eth_type(ether_type::ARP);
    let asked = arp(outside).arp_op(Arp::REQUEST).arp_tpa(gateway.address);
    rules.on(dpid).priority(10).matching(asked).punt();
    for (from, to) in [(inside, outside), (outside, inside)] {
        let rule = rules.on(dpid).priority(5).matching(arp(from));
        rule.actions(vec![Action::output(to)]);
    }
}

/// Rules that translate the packets of a connection, both ways.
fn connection_rules(key: Connection, gateway: &Gateway, inside: &Inside, rules: &mut Rules) {
    let (dpid, protocol, number) = key;
    let packets = |port| {
        let packets = Match::new().in_port(port).eth_type(ether_type::IPV4);
        packets.ip_proto(protocol)
    };
    let out = packets(gateway.inside).ipv4_src(inside.address);
    let back = packets(gateway.outside).ipv4_dst(gateway.address);
    let (out, back) = match protocol {
        TCP => (out.tcp_src(inside.port), back.tcp_dst(number)),
        _ => (out.udp_src(inside.port), back.udp_dst(number)),
    };
    let rule = rules.on(dpid).priority(20).matching(out);
    let rule = rule.idle_timeout(IDLE_SECONDS);
    rule.actions(outwards(protocol, number, gateway));
    let to = match protocol {
        TCP => Oxm::tcp_dst(inside.port),
        _ => Oxm::udp_dst(inside.port),
    };
    rules.on(dpid).priority(20).matching(back).actions(vec![
        Action::set_field(Oxm::eth_dst(inside.mac)),
        Action::set_field(Oxm::ipv4_dst(inside.address)),
        Action::set_field(to),
        Action::output(gateway.inside),
    ]);
}

/// Actions on a packet that leaves.
fn outwards(protocol: u8, number: u16, gateway: &Gateway) -> Vec<Action> {
    let from = match protocol {
        TCP => Oxm::tcp_src(number),
        _ => Oxm::udp_src(number),
    };
    vec![
        Action::set_field(Oxm::eth_src(gateway.mac)),
        Action::set_field(Oxm::ipv4_src(gateway.address)),
        Action::set_field(from),
        Action::output(gateway.outside),
    ]
}

fn packet_in(packet: &PacketIn, turn: &mut Turn<'_>) {
    let Some(gateway) = turn.get(&GATEWAYS, &packet.dpid) else {
        return;
    };
    let Some(frame) = Ethernet::parse(&packet.data) else {
        return;
    };
    if let Some(arp) = frame.arp() {
        let actions = vec![Action::output(packet.in_port)];
        turn.packet_out(
            packet.dpid,
            port::CONTROLLER,
            actions,
            arp.reply(gateway.mac),
        );
    } else if let Some((protocol, inside)) = sender(&frame)
        && let Some(number) = connect(packet.dpid, protocol, &inside, turn)
    {
        let actions = outwards(protocol, number, &gateway);
        turn.forward(packet, packet.dpid, packet.in_port, actions);
    }
}

/// Protocol and sender of a TCP or UDP packet, unless it is a later fragment.
fn sender(frame: &Ethernet<'_>) -> Option<(u8, Inside)> {
    let (address, _) = frame.ipv4()?;
    let header = usize::from(frame.payload.first()? & 0x0f) * 4;
    let protocol = *frame.payload.get(9)?;
    let fragment = frame.payload.get(6..8)? != [0x40, 0] && frame.payload.get(6..8)? != [0, 0];
    let port = frame.payload.get(header..header + 2)?.try_into().ok()?;
    let inside = Inside {
        address,
        port: u16::from_be_bytes(port),
        mac: frame.src,
    };
    let is_known = [TCP, UDP].contains(&protocol) && !fragment;
    is_known.then_some((protocol, inside))
}

/// Port of the gateway's address for a connection from within; None if all are taken.
fn connect(dpid: Dpid, protocol: u8, inside: &Inside, turn: &mut Turn<'_>) -> Option<u16> {
    let view = turn.view();
    let mut known = view.keys_in(&BY_INSIDE, &(inside.address, inside.port));
    if let Some(key) = known.find(|key| (key.0, key.1) == (dpid, protocol)) {
        return Some(key.2);
    }
    drop(known);
    let length = PORTS.end - PORTS.start;
    let candidates = (0..length).map(|n| PORTS.start + (inside.port % length + n) % length);
    let is_free = |number: &u16| view.get(&CONNECTIONS, &(dpid, protocol, *number)).is_none();
    let number = { candidates }.find(is_free)?;
    turn.put(&CONNECTIONS, &(dpid, protocol, number), inside);
    Some(number)
}

/// Forgets the connection whose rule ended.
fn ended(removed: &FlowRemoved, turn: &mut Turn<'_>) {
    let FlowRemoved { dpid, matching, .. } = removed;
    let port = matching.get_tcp_src().or(matching.get_udp_src());
    let (Some(address), Some(port)) = (matching.get_ipv4_src(), port) else {
        return;
    };
    let of_rule: Vec<Connection> = turn
        .view()
        .keys_in(&BY_INSIDE, &(address, port))
        .filter(|key| key.0 == *dpid && Some(key.1) == matching.get_ip_proto())
        .collect();
    for key in of_rule {
        turn.delete(&CONNECTIONS, &key);
    }
}

fn main() -> ExitCode {
    morph_sdk::run(|| NatGateway)
}
