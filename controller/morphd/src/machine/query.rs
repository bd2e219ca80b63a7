//! Questions about the state; nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};

use morph_api::check::Check;
use morph_api::management::{self, Migration, QuarantinedEvent, Step, UpgradeStatus};
use morph_api::manifest::{Absent, Manifest};
use morph_api::supervisor::{Configuration, PresentApp, Vanishing};
use semver::Version;

use super::call::NewPrimary;
use super::lifecycle::LifecycleState;
use super::pipeline::{Phase, TableRange};
use super::quarantine::shown;
use super::record::{CrashLoop, Desired};
use super::request::{RequestError, refused};
use super::state::{App, State};
use super::status::{count, status_of};
use crate::release::Release;

/// An app, as the management API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppView {
    pub name: String,
    pub id: u8,
    /// The release that runs, or would.
    pub release: String,
    /// A status word of management.proto.
    pub status: &'static str,
    pub epoch: u64,
    /// Process id; 0: no process.
    pub pid: u32,
    pub instance: String,
    /// Deaths since morphd's start.
    pub restarts: u64,
    /// Whether the app takes part in the pipeline.
    pub present: bool,
    pub quarantined: QuarantinedEvents,
    pub trouble: Trouble,
    pub warnings: Warnings,
}

/// Conditions of an app that does its work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings {
    /// The last upgrade, where it was committed without the events that were asked for.
    pub untested: Option<Trouble>,
    /// Switches on which its rules vanish again and again.
    pub vanishing: Vec<Vanishing>,
}

/// Crash loop of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Trouble and what was done about it; empty: none.
    pub text: String,
    /// Time at which it was found.
    pub since_unix_ms: u64,
}

/// Events of an app in quarantine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuarantinedEvents {
    pub count: u64,
    /// Time at which the oldest of them was quarantined; 0: there is none.
    pub since_unix_ms: u64,
}

pub fn known<'a>(state: &'a State, app: &str) -> Result<&'a App, RequestError> {
    state.apps.get(app).ok_or_else(|| {
        let names: Vec<&str> = state.apps.keys().map(String::as_str).collect();
        let names = match names.is_empty() {
            true => "none".into(),
            false => names.join(", "),
        };
        match state.releases.newest(app) {
            Some(_) => refused(format!(
                "{app} is installed ({}) and was never started; `morphctl app start {app}` starts it",
                state.releases.versions(app)
            )),
            None => {
                RequestError::not_found(format!("there is no app {app}; there are: {names}"))
            }
        }
    })
}

pub fn release<'a>(
    state: &'a State,
    app: &str,
    version: &Version,
) -> Result<&'a Release, RequestError> {
    state.releases.get(app, version).ok_or_else(|| {
        let versions = state.releases.versions(app);
        RequestError::not_found(format!(
            "there is no release {app}@{version}; installed: {versions}"
        ))
    })
}

pub fn app_views(state: &State) -> Vec<AppView> {
    let apps = state.apps.iter();
    apps.map(|(name, app)| app_view(state, name, app)).collect()
}

fn app_view(state: &State, name: &str, app: &App) -> AppView {
    let mut instances = state.instances.of_app(name);
    let live = instances.find(|(_, instance)| instance.live);
    let own = app.lifecycle.instance();
    let own = own.and_then(|id| Some((id, state.instances.get(id)?)));
    let shown = live.or(own);
    let crash_loop = app.row.crash_loop.as_ref();
    let events = live.map_or(0, |(_, instance)| instance.events_reported);
    AppView {
        name: name.to_owned(),
        id: app.row.id,
        release: live
            .map_or(&app.row.release, |(_, instance)| &instance.release)
            .to_string(),
        status: status_word(app),
        epoch: app.row.epoch,
        pid: shown.map_or(0, |(_, instance)| instance.pid),
        instance: shown.map(|(id, _)| id.clone()).unwrap_or_default(),
        restarts: app.lifecycle.deaths(),
        present: app.is_present(),
        quarantined: quarantined_of(state, name),
        trouble: Trouble {
            text: crash_loop.map(CrashLoop::summary).unwrap_or_default(),
            since_unix_ms: crash_loop.map_or(0, |crash_loop| crash_loop.unix_ms),
        },
        warnings: Warnings {
            untested: untested(app, events),
            vanishing: live
                .map(|(_, instance)| instance.vanishing.clone())
                .unwrap_or_default(),
        },
    }
}

/// The last upgrade, where it was committed untested and the release has handled too few events since.
fn untested(app: &App, events: u64) -> Option<Trouble> {
    let record = app.last_upgrade.as_ref()?;
    let least = record.plan.min_events;
    let is_its = record.progress.step == Step::Committed && record.plan.to == app.row.release;
    (is_its && app.upgrade.is_none() && record.counts.untested && events < least).then(|| Trouble {
        text: format!(
            "{} was committed though it had handled {events} of {least} events",
            record.plan.to
        ),
        since_unix_ms: record.progress.step_unix_ms,
    })
}

fn quarantined_of(state: &State, app: &str) -> QuarantinedEvents {
    let times = state.quarantine.of_app(app);
    let times = times.map(|(_, row)| row.cause.unix_ms);
    QuarantinedEvents {
        count: state.quarantine.of_app(app).count() as u64,
        since_unix_ms: times.min().unwrap_or_default(),
    }
}

fn status_word(app: &App) -> &'static str {
    match (&app.upgrade, app.lifecycle.state()) {
        (Some(_), _) => "upgrading",
        (None, LifecycleState::Running { .. }) => "running",
        (
            None,
            LifecycleState::Starting { .. }
            | LifecycleState::Resuming { .. }
            | LifecycleState::Retrying { .. },
        ) => "starting",
        (None, LifecycleState::Stopped) if app.has_failed() => "failed",
        (
            None,
            LifecycleState::Stopped | LifecycleState::Ending { .. } | LifecycleState::Yielded,
        ) => "stopped",
        (None, LifecycleState::Waiting { .. } | LifecycleState::CrashLoop) => "crashed",
    }
}

pub fn release_view(release: &Release) -> management::Release {
    management::Release {
        app: release.manifest.name.clone(),
        version: release.manifest.version.to_string(),
        status: release.row.status.name().to_owned(),
        digest: release.row.digest.clone(),
        schema: release.row.schema,
        installed_unix_ms: release.row.installed_unix_ms,
    }
}

pub fn release_views(state: &State, app: &str) -> Result<Vec<management::Release>, RequestError> {
    let all = state.releases.iter();
    let all = all.filter(|release| app.is_empty() || release.manifest.name == app);
    let found: Vec<management::Release> = all.map(release_view).collect();
    match found.is_empty() && !app.is_empty() {
        true => Err(RequestError::not_found(format!(
            "no release of {app} is installed"
        ))),
        false => Ok(found),
    }
}

/// Manifests of the apps that take part in the pipeline, other than `besides`, in its order.
pub fn present<'a>(state: &'a State, besides: &str) -> Vec<&'a Manifest> {
    let apps = state.apps.iter();
    let apps = apps.filter(|(name, app)| app.is_present() && *name != besides);
    let mut present: Vec<&Manifest> = apps
        .filter_map(|(name, app)| state.releases.get(name, &app.row.release))
        .map(|release| &release.manifest)
        .collect();
    state.pipeline.sort(&mut present);
    present
}

/// The present apps, as the proxy makes the pipeline of them.
pub fn configuration(state: &State) -> Configuration {
    let is_stopped = |app: &App| app.row.desired == Desired::Stopped;
    let apps = present(state, "").into_iter().filter_map(|manifest| {
        let range = state.pipeline.get(&manifest.name)?;
        Some(PresentApp {
            name: manifest.name.clone(),
            id: u32::from(manifest.id),
            first_table: u32::from(range.first),
            last_table: u32::from(range.exit()),
            least_tables: u32::from(manifest.least_tables()),
            second_table: range.second.map_or(0, u32::from),
            drops_absent: manifest.absent == Absent::Drop,
            is_stopped: state.apps.get(&manifest.name).is_some_and(is_stopped),
        })
    });
    Configuration {
        apps: apps.collect(),
        ..Configuration::default()
    }
}

/// Order of the apps, and their tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineView {
    pub apps: Vec<PipelineAppView>,
    /// Phase of a move under way.
    pub phase: Option<Phase>,
    /// Connected switch with the fewest tables, and their number.
    pub smallest: Option<(u64, u32)>,
}

/// Tables of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineAppView {
    pub name: String,
    pub range: TableRange,
    /// Number of tables that a switch must have for this app and those before it.
    pub needs: u32,
    pub after: Vec<String>,
}

/// Connected switch with the fewest tables, and their number.
pub fn smallest_switch(state: &State) -> Option<(u64, u32)> {
    let switches = state.proxy.switches.iter();
    let known = switches.filter(|(_, tables)| **tables > 0);
    let smallest = known.min_by_key(|(_, tables)| **tables);
    smallest.map(|(dpid, tables)| (*dpid, *tables))
}

pub fn pipeline(state: &State) -> PipelineView {
    let apps = present(state, "").into_iter().filter_map(|manifest| {
        let range = state.pipeline.get(&manifest.name)?;
        Some(PipelineAppView {
            name: manifest.name.clone(),
            range,
            needs: u32::from(range.first) + u32::from(manifest.least_tables()),
            after: manifest.after.clone(),
        })
    });
    PipelineView {
        apps: apps.collect(),
        phase: state.moving.as_ref().map(|moving| moving.phase),
        smallest: smallest_switch(state),
    }
}

/// The present apps that read another one's tables, as APP@VERSION, and the schema in which each does.
pub fn readers(state: &State, app: &str) -> Vec<(String, u32)> {
    let mut readers = Vec::new();
    for (name, reader) in state.apps.iter().filter(|(_, reader)| reader.is_present()) {
        let to = state.run(name).map(|run| &run.record.plan.to);
        for version in [Some(&reader.row.release), to].into_iter().flatten() {
            let release = state.releases.get(name, version);
            let reads = release.and_then(|release| release.manifest.reads.get(app));
            readers.extend(reads.map(|schema| (format!("{name}@{version}"), *schema)));
        }
    }
    readers
}

/// The upgrades under way, and the last one of each other app.
pub fn statuses(state: &State, only: Option<&str>) -> Vec<UpgradeStatus> {
    let apps = state.apps.iter();
    let apps = apps.filter(|(name, _)| only.is_none_or(|only| only == *name));
    apps.filter_map(|(name, app)| match (state.run(name), state.member(name)) {
        (Some(run), Some(member)) => {
            let mut record = run.record.clone();
            count(&mut record.counts, member.numbers());
            let mut status = status_of(name, &record);
            if let Some(published) = run.published {
                status.set_step(published.step);
                status.unix_ms = published.unix_ms;
                status.since_start_us = published.since_start_us;
            }
            Some(status)
        }
        _ => app
            .last_upgrade
            .as_ref()
            .map(|record| status_of(name, record)),
    })
    .collect()
}

pub fn quarantined(state: &State, app: &str) -> Result<Vec<QuarantinedEvent>, RequestError> {
    let rows = state.quarantine.iter();
    let rows = rows.filter(|(_, row)| app.is_empty() || row.app == app);
    let events: Vec<_> = rows.map(|(id, row)| shown(id, row)).collect();
    if events.is_empty() && !app.is_empty() {
        known(state, app)?;
    }
    Ok(events)
}

/// The last shadow of each app's state, or of one app's.
pub fn migrations(state: &State, only: &str) -> Vec<Migration> {
    let apps = state.apps.iter();
    let apps = apps.filter(|(name, _)| only.is_empty() || *name == only);
    let mut migrations = Vec::new();
    for (name, app) in apps {
        let Some(mut migration) = app.migration.clone() else {
            continue;
        };
        let release = state.releases.get(name, &app.row.release);
        let own = release.map_or(0, |release| release.manifest.schema);
        // Only the store knows the schema of a shadow that stayed after a commit; it differs from the release's own.
        let read = |schema: u32| match migration.to_schema {
            0 => schema != own,
            to => schema == to,
        };
        let readers = readers(state, name).into_iter();
        let readers = readers.filter(|(_, schema)| read(*schema));
        migration.readers = readers.map(|(reader, _)| reader).collect();
        migrations.push(migration);
    }
    migrations
}

/// Tables of an app that people may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigTables {
    pub tables: Vec<String>,
    pub checks: BTreeMap<String, Check>,
    /// State to be created first, where the app was never started.
    pub first: Option<NewPrimary>,
}

/// The config tables of a release of an app: the named one, else the one that runs, else, where the app was never started, the newest.
pub fn config_tables(
    state: &State,
    app: &str,
    version: Option<&Version>,
) -> Result<ConfigTables, RequestError> {
    let started = state.apps.get(app);
    let mut instances = state.instances.of_app(app);
    let live = instances.find(|(_, instance)| instance.live);
    let live = live.map(|(_, instance)| &instance.release);
    let own = live.or(started.map(|app| &app.row.release));
    let newest = || {
        state
            .releases
            .newest(app)
            .map(|release| &release.manifest.version)
    };
    let Some(wanted) = version.or(own).or_else(newest) else {
        return Err(known(state, app)
            .err()
            .unwrap_or_else(|| refused("no release")));
    };
    let manifest = &release(state, app, wanted)?.manifest;
    if let Some(own) = own
        && let Ok(runs) = release(state, app, own)
        && runs.manifest.schema != manifest.schema
    {
        return Err(refused(format!(
            "{app}@{wanted} has schema {}, and the state of {app} has schema {}: upgrade to it first",
            manifest.schema, runs.manifest.schema
        )));
    }
    Ok(ConfigTables {
        tables: manifest.config.clone(),
        checks: manifest.checks.clone(),
        first: started.is_none().then(|| NewPrimary::of(manifest)),
    })
}

/// Tables of the release that runs, for each app whose release has told them.
pub fn live_tables(state: &State) -> Vec<LiveTables> {
    let of = |(app, known): (&String, &App)| {
        let release = state.releases.get(app, &known.row.release)?;
        let tables = &release.row.description.as_ref()?.tables;
        (!tables.is_empty()).then(|| LiveTables {
            app: app.clone(),
            version: release.manifest.version.clone(),
            schema: release.manifest.schema,
            tables: tables.iter().map(|table| table.name.clone()).collect(),
        })
    };
    state.apps.iter().filter_map(of).collect()
}

/// Tables that the release of an app has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveTables {
    pub app: String,
    pub version: Version,
    pub schema: u32,
    pub tables: BTreeSet<String>,
}
