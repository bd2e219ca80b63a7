//! The switches beside one that floods, by the time at which each packet-in was sent.

use crate::hist::Hist;

/// Packet-ins sent in one interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bin {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    /// Longest latency in nanoseconds.
    pub(crate) slowest: u64,
}

/// Packet-ins sent before, during or after the flood.
pub(crate) struct Phase {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) latencies: Hist,
}

/// All times are in nanoseconds. Packet-ins sent before the start or after the end are left out.
pub(crate) struct Timeline {
    start: u64,
    interval: u64,
    /// Begin and end of the flood, counted from the start.
    flood: (u64, u64),
    pub(crate) bins: Vec<Bin>,
    pub(crate) phases: [Phase; 3],
}

impl Timeline {
    pub(crate) fn new(start: u64, length: u64, interval: u64, flood: (u64, u64)) -> Timeline {
        let phase = || Phase {
            sent: 0,
            lost: 0,
            latencies: Hist::new(),
        };
        Timeline {
            start,
            interval,
            flood,
            bins: vec![Bin::default(); length.div_ceil(interval) as usize],
            phases: [phase(), phase(), phase()],
        }
    }

    pub(crate) fn sent(&mut self, at: u64) {
        if let Some((bin, phase)) = self.of(at) {
            bin.sent += 1;
            phase.sent += 1;
        }
    }

    /// The packet-in that was sent at this time is answered.
    pub(crate) fn answered(&mut self, at: u64, latency: u64) {
        if let Some((bin, phase)) = self.of(at) {
            bin.answered += 1;
            bin.slowest = bin.slowest.max(latency);
            phase.latencies.add(latency, 1);
        }
    }

    /// The packet-in that was sent at this time was not answered in time.
    pub(crate) fn lost(&mut self, at: u64) {
        if let Some((bin, phase)) = self.of(at) {
            bin.lost += 1;
            phase.lost += 1;
        }
    }

    fn of(&mut self, at: u64) -> Option<(&mut Bin, &mut Phase)> {
        let since = at.checked_sub(self.start)?;
        let bin = self.bins.get_mut((since / self.interval) as usize)?;
        let phase = usize::from(since >= self.flood.0) + usize::from(since >= self.flood.1);
        Some((bin, &mut self.phases[phase]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_in_counts_where_it_was_sent() {
        let mut line = Timeline::new(100, 95, 10, (20, 40));
        for at in [99, 100, 119, 120, 139, 140, 194, 200] {
            line.sent(at);
        }
        line.answered(119, 500);
        line.answered(139, 7);
        line.lost(120);
        line.answered(99, 9);
        let sent: Vec<u64> = line.phases.iter().map(|p| p.sent).collect();
        assert_eq!(sent, [2, 2, 2]);
        let answered: Vec<u64> = line.phases.iter().map(|p| p.latencies.len()).collect();
        assert_eq!(answered, [1, 1, 0]);
        assert_eq!(line.bins.len(), 10);
        let bin = |sent, answered, lost, slowest| Bin {
            sent,
            answered,
            lost,
            slowest,
        };
        assert_eq!(line.bins[1], bin(1, 1, 0, 500));
        assert_eq!(line.bins[2], bin(1, 0, 1, 0));
        assert_eq!(line.bins[3], bin(1, 1, 0, 7));
        assert_eq!(line.bins[9], bin(1, 0, 0, 0));
    }
}
