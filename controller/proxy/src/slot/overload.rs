//! Tells when an app is overloaded: from its first lost event until none has been lost for a while.

use std::time::{Duration, Instant};

use super::shares::Shares;

/// Time without a loss after which an overload is over.
const QUIET: Duration = Duration::from_secs(5);

/// Losses of one app.
#[derive(Debug, Clone, Default)]
pub(super) struct Overload {
    now: Option<Episode>,
}

#[derive(Debug, Clone)]
struct Episode {
    began: Instant,
    /// Time of the last loss.
    last: Instant,
    announced: bool,
    /// Number of lost events by switch.
    lost: Shares<u64>,
}

/// Beginning or end of an overload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverloadChange {
    /// Events were lost, most of this switch.
    Began { dpid: u64 },
    /// No event has been lost for a while.
    Ended {
        /// Switch that lost most events, and their number.
        dpid: u64,
        of_it: u64,
        /// Number of events of all switches.
        lost: u64,
        /// Time from the first loss to the last one.
        took: Duration,
    },
}

impl Overload {
    /// Counts lost events of a switch.
    pub(super) fn lose(&mut self, dpid: u64, count: u64, now: Instant) {
        let episode = self.now.get_or_insert_with(|| Episode {
            began: now,
            last: now,
            announced: false,
            lost: Shares::default(),
        });
        episode.last = now;
        episode.lost.add(dpid, count as usize);
    }

    /// Returns what has changed since the last call, if anything.
    pub(super) fn change(&mut self, now: Instant) -> Option<OverloadChange> {
        let episode = self.now.as_mut()?;
        let over = episode.last + QUIET <= now;
        if episode.announced && !over {
            return None;
        }
        let (dpid, of_it) = episode.lost.largest()?;
        if !std::mem::replace(&mut episode.announced, true) {
            return Some(OverloadChange::Began { dpid });
        }
        let ended = OverloadChange::Ended {
            dpid,
            of_it: of_it as u64,
            lost: episode.lost.total() as u64,
            took: episode.last.saturating_duration_since(episode.began),
        };
        self.now = None;
        Some(ended)
    }

    /// Returns the time at which the overload is over if nothing is lost any more.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.now.as_ref().map(|episode| episode.last + QUIET)
    }

    /// Returns the switch that has lost most events, while the app is overloaded, and the time since the first loss.
    pub(super) fn flooding(&self, now: Instant) -> Option<(u64, Duration)> {
        let episode = self.now.as_ref()?;
        let (dpid, _) = episode.lost.largest()?;
        Some((dpid, now.saturating_duration_since(episode.began)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overload_is_told_once_and_ends_when_nothing_was_lost_for_a_while() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut overload = Overload::default();
        assert_eq!(
            (overload.change(start), overload.next_deadline()),
            (None, None)
        );
        overload.lose(7, 2, at(0));
        assert_eq!(
            overload.change(at(0)),
            Some(OverloadChange::Began { dpid: 7 })
        );
        for second in 0..9 {
            overload.lose(9, 1, at(second));
            assert_eq!(overload.change(at(second)), None);
        }
        let lasts = Duration::from_secs(11);
        assert_eq!(overload.flooding(at(11)), Some((9, lasts)));
        assert_eq!(overload.change(at(12)), None);
        overload.lose(9, 1, at(12));
        assert_eq!(overload.next_deadline(), Some(at(17)));
        assert_eq!(overload.change(at(16)), None);
        let ended = OverloadChange::Ended {
            dpid: 9,
            of_it: 10,
            lost: 12,
            took: Duration::from_secs(12),
        };
        assert_eq!(overload.change(at(17)), Some(ended));
        assert_eq!(overload.change(at(18)), None);
        assert_eq!(overload.flooding(at(18)), None);
    }
}
