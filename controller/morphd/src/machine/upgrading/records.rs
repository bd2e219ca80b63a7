//! Records of an upgrade: the step it is at, its end, its place in the history.

use morph_api::management::Step;

use crate::machine::call::{Answer, RecordWrite};
use crate::machine::changes::release_write;
use crate::machine::outbox::{Present, Purpose};
use crate::machine::query::readers;
use crate::machine::record::{
    APPS, AppRow, HISTORY, ReleaseStatus, UPGRADES, UpgradeRecord, Write,
};
use crate::machine::state::{MemberRun, State};
use crate::machine::status::count;
use crate::machine::upgrade::{MemberInput, Side, Swap};

/// The record with everything that is known by now.
pub(super) fn renew(state: &mut State, app: &str, step: Step) -> Option<UpgradeRecord> {
    let present = state.outbox.present.clone();
    let member = state.member(app)?;
    let (numbers, cause) = (*member.numbers(), member.cause().cloned());
    let (keyspace, swapped) = (member.keyspace(), member.swapped());
    let run = state.run_mut(app)?;
    note_step(run, step, &present);
    let record = &mut run.record;
    // An instance that is gone since another morphd started it stays recorded: what it made is known by its name.
    if let Some(target) = &run.target {
        record.instances.target.clone_from(target);
    }
    record.instances.source = run.source.clone().unwrap_or_default();
    record.shadow.keyspace = keyspace.unwrap_or(0);
    record.progress.swapped = swapped;
    if let Some(cause) = cause {
        record.progress.message = cause.message;
        record.progress.by = Some(cause.by);
    }
    count(&mut record.counts, &numbers);
    Some(record.clone())
}

pub(super) fn record(state: &mut State, app: &str, step: Step) {
    let Some(record) = renew(state, app, step) else {
        return;
    };
    let write = RecordWrite {
        writes: vec![Write::new(UPGRADES, app, &record)],
        step: Some(step),
        ..RecordWrite::default()
    };
    let app = app.to_owned();
    let purpose = Purpose::Step {
        app: app.clone(),
        step,
    };
    state.outbox.write_in_order(vec![app], write, purpose);
}

pub(in crate::machine) fn recorded(state: &mut State, app: &str, step: Step, answer: Answer) {
    let input = match answer.written() {
        Ok(()) => MemberInput::Recorded(step),
        Err(why) => {
            tracing::error!(app, why, "the record of an upgrade was refused");
            MemberInput::NotRecorded(step, why)
        }
    };
    state.outbox.member(app, input);
}

pub(super) fn release_status_write(
    state: &State,
    app: &str,
    version: &semver::Version,
    status: ReleaseStatus,
) -> Option<Write> {
    let release = state.releases.get(app, version)?;
    Some(release_write(release, status))
}

/// The record of an upgrade that has ended: the app, the time of its start and its id are the key.
fn history_write(app: &str, record: &UpgradeRecord) -> Write {
    let (started, id) = (record.progress.started_unix_ms, &record.id);
    Write::new(HISTORY, format!("{app}/{started:013}/{id}"), record)
}

pub(super) fn record_rolled_back(state: &mut State, app: &str, swap: Option<u32>) {
    let Some(record) = renew(state, app, Step::RolledBack) else {
        return;
    };
    let status = record.plan.prior_status.unwrap_or(ReleaseStatus::Staged);
    let mut writes = rolled_back_writes(app, &record);
    writes.extend(release_status_write(state, app, &record.plan.to, status));
    let app = app.to_owned();
    let write = RecordWrite {
        writes,
        swaps: swap
            .map(|swap| (app.clone(), Some(swap)))
            .into_iter()
            .collect(),
        step: Some(Step::RolledBack),
        ..RecordWrite::default()
    };
    let purpose = Purpose::RolledBack { app: app.clone() };
    state.outbox.write_in_order(vec![app], write, purpose);
}

/// The last records of a member that has gone back, without the status of its release.
pub(in crate::machine) fn rolled_back_writes(app: &str, record: &UpgradeRecord) -> Vec<Write> {
    vec![
        Write::new(UPGRADES, app, record),
        history_write(app, record),
    ]
}

/// The last records of all members, with what the commit makes of the apps and of their releases.
pub(super) fn commit(state: &mut State, swaps: Vec<Swap>) {
    let mut writes = Vec::new();
    let apps: Vec<String> = swaps.iter().map(|(app, _)| app.clone()).collect();
    for app in &apps {
        let Some(record) = renew(state, app, Step::Committed) else {
            continue;
        };
        writes.push(Write::new(UPGRADES, app, &record));
        writes.push(history_write(app, &record));
        let (from, to) = (&record.plan.from, &record.plan.to);
        if let Some(known) = state.apps.get(app) {
            let row = AppRow {
                fallback: known.fallback_from(to),
                release: to.clone(),
                crash_loop: None,
                poison_run: None,
                ..known.row.clone()
            };
            writes.push(Write::new(APPS, app, &row));
        }
        writes.extend(release_status_write(
            state,
            app,
            to,
            ReleaseStatus::Permanent,
        ));
        writes.extend(release_status_write(state, app, from, ReleaseStatus::Old));
    }
    let keeps = apps
        .iter()
        .filter_map(|app| shadow_owner(state, app))
        .collect();
    let write = RecordWrite {
        writes,
        swaps,
        keeps,
        step: Some(Step::Committed),
        ..RecordWrite::default()
    };
    let purpose = Purpose::Commit { apps: apps.clone() };
    state.outbox.write_in_order(apps, write, purpose);
}

/// The instance that keeps an app's former schema up after the commit, where somebody reads that.
fn shadow_owner(state: &State, app: &str) -> Option<(String, String)> {
    let former = state.run(app)?.record.plan.source_schema;
    let mut readers = readers(state, app).into_iter();
    readers.find(|(_, schema)| *schema == former)?;
    Some((app.to_owned(), state.instance_of(app, Side::Target)?))
}

/// The last records of these members are written, or refused.
pub(in crate::machine) fn end_recorded(state: &mut State, apps: &[String], answer: Answer) {
    let result = answer.written();
    for app in apps {
        let input = match &result {
            Ok(()) => MemberInput::Ended,
            Err(why) => MemberInput::EndRefused(why.clone()),
        };
        state.outbox.member(app, input);
    }
}

pub(super) fn note_step(run: &mut MemberRun, step: Step, present: &Present) {
    let since = present.at.saturating_duration_since(run.started);
    let progress = &mut run.record.progress;
    progress.step = step;
    progress.step_unix_ms = present.unix_ms;
    progress.step_at.clone_from(&present.moment);
    progress.since_start_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
}
