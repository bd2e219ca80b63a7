//! Probes that arrive where they prove no link: an alarm each, for as long as they come.
//!
//! - A probe that comes back to the port that sent it: a loopback plug, or something that sends frames back where they came from.
//! - A probe that arrives at a second port, beside the far end of its link: what connects these ports passes LLDP on, and has more
//!   than two of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use morph_sdk::{Alarm, Turn};

use crate::probing::PERIOD;
use crate::tables::End;

/// Alarm of a port to which its own probes come back.
pub const LOOPED: &str = "looped-port";
/// Alarm of a port whose probes arrive at several ports.
pub const SHARED: &str = "shared-segment";

/// Time without a stray probe after which its alarm ends.
const ENDS: Duration = PERIOD.saturating_mul(5);

/// Ports by which stray probes left.
#[derive(Debug, Clone, Default)]
pub struct Strays {
    /// Port where the last one arrived, and when.
    seen: BTreeMap<End, (End, Instant)>,
    /// Whether alarms may have to change.
    changed: bool,
    /// Time until which alarms of an earlier instance stay, since what lasts is seen again by then.
    inherited_until: Option<Instant>,
}

impl Strays {
    /// Notes a stray probe from port `from` that arrived at port `at`.
    pub fn note(&mut self, from: End, at: End, now: Instant) {
        let before = self.seen.insert(from, (at, now));
        self.changed |= before.is_none_or(|(before, _)| (before == from) != (at == from));
    }

    /// Whether the probes of a port come back to it.
    pub fn is_looped(&self, end: End) -> bool {
        self.seen.get(&end).is_some_and(|(at, _)| *at == end)
    }

    /// Starts anew, after a resume.
    pub fn restart(&mut self, now: Instant) {
        self.seen.clear();
        self.changed = true;
        self.inherited_until = Some(now + ENDS);
    }

    /// Raises and ends alarms.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        let (count, now) = (self.seen.len(), turn.now());
        let lasts = |seen| now.saturating_duration_since(seen) < ENDS;
        self.seen.retain(|_, (_, seen)| lasts(*seen));
        self.changed |= self.seen.len() != count;
        if self.inherited_until.is_some_and(|until| now < until) {
            return;
        }
        if std::mem::take(&mut self.changed) {
            let of = |looped: bool| {
                let seen = self.seen.iter().map(|(from, (at, _))| (*from, *at));
                seen.filter(move |(from, at)| (from == at) == looped)
            };
            turn.set_alarms(LOOPED, of(true).map(|(end, _)| looped(end)));
            turn.set_alarms(SHARED, of(false).map(|(end, _)| shared(end)));
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
