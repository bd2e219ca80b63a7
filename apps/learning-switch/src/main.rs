//! learning-switch: each switch learns behind which of its ports a host is, from the packets that the host sends.
//!
//! 1. A packet whose source is not known at its ingress port is punted. Its source is learned: `macs/DPID/MAC = port`.
//! 2. The packet itself is sent on, to the port of its destination if that is known, otherwise to all other ports.
//! 3. Packets of a known source stay in the switch: they go to the port of their destination, or to all other ports.
//!
//! Two tables, with one rule a host in each, are needed for this. A switch that has only one (OpenFlow 1.0) gets a rule for each
//! pair of known hosts instead.

use std::process::ExitCode;

use morph_sdk::packet::Ethernet;
use morph_sdk::{
    Action, App, AppError, Dpid, Event, MacAddr, Match, PacketIn, PortInfo, PortReason, RuleInput,
    Rules, Table, TableShape, Turn, View, port,
};

#[cfg(test)]
mod tests;

/// Port of each host, by switch.
const MACS: Table<(Dpid, MacAddr), u32> = Table::new("macs");

/// Offsets of the two tables: one checks the source, the other knows the destination.
const SOURCES: u8 = 0;
const DESTINATIONS: u8 = 1;

struct LearningSwitch;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// Rules of a switch that hold before anything is learned.
    Switch(Dpid),
    /// Rules of one host on one switch; on a switch with one table, those for all packets to that host.
    Host(Dpid, MacAddr),
}

impl App for LearningSwitch {
    type Group = Group;

    fn tables() -> Vec<TableShape> {
        vec![MACS.shape()]
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        match event {
            Event::PacketIn(packet) => learn(packet, turn),
            Event::PortStatus { dpid, reason, port } => {
                if *reason == PortReason::Delete || !port.is_up() {
                    forget(*dpid, port, turn);
                }
            }
            // Hosts keep their places while a switch is away. A lost packet teaches its source when it is sent again.
            Event::SwitchUp(_) | Event::SwitchDown(_) | Event::FlowRemoved(_) => {}
            Event::Lost { .. } | Event::Resync { .. } => {}
        }
        Ok(())
    }

    fn groups(&self, input: &RuleInput<'_>, view: &View<'_>) -> Vec<Group> {
        match input {
            // The number of tables is known from now on.
            RuleInput::Switch(dpid) => {
                let hosts = hosts(*dpid, view).map(|(mac, _)| Group::Host(*dpid, mac));
                [Group::Switch(*dpid)].into_iter().chain(hosts).collect()
            }
            RuleInput::Row(row) => match row.of(&MACS) {
                // A switch with one table: all other hosts have a rule for packets from this one.
                Some(((dpid, mac), ..)) if has_one_table(dpid, view) => {
                    let others = hosts(dpid, view).map(|(other, _)| other);
                    let others = others.filter(|other| *other != mac);
                    let all = [mac].into_iter().chain(others);
                    all.map(|mac| Group::Host(dpid, mac)).collect()
                }
                Some(((dpid, mac), ..)) => vec![Group::Host(dpid, mac)],
                None => Vec::new(),
            },
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
                    return pairs(dpid, (mac, port), view, rules);
                }
                let from = Match::new().in_port(port).eth_src(mac);
                let source = rules.on(dpid).table(SOURCES).priority(1).matching(from);
                source.actions_then_table(Vec::new(), DESTINATIONS);
                let to = Match::new().eth_dst(mac);
                let destination = rules.on(dpid).table(DESTINATIONS).priority(1).matching(to);
                destination.actions(vec![Action::output(port)]);
            }
        }
    }
}

/// Whether a connected switch has only one table. A switch that is not connected counts as having more.
fn has_one_table(dpid: Dpid, view: &View<'_>) -> bool {
    view.switch(dpid).is_some_and(|switch| switch.tables == 1)
}

/// Hosts that a switch knows, with their ports.
fn hosts<'a>(dpid: Dpid, view: &View<'a>) -> impl Iterator<Item = (MacAddr, u32)> + use<'a> {
    let of = move |((on, mac), port)| (on == dpid).then_some((mac, port));
    view.iter(&MACS).filter_map(of)
}

/// Rules of a host in a single table: packets to unknown destinations go to all other ports, and packets of other hosts
/// to this one go to its port.
fn pairs(dpid: Dpid, (mac, port): (MacAddr, u32), view: &View<'_>, rules: &mut Rules) {
    let from = Match::new().in_port(port).eth_src(mac);
    let flood = rules.on(dpid).priority(1).matching(from);
    flood.actions(vec![Action::output(port::FLOOD)]);
    for (source, in_port) in hosts(dpid, view).filter(|(source, _)| *source != mac) {
        let pair = Match::new().in_port(in_port).eth_src(source).eth_dst(mac);
        let to = rules.on(dpid).priority(2).matching(pair);
        to.actions(vec![Action::output(port)]);
    }
}

fn learn(packet: &PacketIn, turn: &mut Turn<'_>) {
    let Some(frame) = Ethernet::parse(&packet.data) else {
        return;
    };
    if frame.src.is_multicast() || packet.in_port > port::MAX {
        return;
    }
    turn.put(&MACS, &(packet.dpid, frame.src), &packet.in_port);
    let port = match turn.get(&MACS, &(packet.dpid, frame.dst)) {
        Some(port) if port == packet.in_port => return,
        Some(port) => port,
        None => port::FLOOD,
    };
    let to = vec![Action::output(port)];
    turn.packet_out(packet.dpid, packet.in_port, to, packet.data.clone());
}

fn forget(dpid: Dpid, port: &PortInfo, turn: &mut Turn<'_>) {
    for (key, behind) in turn.rows(&MACS) {
        if key.0 == dpid && behind == port.number {
            turn.delete(&MACS, &key);
        }
    }
}

fn main() -> ExitCode {
    morph_sdk::run(|| LearningSwitch)
}
