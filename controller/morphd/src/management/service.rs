//! Implementation of the management API: each call asks the supervisor, the proxy or the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use morph_api::management::management_server::Management;
use morph_api::management::*;
use morph_openflow::Dpid;
use morph_store::Client;
use tokio::sync::oneshot;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request as Call, Response, Status};

use super::events::{Events, Handled};
use super::requests::Requests;
use super::{
    arguments, config, install, logs, migrations, network, orphans, plans, rows, store, views,
};
use crate::alarms;
use crate::children::AppUsers;
use crate::config::Settings;
use crate::machine::request::Place;
use crate::proxy::Proxy;
use crate::records::Records;
use crate::supervisor::{Request, Supervisor};

/// Number of log lines sent unless the call names another.
const DEFAULT_TAIL: u32 = 200;
type RpcResult<T> = Result<Response<T>, Status>;
type Statuses =
    std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<UpgradeStatus, Status>> + Send>>;

/// The management service; clones share everything.
#[derive(Clone)]
pub struct Service {
    requests: Requests,
    store: Client,
    proxy: Proxy,
    settings: Arc<Settings>,
    users: Option<AppUsers>,
    read_only: bool,
}

impl Service {
    pub fn new(supervisor: &Supervisor, read_only: bool) -> Self {
        let (store, proxy, settings) = supervisor.clients();
        Service {
            requests: Requests::new(supervisor.post()),
            store,
            proxy,
            settings,
            users: supervisor.app_users(),
            read_only,
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Status>>) -> Request,
    ) -> Result<T, Status> {
        self.requests.ask(request).await
    }

    fn may_write(&self) -> Result<(), Status> {
        match self.read_only {
            false => Ok(()),
            true => Err(Status::permission_denied(format!(
                "this endpoint is read-only; to make changes connect to unix:{}",
                self.settings.run("api.sock").display()
            ))),
        }
    }

    async fn apps_now(&self, only: Option<&str>) -> Result<Vec<App>, Status> {
        let views = self.ask(Request::Apps).await?;
        // While the proxy is away its counters are missing, and the rest is still worth showing.
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
}

/// Last status of the app that was named, of all that changed as one.
fn first(statuses: Vec<UpgradeStatus>) -> Result<UpgradeStatus, Status> {
    let mut statuses = statuses.into_iter();
    statuses
        .next()
        .ok_or_else(|| Status::internal("the upgrade is gone"))
}

#[tonic::async_trait]
impl Management for Service {
    async fn version(&self, _: Call<VersionRequest>) -> RpcResult<VersionReply> {
        let default = ["0.0.0.0:6653", "[::]:6653", "0.0.0.0:6633", "[::]:6633"].map(str::to_owned);
        let named = self.settings.openflow.clone();
        // The version is told even if the supervisor does not answer.
        let overview = self.ask(Request::Overview).await.unwrap_or_default();
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
            parts: overview.daemons.into_iter().map(views::part).collect(),
        }))
    }

    async fn apps(&self, _: Call<AppsRequest>) -> RpcResult<AppsReply> {
        let apps = self.apps_now(None).await?;
        Ok(Response::new(AppsReply { apps }))
    }

    async fn releases(&self, call: Call<ReleasesRequest>) -> RpcResult<ReleasesReply> {
        let app = call.into_inner().app;
        let releases = self.ask(|reply| Request::Releases(app, reply)).await?;
        Ok(Response::new(ReleasesReply { releases }))
    }

    async fn install_app(&self, call: Call<InstallAppRequest>) -> RpcResult<InstallAppReply> {
        self.may_write()?;
        let InstallAppRequest { path, unchecked } = call.into_inner();
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err(Status::invalid_argument(format!(
                "{}: the path of a bundle must be absolute",
                path.display()
            )));
        }
        let bundle = install::examine(path).await?;
        let asked = bundle.clone();
        let new = self.ask(|reply| Request::MayInstall(asked, reply)).await?;
        let bundles = self.settings.state_dir.join("bundles");
        let (bundle, folder) = match new {
            false => (bundle.clone(), bundle.installed(&bundles)),
            true => {
                let (bundle, draft) =
                    install::draft(self.users, bundle, bundles, unchecked).await?;
                // Now that it is known what it has.
                let asked = bundle.clone();
                self.ask(|reply| Request::MayInstall(asked, reply)).await?;
                (bundle, install::keep(draft).await?)
            }
        };
        let release = self
            .ask(|reply| Request::Stage(bundle, folder, reply))
            .await?;
        Ok(Response::new(InstallAppReply {
            release: Some(release),
            already: !new,
        }))
    }

    async fn start_app(&self, call: Call<StartAppRequest>) -> RpcResult<StartAppReply> {
        self.may_write()?;
        let StartAppRequest {
            app,
            version: text,
            config: entries,
        } = call.into_inner();
        let (name, version) = (app.clone(), arguments::version(&text)?);
        let named = (app.clone(), version.clone());
        let tables = self.ask(|reply| Request::StartConfig(named.0, named.1, reply));
        config::prepare(&self.store, &app, &tables.await?, &entries).await?;
        self.ask(|reply| Request::Start(name, version, reply))
            .await?;
        let app = self.apps_now(Some(&app)).await?.into_iter().next();
        Ok(Response::new(StartAppReply { app }))
    }

    async fn stop_app(&self, call: Call<StopAppRequest>) -> RpcResult<StopAppReply> {
        self.may_write()?;
        let app = call.into_inner().app;
        self.ask(|reply| Request::Stop(app.clone(), reply)).await?;
        self.requests.wait_stopped(&app).await?;
        Ok(Response::new(StopAppReply {}))
    }

    async fn remove_app(&self, call: Call<RemoveAppRequest>) -> RpcResult<RemoveAppReply> {
        self.may_write()?;
        let RemoveAppRequest {
            app,
            keep_rules,
            bypass,
        } = call.into_inner();
        let id = self
            .ask(|reply| Request::Remove(app.clone(), bypass, reply))
            .await?;
        self.requests.wait_stopped(&app).await?;
        let switches = match keep_rules {
            true => 0,
            false => self.proxy.clean(&app, id).await?.switches,
        };
        Ok(Response::new(RemoveAppReply { switches }))
    }

    async fn pipeline(&self, _: Call<PipelineRequest>) -> RpcResult<PipelineReply> {
        let view = self.ask(Request::Pipeline).await?;
        Ok(Response::new(views::pipeline(view)))
    }

    async fn move_app(&self, call: Call<MoveAppRequest>) -> RpcResult<MoveAppReply> {
        self.may_write()?;
        let MoveAppRequest { app, after, before } = call.into_inner();
        let place = match (after.as_str(), before.as_str()) {
            ("", "") => {
                return Err(Status::invalid_argument(
                    "name an app in `after` or in `before`",
                ));
            }
            (_, "") => Place::After(after),
            ("", _) => Place::Before(before),
            (_, _) => {
                return Err(Status::invalid_argument(
                    "name an app in `after` or in `before`, not in both",
                ));
            }
        };
        self.ask(|reply| Request::MoveApp(app, place, reply))
            .await?;
        Ok(Response::new(MoveAppReply {}))
    }

    type LogsStream = ReceiverStream<Result<LogLine, Status>>;

    async fn logs(&self, call: Call<LogsRequest>) -> RpcResult<Self::LogsStream> {
        let LogsRequest { app, tail, follow } = call.into_inner();
        let name = arguments::app_name(&app)?;
        // The daemons morph-proxy and morph-stored have logs as well.
        if !name.starts_with("morph-") {
            let known = name.to_owned();
            self.ask(|reply| Request::Known(known, reply)).await?;
        }
        let path = crate::log::path(&self.settings.state_dir, name);
        let lines = if tail == 0 { DEFAULT_TAIL } else { tail };
        let lines = usize::try_from(lines).unwrap_or(usize::MAX);
        let stream = logs::lines(path, lines, follow).await;
        let stream =
            stream.map_err(|error| Status::internal(format!("the log cannot be read: {error}")))?;
        Ok(Response::new(stream))
    }

    type UpgradeStream = Statuses;

    async fn plan(&self, call: Call<UpgradeRequest>) -> RpcResult<PlanReply> {
        let order = arguments::upgrade(call)?;
        let mut upgrades = self.ask(|reply| Request::Plan(order, reply)).await?;
        for plan in &mut upgrades {
            plans::complete(plan, &self.store, &self.proxy).await?;
        }
        Ok(Response::new(PlanReply { upgrades }))
    }

    async fn upgrades(&self, call: Call<UpgradesRequest>) -> RpcResult<UpgradesReply> {
        let UpgradesRequest { app, limit } = call.into_inner();
        if !app.is_empty() {
            self.requests.app(&app).await?;
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

    async fn upgrade(&self, call: Call<UpgradeRequest>) -> RpcResult<Self::UpgradeStream> {
        self.may_write()?;
        let no_wait = call.get_ref().no_wait;
        let order = arguments::upgrade(call)?;
        let statuses = self.ask(|reply| Request::Upgrade(order, reply)).await?;
        let statuses = ReceiverStream::new(statuses).map(Ok);
        Ok(Response::new(match no_wait {
            true => Box::pin(statuses.take(1)),
            false => Box::pin(statuses),
        }))
    }

    async fn commit(&self, call: Call<CommitRequest>) -> RpcResult<CommitReply> {
        self.may_write()?;
        let app = call.into_inner().app;
        let statuses = self
            .ask(|reply| Request::Commit(app.clone(), reply))
            .await?;
        let status = first(statuses)?;
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

    async fn rollback(&self, call: Call<RollbackRequest>) -> RpcResult<RollbackReply> {
        self.may_write()?;
        let app = call.into_inner().app;
        let statuses = self
            .ask(|reply| Request::Rollback(app.clone(), reply))
            .await?;
        let status = first(statuses)?;
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

    async fn status(&self, call: Call<StatusRequest>) -> RpcResult<Self::StatusStream> {
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
    ) -> RpcResult<QuarantinedEventsReply> {
        let app = call.into_inner().app;
        let events = self.ask(|reply| Request::Quarantined(app, reply)).await?;
        Ok(Response::new(QuarantinedEventsReply { events }))
    }

    async fn retry_event(&self, call: Call<RetryEventRequest>) -> RpcResult<RetryEventReply> {
        self.may_write()?;
        let RetryEventRequest { id, app } = call.into_inner();
        let of = Events::of(id, app)?;
        let Handled { one, all, refused } = of.handle(&self.requests, Request::RetryEvent).await?;
        Ok(Response::new(RetryEventReply {
            event: one,
            events: all,
            refused,
        }))
    }

    async fn drop_event(&self, call: Call<DropEventRequest>) -> RpcResult<DropEventReply> {
        self.may_write()?;
        let DropEventRequest { id, app } = call.into_inner();
        let of = Events::of(id, app)?;
        let Handled { one, all, refused } = of.handle(&self.requests, Request::DropEvent).await?;
        Ok(Response::new(DropEventReply {
            event: one,
            events: all,
            refused,
        }))
    }

    async fn alarms(&self, call: Call<AlarmsRequest>) -> RpcResult<AlarmsReply> {
        let AlarmsRequest { app, kind, dpid } = call.into_inner();
        let dpid = match dpid.as_str() {
            "" => String::new(),
            text => Dpid(arguments::dpid(text)?).to_string(),
        };
        if !app.is_empty() && app != morph_api::RECORDS {
            self.ask(|reply| Request::Known(app.clone(), reply)).await?;
        }
        let apps = self.ask(Request::Apps).await?;
        let mut found = alarms::of_apps(&self.store, &apps)
            .await
            .map_err(rows::unavailable)?;
        // While the proxy is away its conditions are missing, and the rest is still worth showing.
        let slots = self.proxy.slots().await.unwrap_or_default().slots;
        let switches = self.proxy.switches().await.unwrap_or_default();
        found.extend(alarms::own(&apps, &slots, &switches, SystemTime::now()));
        let is_wanted = |alarm: &Alarm| {
            (app.is_empty() || alarm.app == app)
                && (kind.is_empty() || alarm.kind == kind)
                && (dpid.is_empty() || alarm.dpid == dpid)
        };
        found.retain(is_wanted);
        alarms::sort(&mut found);
        Ok(Response::new(AlarmsReply { alarms: found }))
    }

    async fn switches(&self, _: Call<SwitchesRequest>) -> RpcResult<SwitchesReply> {
        let switches = self.proxy.switches().await?.switches;
        let switches = switches.into_iter().map(views::switch).collect();
        Ok(Response::new(SwitchesReply { switches }))
    }

    async fn ports(&self, call: Call<PortsRequest>) -> RpcResult<PortsReply> {
        let dpid = arguments::dpid(&call.into_inner().dpid)?;
        let ports = self.proxy.ports(dpid).await?.ports;
        let ports = ports.into_iter().map(views::port).collect();
        Ok(Response::new(PortsReply { ports }))
    }

    async fn flows(&self, call: Call<FlowsRequest>) -> RpcResult<FlowsReply> {
        let FlowsRequest { dpid, app } = call.into_inner();
        let dpid = arguments::dpid(&dpid)?;
        if !app.is_empty() && !views::is_other_owner(&app) {
            self.ask(|reply| Request::Known(app.clone(), reply)).await?;
        }
        let names = self.requests.names().await?;
        let flows = self.proxy.flows(dpid).await?.flows.into_iter();
        let flows = flows.map(|flow| views::flow(flow, &names));
        let flows = flows
            .filter(|flow| app.is_empty() || flow.app == app)
            .collect();
        Ok(Response::new(FlowsReply { flows }))
    }

    async fn clean_switch(&self, call: Call<CleanSwitchRequest>) -> RpcResult<CleanSwitchReply> {
        self.may_write()?;
        let dpid = arguments::dpid(&call.into_inner().dpid)?;
        let cleaned = self.proxy.clean_switch(dpid).await?.apps;
        let apps = self.ask(Request::Apps).await?;
        let cleaned = cleaned.iter().map(|rules| views::cleaned(rules, &apps));
        Ok(Response::new(CleanSwitchReply {
            cleaned: cleaned.collect(),
        }))
    }

    async fn forget_switch(&self, call: Call<ForgetSwitchRequest>) -> RpcResult<ForgetSwitchReply> {
        self.may_write()?;
        let dpid = arguments::dpid(&call.into_inner().dpid)?;
        let told = self.proxy.forget_switch(dpid).await?.apps.into_iter();
        let apps = told.map(|app| ToldApp { app }).collect();
        Ok(Response::new(ForgetSwitchReply { apps }))
    }

    async fn topology(&self, _: Call<TopologyRequest>) -> RpcResult<TopologyReply> {
        let rows = rows::table(&self.store, "topology", "links").await?;
        Ok(Response::new(TopologyReply {
            links: network::links(&rows),
        }))
    }

    async fn hosts(&self, _: Call<HostsRequest>) -> RpcResult<HostsReply> {
        let rows = rows::table(&self.store, "topology", "hosts").await?;
        Ok(Response::new(HostsReply {
            hosts: network::hosts(&rows),
        }))
    }

    async fn config_get(&self, call: Call<ConfigGetRequest>) -> RpcResult<ConfigGetReply> {
        let ConfigGetRequest { app, key } = call.into_inner();
        let tables = self
            .ask(|reply| Request::Config(app.clone(), None, reply))
            .await?;
        Ok(Response::new(
            config::get(&self.store, &app, &tables, &key).await?,
        ))
    }

    async fn config_set(&self, call: Call<ConfigSetRequest>) -> RpcResult<ConfigSetReply> {
        self.may_write()?;
        let ConfigSetRequest {
            app,
            entries,
            version,
        } = call.into_inner();
        let version = arguments::version(&version)?;
        let tables = self
            .ask(|reply| Request::Config(app.clone(), version, reply))
            .await?;
        Ok(Response::new(
            config::set(&self.store, &app, &tables, &entries).await?,
        ))
    }

    async fn store_get(&self, call: Call<StoreGetRequest>) -> RpcResult<StoreGetReply> {
        let StoreGetRequest { app, table, key } = call.into_inner();
        Ok(Response::new(
            rows::get(&self.store, &app, &table, &key).await?,
        ))
    }

    async fn store_list(&self, call: Call<StoreListRequest>) -> RpcResult<StoreListReply> {
        Ok(Response::new(
            rows::list(&self.store, call.into_inner()).await?,
        ))
    }

    async fn store_migrations(
        &self,
        call: Call<StoreMigrationsRequest>,
    ) -> RpcResult<StoreMigrationsReply> {
        let app = call.into_inner().app;
        if !app.is_empty() {
            self.requests.app(&app).await?;
        }
        let migrations = self.ask(|reply| Request::Migrations(app, reply)).await?;
        let keyspaces = self
            .store
            .status()
            .await
            .map_err(rows::unavailable)?
            .keyspaces;
        let migrations = migrations
            .into_iter()
            .map(|migration| migrations::complete(migration, &keyspaces));
        Ok(Response::new(StoreMigrationsReply {
            migrations: migrations.collect(),
        }))
    }

    async fn store_stats(&self, _: Call<StoreStatsRequest>) -> RpcResult<StoreStatsReply> {
        let status = self.store.status().await.map_err(rows::unavailable)?;
        let stats = Some(store::stats(status));
        Ok(Response::new(StoreStatsReply { stats }))
    }

    type StoreWatchStream = store::ReplyStream<StoreChange>;

    async fn store_watch(
        &self,
        call: Call<StoreWatchRequest>,
    ) -> RpcResult<Self::StoreWatchStream> {
        let changes = store::watch(&self.store, call.into_inner()).await?;
        Ok(Response::new(changes))
    }

    type StoreBackupStream = store::ReplyStream<StoreBackupPart>;

    async fn store_backup(
        &self,
        _: Call<StoreBackupRequest>,
    ) -> RpcResult<Self::StoreBackupStream> {
        Ok(Response::new(store::backup(&self.store).await?))
    }

    type StoreCheckStream = store::ReplyStream<StoreCheckProgress>;

    async fn store_check(&self, _: Call<StoreCheckRequest>) -> RpcResult<Self::StoreCheckStream> {
        let releases = |reply| Request::Releases(String::new(), reply);
        let releases = self.ask(releases).await?;
        let status = self.store.status().await.map_err(rows::unavailable)?;
        let mut findings = store::unreadable(&status, &releases);
        for live in self.ask(Request::LiveTables).await? {
            findings.extend(orphans::find(&self.store, &status, &live).await?);
        }
        Ok(Response::new(store::check(&self.store, findings).await?))
    }
}
