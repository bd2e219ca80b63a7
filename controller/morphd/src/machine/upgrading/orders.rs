//! Calls for a member: instances started and instructed, the slot held and resumed.

use morph_api::deadlines::Deadlines;

use crate::machine::apps::{Yielded, take_back};
use crate::machine::call::{Answer, Call, Resume};
use crate::machine::outbox::Purpose;
use crate::machine::processes;
use crate::machine::state::State;
use crate::machine::upgrade::{MemberInput, Order, Side, SourceState};

pub(super) fn spawn(state: &mut State, app: &str, side: Side, keyspace: Option<u32>) {
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

pub(super) fn instruct(state: &mut State, app: &str, side: Side, order: Order) {
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
pub(in crate::machine) fn instructed(
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
pub(in crate::machine) fn instruct_again(state: &mut State, app: &str, instance: &str) {
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
pub(in crate::machine) fn yielded(state: &mut State, app: &str, Yielded { instance }: Yielded) {
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
    state.outbox.member(app, MemberInput::Yielded(source));
    hold(state, app);
}

pub(super) fn hold(state: &mut State, app: &str) {
    let Deadlines { quiesce, hold, .. } = state.deadlines(app);
    let app = app.to_owned();
    let call = Call::Hold {
        app: app.clone(),
        quiesce,
        hold,
    };
    state.outbox.call(call, Purpose::Hold { app });
}

pub(in crate::machine) fn held(state: &mut State, app: &str, answer: Answer) {
    let input = match answer.held() {
        Ok(outcome) => MemberInput::Held(outcome),
        Err(why) => MemberInput::HoldFailed(why),
    };
    state.outbox.member(app, input);
}

pub(super) fn resume(state: &mut State, app: &str, side: Side) {
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
pub(super) fn resume_group(
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
    Some((id.clone(), apps, state.deadlines(app).rules))
}

pub(in crate::machine) fn resumed(state: &mut State, app: &str, instance: &str, answer: Answer) {
    let input = match answer.resumed() {
        Ok(resumption) => {
            state.instances.set_live(app, Some(instance));
            MemberInput::Resumed(resumption)
        }
        Err(why) => MemberInput::ResumeFailed(why),
    };
    state.outbox.member(app, input);
}
