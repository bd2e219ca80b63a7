//! Commands as values: the meaning of a command line. `args.rs` makes them, all other modules only take them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use morph_api::management::{
    AlarmsRequest, CleanSwitchRequest, CommitRequest, ConfigGetRequest, ConfigSetRequest,
    DropEventRequest, FlowsRequest, ForgetSwitchRequest, LogsRequest, MoveAppRequest, PortsRequest,
    QuarantinedEventsRequest, ReleasesRequest, RemoveAppRequest, RetryEventRequest,
    RollbackRequest, StartAppRequest, StatusRequest, StopAppRequest, StoreGetRequest,
    StoreListRequest, StoreMigrationsRequest, StoreWatchRequest, UpgradeRequest, UpgradesRequest,
};

/// Format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people, and for grep and awk: one line for each row, without colours and frames
    Table,
    /// For programs; see below
    Json,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    /// Prints OpenFlow messages; the words are digits or the name of a file.
    Decode(Vec<String>),
    SchemaDiff {
        old: PathBuf,
        new: PathBuf,
    },
    StoreRestore {
        backup: PathBuf,
        target: RestoreTarget,
    },
    Doctor(DoctorOptions),
    /// Everything that morphd does.
    Call(Call),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RestoreTarget {
    /// State directory of a morphd that is stopped.
    StateDir(PathBuf),
    /// URL of an etcd without a store under its prefix.
    Etcd(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DoctorOptions {
    /// Addresses that switches connect to; if empty, those that morphd names, else the default ports.
    pub(crate) openflow: Vec<SocketAddr>,
    /// Database of Open vSwitch, in the form of ovs-vsctl's `--db`.
    pub(crate) ovs_db: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Call {
    Apps,
    Releases(ReleasesRequest),
    App(AppCall),
    Pipeline,
    MoveApp(MoveAppRequest),
    Logs(LogsRequest),
    Upgrade(UpgradeRequest),
    /// Asks what an upgrade would do; changes nothing.
    Plan(UpgradeRequest),
    Upgrades(UpgradesRequest),
    Commit(CommitRequest),
    Rollback(RollbackRequest),
    Status(StatusRequest),
    Event(EventCall),
    Alarms(AlarmsRequest),
    Switches,
    CleanSwitch(CleanSwitchRequest),
    ForgetSwitch(ForgetSwitchRequest),
    Ports(PortsRequest),
    Flows(FlowsRequest),
    Topology,
    Hosts,
    Config(ConfigCall),
    Store(StoreCall),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AppCall {
    /// Folder of a bundle, relative to morphctl's own working directory.
    Install {
        path: PathBuf,
        unchecked: bool,
    },
    Start {
        request: StartAppRequest,
        /// File with entries of its configuration.
        config: Option<PathBuf>,
    },
    Stop(StopAppRequest),
    Remove(RemoveAppRequest),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum EventCall {
    Quarantined {
        request: QuarantinedEventsRequest,
        /// Prints each OpenFlow message too.
        with_message: bool,
    },
    Retry(RetryEventRequest),
    Drop(DropEventRequest),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ConfigCall {
    Get(ConfigGetRequest),
    Set(ConfigSetRequest),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StoreCall {
    Get(StoreGetRequest),
    /// Lists rows of one app; keyspaces where the request names no app.
    List(StoreListRequest),
    Migrations(StoreMigrationsRequest),
    Stats,
    Watch(StoreWatchRequest),
    Backup(PathBuf),
    Check,
}
