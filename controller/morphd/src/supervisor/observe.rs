//! Observes the proxy for as long as anybody listens, whatever happens to the proxy.

use std::time::Duration;

use morph_api::supervisor::Observation;
use tokio::sync::mpsc;

use super::event::Event;
use crate::machine::{Observed, Snapshot};
use crate::proxy::Proxy;

/// Between two tries while the proxy is away.
const AGAIN: Duration = Duration::from_millis(20);

pub(super) async fn observe(proxy: Proxy, post: mpsc::Sender<Event>) {
    while !post.is_closed() {
        if let Ok(stream) = proxy.observe().await
            && pass_on(stream, &post).await
            && post.send(Event::Observed(Observed::Lost)).await.is_err()
        {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Passes on a stream until it ends; says whether it came as far as a snapshot.
async fn pass_on(mut stream: tonic::Streaming<Observation>, post: &mpsc::Sender<Event>) -> bool {
    let mut snapshot = Some(Snapshot::default());
    while let Ok(Some(observation)) = stream.message().await {
        let whole = match &mut snapshot {
            None => None,
            Some(growing) => match growing.take(observation.clone()) {
                true => snapshot.take(),
                false => continue,
            },
        };
        let observed = whole.map_or(Observed::Observation(observation), Observed::Snapshot);
        if post.send(Event::Observed(observed)).await.is_err() {
            break;
        }
    }
    snapshot.is_none()
}
