//! Answers of the fake, which depend on the name of the app: [`refusal`] lists the names that are refused, [`script`] those
//! whose upgrade takes a special course.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use morph_api::management::management_server::Management;
use morph_api::management::*;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

pub(crate) struct FakeService {
    /// Debug forms of all requests.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

impl FakeService {
    /// Records a request, and refuses it if the name of its app demands that.
    fn record<T: std::fmt::Debug>(&self, app: &str, request: &Request<T>) -> Result<(), Status> {
        let text = format!("{:?}", request.get_ref());
        self.requests.lock().unwrap().push(text);
        refusal(app)
    }
}

fn refusal(app: &str) -> Result<(), Status> {
    Err(match app {
        "absent" => Status::not_found("no app is named absent"),
        "busy" => Status::failed_precondition("busy is at 1.0.0 already"),
        "twice" => Status::already_exists("twice 1.0.0 is known with another digest"),
        "invalid" => Status::invalid_argument("the request is invalid"),
        "away" => Status::unavailable("the store is away"),
        "readonly" => Status::permission_denied("this endpoint is read-only"),
        "ill" => Status::internal("the store answered nonsense"),
        _ => return Ok(()),
    })
}

/// Makes an event with an echo request, which is the shortest message.
fn quarantined(id: &str) -> QuarantinedEvent {
    QuarantinedEvent {
        id: id.into(),
        app: "router".into(),
        release: "1.0.0".into(),
        dpid: "0000000000000001".into(),
        unix_ms: 1_700_000_000_000,
        seq: "7:12".into(),
        how: "ended with exit status 101: index out of bounds".into(),
        deaths: 3,
        kind: "message".into(),
        message: vec![4, 2, 0, 8, 0, 0, 0, 9].into(),
        state: "quarantined".into(),
        ..QuarantinedEvent::default()
    }
}

fn status(app: &str, step: Step) -> UpgradeStatus {
    let is_over = matches!(step, Step::Upgraded | Step::Committed | Step::RolledBack);
    UpgradeStatus {
        app: app.into(),
        from: "1.0.0".into(),
        to: "2.0.0".into(),
        step: step.into(),
        unix_ms: 1_700_000_000_000 + step as u64,
        since_start_us: 1_000 * step as u64,
        id: "7".into(),
        handover_us: if is_over { 4_210 } else { 0 },
        events_held: if is_over { 3 } else { 0 },
        events_replayed: u64::from(is_over),
        ..UpgradeStatus::default()
    }
}

fn ended(app: &str, step: Step, by: &str) -> UpgradeStatus {
    UpgradeStatus {
        rules_changed: 2,
        rules_unchanged: 40,
        by: by.into(),
        ..status(app, step)
    }
}

/// Statuses of the upgrade of an app, and whether its stream stays open after them.
fn script(app: &str) -> (Vec<UpgradeStatus>, bool) {
    use Step::*;
    let all = |steps: &[Step]| steps.iter().map(|step| status(app, *step)).collect();
    let mut statuses: Vec<UpgradeStatus> = all(&[Staged, Starting, Ready]);
    match app {
        "endless" => (statuses, true),
        "cut" => (statuses, false),
        "broken" => {
            statuses.truncate(2);
            let message = "2.0.0 exited with status 1".into();
            statuses.push(UpgradeStatus {
                message,
                ..status(app, RollingBack)
            });
            statuses.push(UpgradeStatus {
                handover_us: 0,
                message: "2.0.0 exited with status 1".into(),
                ..ended(app, RolledBack, "start")
            });
            (statuses, false)
        }
        "crashy" => {
            statuses.extend::<Vec<_>>(all(&[Quiescing, Resuming, Upgraded, RollingBack]));
            statuses.push(UpgradeStatus {
                back_handover_us: 2_000,
                message: "2.0.0 panicked".into(),
                ..ended(app, RolledBack, "crash")
            });
            (statuses, false)
        }
        _ => {
            statuses.extend::<Vec<_>>(all(&[Quiescing, Resuming, Upgraded]));
            statuses.push(ended(app, Committed, "probation"));
            (statuses, false)
        }
    }
}

type Statuses = Pin<Box<dyn Stream<Item = Result<UpgradeStatus, Status>> + Send>>;

fn stream(statuses: Vec<UpgradeStatus>, stays_open: bool) -> Response<Statuses> {
    let statuses = tokio_stream::iter(statuses).map(Ok);
    Response::new(match stays_open {
        true => Box::pin(statuses.chain(tokio_stream::pending())),
        false => Box::pin(statuses),
    })
}

fn release() -> Release {
    Release {
        app: "router".into(),
        version: "2.0.0".into(),
        status: "staged".into(),
        digest: "ab12".into(),
        schema: 2,
        installed_unix_ms: 1_700_000_000_000,
    }
}

fn app() -> App {
    App {
        name: "router".into(),
        id: 3,
        release: "1.0.0".into(),
        status: "running".into(),
        epoch: 4,
        pid: 4242,
        rate: 12.34,
        instance: "9".into(),
        lost: 5,
        answered: 1234,
        too_old: 4,
        delay_p50_us: 1500,
        delay_p99_us: 240_000,
        target_delay_us: 200_000,
        flooding: "0000000000000007".into(),
        flooding_percent: 94,
        ..App::default()
    }
}

fn flow(number: u32) -> Flow {
    Flow {
        app: "router".into(),
        table: 20,
        priority: 100,
        cookie: "0x4d03000400000000".into(),
        r#match: format!("eth_dst=00:00:00:00:00:{number:02x}"),
        instructions: "output:2, goto:29".into(),
        duration_s: 1.5,
        epoch: 4,
        ..Flow::default()
    }
}

fn entry(key: &str, value: &str) -> ConfigEntry {
    ConfigEntry {
        key: key.into(),
        value: value.into(),
    }
}

fn row() -> StoreRow {
    StoreRow {
        table: "hops".into(),
        key: "00:00:00:00:00:01/0000000000000001".into(),
        value: "{\"port\":2}".into(),
        revision: 17,
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Management for FakeService {
    type LogsStream = Pin<Box<dyn Stream<Item = Result<LogLine, Status>> + Send>>;
    type UpgradeStream = Statuses;
    type StatusStream = Statuses;

    async fn version(&self, _: Request<VersionRequest>) -> Answer<VersionReply> {
        Ok(Response::new(VersionReply::default()))
    }

    async fn apps(&self, _: Request<AppsRequest>) -> Answer<AppsReply> {
        let stopped = App {
            name: "topology".into(),
            status: "failed".into(),
            trouble: "1.1.0 kept dying".into(),
            ..App::default()
        };
        let apps = vec![app(), stopped];
        Ok(Response::new(AppsReply { apps }))
    }

    async fn releases(&self, request: Request<ReleasesRequest>) -> Answer<ReleasesReply> {
        self.record(&request.get_ref().app, &request)?;
        let releases = vec![release()];
        Ok(Response::new(ReleasesReply { releases }))
    }

    async fn install_app(&self, request: Request<InstallAppRequest>) -> Answer<InstallAppReply> {
        let path = Path::new(&request.get_ref().path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.record(&name, &request)?;
        Ok(Response::new(InstallAppReply {
            release: Some(release()),
            already: name == "again",
        }))
    }

    async fn start_app(&self, request: Request<StartAppRequest>) -> Answer<StartAppReply> {
        self.record(&request.get_ref().app, &request)?;
        Ok(Response::new(StartAppReply { app: Some(app()) }))
    }

    async fn stop_app(&self, request: Request<StopAppRequest>) -> Answer<StopAppReply> {
        self.record(&request.get_ref().app, &request)?;
        Ok(Response::new(StopAppReply {}))
    }

    async fn remove_app(&self, request: Request<RemoveAppRequest>) -> Answer<RemoveAppReply> {
        self.record(&request.get_ref().app, &request)?;
        Ok(Response::new(RemoveAppReply { switches: 4 }))
    }

    async fn pipeline(&self, _: Request<PipelineRequest>) -> Answer<PipelineReply> {
        let app = |name: &str, first_table: u32, after: &[&str]| PipelineApp {
            app: name.into(),
            first_table,
            tables: 1,
            exit_table: first_table + 1,
            needs: first_table + 1,
            second_table: 0,
            after: after.iter().map(|name| (*name).to_owned()).collect(),
        };
        Ok(Response::new(PipelineReply {
            apps: vec![app("topology", 1, &[]), app("router", 3, &["topology"])],
            phase: String::new(),
            smallest_dpid: "0000000000000001".into(),
            smallest_tables: 10,
        }))
    }

    async fn move_app(&self, request: Request<MoveAppRequest>) -> Answer<MoveAppReply> {
        self.record(&request.get_ref().app, &request)?;
        Ok(Response::new(MoveAppReply {}))
    }

    async fn logs(&self, request: Request<LogsRequest>) -> Answer<Self::LogsStream> {
        self.record(&request.get_ref().app, &request)?;
        let lines = ["INFO ready", "WARN \u{1b}[31mred"];
        let lines = lines.map(|line| Ok(LogLine { line: line.into() }));
        let lines = tokio_stream::iter(lines);
        Ok(Response::new(match request.get_ref().follow {
            true => Box::pin(lines.chain(tokio_stream::pending())),
            false => Box::pin(lines),
        }))
    }

    async fn upgrade(&self, request: Request<UpgradeRequest>) -> Answer<Statuses> {
        let UpgradeRequest {
            app, no_wait, also, ..
        } = request.get_ref().clone();
        self.record(&app, &request)?;
        let (mut statuses, stays_open) = script(&app);
        for other in also {
            statuses.extend(script(&other.app).0);
        }
        if no_wait {
            statuses.truncate(1);
        }
        Ok(stream(statuses, stays_open && !no_wait))
    }

    async fn plan(&self, request: Request<UpgradeRequest>) -> Answer<PlanReply> {
        let app = request.get_ref().app.clone();
        self.record(&app, &request)?;
        let broken = app == "broken";
        let plan = PlannedUpgrade {
            refused: if broken {
                "no migration".into()
            } else {
                String::new()
            },
            app,
            keys: 40,
            steps: vec!["it starts".into()],
            ..PlannedUpgrade::default()
        };
        let upgrades = vec![plan];
        Ok(Response::new(PlanReply { upgrades }))
    }

    async fn upgrades(&self, request: Request<UpgradesRequest>) -> Answer<UpgradesReply> {
        self.record(&request.get_ref().app, &request)?;
        let past = PastUpgrade {
            app: "router".into(),
            from: "1.0.0".into(),
            to: "2.0.0".into(),
            step: Step::RolledBack.into(),
            who: "ana (1000)".into(),
            by: "operator".into(),
            handover_us: 4_210,
            ..PastUpgrade::default()
        };
        let upgrades = vec![past];
        Ok(Response::new(UpgradesReply { upgrades }))
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Answer<CommitReply> {
        let app = &request.get_ref().app;
        self.record(app, &request)?;
        let status = match app.as_str() {
            "crashy" => ended(app, Step::RolledBack, "crash"),
            "endless" => std::future::pending().await,
            app => ended(app, Step::Committed, "operator"),
        };
        Ok(Response::new(CommitReply {
            status: Some(status),
        }))
    }

    async fn rollback(&self, request: Request<RollbackRequest>) -> Answer<RollbackReply> {
        let app = &request.get_ref().app;
        self.record(app, &request)?;
        let status = Some(ended(app, Step::RolledBack, "operator"));
        Ok(Response::new(RollbackReply { status }))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Answer<Statuses> {
        let StatusRequest { app, follow } = request.get_ref().clone();
        self.record(&app, &request)?;
        let statuses = vec![
            ended("router", Step::Committed, "operator"),
            status("topology", Step::Upgraded),
        ];
        Ok(stream(statuses, follow))
    }

    async fn switches(&self, _: Request<SwitchesRequest>) -> Answer<SwitchesReply> {
        let switch = Switch {
            dpid: "0000000000000001".into(),
            remote: "127.0.0.1:40000".into(),
            openflow: "1.3".into(),
            tables: 254,
            ports: 3,
            software: "3.1.0".into(),
            connected_ms: 61_500,
            refuses: vec!["barrier".into(), "echo".into()],
            ..Switch::default()
        };
        let switches = vec![switch];
        Ok(Response::new(SwitchesReply { switches }))
    }

    async fn ports(&self, request: Request<PortsRequest>) -> Answer<PortsReply> {
        self.record("", &request)?;
        let port = Port {
            number: 1,
            name: "s1-eth1".into(),
            hw_addr: "00:00:00:00:01:01".into(),
            state: "up".into(),
            rx_packets: 10,
            ..Port::default()
        };
        Ok(Response::new(PortsReply { ports: vec![port] }))
    }

    async fn flows(&self, request: Request<FlowsRequest>) -> Answer<FlowsReply> {
        let dpid = request.get_ref().dpid.clone();
        self.record("", &request)?;
        let flows = match dpid.as_str() {
            "0000000000000001" => vec![flow(1)],
            // More than a pipe holds, and more than gRPC's default limit of 4 MiB.
            "00000000000000ff" => (0..60_000).map(flow).collect(),
            _ => return Err(Status::not_found(format!("no switch {dpid} is connected"))),
        };
        Ok(Response::new(FlowsReply { flows }))
    }

    async fn quarantined_events(
        &self,
        request: Request<QuarantinedEventsRequest>,
    ) -> Answer<QuarantinedEventsReply> {
        self.record(&request.get_ref().app, &request)?;
        let lost = QuarantinedEvent {
            kind: "lost".into(),
            count: 7,
            message: Vec::new().into(),
            ..quarantined("router-2")
        };
        let unreadable = QuarantinedEvent {
            message: vec![4, 10, 0, 9].into(),
            ..quarantined("router-3")
        };
        let events = vec![quarantined("router-1"), lost, unreadable];
        Ok(Response::new(QuarantinedEventsReply { events }))
    }

    async fn retry_event(&self, request: Request<RetryEventRequest>) -> Answer<RetryEventReply> {
        let RetryEventRequest { id, app } = request.get_ref().clone();
        self.record(&format!("{id}{app}"), &request)?;
        let tried = |id: &str| QuarantinedEvent {
            attempts: 1,
            state: "retrying".into(),
            ..quarantined(id)
        };
        Ok(Response::new(match app.is_empty() {
            true => RetryEventReply {
                event: Some(tried(&id)),
                ..RetryEventReply::default()
            },
            false => RetryEventReply {
                events: vec![tried("router-1")],
                refused: vec!["router-2: its switch is not connected".into()],
                ..RetryEventReply::default()
            },
        }))
    }

    async fn drop_event(&self, request: Request<DropEventRequest>) -> Answer<DropEventReply> {
        let DropEventRequest { id, app } = request.get_ref().clone();
        self.record(&format!("{id}{app}"), &request)?;
        Ok(Response::new(match app.is_empty() {
            true => DropEventReply {
                event: Some(quarantined(&id)),
                ..DropEventReply::default()
            },
            false => DropEventReply {
                events: vec![quarantined("router-1"), quarantined("router-2")],
                ..DropEventReply::default()
            },
        }))
    }

    async fn clean_switch(&self, request: Request<CleanSwitchRequest>) -> Answer<CleanSwitchReply> {
        self.record("", &request)?;
        let of = |app: &str, comes_back| CleanedRules {
            app: app.into(),
            rules: 3,
            comes_back,
        };
        Ok(Response::new(CleanSwitchReply {
            cleaned: vec![of("router", true), of("app 9", false)],
        }))
    }

    async fn forget_switch(
        &self,
        request: Request<ForgetSwitchRequest>,
    ) -> Answer<ForgetSwitchReply> {
        self.record("", &request)?;
        let apps = ["topology", "router"].map(|app| ToldApp { app: app.into() });
        let apps = apps.into();
        Ok(Response::new(ForgetSwitchReply { apps }))
    }

    async fn alarms(&self, request: Request<AlarmsRequest>) -> Answer<AlarmsReply> {
        self.record(&request.get_ref().app, &request)?;
        let alarm = Alarm {
            app: "topology".into(),
            kind: "flap".into(),
            dpid: "0000000000000001".into(),
            port: 7,
            host: "00:00:00:00:00:01".into(),
            text: "port 7 flaps".into(),
            mend: "see the cable".into(),
            since_unix_ms: 1_700_000_000_000,
        };
        let unknown = Alarm {
            app: "morpheus".into(),
            kind: "slave".into(),
            ..Alarm::default()
        };
        let alarms = vec![alarm, unknown];
        Ok(Response::new(AlarmsReply { alarms }))
    }

    async fn topology(&self, _: Request<TopologyRequest>) -> Answer<TopologyReply> {
        let link = Link {
            from_dpid: "0000000000000001".into(),
            from_port: 2,
            to_dpid: "0000000000000002".into(),
            to_port: 3,
        };
        let links = vec![link];
        Ok(Response::new(TopologyReply { links }))
    }

    async fn hosts(&self, _: Request<HostsRequest>) -> Answer<HostsReply> {
        let host = Host {
            mac: "00:00:00:00:00:01".into(),
            dpid: "0000000000000001".into(),
            port: 1,
            ips: vec!["10.0.0.1".into(), "10.0.0.9".into()],
            vlan: 10,
        };
        let untagged = Host {
            port: 2,
            ips: Vec::new(),
            vlan: 0,
            ..host.clone()
        };
        Ok(Response::new(HostsReply {
            hosts: vec![host, untagged],
        }))
    }

    async fn config_get(&self, request: Request<ConfigGetRequest>) -> Answer<ConfigGetReply> {
        self.record(&request.get_ref().app, &request)?;
        let mut entries = vec![
            entry("weights.0000000000000001/2", "5"),
            entry("names.a", "\"b\""),
        ];
        entries.retain(|entry| entry.key.starts_with(&request.get_ref().key));
        Ok(Response::new(ConfigGetReply { entries }))
    }

    async fn config_set(&self, request: Request<ConfigSetRequest>) -> Answer<ConfigSetReply> {
        self.record(&request.get_ref().app, &request)?;
        Ok(Response::new(ConfigSetReply { revision: 18 }))
    }

    async fn store_get(&self, request: Request<StoreGetRequest>) -> Answer<StoreGetReply> {
        self.record(&request.get_ref().app, &request)?;
        let row = Some(row());
        Ok(Response::new(StoreGetReply { row }))
    }

    async fn store_list(&self, request: Request<StoreListRequest>) -> Answer<StoreListReply> {
        let StoreListRequest {
            app,
            table,
            limit,
            after_key,
            ..
        } = request.get_ref().clone();
        self.record(&app, &request)?;
        if table == "paged" {
            return Ok(Response::new(page(&after_key, limit)));
        }
        let keyspace = StoreKeyspace {
            app: "router".into(),
            id: 3,
            schema: 2,
            role: "primary".into(),
            keys: 40,
            ..StoreKeyspace::default()
        };
        let rows = if app.is_empty() { vec![] } else { vec![row()] };
        Ok(Response::new(StoreListReply {
            rows,
            more: limit == 1,
            keyspaces: vec![keyspace],
        }))
    }

    async fn store_stats(&self, request: Request<StoreStatsRequest>) -> Answer<StoreStatsReply> {
        self.record("", &request)?;
        let stats = StoreStats {
            revision: 42,
            backend: "/state/store".into(),
            ..StoreStats::default()
        };
        let stats = Some(stats);
        Ok(Response::new(StoreStatsReply { stats }))
    }

    type StoreWatchStream = Pin<Box<dyn Stream<Item = Result<StoreChange, Status>> + Send>>;

    async fn store_watch(
        &self,
        request: Request<StoreWatchRequest>,
    ) -> Answer<Self::StoreWatchStream> {
        self.record(&request.get_ref().app, &request)?;
        let change = StoreChange {
            revision: 7,
            table: "hops".into(),
            key: "a".into(),
            deleted: true,
            ..StoreChange::default()
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(change)]))))
    }

    type StoreBackupStream = Pin<Box<dyn Stream<Item = Result<StoreBackupPart, Status>> + Send>>;

    async fn store_backup(
        &self,
        request: Request<StoreBackupRequest>,
    ) -> Answer<Self::StoreBackupStream> {
        self.record("", &request)?;
        let parts = [Ok(StoreBackupPart::default())];
        Ok(Response::new(Box::pin(tokio_stream::iter(parts))))
    }

    type StoreCheckStream = Pin<Box<dyn Stream<Item = Result<StoreCheckProgress, Status>> + Send>>;

    async fn store_check(
        &self,
        request: Request<StoreCheckRequest>,
    ) -> Answer<Self::StoreCheckStream> {
        self.record("", &request)?;
        let finding = StoreFinding {
            place: "row a/t/k of keyspace 1".into(),
            message: "it fails its checksum".into(),
            orphaned: false,
        };
        let progress = StoreCheckProgress {
            rows: 3,
            findings: vec![finding],
            done: true,
            revision: 42,
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(progress)]))))
    }

    async fn store_migrations(
        &self,
        request: Request<StoreMigrationsRequest>,
    ) -> Answer<StoreMigrationsReply> {
        self.record(&request.get_ref().app, &request)?;
        let loss = MigrationLoss {
            group: "path/a".into(),
            row: "hops/a/1".into(),
            before: "{\"port\":1}".into(),
            ..MigrationLoss::default()
        };
        let migration = Migration {
            app: "router".into(),
            keyspace: 2,
            from_schema: 1,
            to_schema: 2,
            status: "filling".into(),
            instance: "9".into(),
            groups: 5,
            groups_total: 7,
            rows: 20,
            lag: 3,
            lossy: 1,
            losses: vec![loss],
            readers: vec!["reader@1.0.0".into()],
            ..Migration::default()
        };
        let migrations = vec![migration];
        Ok(Response::new(StoreMigrationsReply { migrations }))
    }
}

/// Returns a page of the rows `k1` to `k5`, of two at most.
fn page(after: &str, limit: u32) -> StoreListReply {
    let keys = (1..=5).map(|n| format!("k{n}"));
    let mut keys: Vec<_> = keys.filter(|key| key.as_str() > after).collect();
    let size = 2.min(limit as usize);
    let more = keys.len() > size;
    keys.truncate(size);
    let rows = keys.into_iter().map(|key| StoreRow { key, ..row() });
    StoreListReply {
        rows: rows.collect(),
        more,
        keyspaces: vec![],
    }
}
