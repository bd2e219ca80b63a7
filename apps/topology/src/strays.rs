//! Probes that arrive where they prove no link: an alarm each, for as long as they come.
//!
//! - A probe that comes back to the port that sent it: a loopback plug, or something that sends frames back where they came from.
//! - A probe that arrives at a second port, beside the far end of its link: what connects these ports passes LLDP on, and has more
//!   than two of them.

use std::time::Instant;

use morph_sdk::{Alarm, Turn};

use crate::sightings::{ENDS, Sightings};
use crate::tables::End;

/// Alarm of a port to which its own probes come back.
pub const LOOPED: &str = "looped-port";
/// Alarm of a port whose probes arrive at several ports.
pub const SHARED: &str = "shared-segment";

/// Ports by which stray probes left.
#[derive(Debug, Clone, Default)]
pub struct Strays {
    /// True where the last one came back to the port that sent it.
    seen: Sightings<bool>,
}

impl Strays {
    /// Notes a stray probe from port `from` that arrived at port `at`.
    pub fn note(&mut self, from: End, at: End, now: Instant) {
        self.seen.note(from, from == at, now);
    }

    /// Whether the probes of a port come back to it.
    pub fn is_looped(&self, end: End) -> bool {
        self.seen.get(end) == Some(true)
    }

    /// Starts anew, after a resume.
    pub fn restart(&mut self, now: Instant) {
        self.seen.restart(ENDS, now);
    }

    /// Raises and ends alarms.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        if let Some(seen) = self.seen.due(turn.now()) {
            let of = |looped: bool| seen.iter().filter(move |(_, told)| *told == looped);
            turn.set_alarms(LOOPED, of(true).map(|(end, _)| looped(*end)));
            turn.set_alarms(SHARED, of(false).map(|(end, _)| shared(*end)));
        }
    }
}

fn looped((dpid, port): End) -> Alarm {
    Alarm::new(
        LOOPED,
        format!("{dpid}/{port}"),
        "frames that leave by this port come back to it",
        "take away the loopback plug, or mend the device behind the port",
    )
    .on_port(dpid, port)
}

fn shared((dpid, port): End) -> Alarm {
    Alarm::new(
        SHARED,
        format!("{dpid}/{port}"),
        "LLDP that leaves by this port arrives at several ports of ours: only one of them is used as its link",
        "connect switches by cables, or by a device that keeps LLDP to itself",
    )
    .on_port(dpid, port)
}
