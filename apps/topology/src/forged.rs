//! Probes that are not believed: an alarm for each port where they arrive, for as long as they come.

use std::time::Instant;

use morph_sdk::{Alarm, Turn};

use crate::clock::LIFE;
use crate::sightings::{ENDS, Sightings};
use crate::tables::{End, is_edge};

/// Alarm of a port where probes arrive that are not believed.
pub const FORGED: &str = "forged-probe";

/// Ports where probes arrived that were not believed.
#[derive(Debug, Clone, Default)]
pub struct Forged {
    seen: Sightings<()>,
}

impl Forged {
    /// Notes a probe that arrived at a port and is not believed.
    pub fn note(&mut self, here: End, now: Instant) {
        self.seen.note(here, (), now);
    }

    /// Notes that edge ports changed, which the text of an alarm names.
    pub fn edges_changed(&mut self) {
        self.seen.changed();
    }

    /// Starts anew, after a resume. Probes that an earlier instance sent, perhaps without a tag, are on their way for a while and
    /// raise no alarm.
    pub fn restart(&mut self, now: Instant) {
        self.seen.restart(LIFE + ENDS, now);
    }

    /// Raises and ends alarms.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        if let Some(seen) = self.seen.due(turn.now()) {
            let ends = seen.into_iter().map(|(end, ())| end);
            let alarms: Vec<_> = ends.map(|end| alarm(end, is_edge(end, turn))).collect();
            turn.set_alarms(FORGED, alarms);
        }
    }
}

fn alarm((dpid, port): End, edge: bool) -> Alarm {
    let (text, mend) = match edge {
        true => (
            "probes arrive at this edge port, where there should be hosts only: they are not believed",
            "find what sends them; if a switch of ours belongs here, set edges of this port to false",
        ),
        false => (
            "probes arrive here that topology did not send, sent long ago, or sent by an edge port: they are not believed",
            "find the host behind this port that sends them; if only hosts belong here, make it an edge port",
        ),
    };
    Alarm::new(FORGED, format!("{dpid}/{port}"), text, mend).on_port(dpid, port)
}
