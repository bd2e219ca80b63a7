//! Counts of the upgrades that ended since morphd's start.

use std::collections::BTreeMap;

use morph_api::management::{Step, UpgradeStatus};

/// Upper bounds of the histogram of hand-overs, in seconds.
pub const BOUNDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Durations, counted by length.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Histogram {
    /// Number of durations up to each bound, and above the bound before.
    pub buckets: [u64; BOUNDS.len()],
    /// Sum of all durations, in seconds.
    pub sum: f64,
    /// Number of all durations, also of those above the last bound.
    pub count: u64,
}

impl Histogram {
    fn take(&mut self, seconds: f64) {
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.sum += seconds;
        self.count += 1;
    }
}

/// The upgrades of one app that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Upgrades {
    pub committed: u64,
    pub rolled_back: u64,
    /// Events that waited while they were handed over.
    pub held: u64,
    /// Held events that had been delivered before.
    pub replayed: u64,
    /// Times from the hold to the resume, forward and back.
    pub handovers: Histogram,
}

/// Counts of each app.
#[derive(Debug, Clone, Default)]
pub struct Counts(pub BTreeMap<String, Upgrades>);

impl Counts {
    /// Counts the last status of an upgrade.
    pub fn ended(&mut self, status: &UpgradeStatus) {
        let upgrades = self.0.entry(status.app.clone()).or_default();
        match status.step() {
            Step::Committed => upgrades.committed += 1,
            _ => upgrades.rolled_back += 1,
        }
        upgrades.held += status.events_held;
        upgrades.replayed += status.events_replayed;
        for us in [status.handover_us, status.back_handover_us] {
            if us != 0 {
                upgrades.handovers.take(us as f64 / 1e6);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_over_is_in_one_bucket_and_in_the_sum() {
        let mut counts = Counts::default();
        for (step, there, back) in [
            (Step::Committed, 1_000, 0),
            (Step::RolledBack, 3_000, 20_000_000),
            (Step::RolledBack, 0, 0),
        ] {
            counts.ended(&UpgradeStatus {
                app: "router".into(),
                step: step.into(),
                handover_us: there,
                back_handover_us: back,
                events_held: 2,
                ..UpgradeStatus::default()
            });
        }
        let upgrades = counts.0["router"];
        assert_eq!(
            (upgrades.committed, upgrades.rolled_back, upgrades.held),
            (1, 2, 6)
        );
        let Histogram {
            buckets,
            sum,
            count,
        } = upgrades.handovers;
        assert_eq!(
            (buckets[0], buckets[2], buckets.iter().sum::<u64>(), count),
            (1, 1, 2, 3)
        );
        assert!((sum - 20.004).abs() < 1e-9);
    }
}
