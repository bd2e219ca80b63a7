//! What a new morphd finds, and what it makes of it: instances that run, and upgrades that another morphd left.
//!
//! The record of an upgrade says how far it had come; who is attached and live says the rest.
//!
//! | record | target attached and live | then |
//! |---|---|---|
//! | not fenced | | it is rolled back: only the target ends |
//! | fenced, not ROLLING_BACK | yes | the probation goes on |
//! | fenced, else | | the rollback goes on |
//! | COMMITTED, ROLLED_BACK | | it had ended |

use std::collections::BTreeMap;
use std::time::Duration;

use morph_api::deadlines::Deadlines;
use morph_api::management::Step;
use semver::Version;

use super::call::{Call, RecordWrite, StoreView};
use super::instances::Instance;
use super::instances::InstanceId;
use super::lifecycle::{Lifecycle, LifecycleInput};
use super::moving;
use super::observe::{Snapshot, configure, see};
use super::outbox::{PipelineChange, Purpose};
use super::pipeline::{Pipeline, TableRange};
use super::poison::EventRow;
use super::processes;
use super::quarantine::Quarantine;
use super::record::{AppRow, Desired, ReleaseStatus, UpgradeRecord};
use super::requests::insert;
use super::state::{ActiveUpgrade, App, MemberRun, State};
use super::upgrade::{Cause, EndedBy, Leftover, Plan, SourceState};
use super::{changes, upgrading};
use crate::boot::Moment;
use crate::release::Release;

/// Records, as they are found in the store.
#[derive(Debug, Default)]
pub struct Records {
    pub releases: Vec<Release>,
    pub apps: Vec<(String, AppRow)>,
    pub pipeline: Vec<(String, TableRange)>,
    pub upgrades: Vec<(String, UpgradeRecord)>,
    pub events: Vec<(String, EventRow)>,
    pub store: StoreView,
}

/// A process of an app that is found running.
#[derive(Debug, Clone)]
pub struct FoundInstance {
    pub instance: InstanceId,
    pub app: String,
    pub release: Version,
    pub pid: u32,
}

/// Takes over what is recorded.
pub(super) fn load(state: &mut State, records: Records) {
    let now = state.now();
    for release in records.releases {
        state.releases.insert(release);
    }
    for (name, row) in records.apps {
        state.apps.insert(name, App::new(row));
    }
    for (name, range) in records.pipeline {
        state.pipeline.set(&name, range);
    }
    let present = state.apps.iter().filter(|(_, app)| app.is_present());
    for (name, app) in present {
        // Records of an earlier version: the manifest fixed the tables.
        if let Some(release) = state.releases.get(name, &app.row.release) {
            state.pipeline.adopt(&release.manifest);
        }
    }
    moving::adopt(state);
    for (name, record) in records.upgrades {
        if let Some(app) = state.apps.get_mut(&name) {
            app.last_upgrade = Some(record);
        }
    }
    state.quarantine = Quarantine::load(records.events, now);
    // A fence whose record was lost counts as well.
    for checkpoint in records.store.checkpoints {
        if checkpoint.node == state.config.node
            && let Some(app) = state.apps.get_mut(&checkpoint.app)
        {
            app.row.epoch = app.row.epoch.max(checkpoint.epoch);
        }
    }
}

/// Takes over the instances that run, and who of them is attached and live.
pub(super) fn find(state: &mut State, found: Vec<FoundInstance>, snapshot: &Snapshot) {
    for found in found {
        let mut instance = Instance::new(&found.app, &found.release);
        instance.pid = found.pid;
        // The former morphd took the instance as ready. One that was not ready shows it when it is resumed.
        instance.ready = true;
        state.instances.insert(found.instance, instance);
    }
    see(state, snapshot);
}

/// Stage at which another morphd has left an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Ended,
    BeforeFence,
    InProbation,
    GoingBack,
}

fn left(state: &State, record: &UpgradeRecord) -> Left {
    let progress = &record.progress;
    if matches!(progress.step, Step::Committed | Step::RolledBack) {
        return Left::Ended;
    }
    if !progress.fenced {
        return Left::BeforeFence;
    }
    let target = state.instances.get(&record.instances.target);
    let live = target.is_some_and(|target| target.attached && target.live);
    match live && progress.step != Step::RollingBack {
        true => Left::InProbation,
        false => Left::GoingBack,
    }
}

/// Variant of [`left`] that looks at the other members: none stays in probation where one of them goes back.
fn left_with_others(state: &State, record: &UpgradeRecord) -> Left {
    let left_alone = left(state, record);
    if left_alone != Left::InProbation {
        return left_alone;
    }
    let mut others = record.with.iter();
    let all = others.all(|app| {
        let other = state
            .apps
            .get(app)
            .and_then(|app| app.last_upgrade.as_ref());
        other.is_none_or(|other| {
            other.group != record.group || left(state, other) == Left::InProbation
        })
    });
    match all {
        true => Left::InProbation,
        false => Left::GoingBack,
    }
}

/// Decides about every app.
pub(super) fn decide(state: &mut State) {
    let apps: Vec<String> = state.apps.keys().cloned().collect();
    let mut unfinished: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for app in &apps {
        let known = state.apps.get(app);
        let Some(record) = known.and_then(|app| app.last_upgrade.clone()) else {
            adopt(state, app);
            continue;
        };
        let in_probation = match left_with_others(state, &record) {
            Left::Ended => {
                adopt(state, app);
                continue;
            }
            Left::BeforeFence => {
                forget(state, app, record);
                adopt(state, app);
                continue;
            }
            Left::InProbation => true,
            Left::GoingBack => false,
        };
        let group = match record.group.is_empty() {
            true => record.id.clone(),
            false => record.group.clone(),
        };
        let members = unfinished.entry(group).or_default();
        members.push((app.clone(), in_probation));
    }
    for (id, members) in unfinished {
        go_on(state, id, members);
    }
    let strangers = state.instances.iter();
    let strangers = strangers.filter(|(_, instance)| !state.apps.contains_key(&instance.app));
    let strangers: Vec<InstanceId> = strangers.map(|(id, _)| id.clone()).collect();
    for id in strangers {
        processes::end(state, &id);
    }
    if state.moving.is_some() {
        configure(state, PipelineChange::Refresh);
    }
    // Shadows that nobody reads go, and others are made again where their owner is gone.
    state.look_at_shadows();
}

/// Finishes what another morphd began, with all its members.
fn go_on(state: &mut State, id: String, members: Vec<(String, bool)>) {
    let now = state.now();
    let mut active = ActiveUpgrade::default();
    let (mut out, mut kept) = (Vec::new(), Vec::new());
    for (app, in_probation) in members {
        let record = state
            .apps
            .get(&app)
            .and_then(|app| app.last_upgrade.clone());
        let Some(record) = record else { continue };
        tracing::warn!(
            app,
            id = record.id,
            in_probation,
            "an unfinished upgrade is found and finished"
        );
        let there = |id: &String| state.instances.get(id).map(|_| id.clone());
        let (target, source) = (
            there(&record.instances.target),
            there(&record.instances.source),
        );
        let left = Leftover {
            source: match source.as_ref().and_then(|id| state.instances.get(id)) {
                None => SourceState::Absent,
                Some(instance) if instance.attached => SourceState::Ready,
                Some(_) => SourceState::Starting,
            },
            swapped: record.progress.swapped,
        };
        let plan = plan_of(&record);
        match in_probation {
            true => {
                let group = &mut active.group;
                group.adopt(app.clone(), plan, left, now, &mut out);
            }
            false => {
                let why = Cause {
                    message: why_back(&record),
                    by: EndedBy::Failure,
                };
                let group = &mut active.group;
                group.abandon(app.clone(), (plan, left), why, now, &mut out);
            }
        }
        let unix_ms = state.outbox.present.unix_ms;
        let ago = unix_ms.saturating_sub(record.progress.started_unix_ms);
        let started = now.checked_sub(Duration::from_millis(ago)).unwrap_or(now);
        kept.push((app.clone(), [target.clone(), source.clone()]));
        let run = MemberRun {
            record,
            source,
            target,
            started,
            fenced: None,
            missed: None,
            published: None,
        };
        active.members.insert(app.clone(), run);
        if let Some(known) = state.apps.get_mut(&app) {
            let mut lifecycle = Lifecycle::default();
            lifecycle.handle(LifecycleInput::Yield, now, &mut Vec::new());
            known.lifecycle = lifecycle;
        }
    }
    insert(state, id.clone(), active);
    for (app, kept) in kept {
        end_others(state, &app, &kept);
    }
    upgrading::carry_out(state, &id, out);
}

fn why_back(record: &UpgradeRecord) -> String {
    match record.progress.message.is_empty() {
        true => "morphd and the new instance were gone".to_owned(),
        false => record.progress.message.clone(),
    }
}

/// An upgrade that had not come to the fence: the target ends with the others, and the record says so.
fn forget(state: &mut State, app: &str, mut record: UpgradeRecord) {
    let step = record.progress.step.as_str_name();
    tracing::warn!(
        app,
        id = record.id,
        step,
        "an unfinished upgrade is found; it is rolled back"
    );
    record.progress.step = Step::RolledBack;
    record.progress.step_unix_ms = state.outbox.present.unix_ms;
    record.progress.message = "morphd was started again before the hand-over".into();
    record.progress.by = Some(EndedBy::Failure);
    let mut writes = upgrading::rolled_back_writes(app, &record);
    let status = record.plan.prior_status;
    let release = state.releases.get(app, &record.plan.to);
    if let (Some(release), Some(status)) = (release, status) {
        writes.push(changes::release_write(release, status));
    }
    if let Some(status) = status {
        state.releases.set_status(app, &record.plan.to, status);
    }
    if let Some(known) = state.apps.get_mut(app) {
        known.last_upgrade = Some(record);
    }
    let write = RecordWrite {
        writes,
        ..RecordWrite::default()
    };
    let purpose = Purpose::Log("the record of an upgrade was refused");
    state.outbox.call(Call::Write(write), purpose);
}

/// The usual case: the live instance stays live; else one is made live by the path of every crash.
fn adopt(state: &mut State, app: &str) {
    let now = state.now();
    let Some(known) = state.apps.get(app) else {
        return;
    };
    let wanted = known.row.desired == Desired::Running;
    let (died, release) = (known.row.instance.clone(), known.row.release.clone());
    if wanted && !died.is_empty() && state.instances.get(&died).is_none() {
        let how = "died while there was no morphd";
        processes::note_death(state, app, &died, &release, how);
    }
    let candidates = state.instances.of_app(app);
    let candidates = candidates.filter(|(_, i)| wanted && i.release == release);
    // The live one before all others, then one that has a session.
    let best = candidates.max_by_key(|(_, i)| (i.live, i.attached));
    let best = best.map(|(id, instance)| (id.clone(), instance.live));
    let kept = best.as_ref().map(|(id, _)| id.clone());
    end_others(state, app, std::slice::from_ref(&kept));
    match best {
        Some((id, live)) => {
            if let Some(known) = state.apps.get_mut(app) {
                known.lifecycle = Lifecycle::adopted(id.clone(), live, now);
            }
            processes::offer(state, &id);
        }
        None if wanted => state.outbox.lifecycle(app, LifecycleInput::Start),
        None => {}
    }
}

fn end_others(state: &mut State, app: &str, kept: &[Option<InstanceId>]) {
    let others = state.instances.of_app(app);
    let others = others.filter(|(id, _)| !kept.iter().flatten().any(|kept| kept == *id));
    let others: Vec<InstanceId> = others.map(|(id, _)| id.clone()).collect();
    for id in others {
        processes::end(state, &id);
    }
}

/// The plan of a recorded upgrade; of its probation, what is left.
fn plan_of(record: &UpgradeRecord) -> Plan {
    let plan = &record.plan;
    // Counted by the clock of this boot, whatever was done to the wall clock. After a start of the machine, and where nobody
    // wrote it down, the time begins anew.
    let gone = match record.progress.step {
        Step::Upgraded => record.progress.step_at.as_ref().and_then(Moment::elapsed),
        _ => None,
    };
    let mut deadlines = Deadlines::default();
    for (name, ms) in &plan.deadlines_ms {
        // The name of an earlier version.
        let name = if name == "copy" { "shadow" } else { name };
        // A name that this morphd does not know is of no step that it could take.
        let _ = deadlines.set(name, Duration::from_millis(*ms));
    }
    let probation = Duration::from_millis(plan.probation_ms);
    Plan {
        mode: plan.mode,
        source_schema: plan.source_schema,
        target_schema: plan.target_schema,
        probation: probation.saturating_sub(gone.unwrap_or_default()),
        confirm: plan.confirm,
        allow_loss: plan.allowed.rows,
        allow_rule_loss: plan.allowed.rules,
        min_events: plan.min_events,
        deadlines,
    }
}

/// The first apps of an empty store, with their tables: those that are named, else topology and router where there are bundles of
/// them.
///
/// # Errors
/// Words for an app that is named and cannot be started.
pub fn first_apps(
    state: &State,
    named: &[(String, Option<Version>)],
    bundles: &str,
) -> Result<Vec<(Release, TableRange)>, String> {
    let default = ["topology", "router"].map(|name| (name.to_owned(), None));
    let wanted = match named.is_empty() {
        true => &default[..],
        false => named,
    };
    let mut chosen: Vec<Release> = Vec::new();
    for (app, version) in wanted {
        let shown = match version {
            Some(version) => format!("{app}@{version}"),
            None => app.clone(),
        };
        let release = match version {
            Some(version) => state.releases.get(app, version),
            None => state.releases.newest(app),
        };
        let Some(release) = release else {
            let versions = state.releases.versions(app);
            if named.is_empty() {
                tracing::warn!(
                    app,
                    "no bundle of it in {bundles}; `morphctl app install PATH` brings one"
                );
                continue;
            }
            return Err(format!(
                "--app {shown}: there is no such release; of {app} there are: {versions} (in {bundles})"
            ));
        };
        if chosen.iter().any(|other| other.manifest.name == *app) {
            return Err(format!("--app {shown}: {app} is named twice"));
        }
        let mut release = release.clone();
        release.row.status = ReleaseStatus::Permanent;
        chosen.push(release);
        let manifests: Vec<_> = chosen.iter().map(|release| &release.manifest).collect();
        crate::release::check_coexistence(&manifests)
            .map_err(|why| format!("--app {shown}: {why}"))?;
    }
    let mut pipeline = Pipeline::default();
    let mut placed: Vec<(Release, TableRange)> = Vec::new();
    for release in first_to_last(chosen) {
        let present: Vec<_> = placed.iter().map(|(other, _)| &other.manifest).collect();
        let (app, manifest) = (&release.manifest.name, &release.manifest);
        let range = pipeline.place(manifest, &present);
        let range = range.map_err(|why| format!("--app {app}: {why}"))?;
        pipeline.set(app, range);
        placed.push((release, range));
    }
    Ok(placed)
}

/// Sorts releases so that each comes behind those that it asks to come after. Where some ask in a circle, they stay as they are,
/// and are refused when they are placed.
fn first_to_last(mut releases: Vec<Release>) -> Vec<Release> {
    let mut sorted = Vec::new();
    while !releases.is_empty() {
        let waits = |release: &Release| {
            let after = &release.manifest.after;
            let hint = release.manifest.tables.first();
            releases.iter().any(|other| {
                let other = &other.manifest;
                let pair = hint.zip(other.tables.first());
                after.contains(&other.name) || pair.is_some_and(|(own, other)| other < own)
            })
        };
        let next = releases.iter().position(|release| !waits(release));
        sorted.push(releases.remove(next.unwrap_or(0)));
    }
    sorted
}

/// The record of an app that is started for the first time.
pub fn first_row(release: &Release) -> AppRow {
    AppRow {
        id: release.manifest.id,
        release: release.manifest.version.clone(),
        desired: Desired::Running,
        instance: String::new(),
        epoch: 0,
        fallback: None,
        crash_loop: None,
        suspect: None,
        poison_run: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::outbox::Present;
    use super::super::state::NodeConfig;
    use super::*;

    fn record(step: &str, fenced: bool) -> UpgradeRecord {
        let text = format!(
            r#"{{"id":"u","from":"1.0.0","to":"2.0.0","step":"{step}","fenced":{fenced},"target":"t","source":"s"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// A state with a target that is attached, and live or not.
    fn state(live: bool) -> State {
        let config = NodeConfig {
            node: "node1".into(),
            probation: Duration::from_secs(30),
        };
        let present = Present {
            at: Instant::now(),
            unix_ms: 0,
            moment: None,
        };
        let mut state = State::new(config, present);
        let mut target = Instance::new("router", &Version::new(2, 0, 0));
        target.attached = true;
        target.live = live;
        state.instances.insert("t".into(), target);
        state
    }

    #[test]
    fn the_record_and_who_is_live_say_what_is_left() {
        for (step, fenced, live, expected) in [
            ("STAGED", false, false, Left::BeforeFence),
            ("QUIESCING", false, true, Left::BeforeFence),
            ("ROLLING_BACK", false, false, Left::BeforeFence),
            ("RESUMING", true, false, Left::GoingBack),
            ("RESUMING", true, true, Left::InProbation),
            ("UPGRADED", true, true, Left::InProbation),
            ("UPGRADED", true, false, Left::GoingBack),
            ("ROLLING_BACK", true, true, Left::GoingBack),
            ("COMMITTED", true, true, Left::Ended),
            ("ROLLED_BACK", true, false, Left::Ended),
        ] {
            let left = left(&state(live), &record(step, fenced));
            assert_eq!(left, expected, "{step} {fenced} {live}");
        }
    }

    #[test]
    fn none_stays_in_probation_where_another_member_goes_back() {
        let mut state = state(true);
        let member = |app: &str, target: &str| {
            let mut record = record("UPGRADED", true);
            record.group = "router+topology-1".into();
            record.with = vec![app.to_owned()];
            record.instances.target = target.into();
            record
        };
        let (router, topology) = (member("topology", "t"), member("router", "gone"));
        let row = |id| AppRow {
            id,
            ..first_row_of_tests()
        };
        for (name, id, record) in [("router", 3, &router), ("topology", 2, &topology)] {
            let mut app = App::new(row(id));
            app.last_upgrade = Some(record.clone());
            state.apps.insert(name.into(), app);
        }
        assert_eq!(left(&state, &router), Left::InProbation);
        assert_eq!(left_with_others(&state, &router), Left::GoingBack);
    }

    fn first_row_of_tests() -> AppRow {
        let text = r#"{"id":1,"release":"1.0.0","desired":"running"}"#;
        serde_json::from_str(text).unwrap()
    }
}
