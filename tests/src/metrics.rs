//! The metrics page of morphd, as an HTTP client gets it.

use crate::lab::Lab;
use anyhow::{Context, Result, ensure};

/// Address at which a test's morphd serves its metrics: the value of `--metrics`.
pub const METRICS: &str = "127.0.0.1:9099";

/// A page of metrics, as morphd serves it.
pub struct Metrics(String);

impl Metrics {
    /// Reads the page of a lab whose morphd was started with `--metrics` and [`METRICS`].
    pub fn read(lab: &Lab) -> Result<Self> {
        const READ: &str = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=10).read().decode())";
        let mut command = lab.sandbox().command("/usr/bin/python3");
        command.args(["-c", READ, &format!("http://{METRICS}/metrics")]);
        let output = command.output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(Metrics(String::from_utf8(output.stdout)?))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// Value of the sample with this name and these labels.
    pub fn value(&self, sample: &str) -> Option<f64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(sample))?;
        value.trim().parse().ok()
    }

    /// Turns of an app by how many events they answered.
    pub fn turn_sizes(&self, app: &str) -> Result<TurnSizes> {
        let bucket = format!("morpheus_turn_events_bucket{{app=\"{app}\",le=\"");
        let mut sizes = TurnSizes::default();
        for line in self.0.lines().filter_map(|line| line.strip_prefix(&bucket)) {
            let (bound, count) = line
                .split_once("\"} ")
                .context("a bucket without a bound")?;
            // The last bound is infinite.
            let bound = bound.parse().unwrap_or(u64::MAX);
            sizes.turns.push((bound, count.trim().parse()?));
        }
        let sum = self.value(&format!("morpheus_turn_events_sum{{app=\"{app}\"}}"));
        sizes.events = sum.unwrap_or_default() as u64;
        Ok(sizes)
    }
}

/// Turns by how many events they answered.
#[derive(Clone, Debug, Default)]
pub struct TurnSizes {
    /// Upper bounds, each with the number of turns up to it.
    turns: Vec<(u64, u64)>,
    /// Events that all of them answered.
    events: u64,
}

impl TurnSizes {
    /// Number of events that the turns answered.
    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn turns(&self) -> u64 {
        self.turns.last().map_or(0, |(_, count)| *count)
    }

    /// Size of the median turn, at least: the lower bound of its bucket.
    pub fn median(&self) -> u64 {
        let half = self.turns().div_ceil(2);
        let below = self.turns.iter().take_while(|(_, count)| *count < half);
        below.last().map_or(1, |(bound, _)| bound + 1)
    }

    /// Size of the turn that answered the median event, at least: half of the events or more were answered by turns of
    /// this size or larger ones.
    pub fn median_event(&self) -> u64 {
        let (mut events, mut before, mut size) = (0_u64, 0, 1);
        for (bound, count) in &self.turns {
            events = events.saturating_add(bound.saturating_mul(count - before));
            before = *count;
            if events >= self.events.div_ceil(2) {
                break;
            }
            size = bound.saturating_add(1);
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_lower_bounds() -> Result<()> {
        let page = |counts: [u64; 4], events: u64| {
            let bounds = ["1", "3", "7", "+Inf"].into_iter().zip(counts);
            let lines = bounds.map(|(bound, count)| {
                format!("morpheus_turn_events_bucket{{app=\"a\",le=\"{bound}\"}} {count}\n")
            });
            let sum = format!("morpheus_turn_events_sum{{app=\"a\"}} {events}\n");
            Metrics(lines.chain([sum]).collect()).turn_sizes("a")
        };
        let medians = |counts, events| -> Result<(u64, u64)> {
            let sizes = page(counts, events)?;
            Ok((sizes.median(), sizes.median_event()))
        };
        assert_eq!(medians([0, 0, 0, 0], 0)?, (1, 1));
        assert_eq!(medians([2, 2, 3, 3], 7)?, (1, 4));
        assert_eq!(medians([2, 3, 9, 9], 40)?, (4, 4));
        assert_eq!(medians([6, 6, 7, 10], 60)?, (1, 8));
        Ok(())
    }
}
