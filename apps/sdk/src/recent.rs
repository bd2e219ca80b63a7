//! Frames that were seen lately, to tell a frame from a copy of it that comes back.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::Dpid;

/// Time after which a frame is no copy of an earlier one: hosts send the same frame again after a second or more, and a copy that
/// goes round takes a fraction of that.
const RECENT: Duration = Duration::from_millis(900);
/// Most frames that are remembered.
const MOST: usize = 8192;

/// Port of a switch.
type Port = (Dpid, u32);

/// Frames by where each was seen first. A loop through a network that passes no probes shows in frames that were sent out by one
/// port and come back by another.
#[derive(Debug, Clone, Default)]
pub struct RecentFrames {
    hasher: RandomState,
    /// Port and time of the first sighting, by the hash of the frame.
    seen: HashMap<u64, (Port, Instant)>,
    /// Hashes and times of the first sightings, oldest first.
    order: VecDeque<(u64, Instant)>,
}

impl RecentFrames {
    /// Notes a frame that came in by a port. Returns the port where the same frame came in less than a second ago, if that is
    /// another one.
    pub fn seen_elsewhere(&mut self, frame: &[u8], port: Port, now: Instant) -> Option<Port> {
        self.forget(now);
        let hash = self.hasher.hash_one(frame);
        match self.seen.get(&hash) {
            Some((first, _)) => Some(*first).filter(|first| *first != port),
            None => {
                self.seen.insert(hash, (port, now));
                self.order.push_back((hash, now));
                None
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= RECENT;
        while let Some((hash, _)) = self
            .order
            .pop_front_if(|(_, at)| is_old(at) || self.seen.len() >= MOST)
        {
            self.seen.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Port = (Dpid(1), 1);
    const TWO: Port = (Dpid(1), 2);

    #[test]
    fn a_copy_is_known_by_the_port_of_the_first_for_a_while() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut recent = RecentFrames::default();
        assert_eq!(recent.seen_elsewhere(b"a", ONE, at(0)), None);
        assert_eq!(recent.seen_elsewhere(b"a", ONE, at(1)), None, "sent again");
        assert_eq!(recent.seen_elsewhere(b"b", TWO, at(2)), None, "another");
        assert_eq!(recent.seen_elsewhere(b"a", TWO, at(899)), Some(ONE));
        assert_eq!(recent.seen_elsewhere(b"a", TWO, at(900)), None, "too late");
        assert_eq!(recent.seen_elsewhere(b"a", ONE, at(901)), Some(TWO));
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let now = Instant::now();
        let mut recent = RecentFrames::default();
        for n in 0..2 * MOST {
            let frame = n.to_be_bytes();
            assert_eq!(recent.seen_elsewhere(&frame, ONE, now), None);
        }
        assert!(recent.seen.len() <= MOST && recent.order.len() <= MOST);
        let first = 0_usize.to_be_bytes();
        assert_eq!(recent.seen_elsewhere(&first, TWO, now), None, "forgotten");
        let last = (2 * MOST - 1).to_be_bytes();
        assert_eq!(recent.seen_elsewhere(&last, TWO, now), Some(ONE));
    }
}
