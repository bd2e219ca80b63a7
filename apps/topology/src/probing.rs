//! The probing of one port: when LLDP leaves by it, and what silence means. Ages live only while the app is live:
//! they start again at each resume and each time the port or the switch at either end comes.
//!
//! ```text
//!            LLDP from or to it                     500 ms unanswered
//!   link <------------------------- unknown -----------------------------> host
//!    |  ^                              ^                                    |
//!    |  +------------------------------|------------------------------------+
//!    |      LLDP from or to it         |                  LLDP from or to it
//!    +---------------------------------+
//!          three probes unanswered
//! ```

use std::time::{Duration, Instant};

use crate::tables::Kind;

/// Between the probes of a port whose kind is known.
pub const PERIOD: Duration = Duration::from_secs(1);
/// Between the probes of one whose kind is not: the first may leave before its peer listens.
pub const SEARCH_PERIOD: Duration = Duration::from_millis(100);
/// A port is a host port once a probe stayed unanswered for so long.
pub const SEARCH: Duration = Duration::from_millis(500);
/// A link is gone once so many probes stayed unanswered.
pub const PROBES: u32 = 3;

/// Silence proves something only once older events are handled: no event came for this long.
pub const QUIET: Duration = Duration::from_millis(20);
/// Or, where events never pause, after this many times the silence.
const PATIENCE: u32 = 10;

/// What is unanswered at one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probing {
    /// When the first of the unanswered probes left.
    since: Option<Instant>,
    /// How many are unanswered.
    unanswered: u32,
    /// When the next one leaves.
    next: Option<Instant>,
}

/// What the port is now, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What was found before.
    pub kind: Kind,
    /// A link from this port is stored, and the switches at both of its ends are connected.
    pub linked: bool,
    /// No event came for [`QUIET`].
    pub quiet: bool,
}

/// What time has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// A probe is to leave.
    Probe,
    /// Nobody answers: a host port. A probe is to leave all the same.
    Host,
    /// The link from this port is gone. A probe is to leave all the same.
    Gone,
}

impl Probing {
    /// All ages start here; the first probe leaves at once.
    pub const START: Probing = Probing {
        since: None,
        unanswered: 0,
        next: None,
    };

    /// A probe of this port was heard of.
    pub fn answered(&mut self) {
        self.since = None;
        self.unanswered = 0;
    }

    /// A probe leaves now.
    pub fn sent(&mut self, kind: Kind, now: Instant) {
        self.unanswered = self.unanswered.saturating_add(1);
        let period = match kind {
            Kind::Unknown => {
                self.since.get_or_insert(now);
                SEARCH_PERIOD
            }
            Kind::Host | Kind::Link => {
                self.since = None;
                PERIOD
            }
        };
        self.next = Some(now + period);
    }

    /// Whether nothing can be due yet, whatever is stored.
    pub fn rests(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| now < next) && !self.is_silent(true, now)
    }

    /// What is due now. Where it is a probe, `sent` follows.
    pub fn due(&mut self, standing: Standing, now: Instant) -> Due {
        if standing.kind == Kind::Unknown && self.is_silent(standing.quiet, now) {
            *self = Probing::START;
            return Due::Host;
        }
        if self.next.is_some_and(|next| now < next) {
            return Due::Nothing;
        }
        if !standing.linked {
            // There is no link to lose: only a search counts its time.
            self.unanswered = 0;
            return Due::Probe;
        }
        let limit = if standing.quiet {
            PROBES
        } else {
            PROBES * PATIENCE
        };
        if self.unanswered >= limit {
            *self = Probing::START;
            return Due::Gone;
        }
        Due::Probe
    }

    fn is_silent(&self, quiet: bool, now: Instant) -> bool {
        let limit = if quiet { SEARCH } else { SEARCH * PATIENCE };
        self.since
            .is_some_and(|since| now.saturating_duration_since(since) >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(kind: Kind, linked: bool) -> Standing {
        Standing {
            kind,
            linked,
            quiet: true,
        }
    }

    /// Ticks every 100 ms; what was due, with its time in ms, without `Nothing`.
    fn run(probing: &mut Probing, standing: Standing, from: u64, to: u64) -> Vec<(u64, Due)> {
        let start = Instant::now();
        let mut seen = Vec::new();
        for ms in (from..to).step_by(100) {
            let now = start + Duration::from_millis(ms);
            let due = probing.due(standing, now);
            if due != Due::Nothing {
                probing.sent(standing.kind, now);
                seen.push((ms, due));
            }
        }
        seen
    }

    #[test]
    fn an_unknown_port_is_searched_and_becomes_a_host_port() {
        let mut probing = Probing::START;
        let seen = run(&mut probing, standing(Kind::Unknown, false), 0, 600);
        let probes = (0..500).step_by(100).map(|ms| (ms, Due::Probe));
        assert_eq!(seen, probes.chain([(500, Due::Host)]).collect::<Vec<_>>());
    }

    #[test]
    fn where_events_never_pause_silence_takes_longer() {
        let mut probing = Probing::START;
        let busy = Standing {
            quiet: false,
            ..standing(Kind::Unknown, false)
        };
        let seen = run(&mut probing, busy, 0, 6000);
        assert_eq!(seen.iter().position(|s| *s == (5000, Due::Host)), Some(50));
    }

    #[test]
    fn a_host_port_is_probed_every_second() {
        let mut probing = Probing::START;
        let seen = run(&mut probing, standing(Kind::Host, false), 0, 3000);
        assert_eq!(
            seen,
            [(0, Due::Probe), (1000, Due::Probe), (2000, Due::Probe)]
        );
    }

    #[test]
    fn a_link_goes_with_three_unanswered_probes() {
        let mut probing = Probing::START;
        let seen = run(&mut probing, standing(Kind::Link, true), 0, 3100);
        assert_eq!(seen[..3], [0, 1000, 2000].map(|ms| (ms, Due::Probe)));
        assert_eq!(seen[3..], [(3000, Due::Gone)]);
    }

    #[test]
    fn an_answer_in_between_keeps_it() {
        let mut probing = Probing::START;
        let start = Instant::now();
        for second in 0..20 {
            let now = start + Duration::from_secs(second);
            assert_eq!(
                probing.due(standing(Kind::Link, true), now),
                Due::Probe,
                "{second}"
            );
            probing.sent(Kind::Link, now);
            if second % 3 == 2 {
                probing.answered();
            }
        }
    }

    #[test]
    fn a_link_whose_far_end_is_away_stays() {
        let mut probing = Probing::START;
        let seen = run(&mut probing, standing(Kind::Link, false), 0, 60_000);
        assert!(seen.iter().all(|(_, due)| *due == Due::Probe));
    }
}
