//! Event rate: events per second over the last five whole seconds.

use std::time::Instant;

/// Length of the ring: five whole seconds and the current one.
const SECONDS: usize = 6;

/// Ring of counters, one per second.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    start: Instant,
    second: u64,
    counts: [u64; SECONDS],
}

impl Rate {
    pub(crate) fn new(now: Instant) -> Self {
        Rate {
            start: now,
            second: 0,
            counts: [0; SECONDS],
        }
    }

    /// Counts one event in the current second.
    pub(crate) fn count(&mut self, now: Instant) {
        self.advance(now);
        self.counts[self.second as usize % SECONDS] += 1;
    }

    /// Returns the mean of the five seconds before the current one.
    pub(crate) fn per_second(&mut self, now: Instant) -> f64 {
        self.advance(now);
        let filling = self.second as usize % SECONDS;
        let sum: u64 = self.counts.iter().sum::<u64>() - self.counts[filling];
        sum as f64 / (SECONDS - 1) as f64
    }

    fn advance(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.start).as_secs();
        let passed = second.saturating_sub(self.second).min(SECONDS as u64);
        for step in 1..=passed {
            self.counts[(second - passed + step) as usize % SECONDS] = 0;
        }
        self.second = self.second.max(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn counts_whole_seconds_and_forgets_them_after_five() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        for _ in 0..50 {
            rate.count(start);
        }
        assert_eq!(rate.per_second(start), 0.0, "the second is not over");
        assert_eq!(rate.per_second(start + Duration::from_secs(1)), 10.0);
        assert_eq!(rate.per_second(start + Duration::from_secs(5)), 10.0);
        assert_eq!(rate.per_second(start + Duration::from_secs(6)), 0.0);
        assert_eq!(rate.per_second(start + Duration::from_secs(600)), 0.0);
    }
}
