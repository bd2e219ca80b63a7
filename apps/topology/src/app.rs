//! The app: its state outside the tables, and what it does with each input.

use std::collections::{BTreeMap, BTreeSet};

use morph_sdk::lldp::{self, Probe};
use morph_sdk::{
    App, AppError, Changes, Event, PacketIn, RecentFrames, RuleInput, Rules, TableShape, Turn, View,
};

use crate::bonds::Bonds;
use crate::bounds::{self, LIMIT_REACHED};
use crate::clock::Clock;
use crate::forged::{FORGED, Forged};
use crate::host_tables::{HOSTS, HOSTS_BY_PORT, HOSTS_BY_SWITCH, IPS};
use crate::hosts;
use crate::lateness::Lateness;
use crate::moves::{FLAPPING, Moves};
use crate::probing::Probing;
use crate::rules::{self, Group};
use crate::secrets::{self, Carrier, Random, SECRETS};
use crate::segments::{BLOCKED, Segments};
use crate::strays::{LOOPED, RETURNING, Strays};
use crate::tables::{BONDS, EDGES, End, LIMITS, LINKS, PORTS, SWITCHES};

#[derive(Debug)]
pub struct Topology {
    /// Probing of the ports that are up, on connected switches.
    pub(crate) probes: BTreeMap<End, Probing>,
    /// How late the events of each switch are handled.
    pub(crate) lateness: Lateness,
    /// Ports with hosts that are still to be forgotten.
    pub(crate) leaving: BTreeSet<End>,
    /// Source of secrets.
    pub(crate) random: Random,
    /// Clock of probes, since the resume.
    pub(crate) clock: Option<Clock>,
    /// Probes that are not believed.
    pub(crate) forged: Forged,
    /// Probes that prove no link.
    pub(crate) strays: Strays,
    /// Hosts that moved lately.
    pub(crate) moves: Moves,
    /// Pairs of ports that may be bonds.
    pub(crate) bonds: Bonds,
    /// Ports that a network of others connects.
    pub(crate) segments: Segments,
    /// Frames that were seen lately, by which a copy that comes back is known.
    pub(crate) frames: RecentFrames,
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
            bonds: Bonds::default(),
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
                self.heard((probe.dpid, probe.port), probe.sent_ms, end, turn);
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
        tables.extend([
            LIMITS.shape(),
            EDGES.shape(),
            BONDS.shape(),
            SECRETS.shape(),
        ]);
        tables
    }

    fn alarms() -> &'static [&'static str] {
        &[LIMIT_REACHED, LOOPED, RETURNING, FLAPPING, BLOCKED, FORGED]
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
        self.bonds
            .settle(&self.moves, &self.strays, &mut self.frames, turn);
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
