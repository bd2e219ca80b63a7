//! Frames that arrive where they should not: an alarm each, for as long as they come.
//!
//! - A probe that comes back to the port that sent it: a loopback plug, or something that sends frames back where they came from.
//! - A copy of a frame that came in by another port: what connects these ports passes no probes.

use std::time::Instant;

use morph_sdk::{Alarm, Turn};

use crate::sightings::{ENDS, Sightings};
use crate::tables::End;

/// Alarm of a port to which its own probes come back.
pub const LOOPED: &str = "looped-port";
/// Alarm of a port by which frames come back.
pub const RETURNING: &str = "returning-frames";

/// Condition of a port that an alarm tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stray {
    /// Probes come back to the port that sent them.
    Looped,
    /// Copies of frames come in by it.
    Returning,
}

/// Ports by which stray probes left, or copies of frames came in.
#[derive(Debug, Clone, Default)]
pub struct Strays {
    seen: Sightings<Stray>,
}

impl Strays {
    /// Notes that a probe came back to the port that sent it.
    pub fn came_back(&mut self, end: End, now: Instant) {
        self.seen.note(end, Stray::Looped, now);
    }

    /// Notes that a copy of a frame came in by a port. True if none has lately.
    pub fn returned(&mut self, end: End, now: Instant) -> bool {
        let is_new = !self.returns(end);
        self.seen.note(end, Stray::Returning, now);
        is_new
    }

    /// Whether copies of frames came in by a port lately.
    pub fn returns(&self, end: End) -> bool {
        self.seen.get(end) == Some(Stray::Returning)
    }

    /// Whether the probes of a port come back to it.
    pub fn is_looped(&self, end: End) -> bool {
        self.seen.get(end) == Some(Stray::Looped)
    }

    /// Starts anew, after a resume.
    pub fn restart(&mut self, now: Instant) {
        self.seen.restart(ENDS, now);
    }

    /// Raises and ends alarms.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        if let Some(seen) = self.seen.due(turn.now()) {
            let of = |stray: Stray| seen.iter().filter(move |(_, told)| *told == stray);
            turn.set_alarms(LOOPED, of(Stray::Looped).map(|(end, _)| looped(*end)));
            turn.set_alarms(
                RETURNING,
                of(Stray::Returning).map(|(end, _)| returning(*end)),
            );
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

fn returning((dpid, port): End) -> Alarm {
    Alarm::new(
        RETURNING,
        format!("{dpid}/{port}"),
        "copies of frames come in by this port: a network that passes no probes connects it with another port, or something sends \
         the same frames by both. Hosts behind it are not learned",
        "take away one of the cables, or bond them; or have what is between them pass frames of ethertype 0x8942",
    )
    .on_port(dpid, port)
}
