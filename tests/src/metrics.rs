//! The metrics page of morphd, as an HTTP client gets it.

use crate::lab::Lab;
use anyhow::{Context, Result, ensure};

/// Address at which a test's morphd serves its metrics: the value of `--metrics`.
pub const METRICS: &str = "127.0.0.1:9099";

/// One page.
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
            sizes.0.push((bound, count.trim().parse()?));
        }
        Ok(sizes)
    }
}

/// Upper bounds of turns' sizes, each with the number of turns up to it.
#[derive(Clone, Debug, Default)]
pub struct TurnSizes(Vec<(u64, u64)>);

impl TurnSizes {
    /// The turns that were not counted in an earlier page.
    pub fn since(&self, before: &TurnSizes) -> TurnSizes {
        let mut earlier = before.0.iter();
        let less = |(bound, count): &(u64, u64)| {
            (
                *bound,
                count - earlier.next().map_or(0, |(_, count)| *count),
            )
        };
        TurnSizes(self.0.iter().map(less).collect())
    }

    pub fn turns(&self) -> u64 {
        self.0.last().map_or(0, |(_, count)| *count)
    }

    /// Lower bound of the bucket that holds the median: at least half of the turns answered so many events or more.
    pub fn median(&self) -> u64 {
        let half = self.turns().div_ceil(2);
        let below = self.0.iter().take_while(|(_, count)| *count < half);
        below.last().map_or(1, |(bound, _)| bound + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_lower_bound_of_its_bucket() -> Result<()> {
        let page = |counts: [u64; 4]| {
            let bounds = ["1", "3", "7", "+Inf"].into_iter().zip(counts);
            let lines = bounds.map(|(bound, count)| {
                format!("morpheus_turn_events_bucket{{app=\"a\",le=\"{bound}\"}} {count}\n")
            });
            Metrics(lines.collect()).turn_sizes("a")
        };
        assert_eq!(page([0, 0, 0, 0])?.median(), 1);
        assert_eq!(page([2, 2, 3, 3])?.median(), 1);
        assert_eq!(page([2, 3, 9, 9])?.median(), 4);
        let since = page([5, 6, 7, 20])?.since(&page([5, 5, 5, 5])?);
        assert_eq!((since.turns(), since.median()), (15, 8));
        Ok(())
    }
}
