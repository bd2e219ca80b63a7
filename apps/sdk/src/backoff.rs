//! Growing intervals between attempts.

use std::time::Duration;

/// Bounds of an interval that doubles with each failed attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    shortest: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) const fn new(shortest: Duration, longest: Duration) -> Self {
        Backoff { shortest, longest }
    }

    /// Interval after one of this length; the first one follows zero.
    pub(crate) fn after(self, last: Duration) -> Duration {
        (last * 2).clamp(self.shortest, self.longest)
    }
}
