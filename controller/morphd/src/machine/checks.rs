//! Whether a request may be done: refused with a reason and with what to do instead, or what exactly is to be done.

use morph_api::deadlines::Deadlines;
use morph_api::manifest::Manifest;
use semver::Version;

use super::lifecycle::LifecycleState;
use super::pipeline::{self, TableRange};
use super::query::{known, present, release};
use super::record::{AppRow, Desired};
use super::request::{RequestError, UpgradeRequest, invalid, refused};
use super::state::{App, State};
use super::upgrade::Mode;
use crate::bundle::Bundle;
use crate::release::{self, Release};

/// A checked upgrade of one app.
#[derive(Debug, Clone)]
pub struct CheckedUpgrade {
    pub app: String,
    pub from: Release,
    pub to: Release,
    pub mode: Mode,
    pub deadlines: Deadlines,
}

/// Whether a bundle may be installed: false where it is installed already.
pub fn may_install(state: &State, bundle: &Bundle) -> Result<bool, RequestError> {
    let manifest = &bundle.manifest;
    let (name, version) = (&manifest.name, &manifest.version);
    if let Some(known) = state.releases.get(name, version) {
        if known.row.digest == bundle.digest {
            return Ok(false);
        }
        return Err(refused(format!(
            "{name}@{version} is known with another digest ({}, and this is {}): give the new bundle another version",
            &known.row.digest[..12.min(known.row.digest.len())],
            &bundle.digest[..12],
        )));
    }
    let mut releases = state.releases.iter();
    match releases.find(|r| r.manifest.name != *name && r.manifest.id == manifest.id) {
        Some(other) => Err(refused(format!(
            "id {} belongs to {}: give this app another one in its app.toml",
            manifest.id, other.manifest.name
        ))),
        None => Ok(true),
    }
}

/// The record and the tables of an app that may be started.
pub fn may_start(
    state: &State,
    app: &str,
    version: Option<Version>,
) -> Result<(AppRow, TableRange), RequestError> {
    let started = state.apps.get(app);
    if let Some(started) = started {
        not_upgrading(state, app)?;
        match started.lifecycle.state() {
            LifecycleState::Stopped => {}
            LifecycleState::Ending { .. } => {
                return Err(refused(format!("{app} is still ending; try again")));
            }
            _ => return Err(refused(format!("{app} runs already"))),
        }
    }
    let version = match (version, started) {
        (Some(version), _) => version,
        (None, Some(started)) => started.row.release.clone(),
        (None, None) => match state.releases.newest(app) {
            Some(release) => release.manifest.version.clone(),
            None => {
                return Err(RequestError::not_found(format!(
                    "no release of {app} is installed"
                )));
            }
        },
    };
    let manifest = &release(state, app, &version)?.manifest;
    if let Some(started) = started
        && started.row.release != version
        && let Some(was) = state.releases.get(app, &started.row.release)
        && was.manifest.schema != manifest.schema
    {
        return Err(refused(format!(
            "the state of {app} has schema {}, and {app}@{version} wants {}: start it as it was, then \
             `morphctl upgrade app={app}@{version}`",
            was.manifest.schema, manifest.schema
        )));
    }
    let mut apps = present(state, app);
    release::check_reads(manifest, &apps).map_err(refused)?;
    let range = state.pipeline.place(manifest, &apps).map_err(refused)?;
    apps.push(manifest);
    release::check_coexistence(&apps).map_err(refused)?;
    let row = AppRow {
        id: manifest.id,
        release: version,
        desired: Desired::Running,
        instance: started
            .map(|app| app.row.instance.clone())
            .unwrap_or_default(),
        epoch: started.map_or(0, |app| app.row.epoch),
        fallback: started.and_then(|app| app.fallback_from(&manifest.version)),
        crash_loop: None,
        suspect: started.and_then(|app| app.row.suspect.clone()),
    };
    Ok((row, range))
}

pub fn may_stop(state: &State, app: &str) -> Result<AppRow, RequestError> {
    let known = known(state, app)?;
    not_upgrading(state, app)?;
    match known.row.desired {
        Desired::Running => Ok(AppRow {
            desired: Desired::Stopped,
            ..known.row.clone()
        }),
        Desired::Stopped => Err(refused(format!("{app} is stopped already"))),
        Desired::Removed => Err(refused(format!("{app} is removed"))),
    }
}

pub fn may_remove(state: &State, app: &str) -> Result<AppRow, RequestError> {
    let known = known(state, app)?;
    not_upgrading(state, app)?;
    match known.row.desired {
        Desired::Running | Desired::Stopped => Ok(AppRow {
            desired: Desired::Removed,
            ..known.row.clone()
        }),
        Desired::Removed => Err(refused(format!("{app} is removed already"))),
    }
}

fn not_upgrading(state: &State, app: &str) -> Result<(), RequestError> {
    if let Some(run) = state.run(app) {
        let plan = &run.record.plan;
        return Err(refused(format!(
            "{app} is being upgraded from {} to {}: commit it or roll it back first",
            plan.from, plan.to
        )));
    }
    match state.unfinished_upgrade(app) {
        Some(upgrade) => {
            let apps: Vec<&str> = upgrade.members.keys().map(String::as_str).collect();
            Err(refused(format!(
                "the upgrade of {} as one is not over yet: try again when it is; see `morphctl status`",
                apps.join(" and ")
            )))
        }
        None => Ok(()),
    }
}

/// Checks all members of an upgrade, alone and together: nothing is changed before each may go.
pub fn may_upgrade(
    state: &State,
    request: &UpgradeRequest,
) -> Result<Vec<CheckedUpgrade>, RequestError> {
    let mut members: Vec<CheckedUpgrade> = Vec::new();
    for (app, version) in &request.releases {
        if members.iter().any(|member| member.app == *app) {
            return Err(refused(format!("{app} is named twice: name it once")));
        }
        let (from, to) = releases_of(state, app, version.as_ref())?;
        let mode = release::migration_mode(&from.manifest, &to.manifest).map_err(refused)?;
        find_room(state, &to.manifest).map_err(refused)?;
        let mut deadlines = to.manifest.deadlines().map_err(refused)?;
        for (name, time) in &request.deadlines {
            deadlines.set(name, *time).map_err(invalid)?;
        }
        deadlines.check().map_err(invalid)?;
        members.push(CheckedUpgrade {
            app: app.clone(),
            from: from.clone(),
            to: to.clone(),
            mode,
            deadlines,
        });
    }
    let mut apps = present(state, "");
    apps.retain(|manifest| members.iter().all(|member| member.app != manifest.name));
    apps.extend(members.iter().map(|member| &member.to.manifest));
    for member in &members {
        let (from, to) = (&member.from.manifest, &member.to.manifest);
        release::check_readers(from, to, &apps).map_err(refused)?;
        release::check_reads(to, &apps).map_err(refused)?;
    }
    release::check_coexistence(&apps).map_err(refused)?;
    state.pipeline.sort(&mut apps);
    pipeline::check_order(&apps).map_err(refused)?;
    Ok(members)
}

/// Checks that a release finds room in the tables that its app has.
fn find_room(state: &State, to: &Manifest) -> Result<(), String> {
    match state.pipeline.get(&to.name) {
        Some(range) => pipeline::suffices(to, range),
        None => Ok(()),
    }
}

/// The release that runs, and the one to go to.
fn releases_of<'a>(
    state: &'a State,
    app: &str,
    version: Option<&Version>,
) -> Result<(&'a Release, &'a Release), RequestError> {
    let known = known(state, app)?;
    not_upgrading(state, app)?;
    let runs = &known.row.release;
    let from = release(state, app, runs)?;
    let to = match version {
        Some(version) => release(state, app, version)?,
        None => state.releases.newest_staged(app, runs).ok_or_else(|| {
            refused(format!(
                "no staged release of {app} is newer than {runs}, which runs; installed: {}. Name one, as in \
                 `morphctl upgrade app={app}@VERSION`, or install one with `morphctl app install PATH`",
                state.releases.versions(app)
            ))
        })?,
    };
    if to.manifest.version == *runs {
        return Err(refused(format!("{app}@{runs} is the release that runs")));
    }
    if known.row.desired != Desired::Running {
        return Err(refused(format!(
            "{app} does not run: `morphctl app start {app}` first"
        )));
    }
    Ok((from, to))
}

/// The apps of an upgrade that may be committed, first the one that is named.
pub fn may_commit(state: &State, app: &str) -> Result<Vec<String>, RequestError> {
    let apps = members_of(state, app)?;
    for app in &apps {
        if !state
            .member(app)
            .is_some_and(|member| member.is_in_probation())
        {
            return Err(refused(format!(
                "the upgrade of {app} is not in probation; see `morphctl status`"
            )));
        }
    }
    Ok(apps)
}

/// Whether an upgrade may be rolled back.
pub fn may_roll_back(state: &State, app: &str) -> Result<(), RequestError> {
    let known = known(state, app)?;
    if known.upgrade.is_some() {
        return Ok(());
    }
    let last = known.last_upgrade.as_ref();
    let committed =
        last.filter(|record| record.progress.step == morph_api::management::Step::Committed);
    Err(refused(match committed {
        Some(record) => format!(
            "the upgrade of {app} to {} is committed; to go back: `morphctl upgrade app={app}@{}`",
            record.plan.to, record.plan.from
        ),
        None => format!("no upgrade of {app} is in progress"),
    }))
}

fn members_of(state: &State, app: &str) -> Result<Vec<String>, RequestError> {
    known(state, app)?;
    let upgrade = state.upgrade_of(app);
    let upgrade = upgrade.ok_or_else(|| refused(format!("no upgrade of {app} is in progress")))?;
    let mut apps: Vec<String> = upgrade.members.keys().cloned().collect();
    apps.sort_by_key(|member| member != app);
    Ok(apps)
}

/// The release to which an app in a crash loop may go back, where it can go on from the state as it is; else why not.
pub fn fallback<'a>(state: &'a State, app: &str, known: &App) -> Result<&'a Release, String> {
    let version = known.row.fallback.as_ref();
    let version = version.ok_or("there is no earlier release to go back to")?;
    let installed = |version: &Version| {
        let found = state.releases.get(app, version);
        found.ok_or_else(|| format!("{version} is not installed any longer"))
    };
    let (now, fallback) = (installed(&known.row.release)?, installed(version)?);
    match release::migration_mode(&now.manifest, &fallback.manifest)? {
        Mode::Plain => {}
        // Only the release that dies could map the state, and say what would be lost.
        Mode::Online | Mode::Backfill => {
            let (is, was) = (now.manifest.schema, fallback.manifest.schema);
            return Err(format!(
                "{version} has schema {was}, and the state has {is}"
            ));
        }
    }
    find_room(state, &fallback.manifest)?;
    let mut apps = present(state, app);
    apps.push(&fallback.manifest);
    release::check_readers(&now.manifest, &fallback.manifest, &apps)?;
    release::check_reads(&fallback.manifest, &apps)?;
    release::check_coexistence(&apps)?;
    Ok(fallback)
}
