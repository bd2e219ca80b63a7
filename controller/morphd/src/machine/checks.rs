//! Whether a request may be done: refused with a reason and with what to do instead, or what exactly is to be done.

use std::collections::BTreeMap;

use morph_api::deadlines::Deadlines;
use morph_api::manifest::{Absent, Manifest};
use morph_openflow::Dpid;
use semver::Version;

use super::lifecycle::LifecycleState;
use super::pipeline::{self, Member, NoRoom, TableRange, WrongOrder};
use super::query::{known, present, release, smallest_switch};
use super::record::{AppRow, Desired};
use super::request::{Place, RequestError, UpgradeRequest, invalid, refused};
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
    for known in state.releases.of(name) {
        release::check_tables(known, manifest, bundle.description.as_ref()).map_err(refused)?;
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

/// App that may be started.
#[derive(Debug, Clone)]
pub enum Startable {
    /// Record and tables of the app.
    Now(Box<AppRow>, TableRange),
    /// First tables of the apps that have to make room for it.
    AfterMove(BTreeMap<String, u8>),
}

/// Checks whether an app may be started.
pub fn may_start(
    state: &State,
    app: &str,
    version: Option<Version>,
) -> Result<Startable, RequestError> {
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
    let placed = state.pipeline.place(manifest, &apps);
    apps.push(manifest);
    release::check_coexistence(&apps).map_err(refused)?;
    let range = match placed {
        Ok(range) => range,
        Err(why) => return make_room(state, manifest, &apps, &why),
    };
    check_switches(state, manifest, range, &apps)?;
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
        // Somebody who starts it gives it another chance.
        poison_run: None,
    };
    Ok(Startable::Now(Box::new(row), range))
}

/// Checks that no connected switch would be refused once an app has these tables.
fn check_switches(
    state: &State,
    app: &Manifest,
    range: TableRange,
    apps: &[&Manifest],
) -> Result<(), RequestError> {
    let end = |manifest: &&Manifest| {
        let own = Some(range).filter(|_| manifest.name == app.name);
        let range = own.or_else(|| state.pipeline.get(&manifest.name))?;
        Some((
            range.first,
            u32::from(range.first) + u32::from(manifest.least_tables()),
        ))
    };
    let Some((_, needed)) = apps.iter().filter_map(end).max() else {
        return Ok(());
    };
    // A switch that speaks OpenFlow 1.0 is refused where there are two apps: it may come back once there is one.
    let mut switches = state
        .proxy
        .switches
        .iter()
        .filter(|(_, tables)| **tables > 1);
    match switches.find(|(_, tables)| **tables < needed) {
        None => Ok(()),
        Some((dpid, tables)) => Err(refused(format!(
            "with {} a switch needs {needed} tables, and switch {} has {tables}: disconnect that switch, or remove an app first",
            app.name,
            Dpid(*dpid)
        ))),
    }
}

/// Finds out which apps have to move so that there is room for another one.
fn make_room(
    state: &State,
    app: &Manifest,
    apps: &[&Manifest],
    why: &str,
) -> Result<Startable, RequestError> {
    let mut others = apps.to_vec();
    others.retain(|other| other.name != app.name);
    state.pipeline.sort(&mut others);
    let position = pipeline::position(app, &others).map_err(refused)?;
    others.insert(position, app);
    let mut to = planned(state, &others).map_err(|mut error| {
        error.message = format!("{why}: {}", error.message);
        error
    })?;
    to.remove(&app.name);
    may_be_moved(state, &to)?;
    Ok(Startable::AfterMove(to))
}

/// First tables of the apps that have to move to stand in this order.
fn planned(state: &State, order: &[&Manifest]) -> Result<BTreeMap<String, u8>, RequestError> {
    let members = order.iter().map(|manifest| {
        let range = state.pipeline.get(&manifest.name);
        Member {
            name: manifest.name.clone(),
            count: range.map_or(manifest.tables.count(), |range| range.count),
            first: range.map(|range| range.first),
        }
    });
    let members: Vec<Member> = members.collect();
    let smallest = smallest_switch(state);
    let tables = smallest.map_or(255, |(_, tables)| tables);
    let tables = u16::try_from(tables).unwrap_or(u16::MAX).min(255);
    pipeline::plan(&members, tables).map_err(|NoRoom { needed }| {
        refused(match smallest {
            Some((dpid, has)) if needed <= 255 => format!(
                "while rules are in their old and new tables a switch needs {needed} tables, and switch {} has {has}: disconnect \
                 that switch meanwhile, or remove the apps and start them in the order that is wanted",
                Dpid(dpid)
            ),
            Some(_) | None => "no switch can have as many tables as a move needs: remove the apps and start them in the order \
                               that is wanted"
                .to_owned(),
        })
    })
}

/// First tables of the apps that have to move so that one of them comes to another place.
pub fn may_move(
    state: &State,
    app: &str,
    place: &Place,
) -> Result<BTreeMap<String, u8>, RequestError> {
    let (Place::After(other) | Place::Before(other)) = place;
    let mut order = present(state, "");
    let position = |order: &[&Manifest], name: &str| {
        let found = order.iter().position(|manifest| manifest.name == name);
        found.ok_or_else(|| match known(state, name) {
            Err(error) => error,
            Ok(_) => refused(format!("{name} is removed, and has no tables")),
        })
    };
    let from = position(&order, app)?;
    if app == other {
        return Err(invalid(format!("{app} cannot come before or after itself")));
    }
    let moved = order.remove(from);
    let at = position(&order, other)?;
    let at = match place {
        Place::After(_) => at + 1,
        Place::Before(_) => at,
    };
    order.insert(at, moved);
    pipeline::check_order(&order).map_err(|wrong| refused(wrong.to_string()))?;
    let to = planned(state, &order)?;
    may_be_moved(state, &to)?;
    Ok(to)
}

/// Checks that nothing stands against a move of these apps.
fn may_be_moved(state: &State, to: &BTreeMap<String, u8>) -> Result<(), RequestError> {
    if let Some(upgrade) = state.upgrades.values().next() {
        let apps: Vec<&str> = upgrade.members.keys().map(String::as_str).collect();
        return Err(refused(format!(
            "{} is being upgraded, and tables are not moved meanwhile: commit it or roll it back first",
            apps.join(" and ")
        )));
    }
    for app in to.keys() {
        let runs = |app: &App| matches!(app.lifecycle.state(), LifecycleState::Running { .. });
        if !state.apps.get(app).is_some_and(runs) {
            return Err(refused(format!(
                "{app} has to move to other tables, and does not run: `morphctl app start {app}`, or remove it, first"
            )));
        }
    }
    Ok(())
}

/// Refusal of a change while tables are moved.
pub fn is_moving() -> RequestError {
    refused(
        "apps are being moved to other tables: try again when that is over; see `morphctl pipeline`",
    )
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

/// Checks whether an app may be removed, which lets packets go past it; one that drops them while it is absent only with `bypass`.
pub fn may_remove(state: &State, app: &str, bypass: bool) -> Result<AppRow, RequestError> {
    let known = known(state, app)?;
    not_upgrading(state, app)?;
    let manifest = &release(state, app, &known.row.release)?.manifest;
    if known.is_present() && manifest.absent == Absent::Drop && !bypass {
        return Err(refused(format!(
            "without {app} all packets pass that it drops, and its app.toml has `absent = \"drop\"`: `morphctl app stop {app}` ends its \
             process and lets nothing more pass; `morphctl app remove {app} --bypass` removes it nonetheless"
        )));
    }
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
        let description = to.row.description.as_ref();
        release::check_tables(from, &to.manifest, description).map_err(refused)?;
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
    pipeline::check_order(&apps).map_err(|wrong| {
        let WrongOrder { app, after, .. } = &wrong;
        refused(format!(
            "{wrong}: `morphctl pipeline move app={app} after={after}` first, which loses nothing"
        ))
    })?;
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
    if !fallback.row.has_been_live() {
        return Err(format!(
            "{version}, the earlier release, has never been live"
        ));
    }
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
