//! The end of everything, in order: instances, then the proxy, then the store.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::Supervisor;
use super::instances::end_gently;
use crate::process::Process;

/// From SIGTERM to SIGKILL, for the proxy.
const PROXY: Duration = Duration::from_secs(2);
/// The same for the store, which may have a disk to wait for.
const STORE: Duration = Duration::from_secs(5);

impl Supervisor {
    pub(super) async fn stop_all(self) {
        tracing::info!("ending all in order");
        let mut ends = tokio::task::JoinSet::new();
        for (id, instance) in self.instances {
            let (proxy, app, process) = (self.proxy.clone(), instance.app, instance.process);
            ends.spawn(async move { end_gently(&proxy, &app, &id, &process).await });
        }
        while ends.join_next().await.is_some() {}
        end(self.proxy_part.process, PROXY).await;
        end(self.store_part.process, STORE).await;
        tracing::info!("all has ended");
    }
}

async fn end(process: Option<Arc<Process>>, patience: Duration) {
    let Some(process) = process else {
        return;
    };
    process.signal(Signal::TERM);
    if !process.ended_within(patience).await {
        tracing::warn!(pid = process.pid(), "does not end; it is killed");
        process.signal(Signal::KILL);
        process.ended().await;
    }
}
