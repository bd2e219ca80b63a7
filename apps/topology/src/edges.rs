//! Edge ports: where an operator says that there are hosts only, and no probe is believed.

use morph_sdk::{Changes, Turn};

use crate::Topology;
use crate::tables::{EDGES, End, Kind, PORTS, PortRow, is_edge};

impl Topology {
    /// Makes new edge ports host ports. One that is an edge port no longer stays a host port until a probe shows more.
    pub(crate) fn edges_changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) {
        let ends: Vec<End> = match changes.all {
            true => turn.view().iter(&EDGES).map(|(end, _)| end).collect(),
            false => changes.keys(&EDGES).collect(),
        };
        if !ends.is_empty() {
            self.forged.edges_changed();
        }
        for end in ends {
            if is_edge(end, turn) {
                self.make_host_port(end, turn);
            }
        }
    }

    fn make_host_port(&mut self, end: End, turn: &mut Turn<'_>) {
        let Some(row) = turn.get(&PORTS, &end).filter(|row| row.up) else {
            return;
        };
        match row.kind {
            Kind::Host => self.segments.forget(end),
            Kind::Unknown | Kind::Link | Kind::Blocked => self.forget_end(end, turn),
        }
        let kind = Kind::Host;
        turn.put(&PORTS, &end, &PortRow { kind, ..row });
    }
}
