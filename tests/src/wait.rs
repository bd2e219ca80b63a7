//! Waiting for what becomes true, with a deadline.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(20);

/// Looks until `condition` gives a value; an error of the condition ends the wait at once.
///
/// # Errors
/// When `within` has passed, naming `what`.
pub fn wait_until<T>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if start.elapsed() > within {
            bail!("{what}: not within {within:?}");
        }
        pause(STEP);
    }
}

/// Lets time pass: a test that says "for so long nothing happens" has to.
#[expect(
    clippy::disallowed_methods,
    reason = "the passing of time is what is being tested or polled for"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
