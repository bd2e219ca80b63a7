//! Delays of events over the last seconds, on a logarithmic scale.

use std::fmt;
use std::time::{Duration, Instant};

/// Length of the ring: five whole seconds and the current one.
const SECONDS: usize = 6;
/// Each power of two is divided into so many buckets, so a percentile is at most a quarter too long.
const DIVISIONS: u32 = 4;
/// Buckets up to 2^27 microseconds, which is 134 s; the last one takes all that is longer.
const BUCKETS: usize = 26 * DIVISIONS as usize;

/// Counts of delays, by second and bucket.
#[derive(Clone)]
pub(super) struct Delays {
    start: Instant,
    second: u64,
    counts: [[u32; BUCKETS]; SECONDS],
}

impl fmt::Debug for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delays").finish_non_exhaustive()
    }
}

impl Delays {
    pub(super) fn new(now: Instant) -> Self {
        Delays {
            start: now,
            second: 0,
            counts: [[0; BUCKETS]; SECONDS],
        }
    }

    pub(super) fn count(&mut self, delay: Duration, now: Instant) {
        self.advance(now);
        let second = &mut self.counts[self.second as usize % SECONDS];
        second[bucket(delay)] += 1;
    }

    /// Computes percentiles over the last five to six seconds, in microseconds: the upper bounds of their buckets. Zero
    /// where nothing was counted.
    pub(super) fn percentiles<const N: usize>(
        &mut self,
        percents: [u64; N],
        now: Instant,
    ) -> [u64; N] {
        self.advance(now);
        let mut sums = [0u64; BUCKETS];
        for second in &self.counts {
            for (sum, count) in sums.iter_mut().zip(second) {
                *sum += u64::from(*count);
            }
        }
        let total: u64 = sums.iter().sum();
        percents.map(|percent| {
            let rank = (total * percent).div_ceil(100).max(1);
            let mut below = 0;
            let found = sums.iter().position(|count| {
                below += count;
                below >= rank
            });
            found.map_or(0, bound_us)
        })
    }

    fn advance(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.start).as_secs();
        let passed = second.saturating_sub(self.second).min(SECONDS as u64);
        for step in 1..=passed {
            self.counts[(second - passed + step) as usize % SECONDS] = [0; BUCKETS];
        }
        self.second = self.second.max(second);
    }
}

/// Finds the bucket of a delay: four a power of two, the first ones one microsecond each.
fn bucket(delay: Duration) -> usize {
    let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
    if us < u64::from(DIVISIONS) {
        return us as usize;
    }
    let power = us.ilog2();
    let division = (us >> (power - 2)) as u32 - DIVISIONS;
    (((power - 1) * DIVISIONS + division) as usize).min(BUCKETS - 1)
}

/// Computes the longest delay of a bucket in microseconds.
fn bound_us(bucket: usize) -> u64 {
    let (power, division) = (bucket as u32 / DIVISIONS, bucket as u32 % DIVISIONS);
    match power {
        0 => u64::from(division),
        _ => (u64::from(DIVISIONS + division + 1) << (power - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_a_quarter_of_a_power_of_two_wide() {
        for us in (0..70_000_000).step_by(97).chain(0..2000) {
            let of = bucket(Duration::from_micros(us));
            let bound = bound_us(of);
            assert!(
                us <= bound && bound <= us + us / 4,
                "{us} in {of} to {bound}"
            );
            assert!(of == 0 || bound_us(of - 1) < us, "{us} in {of}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_of_the_last_seconds() {
        let start = Instant::now();
        let mut delays = Delays::new(start);
        assert_eq!(delays.percentiles([50, 99], start), [0, 0]);
        for ms in 1..=100 {
            delays.count(Duration::from_millis(ms), start);
        }
        let at = |delays: &mut Delays, second| {
            let now = start + Duration::from_secs(second);
            delays.percentiles([50, 99], now)
        };
        let [p50, p99] = at(&mut delays, 0);
        assert!((50_000..=62_500).contains(&p50), "{p50}");
        assert!((99_000..=123_750).contains(&p99), "{p99}");
        assert_eq!(at(&mut delays, 5), [p50, p99]);
        assert_eq!(at(&mut delays, 6), [0, 0]);
    }
}
