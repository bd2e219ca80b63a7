//! The end of everything, in order: instances, then the proxy, then the store.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::Supervisor;
use crate::process::Process;

/// Time from SIGTERM to SIGKILL for the proxy.
const PROXY: Duration = Duration::from_secs(2);
/// Time from SIGTERM to SIGKILL for the store, which may have a disk to wait for.
const STORE: Duration = Duration::from_secs(5);

impl Supervisor {
    pub(super) async fn stop_all(self) {
        tracing::info!("ending all in order");
        let proxy = self.calls.proxy();
        self.children.end_all(&proxy).await;
        let [proxy, store] = self.daemons.into_processes();
        end(proxy, PROXY).await;
        end(store, STORE).await;
        tracing::info!("all has ended");
    }
}

async fn end(process: Option<Arc<Process>>, limit: Duration) {
    let Some(process) = process else {
        return;
    };
    process.signal(Signal::TERM);
    if !process.ended_within(limit).await {
        tracing::warn!(pid = process.pid(), "does not end; it is killed");
        process.signal(Signal::KILL);
        process.ended().await;
    }
}
