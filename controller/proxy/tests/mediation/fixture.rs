//! Fixture: a run directory with a store and a proxy in it.

use std::net::SocketAddr;
use std::path::Path;

use morph_api::Role;
use morph_api::store::Seq;
use morph_api::supervisor::proxy_client::ProxyClient;
use morph_api::supervisor::{
    Configuration, HoldReply, HoldRequest, Observation, ObserveRequest, PresentApp, ResumeReply,
    ResumeRequest, SlotsRequest, SwitchesRequest, observation,
};
use morph_api::verification::VerificationPeriods;
use morph_proxy::{Options, Proxy};
use morph_store::{Client, op};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::deadline::{DEADLINE, eventually, within_deadline};
use crate::instance::Instance;

struct Daemon {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Daemon {
    async fn end(self) {
        let _ = self.stop.send(());
        within_deadline("the end", self.task).await.unwrap();
    }
}

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) control: ProxyClient<Channel>,
    pub(crate) store: Client,
    role: Role,
    proxy: Option<Daemon>,
    daemon: Option<Daemon>,
}

/// Present apps of most tests: topology below learning-switch.
pub(crate) const APPS: [(&str, u32, u32, u32); 2] =
    [("topology", 2, 2, 9), ("learning-switch", 1, 10, 19)];
/// App of the fake instances.
pub(crate) const APP: &str = "learning-switch";

impl Fixture {
    /// Starts with both apps configured and the checkpoint of `APP` at epoch 1.
    pub(crate) async fn new() -> Self {
        let fixture = Fixture::unconfigured().await;
        fixture.configure(&APPS).await;
        fixture.fence(0, "1.0.0").await;
        fixture
    }

    /// Variant of `new` whose proxy requests this role.
    #[cfg(feature = "system-tests")]
    pub(crate) async fn with_role(role: Role) -> Self {
        let fixture = Fixture::start(role).await;
        fixture.configure(&APPS).await;
        fixture
    }

    /// Starts without a configuration.
    pub(crate) async fn unconfigured() -> Self {
        Fixture::start(Role::Equal).await
    }

    async fn start(role: Role) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let daemon = start_store(dir.path());
        let (proxy, address) = start_proxy(dir.path(), None, role);
        Fixture {
            control: ProxyClient::new(morph_api::unix::connect_lazy(dir.path().join("proxy.sock"))),
            store: Client::new(dir.path().join("store.sock")),
            address,
            role,
            proxy: Some(proxy),
            daemon: Some(daemon),
            dir,
        }
    }

    pub(crate) async fn stop_proxy(&mut self) {
        self.proxy.take().unwrap().end().await;
    }

    /// Starts another incarnation of the proxy on the same port.
    pub(crate) async fn start_proxy(&mut self) {
        let (proxy, _) = start_proxy(self.dir.path(), Some(self.address), self.role);
        self.proxy = Some(proxy);
    }

    pub(crate) async fn stop_store(&mut self) {
        self.daemon.take().unwrap().end().await;
    }

    pub(crate) async fn start_store(&mut self) {
        self.daemon = Some(start_store(self.dir.path()));
    }

    pub(crate) async fn configure(&self, apps: &[(&str, u32, u32, u32)]) {
        let present = |&(name, id, first_table, last_table): &(&str, u32, u32, u32)| PresentApp {
            name: name.into(),
            id,
            first_table,
            last_table,
            // Packets enter the tables though no instance reports that rules are confirmed.
            drops_absent: true,
            ..PresentApp::default()
        };
        let configuration = Configuration {
            apps: apps.iter().map(present).collect(),
            ..Configuration::default()
        };
        eventually("the control socket", async || {
            self.control
                .clone()
                .configure(configuration.clone())
                .await
                .ok()
        })
        .await;
    }

    /// Raises the epoch of `APP`; returns the checkpoint.
    pub(crate) async fn fence(&self, expect: u64, release: &str) -> morph_api::store::Checkpoint {
        self.store.ready(DEADLINE).await.unwrap();
        if expect == 0 {
            let create = op::create_primary(APP, 1, 1);
            self.store
                .commit(op::shared([], [create]))
                .await
                .unwrap()
                .unwrap();
        }
        let fence = op::fence(APP, "node1", expect, release);
        let committed = self
            .store
            .commit(op::shared([], [fence]))
            .await
            .unwrap()
            .unwrap();
        committed.checkpoints[0].clone()
    }

    pub(crate) async fn instance(&self, name: &str) -> Instance {
        Instance::attach(self.dir.path(), APP, name, "1.0.0").await
    }

    pub(crate) async fn resume(&mut self, name: &str, epoch: u64, cursor: Seq) -> ResumeReply {
        let request = ResumeRequest {
            group: None,
            app: APP.into(),
            instance: name.into(),
            epoch,
            cursor: Some(cursor),
            turn: 0,
            revision: 0,
        };
        let reply = within_deadline("resume", self.control.resume(request)).await;
        reply.unwrap().into_inner()
    }

    pub(crate) async fn hold(&self, quiesce_ms: u32, hold_ms: u32) -> HoldReply {
        let request = HoldRequest {
            app: APP.into(),
            quiesce_ms,
            hold_ms,
        };
        let reply = within_deadline("hold", self.control.clone().hold(request)).await;
        reply.unwrap().into_inner()
    }

    pub(crate) async fn slot(&self) -> morph_api::supervisor::Slot {
        let slots = self
            .control
            .clone()
            .slots(SlotsRequest {})
            .await
            .unwrap()
            .into_inner()
            .slots;
        slots.into_iter().find(|slot| slot.app == APP).unwrap()
    }

    pub(crate) async fn switches(&self) -> Vec<morph_api::supervisor::Switch> {
        let reply = self.control.clone().switches(SwitchesRequest {}).await;
        reply.unwrap().into_inner().switches
    }

    pub(crate) async fn observe(&self) -> Observer {
        let stream = eventually("the control socket", async || {
            self.control.clone().observe(ObserveRequest {}).await.ok()
        })
        .await;
        Observer(stream.into_inner())
    }
}

pub(crate) struct Observer(tonic::Streaming<Observation>);

impl Observer {
    pub(crate) async fn next(&mut self) -> observation::What {
        let next = within_deadline("an observation", self.0.message()).await;
        next.unwrap().unwrap().what.unwrap()
    }

    /// Skips observations that do not match.
    pub(crate) async fn find<T>(
        &mut self,
        mut is: impl FnMut(&observation::What) -> Option<T>,
    ) -> T {
        loop {
            if let Some(found) = is(&self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn ended(&mut self) -> bool {
        matches!(
            within_deadline("the end of the stream", self.0.message()).await,
            Ok(None) | Err(_)
        )
    }
}

fn start_store(dir: &Path) -> Daemon {
    let store = morph_store::server::Store::open(&dir.join("store"), dir).unwrap();
    let listener = store.listen().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        store.run(listener, stopped).await.unwrap();
    });
    Daemon { stop, task }
}

fn start_proxy(dir: &Path, address: Option<SocketAddr>, role: Role) -> (Daemon, SocketAddr) {
    let any = "127.0.0.1:0".parse().unwrap();
    let proxy = Proxy::bind(Options {
        run_dir: dir.to_owned(),
        node: "node1".into(),
        openflow: vec![address.unwrap_or(any)],
        quota: None,
        target_delay: None,
        role,
        verification: VerificationPeriods::OFF,
    })
    .unwrap();
    let address = proxy.openflow_addresses()[0];
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        proxy
            .run(async {
                let _ = stopped.await;
            })
            .await;
    });
    (Daemon { stop, task }, address)
}
