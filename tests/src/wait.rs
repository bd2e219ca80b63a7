//! Waiting for a condition, with a deadline.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Interval at which a condition is checked.
const STEP: Duration = Duration::from_millis(20);

/// Checks `condition` until it returns a value. An error of the condition, or the end of `within`, ends the wait.
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
            bail!("not within {within:?}: {what}");
        }
        pause(STEP);
    }
}

/// Lets time pass, for tests that show that nothing happens in a time.
#[expect(
    clippy::disallowed_methods,
    reason = "the passing of time is what is being tested or polled for"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
