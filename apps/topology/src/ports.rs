//! Switches and ports, as the switches report them.

use std::collections::BTreeMap;

use morph_sdk::{Dpid, PortInfo, PortReason, Switch, Turn, port};

use crate::Topology;
use crate::clock::Clock;
use crate::probing::Probing;
use crate::tables::{EDGES, End, Kind, LINKS, PORTS, PortRow, SWITCHES, SwitchRow, is_edge};

impl Topology {
    /// Handles a connected switch: compares its ports with the stored ones, and starts their ages again.
    pub(crate) fn switch_up(&mut self, switch: &Switch, turn: &mut Turn<'_>) {
        let dpid = switch.dpid;
        turn.put(&SWITCHES, &dpid, &SwitchRow { connected: true });
        for (end, _) in ports_of(dpid, turn) {
            if !switch.ports.contains_key(&end.1) {
                self.port_gone(end, turn);
            }
        }
        for port in switch.ports.values() {
            self.port_is(dpid, port, turn);
        }
        // The ages of neighbours behind its ports start again as well.
        restart_ages_of(dpid, &mut self.probes, turn);
        for (end, _) in ports_of(dpid, turn) {
            if let Some(far) = turn.get(&LINKS, &end)
                && let Some(probing) = self.probes.get_mut(&far.end())
            {
                *probing = Probing::START;
            }
        }
    }

    /// Handles a disconnected switch. Its ports, links and hosts stay: it goes on forwarding.
    pub(crate) fn switch_down(&mut self, dpid: Dpid, turn: &mut Turn<'_>) {
        turn.put(&SWITCHES, &dpid, &SwitchRow { connected: false });
        self.probes.retain(|end, _| end.0 != dpid);
        self.lateness.forget(dpid);
    }

    /// Handles a switch that is gone for good: its ports go with all that is behind them, and so do settings for them.
    pub(crate) fn forget_switch(&mut self, dpid: Dpid, turn: &mut Turn<'_>) {
        for (end, _) in ports_of(dpid, turn) {
            self.port_gone(end, turn);
        }
        let edges: Vec<End> = turn
            .view()
            .prefix(&EDGES, &dpid)
            .map(|(end, _)| end)
            .collect();
        for end in edges {
            turn.delete(&EDGES, &end);
        }
        turn.delete(&SWITCHES, &dpid);
        self.lateness.forget(dpid);
    }

    /// Handles lost events. After a resync of all switches they count as away until they are reported again.
    pub(crate) fn resync(&mut self, dpid: Option<Dpid>, turn: &mut Turn<'_>) {
        let Some(dpid) = dpid else {
            let known: Vec<_> = turn.view().iter(&SWITCHES).map(|(dpid, _)| dpid).collect();
            for dpid in known {
                self.switch_down(dpid, turn);
            }
            return;
        };
        match turn.view().switch(dpid).cloned() {
            Some(switch) => self.switch_up(&switch, turn),
            None => self.switch_down(dpid, turn),
        }
    }

    pub(crate) fn port_status(
        &mut self,
        dpid: Dpid,
        reason: PortReason,
        port: &PortInfo,
        turn: &mut Turn<'_>,
    ) {
        match reason {
            PortReason::Delete => self.port_gone((dpid, port.number), turn),
            PortReason::Add | PortReason::Modify => self.port_is(dpid, port, turn),
        }
    }

    /// Stores the present properties of a port. Reserved numbers other than LOCAL are left out.
    fn port_is(&mut self, dpid: Dpid, port: &PortInfo, turn: &mut Turn<'_>) {
        if !port.is_physical() && port.number != port::LOCAL {
            return;
        }
        let end = (dpid, port.number);
        let before = turn.get(&PORTS, &end);
        let mut row = PortRow {
            name: port.name.clone(),
            mac: port.hw_addr,
            up: port.is_up(),
            kind: Kind::Unknown,
        };
        if row.up && (is_local(end) || is_edge(end, turn)) {
            row.kind = Kind::Host;
        }
        let stays = before
            .as_ref()
            .filter(|before| before.up && row.up && before.name == row.name);
        if let Some(before) = stays {
            row.kind = before.kind;
            turn.put(&PORTS, &end, &row);
            return;
        }
        turn.put(&PORTS, &end, &row);
        if before.is_some() {
            self.forget_end(end, turn);
        }
        self.probes.remove(&end);
        if row.up && !is_local(end) {
            self.probe(end, &row, turn);
        }
    }

    fn port_gone(&mut self, end: End, turn: &mut Turn<'_>) {
        turn.delete(&PORTS, &end);
        self.forget_end(end, turn);
        self.probes.remove(&end);
    }

    /// Starts the probing of every port anew, after a resume.
    pub(crate) fn restart_ages(&mut self, turn: &mut Turn<'_>) {
        self.lateness.clear();
        self.clock = Some(Clock::start(turn));
        self.forged.restart(turn.now());
        self.strays.restart(turn.now());
        self.moves.restart();
        self.bonds.restart();
        self.segments.restart(turn.now());
        self.probes.clear();
        self.find_leaving(turn);
        let connected: Vec<_> = turn
            .view()
            .iter(&SWITCHES)
            .filter(|(_, row)| row.connected)
            .map(|(dpid, _)| dpid)
            .collect();
        for dpid in connected {
            restart_ages_of(dpid, &mut self.probes, turn);
        }
    }
}

/// Starts the ages anew of a connected switch's ports.
fn restart_ages_of(dpid: Dpid, probes: &mut BTreeMap<End, Probing>, turn: &Turn<'_>) {
    for (end, row) in ports_of(dpid, turn) {
        if row.up && !is_local(end) {
            probes.insert(end, Probing::START);
        }
    }
}

/// Whether this is the bridge's own port: the host there is the machine of the bridge, so it is not probed.
fn is_local(end: End) -> bool {
    end.1 == port::LOCAL
}

fn ports_of(dpid: Dpid, turn: &Turn<'_>) -> BTreeMap<End, PortRow> {
    turn.view().prefix(&PORTS, &dpid).collect()
}
