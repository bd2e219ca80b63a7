//! learning-switch: each switch learns behind which of its ports a host is, from the packets that the host sends.
//!
//! 1. A packet whose source is not known at its ingress port is punted. Its source is learned: `macs/DPID/MAC = port`.
//! 2. The packet itself is sent on, to the port of its destination if that is known, otherwise to all other ports.
//! 3. Packets of a known source stay in the switch: they go to the port of their destination, or to all other ports.
//!
//! Two tables, with one rule a host in each, are needed for this. A switch that has only one (OpenFlow 1.0) gets a rule for each
//! pair of addresses that talk instead ([`one_table`]).

mod one_table;
mod tables;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use morph_sdk::packet::Ethernet;
use morph_sdk::{
    Action, App, AppError, Dpid, Event, MacAddr, Match, PacketIn, PortInfo, PortReason, RuleInput,
    Rules, TableShape, Turn, View, port,
};

use crate::one_table::has_one_table;
use crate::tables::{MACS, PAIRS};

/// Offsets of the two tables: one checks the source, the other knows the destination.
const SOURCES: u8 = 0;
const DESTINATIONS: u8 = 1;

struct LearningSwitch;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// Rules of a switch that hold before anything is learned.
    Switch(Dpid),
    /// Rules of one host on a switch with more than one table.
    Host(Dpid, MacAddr),
    /// Rule of a source and a destination on a switch with one table.
    Pair(Dpid, MacAddr, MacAddr),
}

impl App for LearningSwitch {
    type Group = Group;

    fn tables() -> Vec<TableShape> {
        vec![MACS.shape(), PAIRS.shape()]
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        match event {
            Event::PacketIn(packet) => learn(packet, turn),
            Event::PortStatus { dpid, reason, port } => {
                if *reason == PortReason::Delete || !port.is_up() {
                    forget(*dpid, port, turn);
                }
            }
            Event::FlowRemoved(removed) => one_table::expire(removed, turn),
            // Hosts keep their places while a switch is away. A lost packet teaches its source when it is sent again.
            Event::SwitchUp(_) | Event::SwitchDown(_) => {}
            Event::Lost { .. } | Event::Resync { .. } => {}
        }
        Ok(())
    }

    fn groups(&self, input: &RuleInput<'_>, view: &View<'_>) -> Vec<Group> {
        match input {
            // The number of tables is known from now on.
            RuleInput::Switch(dpid) => {
                let hosts = hosts(*dpid, view).map(|((dpid, mac), _)| Group::Host(dpid, mac));
                let pairs = one_table::pairs(*dpid, view);
                let pairs = pairs.map(|((dpid, src, dst), _)| Group::Pair(dpid, src, dst));
                let switch = std::iter::once(Group::Switch(*dpid));
                switch.chain(hosts).chain(pairs).collect()
            }
            RuleInput::Row(row) => {
                let host = row
                    .of(&MACS)
                    .map(|((dpid, mac), ..)| Group::Host(dpid, mac));
                let pair = row.of(&PAIRS);
                let pair = pair.map(|((dpid, src, dst), ..)| Group::Pair(dpid, src, dst));
                host.into_iter().chain(pair).collect()
            }
        }
    }

    fn rules(&self, group: &Group, view: &View<'_>, rules: &mut Rules) {
        match *group {
            Group::Switch(dpid) if view.switch(dpid).is_some() => {
                rules.on(dpid).table(SOURCES).punt();
                if has_one_table(dpid, view) {
                    return;
                }
                let flood = vec![Action::output(port::FLOOD)];
                rules.on(dpid).table(DESTINATIONS).actions(flood);
            }
            Group::Switch(_) => {}
            Group::Host(dpid, mac) => {
                let Some(port) = view.get(&MACS, &(dpid, mac)) else {
                    return;
                };
                if has_one_table(dpid, view) {
                    return;
                }
                let from = Match::new().in_port(port).eth_src(mac);
                let source = rules.on(dpid).table(SOURCES).priority(1).matching(from);
                source.actions_then_table(Vec::new(), DESTINATIONS);
                let to = Match::new().eth_dst(mac);
                let destination = rules.on(dpid).table(DESTINATIONS).priority(1).matching(to);
                destination.actions(vec![Action::output(port)]);
            }
            Group::Pair(dpid, src, dst) => one_table::rule((dpid, src, dst), view, rules),
        }
    }
}

/// Hosts that a switch knows, with their ports.
fn hosts<'a>(
    dpid: Dpid,
    view: &View<'a>,
) -> impl Iterator<Item = ((Dpid, MacAddr), u32)> + use<'a> {
    view.prefix(&MACS, &dpid)
}

fn learn(packet: &PacketIn, turn: &mut Turn<'_>) {
    let Some(frame) = Ethernet::parse(&packet.data) else {
        return;
    };
    if frame.src.is_multicast() || packet.in_port > port::MAX {
        return;
    }
    let source = (packet.dpid, frame.src);
    let known = turn.get(&MACS, &source);
    if known != Some(packet.in_port) {
        if known.is_some() {
            one_table::forget_host(packet.dpid, frame.src, turn);
        }
        turn.put(&MACS, &source, &packet.in_port);
    }
    let port = turn.get(&MACS, &(packet.dpid, frame.dst));
    let port = port.unwrap_or(port::FLOOD);
    one_table::learn(packet, &frame, port, turn);
    if port != packet.in_port {
        let to = vec![Action::output(port)];
        turn.packet_out(packet.dpid, packet.in_port, to, packet.data.clone());
    }
}

fn forget(dpid: Dpid, port: &PortInfo, turn: &mut Turn<'_>) {
    let behind = hosts(dpid, &turn.view()).filter(|(_, behind)| *behind == port.number);
    for (key, _) in behind.collect::<Vec<_>>() {
        turn.delete(&MACS, &key);
    }
    one_table::forget_port(dpid, port.number, turn);
}

fn main() -> ExitCode {
    morph_sdk::run(|| LearningSwitch)
}
