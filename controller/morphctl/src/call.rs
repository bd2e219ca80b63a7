//! Calls to morphd, one for each verb. Those with more to them than a request and its answer have modules of their own.

use std::path::Path;

use morph_api::management::{
    AppsRequest, HostsRequest, InstallAppRequest, PipelineRequest, SwitchesRequest, TopologyRequest,
};

use crate::client::{Client, change, incomplete, read};
use crate::command::{AppCall, Call};
use crate::failure::Failure;
use crate::print::rows::{InstallResult, RemoveResult, StopResult};
use crate::print::{Output, UPGRADES};
use crate::{config, events, logs, status, store, upgrade};

pub(crate) async fn run(call: Call, client: &mut Client, out: &mut Output) -> Result<(), Failure> {
    match call {
        Call::Apps => out.list("apps", &read(client.apps(AppsRequest {})).await?.apps),
        Call::Releases(request) => {
            out.list("releases", &read(client.releases(request)).await?.releases)
        }
        Call::App(call) => run_app(call, client, out).await,
        Call::Pipeline => pipeline(client, out).await,
        Call::MoveApp(request) => {
            let probe = client.clone();
            change(&probe, client.move_app(request)).await?;
            pipeline(client, out).await
        }
        Call::Logs(request) => logs::run(request, client, out).await,
        Call::Upgrade(request) => upgrade::run(request, client, out).await,
        Call::Plan(request) => upgrade::plan(request, client, out).await,
        Call::Upgrades(request) => {
            out.list(UPGRADES, &read(client.upgrades(request)).await?.upgrades)
        }
        Call::Commit(request) => upgrade::commit(request, client, out).await,
        Call::Rollback(request) => upgrade::roll_back(request, client, out).await,
        Call::Status(request) => status::run(request, client, out).await,
        Call::Event(call) => events::run(call, client, out).await,
        Call::Alarms(request) => out.list("alarms", &read(client.alarms(request)).await?.alarms),
        Call::Switches => {
            let reply = read(client.switches(SwitchesRequest {})).await?;
            out.list("switches", &reply.switches)
        }
        Call::CleanSwitch(request) => {
            let probe = client.clone();
            let reply = change(&probe, client.clean_switch(request)).await?;
            out.list("cleaned", &reply.cleaned)
        }
        Call::ForgetSwitch(request) => {
            let probe = client.clone();
            let reply = change(&probe, client.forget_switch(request)).await?;
            out.list("forgotten", &reply.apps)
        }
        Call::Ports(request) => out.list("ports", &read(client.ports(request)).await?.ports),
        Call::Flows(request) => out.list("flows", &read(client.flows(request)).await?.flows),
        Call::Topology => {
            let reply = read(client.topology(TopologyRequest {})).await?;
            out.list("topology", &reply.links)
        }
        Call::Hosts => out.list("hosts", &read(client.hosts(HostsRequest {})).await?.hosts),
        Call::Config(call) => config::run(call, client, out).await,
        Call::Store(call) => store::run(call, client, out).await,
    }
}

/// Lists the apps in their order, and names the switch that has the fewest tables.
async fn pipeline(client: &mut Client, out: &mut Output) -> Result<(), Failure> {
    let reply = read(client.pipeline(PipelineRequest {})).await?;
    out.list("pipeline", &reply.apps)?;
    let (dpid, tables) = (&reply.smallest_dpid, reply.smallest_tables);
    if !dpid.is_empty() {
        out.note(&format!(
            "\nThe switch with the fewest tables, {dpid}, has {tables}.\n"
        ))?;
    }
    match reply.phase.as_str() {
        "" => Ok(()),
        phase => out.note(&format!(
            "\nApps are being moved to other tables: {phase}.\n"
        )),
    }
}

async fn run_app(call: AppCall, client: &mut Client, out: &mut Output) -> Result<(), Failure> {
    let probe = client.clone();
    match call {
        AppCall::Install { path, unchecked } => {
            let path = absolute(&path)?;
            let request = InstallAppRequest { path, unchecked };
            let reply = change(&probe, client.install_app(request)).await?;
            let release = reply.release.ok_or_else(|| incomplete("the release"))?;
            let already = reply.already;
            out.list("releases", &[InstallResult { release, already }])
        }
        AppCall::Start {
            mut request,
            config,
        } => {
            if let Some(file) = config {
                request.config = config::read_file(&file)?;
            }
            let reply = change(&probe, client.start_app(request)).await?;
            out.list("apps", &[reply.app.ok_or_else(|| incomplete("the app"))?])
        }
        AppCall::Stop(request) => {
            let name = request.app.clone();
            change(&probe, client.stop_app(request)).await?;
            out.list("apps", &[StopResult { name }])
        }
        AppCall::Remove(request) => {
            let name = request.app.clone();
            let switches = change(&probe, client.remove_app(request)).await?.switches;
            out.list("apps", &[RemoveResult { name, switches }])
        }
    }
}

/// Makes a path absolute, because morphd has another working directory.
fn absolute(path: &Path) -> Result<String, Failure> {
    let usage = |reason: &str| Failure::Usage(format!("{}: {reason}", path.display()));
    let absolute = std::path::absolute(path).map_err(|error| usage(&error.to_string()))?;
    let text = absolute.to_str();
    Ok(text
        .ok_or_else(|| usage("the path is not UTF-8; rename the folder"))?
        .to_owned())
}
