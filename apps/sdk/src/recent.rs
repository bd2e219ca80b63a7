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

/// Sightings of one frame.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    /// Port of the first one.
    first: Port,
    /// Whether there was one at another port.
    elsewhere: bool,
}

/// Frames by where each was seen first. A loop through a network that passes no probes shows in frames that were sent out by one
/// port and come back by another.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use morph_sdk::{Dpid, RecentFrames};
///
/// let (here, there) = ((Dpid(1), 1), (Dpid(2), 3));
/// let now = Instant::now();
/// let mut recent = RecentFrames::default();
/// assert!(!recent.has_returned(b"a frame", here, now));
/// // Flooded, it comes back by another port: a loop, or a second cable.
/// assert!(recent.has_returned(b"a frame", there, now + Duration::from_millis(5)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct RecentFrames {
    hasher: RandomState,
    /// Sightings by the hash of the frame.
    seen: HashMap<u64, Sighting>,
    /// Hashes and times of the first sightings, oldest first.
    order: VecDeque<(u64, Instant)>,
}

impl RecentFrames {
    /// Notes a frame that came in by a port. True if it is a copy that comes back: the same frame came in by another port less than
    /// a second ago, be it the first time or since then.
    pub fn has_returned(&mut self, frame: &[u8], port: Port, now: Instant) -> bool {
        self.forget(now);
        let hash = self.hasher.hash_one(frame);
        if let Some(seen) = self.seen.get_mut(&hash) {
            seen.elsewhere |= seen.first != port;
            return seen.elsewhere;
        }
        let elsewhere = false;
        let first = port;
        self.seen.insert(hash, Sighting { first, elsewhere });
        self.order.push_back((hash, now));
        false
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
        assert!(!recent.has_returned(b"a", ONE, at(0)));
        assert!(!recent.has_returned(b"a", ONE, at(1)), "sent again");
        assert!(!recent.has_returned(b"b", TWO, at(2)), "another");
        assert!(recent.has_returned(b"a", TWO, at(898)));
        assert!(recent.has_returned(b"a", ONE, at(899)), "by another port");
        assert!(!recent.has_returned(b"a", TWO, at(900)), "too late");
        assert!(recent.has_returned(b"a", ONE, at(901)));
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let now = Instant::now();
        let mut recent = RecentFrames::default();
        for n in 0..2 * MOST {
            let frame = n.to_be_bytes();
            assert!(!recent.has_returned(&frame, ONE, now));
        }
        assert!(recent.seen.len() <= MOST && recent.order.len() <= MOST);
        let first = 0_usize.to_be_bytes();
        assert!(!recent.has_returned(&first, TWO, now), "forgotten");
        let last = (2 * MOST - 1).to_be_bytes();
        assert!(recent.has_returned(&last, TWO, now));
    }
}
