//! The topology app: learns switches, ports, links and hosts, and keeps them in its tables.
//!
//! 1. Switches and ports are as the switches report them (`ports`).
//! 2. LLDP leaves by every port, at once when the port comes up and then periodically (`probing`). A port where it
//!    arrives is part of a link (`links`), other ports are host ports. Probes are signed (`secrets`) and believed for a short
//!    time (`clock`), and never at ports where an operator says that there are hosts only (`edges`); others raise an alarm
//!    (`forged`).
//! 3. Hosts are learned on host ports, from their first packets (`hosts`), up to bounds (`bounds`).
//! 4. The rules for a port and its hosts follow from the tables (`rules`).
//!
//! All that counts stands in the tables. The app itself holds the ages of probes, which start again at each resume.

pub mod bounds;
pub mod clock;
pub mod edges;
pub mod forged;
pub mod hosts;
pub mod lateness;
pub mod links;
pub mod moves;
pub mod ports;
pub mod probing;
pub mod rules;
pub mod secrets;
pub mod segments;
pub mod sender;
pub mod sightings;
pub mod strays;
pub mod tables;

use std::collections::{BTreeMap, BTreeSet};

use morph_sdk::lldp::{self, Probe};
use morph_sdk::{
    App, AppError, Changes, Event, PacketIn, RecentFrames, RuleInput, Rules, TableShape, Turn, View,
};

use crate::bounds::LIMIT_REACHED;
use crate::clock::Clock;
use crate::forged::{FORGED, Forged};
use crate::lateness::Lateness;
use crate::moves::{FLAPPING, Moves};
use crate::probing::Probing;
use crate::rules::Group;
use crate::secrets::{Carrier, Random, SECRETS};
use crate::segments::{BLOCKED, Segments};
use crate::strays::{LOOPED, SHARED, Strays};
use crate::tables::{
    EDGES, End, HOSTS, HOSTS_BY_PORT, HOSTS_BY_SWITCH, IPS, LIMITS, LINKS, PORTS, SWITCHES,
};

#[derive(Debug)]
pub struct Topology {
    /// Probing of the ports that are up, on connected switches.
    probes: BTreeMap<End, Probing>,
    /// How late the events of each switch are handled.
    lateness: Lateness,
    /// Ports with hosts that are still to be forgotten.
    leaving: BTreeSet<End>,
    /// Source of secrets.
    random: Random,
    /// Clock of probes, since the resume.
    clock: Option<Clock>,
    /// Probes that are not believed.
    forged: Forged,
    /// Probes that prove no link.
    strays: Strays,
    /// Hosts that moved lately.
    moves: Moves,
    /// Ports that a network of others connects.
    segments: Segments,
    /// Frames that were seen lately, by which a copy that comes back is known.
    frames: RecentFrames,
}

impl Topology {
    /// App that gets the bytes of its secrets from `random`.
    pub fn new(random: Random) -> Self {
        Topology {
            probes: BTreeMap::new(),
            lateness: Lateness::default(),
            leaving: BTreeSet::new(),
            random,
            clock: None,
            forged: Forged::default(),
            strays: Strays::default(),
            moves: Moves::default(),
            segments: Segments::default(),
            frames: RecentFrames::default(),
        }
    }

    fn packet_in(&mut self, packet: &PacketIn, turn: &mut Turn<'_>) {
        let (end, data) = ((packet.dpid, packet.in_port), &packet.data);
        if lldp::is_segment_probe(data) {
            if let Some(probe) = Probe::read_segment(data)
                && self.believes(Carrier::Segment, &probe, end, turn)
            {
                self.heard_through_segment((probe.dpid, probe.port), end, turn);
            }
        } else if lldp::is_lldp(data) {
            if let Some(probe) = Probe::read(data)
                && self.believes(Carrier::Lldp, &probe, end, turn)
            {
                self.probe_arrived(packet.dpid, probe.sent_ms, turn);
                self.heard((probe.dpid, probe.port), end, turn);
            }
        } else {
            self.learn(end, data, turn);
        }
    }
}

impl App for Topology {
    type Group = Group;

    fn tables() -> Vec<TableShape> {
        let (ports, links) = (PORTS.shape(), LINKS.shape());
        let hosts = HOSTS.shape().indexed(&HOSTS_BY_PORT);
        let hosts = hosts.indexed(&HOSTS_BY_SWITCH);
        let mut tables = vec![SWITCHES.shape(), ports, links, hosts, IPS.shape()];
        tables.extend([LIMITS.shape(), EDGES.shape(), SECRETS.shape()]);
        tables
    }

    fn alarms() -> &'static [&'static str] {
        &[LIMIT_REACHED, LOOPED, SHARED, FLAPPING, BLOCKED, FORGED]
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if let Some(dpid) = event.dpid() {
            self.lateness.event(dpid, turn.arrived(), turn.now());
        }
        match event {
            Event::PacketIn(packet) => self.packet_in(packet, turn),
            Event::FlowRemoved(removed) => hosts::expire(removed, turn),
            Event::PortStatus { dpid, reason, port } => {
                self.port_status(*dpid, *reason, port, turn);
            }
            Event::SwitchUp(switch) => self.switch_up(switch, turn),
            Event::SwitchDown(dpid) => self.switch_down(*dpid, turn),
            // A host whose packets were dropped is still unknown, so its next packet is punted again.
            Event::Lost { .. } => {}
            Event::Resync { dpid } => self.resync(*dpid, turn),
            Event::SwitchForgotten(dpid) => self.forget_switch(*dpid, turn),
        }
        Ok(())
    }

    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        bounds::check(changes, &turn.view());
        if changes.all {
            self.restart_ages(turn);
        }
        self.edges_changed(changes, turn);
        secrets::keep(self.random, turn)
    }

    fn tick(&mut self, turn: &mut Turn<'_>) -> Result<(), AppError> {
        secrets::keep(self.random, turn)?;
        self.forget_leaving(turn);
        bounds::end_refusals(turn);
        self.strays.tick(turn);
        self.forged.tick(turn);
        self.moves.tick(turn);
        self.probe_what_is_due(turn);
        self.settle_segments(turn);
        Ok(())
    }

    fn groups(&self, input: &RuleInput<'_>, _view: &View<'_>) -> Vec<Group> {
        rules::groups(input)
    }

    fn rules(&self, group: &Group, view: &View<'_>, rules: &mut Rules) {
        rules::rules(group, view, rules);
    }
}
