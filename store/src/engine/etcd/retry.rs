//! Calls at a start, which are repeated while etcd cannot be reached.

use std::time::Duration;

use tokio::time::Instant;

use super::link::{CallError, Link};
use crate::engine::error::EngineError;

/// Time that a start waits for an answer of etcd. Reading a large store may take longer.
const START: Duration = Duration::from_secs(5);
/// Maximum duration of a start, where some calls are answered and others never are.
const MOST: Duration = Duration::from_secs(120);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Repeats an attempt while etcd cannot be reached, as long as a start may take.
pub(super) async fn retry<T>(
    link: &mut Link,
    mut attempt: impl AsyncFnMut(&mut Link) -> Result<T, CallError>,
) -> Result<T, EngineError> {
    let begun = Instant::now();
    loop {
        let last = match attempt(link).await {
            Ok(done) => return Ok(done),
            Err(CallError::Unreachable(last)) => last,
            // The history was compacted during the read, so a newer revision exists.
            Err(CallError::Compacted) => "etcd compacts its history".to_owned(),
            Err(refused @ CallError::Refused(_)) => return Err(refused.into()),
        };
        let heard = link.heard().map_or(begun, |heard| heard.max(begun));
        if heard.elapsed() >= START || begun.elapsed() >= MOST {
            let url = link.url();
            let advice = match url.tls {
                true => "that it runs there, has a quorum, and that ca=, cert= and key= fit",
                false => "that it runs there, has a quorum, and does not want TLS (etcds://)",
            };
            return Err(EngineError::Unreachable(format!(
                "cannot reach etcd at {url}: no answer for {:.0?}: {last}; check {advice}",
                heard.elapsed()
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
