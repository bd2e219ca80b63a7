//! Probing of one port: when LLDP leaves by it, and what silence means. Ages live only while the app is live: they
//! start again at each resume and each time the port or the switch at either end comes.
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

/// Interval between the probes of a port whose kind is known.
pub const PERIOD: Duration = Duration::from_secs(1);
/// Interval between the probes of a port of unknown kind: the first may leave before its peer listens.
pub const SEARCH_PERIOD: Duration = Duration::from_millis(100);
/// Time of an unanswered probe after which a port is a host port.
pub const SEARCH: Duration = Duration::from_millis(500);
/// Number of unanswered probes after which a link is gone, the last one a period ago.
pub const PROBES: u32 = 3;

/// Factor by which silence has to last longer where late events cannot be ruled out.
const LATE_FACTOR: u32 = 10;

/// Unanswered probes of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probing {
    /// Time of the probe whose silence counts: the first one of a search, the third one of a link.
    since: Option<Instant>,
    /// Number of unanswered probes.
    unanswered: u32,
    /// Time of the next probe.
    next: Option<Instant>,
}

/// State of the port, as the tables have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbedPort {
    /// Kind that was found before.
    pub kind: Kind,
    /// Whether a link from this port is stored, and the switches at both of its ends are connected.
    pub linked: bool,
    /// Time up to which an answer would have been handled.
    pub handled_until: Instant,
}

/// Action that time has made due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueAction {
    /// Nothing is due.
    Nothing,
    /// A probe has to leave.
    Probe,
    /// Nobody answers: it is a host port. A probe has to leave all the same.
    Host,
    /// The link from this port is gone. A probe has to leave all the same.
    Gone,
}

impl Probing {
    /// Start of all ages; the first probe leaves at once.
    pub const START: Probing = Probing {
        since: None,
        unanswered: 0,
        next: None,
    };

    /// Notes that a probe of this port was heard.
    pub fn answered(&mut self) {
        self.since = None;
        self.unanswered = 0;
    }

    /// Notes that a probe leaves now.
    pub fn sent(&mut self, kind: Kind, now: Instant) {
        self.unanswered = self.unanswered.saturating_add(1);
        let counts = match kind {
            Kind::Unknown => self.unanswered == 1,
            Kind::Link => self.unanswered == PROBES,
            Kind::Host | Kind::Blocked => false,
        };
        if counts {
            self.since = Some(now);
        }
        let period = match kind {
            Kind::Unknown => SEARCH_PERIOD,
            Kind::Host | Kind::Link | Kind::Blocked => PERIOD,
        };
        self.next = Some(now + period);
    }

    /// Whether nothing can be due yet, whatever is stored.
    pub fn rests(&self, now: Instant) -> bool {
        self.since.is_none() && self.next.is_some_and(|next| now < next)
    }

    /// Action that is due now. For any but [`DueAction::Nothing`] a call of `sent` follows.
    pub fn due(&mut self, port: ProbedPort, now: Instant) -> DueAction {
        let found = match port.kind {
            Kind::Unknown => Some((SEARCH, DueAction::Host)),
            Kind::Link if port.linked => Some((PERIOD, DueAction::Gone)),
            // Another port has no link to lose.
            Kind::Link | Kind::Host | Kind::Blocked => {
                self.answered();
                None
            }
        };
        if let Some((silence, due)) = found
            && self.is_silent(silence, port.handled_until, now)
        {
            *self = Probing::START;
            return due;
        }
        if self.next.is_some_and(|next| now < next) {
            return DueAction::Nothing;
        }
        DueAction::Probe
    }

    fn is_silent(&self, silence: Duration, handled: Instant, now: Instant) -> bool {
        self.since
            .is_some_and(|since| handled >= since + silence || now >= since + silence * LATE_FACTOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks every 100 ms, with older events handled `lag` ms late. Returns the actions by time in ms, without
    /// `Nothing`.
    fn run(
        probing: &mut Probing,
        kind: Kind,
        linked: bool,
        to: u64,
        lag: u64,
    ) -> Vec<(u64, DueAction)> {
        let start = Instant::now() + Duration::from_secs(3600);
        let mut seen = Vec::new();
        for ms in (0..to).step_by(100) {
            let now = start + Duration::from_millis(ms);
            let port = ProbedPort {
                kind,
                linked,
                handled_until: now - Duration::from_millis(lag),
            };
            let due = probing.due(port, now);
            if due != DueAction::Nothing {
                probing.sent(kind, now);
                seen.push((ms, due));
            }
        }
        seen
    }

    fn every(period: usize, to: u64) -> Vec<(u64, DueAction)> {
        (0..to)
            .step_by(period)
            .map(|ms| (ms, DueAction::Probe))
            .collect()
    }

    fn first(due: DueAction, seen: &[(u64, DueAction)]) -> Option<u64> {
        seen.iter().find(|(_, d)| *d == due).map(|(ms, _)| *ms)
    }

    #[test]
    fn an_unknown_port_is_searched_and_becomes_a_host_port() {
        let seen = run(&mut { Probing::START }, Kind::Unknown, false, 600, 0);
        let mut expected = every(100, 500);
        expected.push((500, DueAction::Host));
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_host_port_is_probed_every_second() {
        let seen = run(&mut { Probing::START }, Kind::Host, false, 3000, 0);
        assert_eq!(seen, every(1000, 3000));
    }

    #[test]
    fn a_link_goes_with_three_unanswered_probes() {
        let seen = run(&mut { Probing::START }, Kind::Link, true, 3100, 0);
        let mut expected = every(1000, 3000);
        expected.push((3000, DueAction::Gone));
        assert_eq!(seen, expected);
    }

    #[test]
    fn where_events_are_handled_late_silence_takes_as_much_longer() {
        let seen = run(&mut { Probing::START }, Kind::Unknown, false, 9000, 700);
        assert_eq!(first(DueAction::Host, &seen), Some(500 + 700));
        let seen = run(&mut { Probing::START }, Kind::Link, true, 9000, 700);
        assert_eq!(first(DueAction::Gone, &seen), Some(3000 + 700));
    }

    #[test]
    fn silence_counts_at_last_where_events_are_hopelessly_late() {
        let late = 3_600_000;
        let seen = run(&mut { Probing::START }, Kind::Unknown, false, 9000, late);
        assert_eq!(first(DueAction::Host, &seen), Some(5000));
        let seen = run(&mut { Probing::START }, Kind::Link, true, 20_000, late);
        assert_eq!(first(DueAction::Gone, &seen), Some(2000 + 10_000));
    }

    #[test]
    fn an_answer_in_between_keeps_a_link() {
        let mut probing = Probing::START;
        for _ in 0..20 {
            let seen = run(&mut probing, Kind::Link, true, 3000, 0);
            assert_eq!(first(DueAction::Gone, &seen), None);
            probing.answered();
            probing.next = None;
        }
    }

    #[test]
    fn a_link_whose_far_end_is_away_stays() {
        let mut probing = Probing::START;
        let seen = run(&mut probing, Kind::Link, false, 60_000, 0);
        assert_eq!(seen, every(1000, 60_000));
        assert_eq!(probing.since, None);
    }
}
