//! Clock of probes: the time that is in a probe, and how long ago that was.
//!
//! A probe carries the time of sending by a clock that is set to the wall clock when an instance takes over, and then goes on
//! evenly: steps of the wall clock do not change it. The rule:
//!
//! 1. A probe is believed for ten seconds, from its sending to its arrival at the proxy. Waiting there afterwards, as in a hold,
//!    does not count.
//! 2. In the first ten seconds of an instance a probe of any age is believed: probes of the instance before are on their way,
//!    and the wall clock may have been stepped since.

use std::time::{Duration, Instant, UNIX_EPOCH};

use morph_sdk::Turn;

/// Time for which a probe is believed.
pub const LIFE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    /// Wall clock at the start, in milliseconds since 1970.
    started_ms: u64,
}

impl Clock {
    /// Clock that starts with this turn.
    pub fn start(turn: &Turn<'_>) -> Self {
        Clock {
            started: turn.now(),
            started_ms: unix_ms(turn),
        }
    }

    /// Time by this clock, in milliseconds since 1970.
    pub fn ms(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.started_ms.saturating_add(since)
    }

    /// Time when a probe left that came to the proxy at `arrived`; `None` if that is too long ago, or did not happen yet.
    pub fn sent(&self, sent_ms: u64, arrived: Instant, now: Instant) -> Option<Instant> {
        let age = self.ms(now).checked_sub(sent_ms)?;
        let sent = now.checked_sub(Duration::from_millis(age))?;
        (arrived.saturating_duration_since(sent) <= LIFE).then_some(sent)
    }

    /// Whether probes of an earlier instance may still be on their way.
    pub fn is_new(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.started) < LIFE
    }
}

/// Time by the wall clock, in milliseconds since 1970.
pub fn unix_ms(turn: &Turn<'_>) -> u64 {
    let since = turn.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_probe_ends_when_it_comes_to_the_proxy() {
        let started = Instant::now();
        let clock = Clock {
            started,
            started_ms: 1_000_000,
        };
        let at = |ms| started + Duration::from_millis(ms);
        let sent = |sent_ms, arrived, now| clock.sent(sent_ms, at(arrived), at(now));
        assert_eq!(clock.ms(at(20_000)), 1_020_000);
        assert_eq!(sent(1_020_000, 30_000, 30_000), Some(at(20_000)));
        assert_eq!(sent(1_020_000, 30_001, 30_001), None, "too old");
        assert_eq!(
            sent(1_020_000, 20_003, 90_000),
            Some(at(20_000)),
            "it waited"
        );
        assert_eq!(sent(1_030_001, 30_000, 30_000), None, "not sent yet");
        assert_eq!(sent(u64::MAX, 30_000, 30_000), None);
        assert_eq!(sent(0, 30_000, 30_000), None);
        assert!(clock.is_new(at(9_999)) && !clock.is_new(at(10_000)));
    }
}
