//! Order and text of sequence numbers.

use std::cmp::Ordering;
use std::fmt;

use crate::store::Seq;

impl Seq {
    /// Sequence number before all events.
    pub const ZERO: Seq = Seq {
        incarnation: 0,
        n: 0,
    };
}

impl PartialOrd for Seq {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Seq {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.incarnation, self.n).cmp(&(other.incarnation, other.n))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.incarnation, self.n)
    }
}
