//! Where all clocks of the model start.

use std::sync::OnceLock;
use std::time::Instant;

/// Returns the same point in time for all states.
pub(crate) fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}
