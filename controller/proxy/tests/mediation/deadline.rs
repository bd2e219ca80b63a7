//! Waits with a deadline.

use std::time::Duration;

/// Limit of any single step.
pub(crate) const DEADLINE: Duration = Duration::from_secs(8);

/// Awaits a future within `DEADLINE`.
pub(crate) async fn within_deadline<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Repeats a check until it succeeds, for conditions that nobody announces.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    within_deadline(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
