//! Probes that are not believed: an alarm for each port where they arrive, for as long as they come.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use morph_sdk::{Alarm, Turn};

use crate::clock::LIFE;
use crate::probing::PERIOD;
use crate::tables::{End, is_edge};

/// Alarm of a port where probes arrive that are not believed.
pub const FORGED: &str = "forged-probe";

/// Time without such a probe after which its alarm ends.
const ENDS: Duration = PERIOD.saturating_mul(5);

/// Ports where probes arrived that were not believed.
#[derive(Debug, Clone, Default)]
pub struct Forged {
    /// Time of the last one.
    seen: BTreeMap<End, Instant>,
    /// Whether alarms may have to change.
    changed: bool,
    /// Time until which alarms stay as an earlier instance left them. Probes that it sent, perhaps without a tag, are on their
    /// way for a while and raise none; what lasts is seen again by then.
    inherited_until: Option<Instant>,
}

impl Forged {
    /// Notes a probe that arrived at a port and is not believed.
    pub fn note(&mut self, here: End, now: Instant) {
        self.changed |= self.seen.insert(here, now).is_none();
    }

    /// Notes that edge ports changed, which the text of an alarm names.
    pub fn edges_changed(&mut self) {
        self.changed = true;
    }

    /// Starts anew, after a resume.
    pub fn restart(&mut self, now: Instant) {
        self.seen.clear();
        self.changed = true;
        self.inherited_until = Some(now + LIFE + ENDS);
    }

    /// Raises and ends alarms.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        let (count, now) = (self.seen.len(), turn.now());
        let lasts = |seen| now.saturating_duration_since(seen) < ENDS;
        self.seen.retain(|_, seen| lasts(*seen));
        self.changed |= self.seen.len() != count;
        if self.inherited_until.is_some_and(|until| now < until) {
            return;
        }
        if std::mem::take(&mut self.changed) {
            let ends = self.seen.keys();
            let alarms: Vec<_> = ends.map(|end| alarm(*end, is_edge(*end, turn))).collect();
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
