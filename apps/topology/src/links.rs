//! Links: where probes arrive, and how this changes ports.

use std::time::Instant;

use morph_sdk::{Action, Dpid, Turn, port, tracing};

use crate::Topology;
use crate::clock::Clock;
use crate::probing::{DueAction, ProbedPort, Probing};
use crate::secrets::{self, Carrier};
use crate::tables::{End, Kind, LINKS, PORTS, PortRow, SWITCHES, is_edge};
use morph_sdk::lldp::Probe;

impl Topology {
    /// Notes that a probe which port `from` sent at this time arrived at port `here`: this is a link, if `from` has no other one. A link ends when its
    /// own far end hears nothing more, or when probes arrive at another port as well: then it is a segment.
    pub(crate) fn heard(&mut self, from: End, sent_ms: u64, here: End, turn: &mut Turn<'_>) {
        if !is_up(from, turn) || !is_up(here, turn) {
            return;
        }
        if from == here {
            return self.strays.came_back(from, turn.now());
        }
        if self.segments.lldp_heard(from, sent_ms, here, turn.now()) {
            for end in [from, here] {
                if self.unlink(end, turn) {
                    self.settle(end, turn);
                }
            }
            return;
        }
        let before = turn.get(&LINKS, &from).map(|far| far.end());
        if before.is_some_and(|before| before != here) {
            return;
        }
        if let Some(probing) = self.probes.get_mut(&from) {
            probing.answered();
        }
        if before.is_some() {
            return;
        }
        tracing::info!("link {} -> {}", text(from), text(here));
        turn.put(&LINKS, &from, &here.into());
        for end in [from, here] {
            self.set_linked(end, true, turn);
        }
        if turn.get(&LINKS, &here).is_none()
            && let Some(row) = turn.get(&PORTS, &here)
        {
            self.probe(here, &row, turn);
        }
    }

    /// Notes that a segment probe from port `from` arrived at port `here`.
    pub(crate) fn heard_through_segment(&mut self, from: End, here: End, turn: &Turn<'_>) {
        if !is_up(from, turn) || !is_up(here, turn) {
            return;
        }
        match from == here {
            true => self.strays.came_back(from, turn.now()),
            false => self.segments.heard(from, here, turn.now()),
        }
    }

    /// Forgets the links from and to a port, and the hosts there.
    pub(crate) fn forget_end(&mut self, end: End, turn: &mut Turn<'_>) {
        self.segments.forget(end);
        self.settle_segments(turn);
        self.forget_at(end, turn);
        self.unlink(end, turn);
    }

    /// Ends the links from and to a port. False if there are none.
    fn unlink(&mut self, end: End, turn: &mut Turn<'_>) -> bool {
        let mut others = into_end(end, turn);
        for &other in &others {
            turn.delete(&LINKS, &other);
        }
        if let Some(far) = turn.get(&LINKS, &end) {
            turn.delete(&LINKS, &end);
            others.push(far.end());
        }
        let had_links = !others.is_empty();
        for other in others.into_iter().filter(|other| *other != end) {
            tracing::info!("link {} - {} is gone", text(end), text(other));
            self.settle(other, turn);
        }
        had_links
    }

    /// Makes a port a link port while a link leads from or to it. Afterwards it is searched again.
    fn settle(&mut self, end: End, turn: &mut Turn<'_>) {
        let linked = turn.get(&LINKS, &end).is_some() || !into_end(end, turn).is_empty();
        self.set_linked(end, linked, turn);
    }

    /// Makes a port a link port, or one that is searched again.
    fn set_linked(&mut self, end: End, linked: bool, turn: &mut Turn<'_>) {
        let Some(mut row) = turn.get(&PORTS, &end).filter(|row| row.up) else {
            return;
        };
        match (row.kind, linked) {
            (Kind::Unknown | Kind::Host | Kind::Blocked, false) | (Kind::Link, true) => return,
            (Kind::Unknown | Kind::Host | Kind::Blocked, true) => {
                if row.kind == Kind::Host {
                    self.forget_at(end, turn);
                }
                row.kind = Kind::Link;
            }
            (Kind::Link, false) => {
                row.kind = Kind::Unknown;
                if let Some(probing) = self.probes.get_mut(&end) {
                    *probing = Probing::START;
                }
            }
        }
        turn.put(&PORTS, &end, &row);
    }

    /// Whether a probe that arrived at port `here` is one of topology's own and proves something. Notes others as forged.
    pub(crate) fn believes(
        &mut self,
        carrier: Carrier,
        probe: &Probe,
        here: End,
        turn: &Turn<'_>,
    ) -> bool {
        let now = turn.now();
        let clock = self.clock(turn);
        let sent = clock.sent(probe.sent_ms, turn.arrived(), now);
        let believed = secrets::have_signed(carrier, probe, &turn.view())
            && (sent.is_some() || clock.is_new(now))
            && !is_edge(here, turn)
            && !is_edge((probe.dpid, probe.port), turn);
        if !believed && is_up(here, turn) {
            self.forged.note(here, now);
        }
        believed
    }

    fn clock(&mut self, turn: &Turn<'_>) -> Clock {
        *self.clock.get_or_insert_with(|| Clock::start(turn))
    }

    /// Notes that a probe arrived at a switch, and when it left its sender.
    pub(crate) fn probe_arrived(&mut self, at: Dpid, sent_ms: u64, turn: &Turn<'_>) {
        let arrived = turn.arrived();
        if let Some(sent) = self.clock(turn).sent(sent_ms, arrived, turn.now()) {
            self.lateness.probe(at, sent, arrived);
        }
    }

    /// Sends a probe by a port that is up. While there is no secret it waits for the next tick, which makes one.
    pub(crate) fn probe(&mut self, end: End, row: &PortRow, turn: &mut Turn<'_>) {
        let (dpid, port) = end;
        let probe = Probe {
            dpid,
            port,
            sent_ms: self.clock(turn).ms(turn.now()),
            tag: None,
        };
        let Some(link) = secrets::sign(Carrier::Lldp, probe, &turn.view()) else {
            return;
        };
        let out = || vec![Action::output(port)];
        turn.packet_out(dpid, port::CONTROLLER, out(), link.frame(row.mac));
        if row.kind != Kind::Link
            && let Some(segment) = secrets::sign(Carrier::Segment, probe, &turn.view())
        {
            let frame = segment.segment_frame(row.mac);
            turn.packet_out(dpid, port::CONTROLLER, out(), frame);
        }
        let now = turn.now();
        self.probes
            .entry(end)
            .or_insert(Probing::START)
            .sent(row.kind, now);
    }

    /// Handles what silence and time have made due at every port.
    pub(crate) fn probe_what_is_due(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now();
        let awake: Vec<End> = self
            .probes
            .iter()
            .filter(|(_, probing)| !probing.rests(now))
            .map(|(end, _)| *end)
            .collect();
        // Looked for once: it takes a look at all switches.
        let all_handled = self.lateness.all_handled_until(now);
        for end in awake {
            self.probe_if_due(end, all_handled, turn);
        }
    }

    /// Handles what is due at a port. Events that all switches sent before `all_handled` are handled.
    fn probe_if_due(&mut self, end: End, all_handled: Instant, turn: &mut Turn<'_>) {
        let now = turn.now();
        let Some(row) = turn.get(&PORTS, &end).filter(|row| row.up) else {
            self.probes.remove(&end);
            return;
        };
        let far = turn.get(&LINKS, &end).map(|far| far.end());
        let port = ProbedPort {
            kind: row.kind,
            linked: far
                .and_then(|(dpid, _)| turn.get(&SWITCHES, &dpid))
                .is_some_and(|far| far.connected),
            handled_until: match far {
                Some((dpid, _)) => self.lateness.handled_until(dpid, now),
                None => all_handled,
            },
        };
        let Some(probing) = self.probes.get_mut(&end) else {
            return;
        };
        match probing.due(port, now) {
            DueAction::Nothing => return,
            DueAction::Probe => {}
            DueAction::Host => turn.put(
                &PORTS,
                &end,
                &PortRow {
                    kind: Kind::Host,
                    ..row
                },
            ),
            DueAction::Gone => self.lost(end, turn),
        }
        if let Some(row) = turn.get(&PORTS, &end) {
            self.probe(end, &row, turn);
        }
    }

    /// Handles that the probes of a port no longer arrive.
    fn lost(&mut self, end: End, turn: &mut Turn<'_>) {
        let Some(far) = turn.get(&LINKS, &end) else {
            return;
        };
        tracing::info!(
            "link {} -> {} is gone: its probes fail",
            text(end),
            text(far.end())
        );
        turn.delete(&LINKS, &end);
        // The way back may go on.
        let back = turn.get(&LINKS, &far.end()).map(|back| back.end());
        if back == Some(end) {
            self.set_linked(end, true, turn);
        } else {
            self.settle(end, turn);
        }
        self.settle(far.end(), turn);
    }
}

/// Ports whose links lead to this one.
fn into_end(end: End, turn: &Turn<'_>) -> Vec<End> {
    turn.view()
        .iter(&LINKS)
        .filter(|(_, far)| far.end() == end)
        .map(|(near, _)| near)
        .collect()
}

fn is_up(end: End, turn: &Turn<'_>) -> bool {
    turn.get(&PORTS, &end).is_some_and(|row| row.up)
}

fn text((dpid, port): End) -> String {
    format!("{dpid}/{port}")
}
