//! The service: asks the supervisor, the proxy or the store, and answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use morph_api::management::management_server::Management;
use morph_api::management::*;
use morph_store::Client;
use semver::Version;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request as Call, Response, Status};

use super::{logs, migrations, plans, rows, state, views, whole};
use crate::bundle::{Bundle, BundleError};
use crate::config::Settings;
use crate::proxy::Proxy;
use crate::records::Records;
use crate::supervisor::{AppView, Event, Last, Request, Supervisor};

/// Lines of a log where no number is named.
const TAIL: u32 = 200;
/// How long a stop waits for the instance's end.
const STOPPING: Duration = Duration::from_secs(5);
/// Between two looks at that.
const LOOK: Duration = Duration::from_millis(20);

type Answer<T> = Result<Response<T>, Status>;
type Statuses =
    std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<UpgradeStatus, Status>> + Send>>;

/// The management service; clones share everything.
#[derive(Clone)]
pub struct Service {
    post: mpsc::Sender<Event>,
    store: Client,
    proxy: Proxy,
    settings: Arc<Settings>,
    read_only: bool,
}

impl Service {
    /// Speaks for this supervisor.
    pub fn new(supervisor: &Supervisor, read_only: bool) -> Self {
        let (store, proxy, settings) = supervisor.clients();
        Service {
            post: supervisor.post(),
            store,
            proxy,
            settings,
            read_only,
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Status>>) -> Request,
    ) -> Result<T, Status> {
        let (sender, receiver) = oneshot::channel();
        let ending = || Status::unavailable("morphd is ending");
        self.post
            .send(Event::Asked(Box::new(request(sender))))
            .await
            .map_err(|_| ending())?;
        receiver.await.map_err(|_| ending())?
    }

    fn may_write(&self) -> Result<(), Status> {
        match self.read_only {
            false => Ok(()),
            true => Err(Status::permission_denied(format!(
                "this endpoint is read-only; changes are made on unix:{}",
                self.settings.run("api.sock").display()
            ))),
        }
    }

    async fn apps_now(&self, only: Option<&str>) -> Result<Vec<App>, Status> {
        let views = self.ask(Request::Apps).await?;
        // Without the proxy there are no counts; what morphd itself knows is still worth showing.
        let slots = self.proxy.slots().await.unwrap_or_default().slots;
        let shown = views.into_iter().filter(|view| match only {
            Some(only) => view.name == only,
            None => view.present,
        });
        let apps = shown.map(|view| {
            let slot = slots.iter().find(|slot| slot.app == view.name);
            views::app(view, slot)
        });
        Ok(apps.collect())
    }

    /// Of the apps, by their ids.
    async fn names(&self) -> Result<BTreeMap<u8, String>, Status> {
        let views = self.ask(Request::Apps).await?;
        Ok(views.into_iter().map(|view| (view.id, view.name)).collect())
    }

    async fn app_now(&self, name: &str) -> Result<AppView, Status> {
        let views = self.ask(Request::Apps).await?;
        let found = views.into_iter().find(|view| view.name == name);
        found.ok_or_else(|| {
            Status::not_found(format!("there is no app {name}; see `morphctl apps`"))
        })
    }

    /// Waits until the app has no process, or for as long as that takes at most.
    async fn stopped(&self, name: &str) -> Result<(), Status> {
        let mut looks = tokio::time::interval(LOOK);
        let gone = async {
            loop {
                looks.tick().await;
                if self.app_now(name).await?.pid == 0 {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(STOPPING, gone)
            .await
            .unwrap_or_else(|_| Err(Status::unavailable(format!("{name} does not end"))))
    }
}

pub(super) fn version(text: &str) -> Result<Option<Version>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse();
    parsed
        .map(Some)
        .map_err(|error| Status::invalid_argument(format!("{text:?} is no version: {error}")))
}

/// An app's name comes into paths of files: it may not leave its folder.
fn plain_name(name: &str) -> Result<&str, Status> {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match plain {
        true => Ok(name),
        false => Err(Status::invalid_argument(format!(
            "{name:?} is not the name of an app"
        ))),
    }
}

fn bundle_status(error: &BundleError) -> Status {
    Status::failed_precondition(error.to_string())
}

/// The last statuses of all that goes together: that of the first.
async fn last_of(ends: Vec<Last>) -> Result<UpgradeStatus, Status> {
    let mut first = None;
    for end in ends {
        let status = end
            .await
            .map_err(|_| Status::unavailable("morphd is ending"))?;
        first.get_or_insert(status);
    }
    first.ok_or_else(|| Status::internal("the upgrade is gone"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BundleError> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| bundle_status(&error)),
        Err(_) => Err(Status::internal("the bundle could not be read")),
    }
}

#[tonic::async_trait]
impl Management for Service {
    async fn version(&self, _: Call<VersionRequest>) -> Answer<VersionReply> {
        let default = ["0.0.0.0:6653", "[::]:6653", "0.0.0.0:6633", "[::]:6633"].map(str::to_owned);
        let named = self.settings.openflow.clone();
        // Who asks whether morphd lives gets an answer in any case.
        let figures = self.ask(Request::Figures).await.unwrap_or_default();
        Ok(Response::new(VersionReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state_dir: self.settings.state_dir.display().to_string(),
            run_dir: self.settings.run_dir.display().to_string(),
            openflow: if named.is_empty() {
                default.to_vec()
            } else {
                named
            },
            parts: figures.parts.into_iter().map(views::part).collect(),
        }))
    }

    async fn apps(&self, _: Call<AppsRequest>) -> Answer<AppsReply> {
        let apps = self.apps_now(None).await?;
        Ok(Response::new(AppsReply { apps }))
    }

    async fn releases(&self, call: Call<ReleasesRequest>) -> Answer<ReleasesReply> {
        let app = call.into_inner().app;
        let releases = self.ask(|reply| Request::Releases(app, reply)).await?;
        Ok(Response::new(ReleasesReply { releases }))
    }

    async fn install_app(&self, call: Call<InstallAppRequest>) -> Answer<InstallAppReply> {
        self.may_write()?;
        let path = PathBuf::from(call.into_inner().path);
        if !path.is_absolute() {
            return Err(Status::invalid_argument(format!(
                "{}: the path must be absolute",
                path.display()
            )));
        }
        let bundle = blocking(move || Bundle::examine(&path)).await?;
        let asked = bundle.clone();
        let new = self.ask(|reply| Request::MayInstall(asked, reply)).await?;
        let (copied, bundles) = (bundle.clone(), self.settings.state_dir.join("bundles"));
        let folder = blocking(move || copied.install(&bundles)).await?;
        let release = self
            .ask(|reply| Request::Stage(bundle, folder, reply))
            .await?;
        Ok(Response::new(InstallAppReply {
            release: Some(release),
            already: !new,
        }))
    }

    async fn start_app(&self, call: Call<StartAppRequest>) -> Answer<StartAppReply> {
        self.may_write()?;
        let StartAppRequest { app, version: text } = call.into_inner();
        let (name, version) = (app.clone(), version(&text)?);
        self.ask(|reply| Request::Start(name, version, reply))
            .await?;
        let app = self.apps_now(Some(&app)).await?.into_iter().next();
        Ok(Response::new(StartAppReply { app }))
    }

    async fn stop_app(&self, call: Call<StopAppRequest>) -> Answer<StopAppReply> {
        self.may_write()?;
        let app = call.into_inner().app;
        self.ask(|reply| Request::Stop(app.clone(), reply)).await?;
        self.stopped(&app).await?;
        Ok(Response::new(StopAppReply {}))
    }

    async fn remove_app(&self, call: Call<RemoveAppRequest>) -> Answer<RemoveAppReply> {
        self.may_write()?;
        let RemoveAppRequest { app, keep_rules } = call.into_inner();
        let id = self
            .ask(|reply| Request::Remove(app.clone(), reply))
            .await?;
        self.stopped(&app).await?;
        let switches = match keep_rules {
            true => 0,
            false => self.proxy.clean(&app, id).await?.switches,
        };
        Ok(Response::new(RemoveAppReply { switches }))
    }

    type LogsStream = ReceiverStream<Result<LogLine, Status>>;

    async fn logs(&self, call: Call<LogsRequest>) -> Answer<Self::LogsStream> {
        let LogsRequest { app, tail, follow } = call.into_inner();
        let name = plain_name(&app)?;
        // The parts of Morpheus have logs as well.
        if !name.starts_with("morph-") {
            let known = name.to_owned();
            self.ask(|reply| Request::Known(known, reply)).await?;
        }
        let path = crate::log::path(&self.settings.state_dir, name);
        let lines = if tail == 0 { TAIL } else { tail };
        let lines = usize::try_from(lines).unwrap_or(usize::MAX);
        let stream = logs::lines(path, lines, follow).await;
        let stream = stream
            .map_err(|error| Status::internal(format!("the log could not be read: {error}")))?;
        Ok(Response::new(stream))
    }

    type UpgradeStream = Statuses;

    async fn plan(&self, call: Call<UpgradeRequest>) -> Answer<PlanReply> {
        let asked = plans::asked(call)?;
        let mut upgrades = self.ask(|reply| Request::Plan(asked, reply)).await?;
        for plan in &mut upgrades {
            plans::look(plan, &self.store, &self.proxy).await?;
        }
        Ok(Response::new(PlanReply { upgrades }))
    }

    async fn upgrades(&self, call: Call<UpgradesRequest>) -> Answer<UpgradesReply> {
        let UpgradesRequest { app, limit } = call.into_inner();
        if !app.is_empty() {
            self.app_now(&app).await?;
        }
        let records = Records::new(self.store.clone());
        let past = crate::supervisor::history::past(&records, &app).await;
        let mut upgrades = past.map_err(Status::unavailable)?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        if limit != 0 && upgrades.len() > most {
            upgrades.drain(..upgrades.len() - most);
        }
        Ok(Response::new(UpgradesReply { upgrades }))
    }

    async fn upgrade(&self, call: Call<UpgradeRequest>) -> Answer<Self::UpgradeStream> {
        self.may_write()?;
        let no_wait = call.get_ref().no_wait;
        let asked = plans::asked(call)?;
        let statuses = self.ask(|reply| Request::Upgrade(asked, reply)).await?;
        let statuses = ReceiverStream::new(statuses).map(Ok);
        Ok(Response::new(match no_wait {
            true => Box::pin(statuses.take(1)),
            false => Box::pin(statuses),
        }))
    }

    async fn commit(&self, call: Call<CommitRequest>) -> Answer<CommitReply> {
        self.may_write()?;
        let app = call.into_inner().app;
        let end = self
            .ask(|reply| Request::Commit(app.clone(), reply))
            .await?;
        let status = last_of(end).await?;
        match status.step() {
            Step::Committed => Ok(Response::new(CommitReply {
                status: Some(status),
            })),
            _ => Err(Status::failed_precondition(format!(
                "{app} was rolled back instead: {}",
                status.message
            ))),
        }
    }

    async fn rollback(&self, call: Call<RollbackRequest>) -> Answer<RollbackReply> {
        self.may_write()?;
        let app = call.into_inner().app;
        let end = self
            .ask(|reply| Request::Rollback(app.clone(), reply))
            .await?;
        let status = last_of(end).await?;
        match status.step() {
            Step::RolledBack => Ok(Response::new(RollbackReply {
                status: Some(status),
            })),
            _ => Err(Status::failed_precondition(format!(
                "the upgrade of {app} to {} was committed meanwhile; to go back: `morphctl upgrade app={app}@{}`",
                status.to, status.from
            ))),
        }
    }

    type StatusStream = Statuses;

    async fn status(&self, call: Call<StatusRequest>) -> Answer<Self::StatusStream> {
        let StatusRequest { app, follow } = call.into_inner();
        if !app.is_empty() {
            self.ask(|reply| Request::Known(app.clone(), reply)).await?;
        }
        let only = (!app.is_empty()).then_some(app);
        let (now, later) = self.ask(|reply| Request::Status(only, reply)).await?;
        let now = tokio_stream::iter(now).map(Ok);
        Ok(Response::new(match follow {
            true => Box::pin(now.chain(ReceiverStream::new(later).map(Ok))),
            false => Box::pin(now),
        }))
    }

    async fn quarantined_events(
        &self,
        call: Call<QuarantinedEventsRequest>,
    ) -> Answer<QuarantinedEventsReply> {
        let app = call.into_inner().app;
        let events = self.ask(|reply| Request::Quarantined(app, reply)).await?;
        Ok(Response::new(QuarantinedEventsReply { events }))
    }

    async fn retry_event(&self, call: Call<RetryEventRequest>) -> Answer<RetryEventReply> {
        self.may_write()?;
        let id = call.into_inner().id;
        let event = self.ask(|reply| Request::RetryEvent(id, reply)).await?;
        Ok(Response::new(RetryEventReply { event: Some(event) }))
    }

    async fn drop_event(&self, call: Call<DropEventRequest>) -> Answer<DropEventReply> {
        self.may_write()?;
        let id = call.into_inner().id;
        let event = self.ask(|reply| Request::DropEvent(id, reply)).await?;
        Ok(Response::new(DropEventReply { event: Some(event) }))
    }

    async fn switches(&self, _: Call<SwitchesRequest>) -> Answer<SwitchesReply> {
        let switches = self.proxy.switches().await?.switches;
        let switches = switches.into_iter().map(views::switch).collect();
        Ok(Response::new(SwitchesReply { switches }))
    }

    async fn ports(&self, call: Call<PortsRequest>) -> Answer<PortsReply> {
        let dpid = views::dpid(&call.into_inner().dpid)?;
        let ports = self.proxy.ports(dpid).await?.ports;
        let ports = ports.into_iter().map(views::port).collect();
        Ok(Response::new(PortsReply { ports }))
    }

    async fn flows(&self, call: Call<FlowsRequest>) -> Answer<FlowsReply> {
        let FlowsRequest { dpid, app } = call.into_inner();
        let dpid = views::dpid(&dpid)?;
        if !app.is_empty() && !views::is_owner(&app) {
            self.ask(|reply| Request::Known(app.clone(), reply)).await?;
        }
        let names = self.names().await?;
        let flows = self.proxy.flows(dpid).await?.flows.into_iter();
        let flows = flows.map(|flow| views::flow(flow, &names));
        let flows = flows
            .filter(|flow| app.is_empty() || flow.app == app)
            .collect();
        Ok(Response::new(FlowsReply { flows }))
    }

    async fn clean_switch(&self, call: Call<CleanSwitchRequest>) -> Answer<CleanSwitchReply> {
        self.may_write()?;
        let dpid = views::dpid(&call.into_inner().dpid)?;
        let cleaned = self.proxy.clean_switch(dpid).await?.apps;
        let apps = self.ask(Request::Apps).await?;
        let cleaned = cleaned.iter().map(|rules| views::cleaned(rules, &apps));
        Ok(Response::new(CleanSwitchReply {
            cleaned: cleaned.collect(),
        }))
    }

    async fn topology(&self, _: Call<TopologyRequest>) -> Answer<TopologyReply> {
        let rows = state::rows(&self.store, "topology", "links").await?;
        Ok(Response::new(TopologyReply {
            links: rows::links(&rows),
        }))
    }

    async fn hosts(&self, _: Call<HostsRequest>) -> Answer<HostsReply> {
        let rows = state::rows(&self.store, "topology", "hosts").await?;
        Ok(Response::new(HostsReply {
            hosts: rows::hosts(&rows),
        }))
    }

    async fn config_get(&self, call: Call<ConfigGetRequest>) -> Answer<ConfigGetReply> {
        let app = call.into_inner().app;
        let tables = self
            .ask(|reply| Request::Config(app.clone(), reply))
            .await?;
        Ok(Response::new(
            state::config_get(&self.store, &app, &tables.0).await?,
        ))
    }

    async fn config_set(&self, call: Call<ConfigSetRequest>) -> Answer<ConfigSetReply> {
        self.may_write()?;
        let ConfigSetRequest { app, entries } = call.into_inner();
        let tables = self
            .ask(|reply| Request::Config(app.clone(), reply))
            .await?;
        Ok(Response::new(
            state::config_set(&self.store, &app, &tables, &entries).await?,
        ))
    }

    async fn store_get(&self, call: Call<StoreGetRequest>) -> Answer<StoreGetReply> {
        let StoreGetRequest { app, table, key } = call.into_inner();
        Ok(Response::new(
            state::get(&self.store, &app, &table, &key).await?,
        ))
    }

    async fn store_list(&self, call: Call<StoreListRequest>) -> Answer<StoreListReply> {
        Ok(Response::new(
            state::list(&self.store, call.into_inner()).await?,
        ))
    }

    async fn store_migrations(
        &self,
        call: Call<StoreMigrationsRequest>,
    ) -> Answer<StoreMigrationsReply> {
        let app = call.into_inner().app;
        if !app.is_empty() {
            self.app_now(&app).await?;
        }
        let told = self.ask(|reply| Request::Migrations(app, reply)).await?;
        let keyspaces = self.store.status().await.map_err(state::away)?.keyspaces;
        let migrations = told.into_iter();
        let migrations = migrations.map(|told| migrations::shown(told, &keyspaces));
        Ok(Response::new(StoreMigrationsReply {
            migrations: migrations.collect(),
        }))
    }

    async fn store_stats(&self, _: Call<StoreStatsRequest>) -> Answer<StoreStatsReply> {
        let status = self.store.status().await.map_err(state::away)?;
        let stats = Some(whole::stats(status));
        Ok(Response::new(StoreStatsReply { stats }))
    }

    type StoreWatchStream = whole::Parts<StoreChange>;

    async fn store_watch(&self, call: Call<StoreWatchRequest>) -> Answer<Self::StoreWatchStream> {
        let changes = whole::watch(&self.store, call.into_inner()).await?;
        Ok(Response::new(changes))
    }

    type StoreBackupStream = whole::Parts<StoreBackupPart>;

    async fn store_backup(&self, _: Call<StoreBackupRequest>) -> Answer<Self::StoreBackupStream> {
        Ok(Response::new(whole::backup(&self.store).await?))
    }

    type StoreCheckStream = whole::Parts<StoreCheckProgress>;

    async fn store_check(&self, _: Call<StoreCheckRequest>) -> Answer<Self::StoreCheckStream> {
        let releases = |reply| Request::Releases(String::new(), reply);
        let releases = self.ask(releases).await?;
        let status = self.store.status().await.map_err(state::away)?;
        let unread = whole::unread(&status, &releases);
        Ok(Response::new(whole::check(&self.store, unread).await?))
    }
}
