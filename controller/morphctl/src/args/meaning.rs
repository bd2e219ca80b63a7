//! Meaning of each verb as a [`Command`], with defaults filled in.

use std::time::Duration;

use morph_api::management::{
    AlarmsRequest, AppRelease, CleanSwitchRequest, CommitRequest, ConfigEntry, ConfigGetRequest,
    ConfigSetRequest, DropEventRequest, FlowsRequest, ForgetSwitchRequest, LogsRequest,
    MoveAppRequest, PortsRequest, QuarantinedEventsRequest, ReleasesRequest, RemoveAppRequest,
    RetryEventRequest, RollbackRequest, StartAppRequest, StatusRequest, StopAppRequest,
    StoreGetRequest, StoreListRequest, StoreMigrationsRequest, StoreWatchRequest, UpgradeRequest,
    UpgradesRequest,
};

use super::{
    AppVerb, ConfigVerb, EventsVerb, PipelineVerb, SchemaVerb, StoreVerb, SwitchVerb,
    UpgradeArguments, Verb,
};
use crate::argument::{AppArgument, EntryArgument, EventArgument, PlaceArgument, ReleaseArgument};
use crate::command::{
    AppCall, Call, Command, ConfigCall, DoctorOptions, EventCall, RestoreTarget, StoreCall,
};

/// Name for the API, in which an empty name stands for all apps.
fn name_or_all(app: Option<AppArgument>) -> String {
    app.map(|AppArgument(name)| name).unwrap_or_default()
}

impl Verb {
    pub(super) fn into_command(self) -> Command {
        Command::Call(match self {
            Verb::Decode { message } => return Command::Decode(message),
            Verb::Schema(SchemaVerb::Diff { old, new }) => {
                return Command::SchemaDiff { old, new };
            }
            Verb::Doctor { openflow, ovs_db } => {
                return Command::Doctor(DoctorOptions { openflow, ovs_db });
            }
            Verb::Store(verb) => return verb.into_command(),
            Verb::Apps => Call::Apps,
            Verb::Releases { app } => Call::Releases(ReleasesRequest {
                app: name_or_all(app),
            }),
            Verb::App(verb) => Call::App(verb.into_call()),
            Verb::Pipeline { verb: None } => Call::Pipeline,
            Verb::Pipeline {
                verb:
                    Some(PipelineVerb::Move {
                        app: AppArgument(app),
                        place,
                    }),
            } => {
                let (after, before) = match place {
                    PlaceArgument::After(other) => (other, String::new()),
                    PlaceArgument::Before(other) => (String::new(), other),
                };
                Call::MoveApp(MoveAppRequest { app, after, before })
            }
            Verb::Logs {
                app: AppArgument(app),
                tail,
                follow,
            } => Call::Logs(LogsRequest { app, tail, follow }),
            Verb::Upgrade(arguments) => arguments.into_call(),
            Verb::Commit {
                app: AppArgument(app),
            } => Call::Commit(CommitRequest { app }),
            Verb::Rollback {
                app: AppArgument(app),
            } => Call::Rollback(RollbackRequest { app }),
            Verb::Upgrades { app, limit } => Call::Upgrades(UpgradesRequest {
                app: name_or_all(app),
                limit: limit.unwrap_or(0),
            }),
            Verb::Status { app, follow } => Call::Status(StatusRequest {
                app: name_or_all(app),
                follow,
            }),
            Verb::Events(verb) => Call::Event(verb.into_call()),
            Verb::Alarms { app, kind, switch } => Call::Alarms(AlarmsRequest {
                app: name_or_all(app),
                kind: kind.unwrap_or_default(),
                dpid: switch.unwrap_or_default(),
            }),
            Verb::Switches => Call::Switches,
            Verb::Switch(SwitchVerb::Clean { dpid }) => {
                Call::CleanSwitch(CleanSwitchRequest { dpid })
            }
            Verb::Switch(SwitchVerb::Forget { dpid }) => {
                Call::ForgetSwitch(ForgetSwitchRequest { dpid })
            }
            Verb::Ports { dpid } => Call::Ports(PortsRequest { dpid }),
            Verb::Flows { dpid, app } => Call::Flows(FlowsRequest {
                dpid,
                app: name_or_all(app),
            }),
            Verb::Topology => Call::Topology,
            Verb::Hosts => Call::Hosts,
            Verb::Config(verb) => Call::Config(verb.into_call()),
        })
    }
}

impl UpgradeArguments {
    fn into_call(self) -> Call {
        let mut releases = self.releases.into_iter().map(|release| AppRelease {
            app: release.app,
            version: release.version.map(|v| v.to_string()).unwrap_or_default(),
        });
        // The parser requires at least one release.
        let AppRelease { app, version } = releases.next().unwrap_or_default();
        // The parser allows no time that exceeds 32 bits; 0 stands for the API's default.
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let deadlines = self.deadlines.into_iter();
        let request = UpgradeRequest {
            app,
            version,
            probation_ms: self.probation.map_or(0, ms),
            no_wait: self.no_wait,
            also: releases.collect(),
            confirm_within_ms: self.confirm_within.map_or(0, ms),
            allow_loss: self.allow_loss,
            min_events: self.min_events,
            allow_rule_loss: self.allow_rule_loss,
            deadlines_ms: deadlines.map(|(step, time)| (step, ms(time))).collect(),
        };
        match self.dry_run {
            true => Call::Plan(request),
            false => Call::Upgrade(request),
        }
    }
}

impl AppVerb {
    fn into_call(self) -> AppCall {
        match self {
            AppVerb::Install { path, unchecked } => AppCall::Install { path, unchecked },
            AppVerb::Start {
                release: ReleaseArgument { app, version },
                config,
            } => AppCall::Start {
                request: StartAppRequest {
                    app,
                    version: version.map(|v| v.to_string()).unwrap_or_default(),
                    config: Vec::new(),
                },
                config,
            },
            AppVerb::Stop { name } => AppCall::Stop(StopAppRequest { app: name }),
            AppVerb::Remove {
                name,
                keep_rules,
                bypass,
            } => AppCall::Remove(RemoveAppRequest {
                app: name,
                keep_rules,
                bypass,
            }),
        }
    }
}

impl EventsVerb {
    fn into_call(self) -> EventCall {
        match self {
            EventsVerb::Quarantined { app, message } => EventCall::Quarantined {
                request: QuarantinedEventsRequest {
                    app: name_or_all(app),
                },
                with_message: message,
            },
            EventsVerb::Retry { event } => {
                let (id, app) = id_or_app(event);
                EventCall::Retry(RetryEventRequest { id, app })
            }
            EventsVerb::Drop { event } => {
                let (id, app) = id_or_app(event);
                EventCall::Drop(DropEventRequest { id, app })
            }
        }
    }
}

/// Fields of a request about events: one of them stays empty.
fn id_or_app(event: EventArgument) -> (String, String) {
    match event {
        EventArgument::One(id) => (id, String::new()),
        EventArgument::All(app) => (String::new(), app),
    }
}

impl ConfigVerb {
    fn into_call(self) -> ConfigCall {
        match self {
            ConfigVerb::Get {
                app: AppArgument(app),
                key,
            } => ConfigCall::Get(ConfigGetRequest {
                app,
                key: key.unwrap_or_default(),
            }),
            ConfigVerb::Set {
                app: ReleaseArgument { app, version },
                entries,
            } => {
                let entry = |EntryArgument { key, value }| ConfigEntry { key, value };
                ConfigCall::Set(ConfigSetRequest {
                    app,
                    entries: entries.into_iter().map(entry).collect(),
                    version: version.map(|v| v.to_string()).unwrap_or_default(),
                })
            }
            ConfigVerb::Delete {
                app: AppArgument(app),
                keys,
            } => {
                let entry = |key| ConfigEntry {
                    key,
                    value: String::new(),
                };
                ConfigCall::Set(ConfigSetRequest {
                    app,
                    entries: keys.into_iter().map(entry).collect(),
                    version: String::new(),
                })
            }
        }
    }
}

impl StoreVerb {
    fn into_command(self) -> Command {
        Command::Call(Call::Store(match self {
            StoreVerb::Restore {
                file: backup,
                state_dir,
                store,
            } => {
                let target = match store {
                    Some(url) => RestoreTarget::Etcd(url),
                    // The parser requires one of the two.
                    None => RestoreTarget::StateDir(state_dir.unwrap_or_default()),
                };
                return Command::StoreRestore { backup, target };
            }
            StoreVerb::Get {
                app: AppArgument(app),
                table,
                key,
            } => StoreCall::Get(StoreGetRequest { app, table, key }),
            StoreVerb::List {
                app,
                table,
                prefix,
                limit,
            } => StoreCall::List(StoreListRequest {
                app: name_or_all(app),
                table: table.unwrap_or_default(),
                prefix: prefix.unwrap_or_default(),
                limit,
                ..StoreListRequest::default()
            }),
            StoreVerb::Migrations { app } => StoreCall::Migrations(StoreMigrationsRequest {
                app: name_or_all(app),
            }),
            StoreVerb::Stats => StoreCall::Stats,
            StoreVerb::Watch {
                app: AppArgument(app),
                table,
            } => StoreCall::Watch(StoreWatchRequest {
                app,
                table: table.unwrap_or_default(),
            }),
            StoreVerb::Backup { file } => StoreCall::Backup(file),
            StoreVerb::Check => StoreCall::Check,
        }))
    }
}
