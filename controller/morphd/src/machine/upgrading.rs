//! What an upgrade asks for: records, fences, instances, instructions.

use std::collections::BTreeSet;

use morph_api::deadlines::Deadlines;
use morph_api::management::Step;

use super::apps::{Yielded, checkpoint_is, release_write, take_back};
use super::call::{Answer, Call, FencePart, FenceRequest, Limit, RecordWrite, Resume};
use super::lifecycle::{LifecycleInput, LifecycleState};
use super::outbox::{Milestone, NodeOutput, Purpose, Reply};
use super::processes;
use super::query::readers;
use super::record::{
    APPS, AppRow, Fencing, HISTORY, ReleaseStatus, UPGRADES, UpgradeRecord, Write,
};
use super::shadows;
use super::state::{MemberRun, Published, State};
use super::status::{count, status_of};
use super::upgrade::{
    GroupOutput, MemberInput, MemberOutput, MemberState, Order, ShadowInput, Side, SourceState,
    Swap,
};

/// One input of a member of an upgrade.
pub(super) fn feed(state: &mut State, app: &str, input: MemberInput) {
    let now = state.now();
    let Some(id) = state.apps.get(app).and_then(|app| app.upgrade.clone()) else {
        return;
    };
    let Some(upgrade) = state.upgrades.get_mut(&id) else {
        return;
    };
    let mut out = Vec::new();
    upgrade.group.handle(app, input, now, &mut out);
    carry_out(state, &id, out);
}

/// Does what an upgrade asks for, and ends the part of each member that has come to its end.
pub(super) fn carry_out(state: &mut State, id: &str, out: Vec<GroupOutput>) {
    for output in out {
        match output {
            GroupOutput::Member(app, output) => carry_out_member(state, &app, output),
            GroupOutput::Fence(side, swaps) => fence(state, side, &swaps),
            GroupOutput::Commit(swaps) => commit(state, swaps),
        }
    }
    let Some(upgrade) = state.upgrades.get(id) else {
        return;
    };
    let apps: Vec<String> = upgrade.members.keys().cloned().collect();
    let ended = |app: &&String| {
        let member = upgrade.group.member(app);
        !upgrade.ended.contains_key(*app) && member.is_some_and(|member| member.ended())
    };
    let over: Vec<String> = apps.iter().filter(ended).cloned().collect();
    for app in over {
        member_over(state, id, &app);
    }
    for app in apps {
        processes::prioritize(state, &app);
    }
}

fn carry_out_member(state: &mut State, app: &str, output: MemberOutput) {
    match output {
        MemberOutput::Record(step) => record(state, app, step),
        MemberOutput::Publish(step, message) => publish(state, app, step, message),
        MemberOutput::MakeKeyspace(side, schema) => make_keyspace(state, app, side, schema),
        MemberOutput::DropKeyspace(keyspace) => {
            let (app, ids) = (app.to_owned(), vec![keyspace]);
            let purpose = Purpose::Log("a shadow is not dropped");
            state.outbox.call(Call::DropKeyspaces { app, ids }, purpose);
        }
        MemberOutput::Spawn(side, keyspace) => spawn(state, app, side, keyspace),
        MemberOutput::Instruct(side, order) => instruct(state, app, side, order),
        MemberOutput::End(side) => match state.instance_of(app, side) {
            Some(instance) => processes::end(state, &instance),
            None => {
                let gone = MemberInput::Gone(side, "is not there".into());
                state.outbox.member(app, gone);
            }
        },
        MemberOutput::Hold => match has_slot(state, app) {
            true => hold(state, app),
            false => state.outbox.lifecycle(app, LifecycleInput::Yield),
        },
        // The group makes a fence of it.
        MemberOutput::FenceForSource => {}
        MemberOutput::Resume(side) => resume(state, app, side),
        MemberOutput::Sample => {
            let app = app.to_owned();
            let call = Call::Sample { app: app.clone() };
            state.outbox.call(call, Purpose::Sample { app });
        }
        MemberOutput::RecordRolledBack(swap) => record_rolled_back(state, app, swap),
    }
}

fn has_slot(state: &State, app: &str) -> bool {
    let app = state.apps.get(app);
    app.is_some_and(|app| *app.lifecycle.state() == LifecycleState::Yielded)
}

// ---- statuses ----

/// Tells a step that has become true. The last one is told once the app is itself again.
fn publish(state: &mut State, app: &str, step: Step, message: String) {
    state.outbox.put(NodeOutput::Reached(Milestone::Step(step)));
    if matches!(step, Step::Committed | Step::RolledBack) {
        return;
    }
    let present = state.outbox.present.clone();
    let Some(run) = state.run_mut(app) else {
        return;
    };
    note_step(run, step, &present);
    run.record.progress.message = message;
    let progress = &run.record.progress;
    run.published = Some(Published {
        step,
        unix_ms: progress.step_unix_ms,
        since_start_us: progress.since_start_us,
    });
    let status = status_of(app, &run.record);
    state.outbox.put(NodeOutput::Status(status));
}

fn note_step(run: &mut MemberRun, step: Step, present: &super::outbox::Present) {
    let since = present.at.saturating_duration_since(run.started);
    let progress = &mut run.record.progress;
    progress.step = step;
    progress.step_unix_ms = present.unix_ms;
    progress.step_at.clone_from(&present.moment);
    progress.since_start_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
}

// ---- records ----

/// The record with everything that is known by now.
fn renew(state: &mut State, app: &str, step: Step) -> Option<UpgradeRecord> {
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

fn record(state: &mut State, app: &str, step: Step) {
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

pub(super) fn recorded(state: &mut State, app: &str, step: Step, answer: Answer) {
    let input = match answer.written() {
        Ok(()) => MemberInput::Recorded(step),
        Err(why) => {
            tracing::error!(app, why, "the record of an upgrade was refused");
            MemberInput::NotRecorded(step, why)
        }
    };
    feed(state, app, input);
}

fn release_status_write(
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

fn record_rolled_back(state: &mut State, app: &str, swap: Option<u32>) {
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
pub(super) fn rolled_back_writes(app: &str, record: &UpgradeRecord) -> Vec<Write> {
    vec![
        Write::new(UPGRADES, app, record),
        history_write(app, record),
    ]
}

/// The last records of all members, with what the commit makes of the apps and of their releases.
fn commit(state: &mut State, swaps: Vec<Swap>) {
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
pub(super) fn end_recorded(state: &mut State, apps: &[String], answer: Answer) {
    let result = answer.written();
    for app in apps {
        let input = match &result {
            Ok(()) => MemberInput::Ended,
            Err(why) => MemberInput::EndRefused(why.clone()),
        };
        feed(state, app, input);
    }
}

// ---- the fence ----

/// One transaction for all these apps, with their records, rows and the statuses of their releases.
fn fence(state: &mut State, side: Side, swaps: &[Swap]) {
    let step = match side {
        Side::Target => Step::Resuming,
        Side::Source => Step::RollingBack,
    };
    let (mut parts, mut members) = (Vec::new(), Vec::new());
    for (app, swap) in swaps {
        let Some((part, status)) = fence_part(state, app, (side, step), *swap) else {
            // A member without a record cannot be fenced, and neither can those that go with it.
            for (app, _) in swaps {
                let refused = MemberInput::FenceRefused("its record is gone".into());
                state.outbox.member(app, refused);
            }
            return;
        };
        members.push((app.clone(), part.row.instance.clone(), status));
        parts.push(part);
    }
    let limits = swaps.iter().map(|(app, _)| deadlines(state, app).fence);
    let limit = limits.min().unwrap_or(Deadlines::DEFAULT.fence);
    let call = Call::Fence(FenceRequest {
        parts,
        step: Some(step),
        primaries: side == Side::Source,
    });
    let purpose = Purpose::Fence { side, members };
    let limit = match side {
        Side::Target => Limit::GiveUp(limit),
        // The way back has no failure exit: it waits for the store.
        Side::Source => call.limit(),
    };
    state.outbox.call_within(limit, call, purpose);
}

fn fence_part(
    state: &mut State,
    app: &str,
    (side, step): (Side, Step),
    swap: Option<u32>,
) -> Option<(FencePart, ReleaseStatus)> {
    let instance = state.instance_of(app, side).unwrap_or_default();
    let mut record = renew(state, app, step)?;
    record.progress.fenced = true;
    record.progress.swapped |= swap.is_some();
    let plan = &record.plan;
    let (release, status) = match side {
        Side::Target => (&plan.to, ReleaseStatus::Current),
        Side::Source => (
            &plan.from,
            plan.prior_status.unwrap_or(ReleaseStatus::Staged),
        ),
    };
    let known = state.apps.get(app)?;
    let fencing = Fencing {
        app: app.to_owned(),
        node: state.config.node.clone(),
        release: release.to_string(),
        epoch: known.row.epoch,
        force: side == Side::Source,
        swap,
        skip: None,
    };
    let row = AppRow {
        instance,
        ..known.row.clone()
    };
    let mut writes = vec![Write::new(UPGRADES, app, &record)];
    writes.extend(release_status_write(state, app, &plan.to, status));
    let part = FencePart {
        fencing,
        row,
        writes,
    };
    Some((part, status))
}

pub(super) fn fence_answered(
    state: &mut State,
    members: Vec<(String, String, ReleaseStatus)>,
    answer: Answer,
) {
    let answer = match answer.fenced() {
        Ok(answer) => answer,
        Err(refusal) => {
            for (app, ..) in members {
                if let Some(run) = state.run_mut(&app) {
                    // The fence may have been applied. The record says so, and the fence for the source settles it.
                    run.record.progress.fenced = true;
                }
                let refused = MemberInput::FenceRefused(refusal.message.clone());
                feed(state, &app, refused);
            }
            return;
        }
    };
    for ((app, instance, status), fenced) in members.iter().zip(&answer.fenced) {
        checkpoint_is(state, app, instance, *fenced);
        if let Some(known) = state.apps.get_mut(app) {
            known.death = None;
        }
        if let Some(run) = state.run_mut(app) {
            run.fenced = Some(*fenced);
            run.record.progress.fenced = true;
            let to = run.record.plan.to.clone();
            state.releases.set_status(app, &to, *status);
        }
    }
    let primaries = answer.primaries.into_iter().chain(std::iter::repeat(None));
    for ((app, ..), primary) in members.into_iter().zip(primaries) {
        if let Some(schema) = primary {
            feed(state, &app, MemberInput::PrimarySchema(schema));
        }
        feed(state, &app, MemberInput::Fenced);
    }
}

/// Deadlines of an app's upgrade.
fn deadlines(state: &State, app: &str) -> Deadlines {
    let member = state.member(app);
    member.map_or(Deadlines::DEFAULT, |member| member.plan().deadlines)
}

// ---- instances and the slot ----

fn spawn(state: &mut State, app: &str, side: Side, keyspace: Option<u32>) {
    let Some(run) = state.run(app) else { return };
    let version = match side {
        Side::Target => run.record.plan.to.clone(),
        Side::Source => run.record.plan.from.clone(),
    };
    match processes::spawn(state, app, &version, keyspace, false) {
        Ok(id) => {
            if let Some(run) = state.run_mut(app) {
                match side {
                    Side::Target => run.target = Some(id),
                    Side::Source => run.source = Some(id),
                }
            }
        }
        Err(why) => state.outbox.member(app, MemberInput::Gone(side, why)),
    }
}

fn instruct(state: &mut State, app: &str, side: Side, order: Order) {
    // A missing instance is told of by its own end.
    let Some(instance) = state.instance_of(app, side) else {
        return;
    };
    let app = app.to_owned();
    let call = Call::Instruct {
        app: app.clone(),
        instance: instance.clone(),
        order,
    };
    let purpose = Purpose::Order {
        app,
        side,
        instance,
        order,
    };
    state.outbox.call(call, purpose);
}

/// An order has reached its instance, or not. What waits for the effect of an order has a deadline.
pub(super) fn instructed(
    state: &mut State,
    app: &str,
    (side, instance, order): (Side, String, Order),
    answer: Answer,
) {
    let Err(why) = answer.written() else { return };
    tracing::warn!(
        app,
        instance,
        ?order,
        why,
        "an instance could not be instructed"
    );
    if let (Order::MakeShadow { .. }, Some(run)) = (order, state.run_mut(app)) {
        run.missed = Some((side, order));
        // The instance may have attached again before this answer.
        if state.instances.get(&instance).is_some_and(|i| i.attached) {
            instruct_again(state, app, &instance);
        }
    }
}

/// Tells an instance that has attached again what it missed, unless that is of no use any longer.
pub(super) fn instruct_again(state: &mut State, app: &str, instance: &str) {
    let side = state.side_of(app, instance);
    let keyspace_now = state.member(app).and_then(|member| member.keyspace());
    let Some(run) = state.run_mut(app) else {
        return;
    };
    let missed = run.missed.take_if(|(missed, _)| Some(*missed) == side);
    if let Some((side, order @ Order::MakeShadow { keyspace, .. })) = missed
        && keyspace_now == Some(keyspace)
    {
        instruct(state, app, side, order);
    }
}

/// The app's own supervision has given the slot to its upgrade.
pub(super) fn yielded(state: &mut State, app: &str, Yielded { instance }: Yielded) {
    let known = instance.as_ref().and_then(|id| state.instances.get(id));
    let source = match known {
        None => SourceState::Absent,
        Some(known) if known.is_usable() => SourceState::Ready,
        Some(_) => SourceState::Starting,
    };
    match state.run_mut(app) {
        Some(run) => run.source = instance,
        // The upgrade is over already; the app looks after itself again.
        None => {
            let back = instance.filter(|id| state.instances.get(id).is_some());
            return take_back(state, app, back.map(|id| (id, false)));
        }
    }
    feed(state, app, MemberInput::Yielded(source));
    hold(state, app);
}

fn hold(state: &mut State, app: &str) {
    let Deadlines { quiesce, hold, .. } = deadlines(state, app);
    let app = app.to_owned();
    let call = Call::Hold {
        app: app.clone(),
        quiesce,
        hold,
    };
    state.outbox.call(call, Purpose::Hold { app });
}

pub(super) fn held(state: &mut State, app: &str, answer: Answer) {
    let input = match answer.held() {
        Ok(outcome) => MemberInput::Held(outcome),
        Err(why) => MemberInput::HoldFailed(why),
    };
    feed(state, app, input);
}

fn resume(state: &mut State, app: &str, side: Side) {
    let instance = state.instance_of(app, side);
    let fenced = state.run(app).and_then(|run| run.fenced);
    let (Some(instance), Some(fenced)) = (instance, fenced) else {
        let failed = MemberInput::ResumeFailed("it is not there".into());
        return state.outbox.member(app, failed);
    };
    let app = app.to_owned();
    let call = Call::Resume(Resume {
        app: app.clone(),
        instance: instance.clone(),
        fenced,
        group: resume_group(state, &app, side),
    });
    state.outbox.call(call, Purpose::Resume { app, instance });
}

/// The targets of a group are resumed as one; on the way back each is resumed by itself.
fn resume_group(
    state: &State,
    app: &str,
    side: Side,
) -> Option<(String, Vec<String>, std::time::Duration)> {
    let upgrade = state.upgrade_of(app)?;
    let id = &state.run(app)?.record.group;
    if side == Side::Source || id.is_empty() {
        return None;
    }
    let apps = upgrade.members.keys().cloned().collect();
    Some((id.clone(), apps, deadlines(state, app).rules))
}

pub(super) fn resumed(state: &mut State, app: &str, instance: &str, answer: Answer) {
    let input = match answer.resumed() {
        Ok(resumption) => {
            state.instances.set_live(app, Some(instance));
            MemberInput::Resumed(resumption)
        }
        Err(why) => MemberInput::ResumeFailed(why),
    };
    feed(state, app, input);
}

// ---- the shadow ----

fn make_keyspace(state: &mut State, app: &str, side: Side, schema: u32) {
    let Some(maker) = state.instance_of(app, side) else {
        let failed = ShadowInput::MakeFailed("its maker is not there".into());
        return state.outbox.member(app, MemberInput::Shadow(failed));
    };
    let app = app.to_owned();
    let call = Call::MakeKeyspace {
        app: app.clone(),
        schema,
        owner: maker.clone(),
    };
    let purpose = Purpose::Keyspace {
        app,
        side,
        maker,
        schema,
    };
    state.outbox.call(call, purpose);
}

pub(super) fn keyspace_made(
    state: &mut State,
    app: &str,
    (side, maker, schema): (Side, String, u32),
    answer: Answer,
) {
    let result = answer.keyspace();
    if state.instance_of(app, side).as_ref() != Some(&maker) {
        // The upgrade has ended meanwhile, and another one may have begun.
        if let Ok(keyspace) = result {
            let (app, ids) = (app.to_owned(), vec![keyspace]);
            let purpose = Purpose::Log("a shadow is not dropped");
            state.outbox.call(Call::DropKeyspaces { app, ids }, purpose);
        }
        return;
    }
    let input = match result {
        Ok(keyspace) => {
            shadows::begun(state, app, &maker, (keyspace, schema));
            ShadowInput::Made(keyspace)
        }
        Err(why) => ShadowInput::MakeFailed(why),
    };
    feed(state, app, MemberInput::Shadow(input));
}

// ---- the end ----

/// A member has come to its end: its app looks after itself again.
fn member_over(state: &mut State, id: &str, app: &str) {
    let Some(run) = state.run(app).cloned() else {
        return;
    };
    let member = state.member(app).map(|member| member.state());
    let committed = member == Some(MemberState::Committed);
    let MemberRun {
        record,
        source,
        target,
        ..
    } = run;
    let plan = &record.plan;
    let yielded = has_slot(state, app);
    match committed {
        true => {
            state
                .releases
                .set_status(app, &plan.to, ReleaseStatus::Permanent);
            state
                .releases
                .set_status(app, &plan.from, ReleaseStatus::Old);
        }
        false => {
            let status = plan.prior_status.unwrap_or(ReleaseStatus::Staged);
            state.releases.set_status(app, &plan.to, status);
        }
    }
    let status = status_of(app, &record);
    if let Some(known) = state.apps.get_mut(app) {
        if committed {
            known.row.fallback = known.fallback_from(&plan.to);
            known.row.crash_loop = None;
            known.row.release = plan.to.clone();
        }
        known.upgrade = None;
        known.last_upgrade = Some(record.clone());
    }
    state.outbox.call(
        Call::BoundHistory {
            app: app.to_owned(),
        },
        Purpose::Log("the history of upgrades is not bounded"),
    );
    state.outbox.put(NodeOutput::Status(status.clone()));
    if let Some(upgrade) = state.upgrades.get_mut(id) {
        upgrade.ended.insert(app.to_owned(), status);
    }
    // The record names an instance that another morphd started and that is gone since.
    let maker = target.clone().unwrap_or(record.instances.target);
    let (stays, goes) = match committed {
        true => (target, source),
        false => (source, target),
    };
    if let Some(goes) = goes {
        processes::end(state, &goes);
    }
    if !committed {
        let call = Call::DropShadows {
            app: app.to_owned(),
            owner: Some(maker),
        };
        state
            .outbox
            .call(call, Purpose::Log("a shadow is not dropped"));
    }
    if yielded {
        let stays = stays.and_then(|id| {
            let instance = state.instances.get(&id).filter(|i| !i.ending)?;
            Some((id, instance.live))
        });
        take_back(state, app, stays);
    }
    state.look_at_shadows();
    end_upgrade(state, id);
}

/// Ends an upgrade with its last member, and answers the requests that wait for that.
fn end_upgrade(state: &mut State, id: &str) {
    let upgrade = state.upgrades.get(id);
    if upgrade.is_none_or(|upgrade| upgrade.ended.len() != upgrade.members.len()) {
        return;
    }
    let Some(upgrade) = state.upgrades.remove(id) else {
        return;
    };
    let mut replied = BTreeSet::new();
    for (request, app) in upgrade.waiting {
        if !replied.insert(request) {
            continue;
        }
        let first = upgrade.ended.get(&app);
        let others = upgrade.ended.iter().filter(|(other, _)| **other != app);
        let statuses = first.into_iter().chain(others.map(|(_, status)| status));
        let statuses = statuses.cloned().collect();
        state.outbox.reply(request, Ok(Reply::Ended(statuses)));
    }
}
