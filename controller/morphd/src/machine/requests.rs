//! What people ask for: refused with a reason, or begun.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use morph_api::management::Step;
use morph_api::manifest::Absent;
use semver::Version;

use super::call::{Call, RecordWrite};
use super::changes::{change_releases, release_write, write_change};
use super::checks::{self, CheckedUpgrade, Startable};
use super::lifecycle::LifecycleInput;
use super::moving;
use super::observe::configure;
use super::outbox::{AppChange, AppChangeKind, PipelineChange, Purpose, Reply};
use super::pipeline::Then;
use super::query::release_view;
use super::record::{
    AllowedLosses, CountsRecord, Desired, InstancesRecord, PlanRecord, Progress, ReleaseRow,
    ReleaseStatus, ShadowRecord, UpgradeRecord,
};
use super::request::{
    ErrorKind, Place, Request, RequestError, RequestId, UpgradeRequest, unavailable,
};
use super::retry;
use super::state::{ActiveUpgrade, App, MemberRun, State};
use super::upgrade::{Group, MemberInput, Plan};
use super::upgrading;
use crate::bundle::Bundle;
use crate::release::Release;

pub(super) fn handle(state: &mut State, id: RequestId, request: Request) {
    let is_change = !matches!(
        request,
        Request::Stage(..) | Request::RetryEvent(_) | Request::DropEvent(_)
    );
    if is_change && state.moving.is_some() {
        return state.outbox.reply(id, Err(checks::is_moving()));
    }
    let result = match request {
        Request::Stage(bundle, folder) => stage(state, id, *bundle, folder),
        Request::Start(app, version) => start(state, id, &app, version),
        Request::Stop(app) => stop(state, id, &app),
        Request::Remove { app, bypass } => remove(state, id, &app, bypass),
        Request::MoveApp { app, place } => move_app(state, id, &app, &place),
        Request::Upgrade(request) => upgrade(state, id, &request),
        Request::Commit(app) => commit(state, id, &app),
        Request::Rollback(app) => roll_back(state, id, &app),
        Request::RetryEvent(event) => return retry::retry_event(state, &event, id),
        Request::DropEvent(event) => return retry::drop_event(state, &event, id),
    };
    if let Err(error) = result {
        state.outbox.reply(id, Err(error));
    }
}

// ---- releases ----

fn stage(
    state: &mut State,
    id: RequestId,
    bundle: Bundle,
    folder: PathBuf,
) -> Result<(), RequestError> {
    let new = checks::may_install(state, &bundle)?;
    let manifest = &bundle.manifest;
    if !new {
        let known = state.releases.get(&manifest.name, &manifest.version);
        let reply = known.map(|release| Reply::Staged(release_view(release)));
        let gone = || RequestError::new(ErrorKind::Internal, "the release is gone");
        state.outbox.reply(id, reply.ok_or_else(gone));
        return Ok(());
    }
    let release = staged(bundle, folder, state.outbox.present.unix_ms);
    record_staged(state, release, Some(id));
    Ok(())
}

/// Writes the record of a release whose bundle has been copied.
pub(super) fn record_staged(state: &mut State, release: Release, request: Option<RequestId>) {
    let write = RecordWrite {
        writes: vec![release_write(&release, ReleaseStatus::Staged)],
        ..RecordWrite::default()
    };
    let release = Box::new(release);
    state
        .outbox
        .call(Call::Write(write), Purpose::Stage { request, release });
}

pub(super) fn staged_recorded(
    state: &mut State,
    release: Release,
    request: Option<RequestId>,
    result: Result<(), String>,
) {
    let (app, version) = (&release.manifest.name, &release.manifest.version);
    let reply = match result {
        Ok(()) => {
            tracing::info!(app, %version, digest = release.row.digest, "staged");
            let view = release_view(&release);
            state.releases.insert(release);
            Ok(Reply::Staged(view))
        }
        Err(why) => {
            tracing::error!(app, %version, why, "the record of a release was refused");
            Err(RequestError::new(ErrorKind::Internal, why))
        }
    };
    if let Some(request) = request {
        state.outbox.reply(request, reply);
    }
}

/// A bundle that has been copied to this folder, as a release.
pub fn staged(bundle: Bundle, folder: PathBuf, unix_ms: u64) -> Release {
    let row = ReleaseRow {
        status: ReleaseStatus::Staged,
        schema: bundle.manifest.schema,
        installed_unix_ms: unix_ms,
        folder: bundle.installed_name(),
        live: Some(false),
        digest: bundle.digest,
        description: bundle.description,
    };
    Release {
        row,
        manifest: bundle.manifest,
        folder,
    }
}

// ---- start, stop, remove: the record first, then the pipeline, then the instance ----

fn start(
    state: &mut State,
    id: RequestId,
    app: &str,
    version: Option<Version>,
) -> Result<(), RequestError> {
    let (row, range) = match checks::may_start(state, app, version.clone())? {
        Startable::Now(row, range) => (*row, range),
        Startable::AfterMove(to) => {
            let then = Then::Request(Request::Start(app.to_owned(), version));
            moving::begin(state, to, id, then);
            return Ok(());
        }
    };
    // Another app that is started meanwhile gets other tables.
    state.pipeline.set(app, range);
    let mut permanent = super::query::release(state, app, &row.release)?.clone();
    permanent.row.status = ReleaseStatus::Permanent;
    let change = AppChange {
        app: app.to_owned(),
        displaced: state.apps.get(app).map(|app| app.row.release.clone()),
        permanent: Some(permanent),
        row,
        passed_on: Vec::new(),
        then: AppChangeKind::Start(id),
    };
    write_change(state, change);
    Ok(())
}

/// Changes the order of the apps.
fn move_app(
    state: &mut State,
    id: RequestId,
    app: &str,
    place: &Place,
) -> Result<(), RequestError> {
    let to = checks::may_move(state, app, place)?;
    match to.is_empty() {
        true => state.outbox.reply(id, Ok(Reply::Done)),
        false => moving::begin(state, to, id, Then::Done),
    }
    Ok(())
}

fn stop(state: &mut State, id: RequestId, app: &str) -> Result<(), RequestError> {
    let row = checks::may_stop(state, app)?;
    change_row(state, app, row, AppChangeKind::Stop(id));
    Ok(())
}

fn remove(state: &mut State, id: RequestId, app: &str, bypass: bool) -> Result<(), RequestError> {
    let row = checks::may_remove(state, app, bypass)?;
    change_row(state, app, row, AppChangeKind::Remove(id));
    Ok(())
}

fn change_row(state: &mut State, app: &str, row: super::record::AppRow, then: AppChangeKind) {
    let change = AppChange {
        app: app.to_owned(),
        row,
        permanent: None,
        displaced: None,
        passed_on: Vec::new(),
        then,
    };
    write_change(state, change);
}

/// The record of an app that was to change is written, or refused.
pub(super) fn change_recorded(state: &mut State, change: AppChange, result: Result<(), String>) {
    let (AppChangeKind::Start(request)
    | AppChangeKind::Stop(request)
    | AppChangeKind::Remove(request)) = change.then
    else {
        let (app, is_stopped) = (change.app.clone(), change.row.desired == Desired::Stopped);
        let is_recorded = result.is_ok();
        super::crash_loop::recorded(state, change, result);
        if is_recorded && is_stopped {
            stopped(state, &app);
        }
        return;
    };
    if let Err(why) = result {
        let is_present = |app: &App| app.is_present();
        if !state.apps.get(&change.app).is_some_and(is_present) {
            state.pipeline.remove(&change.app);
        }
        return state.outbox.reply(request, Err(unavailable(why)));
    }
    change_releases(state, &change);
    let (app, id) = (change.app.clone(), change.row.id);
    match change.then {
        AppChangeKind::Start(_) => {
            let row = change.row.clone();
            let known = state.apps.entry(app.clone());
            let known = known.or_insert_with(|| App::new(row.clone()));
            known.row = row;
            configure(state, PipelineChange::Start { app, request });
        }
        AppChangeKind::Stop(_) => {
            take_row(state, change);
            state.outbox.lifecycle(&app, LifecycleInput::Stop);
            stopped(state, &app);
            state.outbox.reply(request, Ok(Reply::Done));
        }
        // Bypassed first, then ended; then its rules are deleted.
        AppChangeKind::Remove(_) => {
            take_row(state, change);
            state.pipeline.remove(&app);
            moving::bypass(state, id, request);
            configure(state, PipelineChange::Remove { app });
        }
        AppChangeKind::CrashLoop => {}
    }
    state.look_at_shadows();
}

/// Tells the proxy that an app is stopped whose packets are dropped while it is absent.
fn stopped(state: &mut State, app: &str) {
    let version = state.apps.get(app).map(|app| &app.row.release);
    let release = version.and_then(|version| state.releases.get(app, version));
    if release.is_some_and(|release| release.manifest.absent == Absent::Drop) {
        configure(state, PipelineChange::Refresh);
    }
}

/// Takes over what the change has written. Epoch and instance may have moved on meanwhile.
fn take_row(state: &mut State, change: AppChange) {
    if let Some(known) = state.apps.get_mut(&change.app) {
        known.row.release = change.row.release;
        known.row.desired = change.row.desired;
        known.row.fallback = change.row.fallback;
        known.row.crash_loop = change.row.crash_loop;
    }
}

/// The proxy has the pipeline, or not.
pub(super) fn pipeline_changed(
    state: &mut State,
    change: PipelineChange,
    result: Result<(), String>,
) {
    if let Err(why) = &result {
        // Refused or away: it is told again when the proxy speaks again.
        tracing::error!(why, "the proxy does not take the present apps");
    }
    match change {
        PipelineChange::Refresh => {}
        PipelineChange::Start { app, request } => {
            tracing::info!(app, "is to run");
            state.outbox.lifecycle(&app, LifecycleInput::Start);
            state.outbox.reply(request, Ok(Reply::Done));
        }
        PipelineChange::Remove { app } => {
            state.outbox.lifecycle(&app, LifecycleInput::Stop);
            if let Err(why) = result {
                moving::bypass_failed(state, why);
            }
        }
    }
}

// ---- upgrades ----

fn upgrade(state: &mut State, id: RequestId, request: &UpgradeRequest) -> Result<(), RequestError> {
    let members = checks::may_upgrade(state, request)?;
    let number = state.next_id();
    let names: Vec<String> = members.iter().map(|member| member.app.clone()).collect();
    let group = match names.len() {
        1 => String::new(),
        _ => format!("{}-{number:x}", names.join("+")),
    };
    let mut active = ActiveUpgrade::default();
    let mut plans = Vec::new();
    for member in members {
        let others = names.iter().filter(|name| **name != member.app);
        let (plan, record) = planned(state, &member, request);
        let record = UpgradeRecord {
            id: format!("{}-{number:x}", member.app),
            group: group.clone(),
            with: others.cloned().collect(),
            ..record
        };
        // The maker of a shadow is told of from here on; other instances once the slot is yielded.
        let known = state.apps.get(&member.app);
        let source = known.and_then(|app| app.lifecycle.instance().cloned());
        let run = MemberRun {
            record,
            source,
            target: None,
            started: state.now(),
            fenced: None,
            missed: None,
            published: None,
        };
        plans.push((member.app.clone(), plan));
        active.members.insert(member.app, run);
    }
    let mut out = Vec::new();
    active.group = Group::begin(plans, &mut out);
    let begun = active.members.values().map(|run| run.record.id.clone());
    let begun = Reply::Begun(begun.collect());
    state.outbox.reply(id, Ok(begun));
    let upgrade = format!("{number:x}");
    insert(state, upgrade.clone(), active);
    upgrading::carry_out(state, &upgrade, out);
    Ok(())
}

/// Makes an upgrade known to its apps: it is under way from here on.
pub(super) fn insert(state: &mut State, id: String, upgrade: ActiveUpgrade) {
    for app in upgrade.members.keys() {
        if let Some(known) = state.apps.get_mut(app) {
            known.upgrade = Some(id.clone());
        }
    }
    state.upgrades.insert(id, upgrade);
}

fn planned(
    state: &State,
    member: &CheckedUpgrade,
    request: &UpgradeRequest,
) -> (Plan, UpgradeRecord) {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (from, to) = (&member.from.manifest, &member.to.manifest);
    let probation = request.probation.unwrap_or(state.config.probation);
    let min_events = request.min_events.unwrap_or_else(|| {
        let known = state.apps.get(&member.app);
        u64::from(known.is_some_and(|known| known.had_events_within(probation, state.now())))
    });
    let plan = Plan {
        mode: member.mode,
        source_schema: from.schema,
        target_schema: to.schema,
        probation,
        confirm: request.confirm,
        allow_loss: request.allow_loss,
        allow_rule_loss: request.allow_rule_loss,
        min_events,
        deadlines: member.deadlines,
    };
    let deadlines = member.deadlines.all();
    let deadlines = deadlines.map(|(name, time)| (name.to_owned(), ms(time)));
    let unix_ms = state.outbox.present.unix_ms;
    let record = UpgradeRecord {
        id: String::new(),
        group: String::new(),
        with: Vec::new(),
        plan: PlanRecord {
            from: from.version.clone(),
            to: to.version.clone(),
            mode: member.mode,
            source_schema: from.schema,
            target_schema: to.schema,
            probation_ms: ms(probation),
            confirm: request.confirm,
            allowed: AllowedLosses {
                rows: request.allow_loss,
                rules: request.allow_rule_loss,
            },
            min_events,
            deadlines_ms: BTreeMap::from(deadlines),
            who: request.who.clone(),
            prior_status: Some(member.to.row.status),
        },
        progress: Progress {
            step: Step::Staged,
            started_unix_ms: unix_ms,
            step_unix_ms: unix_ms,
            step_at: None,
            since_start_us: 0,
            fenced: false,
            swapped: false,
            message: String::new(),
            by: None,
        },
        instances: InstancesRecord::default(),
        shadow: ShadowRecord::default(),
        counts: CountsRecord::default(),
    };
    (plan, record)
}

fn commit(state: &mut State, id: RequestId, app: &str) -> Result<(), RequestError> {
    let members = checks::may_commit(state, app)?;
    wait_for_end(state, id, app);
    for member in members {
        state.outbox.member(&member, MemberInput::Commit);
    }
    Ok(())
}

fn roll_back(state: &mut State, id: RequestId, app: &str) -> Result<(), RequestError> {
    checks::may_roll_back(state, app)?;
    wait_for_end(state, id, app);
    state.outbox.member(app, MemberInput::Rollback);
    Ok(())
}

fn wait_for_end(state: &mut State, id: RequestId, app: &str) {
    let upgrade = state.apps.get(app).and_then(|app| app.upgrade.clone());
    if let Some(upgrade) = upgrade.and_then(|id| state.upgrades.get_mut(&id)) {
        upgrade.waiting.push((id, app.to_owned()));
    }
}
