//! Sizes of turns: how many events each answered.

/// Count of buckets: 1, 2 to 3, 4 to 7, ..., 256 events and more.
const BUCKETS: usize = 9;

/// Turns by the number of events that they answered.
#[derive(Debug, Clone, Default)]
pub(super) struct TurnSizes {
    buckets: [u64; BUCKETS],
    events: u64,
}

impl TurnSizes {
    /// Counts a turn that answered so many events.
    pub(super) fn count(&mut self, events: u64) {
        let Some(size) = events.checked_ilog2() else {
            return;
        };
        let bucket = (size as usize).min(BUCKETS - 1);
        self.buckets[bucket] += 1;
        self.events += events;
    }

    pub(super) fn report(&self) -> morph_api::supervisor::TurnSizes {
        morph_api::supervisor::TurnSizes {
            buckets: self.buckets.to_vec(),
            events: self.events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_by_powers_of_two() {
        let mut sizes = TurnSizes::default();
        for events in [0, 1, 2, 3, 4, 255, 256, 100_000] {
            sizes.count(events);
        }
        let report = sizes.report();
        assert_eq!(report.buckets, [1, 2, 1, 0, 0, 0, 0, 1, 2]);
        assert_eq!(report.events, 100_521);
    }
}
