//! What an upgrade asks for, and what it is told.

mod fence;
mod orders;
mod records;

use std::collections::BTreeSet;

use morph_api::management::Step;

use super::apps::take_back;
use super::call::{Answer, Call};
use super::lifecycle::{LifecycleInput, LifecycleState};
use super::outbox::{Milestone, NodeOutput, Purpose, Reply};
use super::processes;
use super::record::ReleaseStatus;
use super::shadows;
use super::state::{MemberRun, Published, State};
use super::status::status_of;
use super::upgrade::{GroupOutput, MemberInput, MemberOutput, MemberState, ShadowInput, Side};

pub(super) use fence::fence_answered;
pub(super) use orders::{held, instruct_again, instructed, resumed, yielded};
pub(super) use records::{end_recorded, recorded, rolled_back_writes};

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
            GroupOutput::Fence(side, swaps) => fence::fence(state, side, &swaps),
            GroupOutput::Commit(swaps) => records::commit(state, swaps),
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
        MemberOutput::Record(step) => records::record(state, app, step),
        MemberOutput::Publish(step, message) => publish(state, app, step, message),
        MemberOutput::MakeKeyspace(side, schema) => make_keyspace(state, app, side, schema),
        MemberOutput::DropKeyspace(keyspace) => {
            let (app, ids) = (app.to_owned(), vec![keyspace]);
            let purpose = Purpose::Log("a shadow is not dropped");
            state.outbox.call(Call::DropKeyspaces { app, ids }, purpose);
        }
        MemberOutput::Spawn(side, keyspace) => orders::spawn(state, app, side, keyspace),
        MemberOutput::Instruct(side, order) => orders::instruct(state, app, side, order),
        MemberOutput::End(side) => match state.instance_of(app, side) {
            Some(instance) => processes::end(state, &instance),
            None => {
                let gone = MemberInput::Gone(side, "is not there".into());
                state.outbox.member(app, gone);
            }
        },
        MemberOutput::Hold => match has_slot(state, app) {
            true => orders::hold(state, app),
            false => state.outbox.lifecycle(app, LifecycleInput::Yield),
        },
        // The group makes a fence of it.
        MemberOutput::FenceForSource => {}
        MemberOutput::Resume(side) => orders::resume(state, app, side),
        MemberOutput::Sample => {
            let app = app.to_owned();
            let call = Call::Sample { app: app.clone() };
            state.outbox.call(call, Purpose::Sample { app });
        }
        MemberOutput::RecordRolledBack(swap) => records::record_rolled_back(state, app, swap),
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
    records::note_step(run, step, &present);
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
            known.row.poison_run = None;
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
