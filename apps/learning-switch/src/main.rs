//! learning-switch: each switch learns behind which of its ports a host is, from the packets that the host sends.
//!
//! 1. A packet whose source is not known at its ingress port is punted. Its source is learned, for its VLAN: `macs/DPID/MAC/VLAN`.
//! 2. The packet itself is sent on, to the port of its destination if that is known, otherwise to all other ports.
//! 3. Packets of a known source stay in the switch: they go to the port of their destination, or to all other ports.
//! 4. A host that sends nothing for five minutes is forgotten: the rule of its source ends.
//! 5. A port and a switch have no more hosts than they may: the one learned first makes room ([`hosts`]).
//!
//! Two tables, with one rule a host in each, are needed for this. A switch that has only one (OpenFlow 1.0) gets a rule for each
//! pair of addresses that talk instead ([`one_table`]).

mod counts;
mod hosts;
mod limits;
mod migration;
mod one_table;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::process::ExitCode;

use morph_sdk::packet::Ethernet;
use morph_sdk::{
    Action, App, AppError, Changes, Dpid, Event, FlowRemoved, MacAddr, Match, PacketIn, PortInfo,
    PortReason, RuleInput, Rules, Switch, TableShape, Turn, View, Vlan, port,
};

use crate::migration::{V1ToV2, V2ToV3};
use crate::one_table::has_one_table;
use crate::tables::{
    Host, LIMITS, MACS, Number, ONE_TABLE, ORDER, PAIRS, PORTS, PairKey, SWITCHES,
};

/// Offsets of the two tables: one checks the source, the other knows the destination.
const SOURCES: u8 = 0;
const DESTINATIONS: u8 = 1;

#[derive(Debug, Default)]
struct LearningSwitch {
    /// Ports that are gone with more hosts than one turn can forget: those with numbers below these are still to be forgotten.
    leaving: BTreeMap<(Dpid, u32), Number>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// Rules of a switch that hold before anything is learned.
    Switch(Dpid),
    /// Rules of one host on a switch with more than one table.
    Host(Dpid, MacAddr, Vlan),
    /// Rule of a source and a destination on a switch with one table.
    Pair(PairKey),
}

impl App for LearningSwitch {
    type Group = Group;

    fn tables() -> Vec<TableShape> {
        let counts = [PORTS.shape(), SWITCHES.shape(), ONE_TABLE.shape()];
        let mut tables = vec![MACS.shape(), ORDER.shape(), PAIRS.shape(), LIMITS.shape()];
        tables.extend(counts);
        tables
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        match event {
            Event::PacketIn(packet) => learn(packet, turn),
            Event::PortStatus { dpid, reason, port } => {
                if *reason == PortReason::Delete || !port.is_up() {
                    self.leave((*dpid, port.number), turn);
                }
            }
            Event::FlowRemoved(removed) => expire(removed, turn),
            Event::SwitchUp(switch) => self.compare(switch, turn),
            Event::Resync { dpid: Some(dpid) } => {
                if let Some(switch) = turn.view().switch(*dpid).cloned() {
                    self.compare(&switch, turn);
                }
            }
            Event::SwitchForgotten(dpid) => self.forget(*dpid, turn),
            // Hosts keep their places while a switch is away; SwitchUp follows. A lost packet teaches its source when it is
            // sent again. A rule whose end was lost is wanted still, and ends again.
            Event::SwitchDown(_) | Event::Lost { .. } | Event::Resync { dpid: None } => {}
        }
        Ok(())
    }

    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        limits::check(changes, &turn.view());
        if changes.all {
            let switches: Vec<Switch> = turn.view().switches().cloned().collect();
            for switch in &switches {
                self.compare(switch, turn);
            }
        }
        Ok(())
    }

    fn tick(&mut self, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if let Some(((dpid, port), until)) = self.leaving.pop_first()
            && !hosts::forget_port(dpid, port, until, turn)
        {
            self.leaving.insert((dpid, port), until);
        }
        Ok(())
    }

    fn groups(&self, input: &RuleInput<'_>, view: &View<'_>) -> Vec<Group> {
        match input {
            RuleInput::Switch(dpid) => vec![Group::Switch(*dpid)],
            RuleInput::Row(row) => {
                if let Some((dpid, ..)) = row.of(&ONE_TABLE) {
                    let pairs = tables::pairs(dpid, view);
                    let pairs = pairs.map(|(key, _)| Group::Pair(key));
                    let switch = std::iter::once(Group::Switch(dpid));
                    return switch.chain(hosts_of(dpid, view)).chain(pairs).collect();
                }
                if row
                    .of(&LIMITS)
                    .is_some_and(|(name, ..)| limits::is_of_rules(&name))
                {
                    return all_hosts(view);
                }
                let host = row.of(&MACS);
                let host = host.map(|((dpid, mac, vlan), ..)| Group::Host(dpid, mac, vlan));
                let pair = row.of(&PAIRS);
                let pair = pair.map(|(key, ..)| Group::Pair(key));
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
            Group::Host(dpid, mac, vlan) => {
                let Some(host) = view.get(&MACS, &(dpid, mac, vlan)) else {
                    return;
                };
                if has_one_table(dpid, view) {
                    return;
                }
                let of_vlan = Match::new().vlan(vlan);
                let from = of_vlan.clone().in_port(host.port()).eth_src(mac);
                let source = rules.on(dpid).table(SOURCES).priority(1).matching(from);
                let source = source.idle_timeout(limits::idle_seconds(view));
                source.actions_then_table(Vec::new(), DESTINATIONS);
                let to = of_vlan.eth_dst(mac);
                let destination = rules.on(dpid).table(DESTINATIONS).priority(1).matching(to);
                destination.actions(vec![Action::output(host.port())]);
            }
            Group::Pair(key) => one_table::rule(key, view, rules),
        }
    }
}

impl LearningSwitch {
    /// Compares what is stored about a switch with what it says now: it may have other tables, and ports may have gone.
    fn compare(&mut self, switch: &Switch, turn: &mut Turn<'_>) {
        one_table::note(switch, turn);
        let stored = turn.view().prefix(&PORTS, &switch.dpid);
        let is_gone = |number| !switch.ports.get(&number).is_some_and(PortInfo::is_up);
        let gone: Vec<_> = stored
            .filter(|((_, number), _)| is_gone(*number))
            .map(|(place, counts)| (place, counts.2))
            .collect();
        self.leaving.extend(gone);
    }

    /// Forgets a switch that is gone for good; its hosts go with the ticks.
    fn forget(&mut self, dpid: Dpid, turn: &mut Turn<'_>) {
        turn.delete(&ONE_TABLE, &dpid);
        let ports = turn.view().prefix(&PORTS, &dpid);
        self.leaving
            .extend(ports.map(|(place, counts)| (place, counts.2)));
    }

    /// Forgets the hosts behind a port that is gone; those that are too many for this turn follow with the ticks.
    fn leave(&mut self, (dpid, port): (Dpid, u32), turn: &mut Turn<'_>) {
        let Some(until) = hosts::next_number(dpid, port, turn) else {
            return;
        };
        if !hosts::forget_port(dpid, port, until, turn) {
            self.leaving.insert((dpid, port), until);
        }
    }
}

/// Groups of the hosts that a switch knows.
fn hosts_of<'a>(dpid: Dpid, view: &View<'a>) -> impl Iterator<Item = Group> + use<'a> {
    let rows = view.prefix(&MACS, &dpid);
    rows.map(|((dpid, mac, vlan), _)| Group::Host(dpid, mac, vlan))
}

fn all_hosts(view: &View<'_>) -> Vec<Group> {
    let rows = view.iter(&MACS);
    rows.map(|((dpid, mac, vlan), _)| Group::Host(dpid, mac, vlan))
        .collect()
}

fn learn(packet: &PacketIn, turn: &mut Turn<'_>) {
    let Some(frame) = Ethernet::parse(&packet.data) else {
        return;
    };
    let (dpid, in_port) = (packet.dpid, packet.in_port);
    // The bridge's own port is one like any other.
    let is_port = in_port <= port::MAX || in_port == port::LOCAL;
    if frame.src.is_multicast() || !is_port {
        return;
    }
    let known = turn.get(&MACS, &(dpid, frame.src, frame.vlan));
    if known.map(Host::port) != Some(in_port) {
        let id = (frame.src, frame.vlan);
        hosts::forget(dpid, id, turn);
        hosts::learn(dpid, id, in_port, turn);
    }
    let port = turn.get(&MACS, &(dpid, frame.dst, frame.vlan));
    let port = port.map(Host::port);
    let port = port.unwrap_or(port::FLOOD);
    one_table::learn(packet, &frame, port, turn);
    if port != in_port {
        let to = vec![Action::output(port)];
        turn.forward(packet, dpid, in_port, to);
    }
}

/// Forgets a host or a pair whose rule ended because no packet of it came for long.
fn expire(removed: &FlowRemoved, turn: &mut Turn<'_>) {
    let matching = &removed.matching;
    // Rules of releases that knew no VLANs are of no host.
    let (Some(in_port), Some(src), Some(vlan)) = (
        matching.get_in_port(),
        matching.get_eth_src(),
        matching.get_vlan(),
    ) else {
        return;
    };
    if !removed.is_idle() {
        return;
    }
    if let Some(dst) = matching.get_eth_dst() {
        return one_table::expire(removed, in_port, (src, vlan), dst, turn);
    }
    // A host that has moved has another rule there.
    let host = turn.get(&MACS, &(removed.dpid, src, vlan));
    if host.is_some_and(|host| host.port() == in_port) {
        hosts::forget(removed.dpid, (src, vlan), turn);
    }
}

fn main() -> ExitCode {
    morph_sdk::run_with_migration::<_, (V1ToV2, V2ToV3)>(LearningSwitch::default)
}
