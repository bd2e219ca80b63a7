//! App instances as processes and sessions: started, ended, found dead.

use std::time::Duration;

use semver::Version;

use super::instances::InstanceId;
use super::instances::{Instance, SessionLoss};
use super::lifecycle::{LifecycleInput, LifecycleState};
use super::outbox::{NodeOutput, Spawn};
use super::poison::Death;
use super::state::State;
use super::upgrade::{Member, MemberInput, Side};

/// Between the end of a session and that of its process: what the process says last is worth this wait.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Starts an instance of a release; `alone`: nobody serves the app meanwhile. A start that fails is reported as the
/// instance's end.
pub(super) fn spawn(
    state: &mut State,
    app: &str,
    version: &Version,
    keyspace: Option<u32>,
    alone: bool,
) -> Result<InstanceId, String> {
    let release = state.releases.get(app, version);
    let release = release.ok_or_else(|| format!("{app}@{version} is not installed any longer"))?;
    let release = Box::new(release.clone());
    let instance = format!("{:x}", state.next_id());
    state
        .instances
        .insert(instance.clone(), Instance::new(app, version));
    state.outbox.put(NodeOutput::Spawn(Spawn {
        instance: instance.clone(),
        release,
        keyspace,
        alone,
    }));
    Ok(instance)
}

pub(super) fn started(state: &mut State, id: &str, pid: u32) {
    if let Some(instance) = state.instances.get_mut(id) {
        instance.pid = pid;
    }
}

/// Ends an instance, gently first.
pub(super) fn end(state: &mut State, id: &str) {
    if let Some(instance) = state.instances.get_mut(id)
        && !std::mem::replace(&mut instance.ending, true)
    {
        state.outbox.put(NodeOutput::End(id.to_owned()));
    }
}

/// Kills an instance that is of no use any longer.
pub(super) fn kill(state: &mut State, id: &str, why: &str) {
    let Some(instance) = state.instances.get_mut(id) else {
        return;
    };
    instance.ending = true;
    instance.session_loss = None;
    let (app, release, pid) = (instance.app.clone(), instance.release.clone(), instance.pid);
    tracing::warn!(app, instance = id, pid, "{why}: the instance is killed");
    state.outbox.put(NodeOutput::Kill(id.to_owned()));
    note_death(state, &app, id, &release, why);
    gone(state, &app, id, why);
}

/// The process of an instance has ended.
pub(super) fn ended(state: &mut State, id: &str, how: &str) {
    let Some(instance) = state.instances.remove(id) else {
        return;
    };
    let app = instance.app;
    if instance.ending {
        tracing::info!(app, instance = id, "{how}");
    } else {
        tracing::warn!(app, instance = id, release = %instance.release, "{how}");
        note_death(state, &app, id, &instance.release, how);
    }
    gone(state, &app, id, how);
}

/// Notes the death of an instance that was, or may have been, live. In an upgrade that is done only for the source on the way
/// back.
pub(super) fn note_death(state: &mut State, app: &str, id: &str, release: &Version, how: &str) {
    let unix_ms = state.outbox.present.unix_ms;
    let returned = state.side_of(app, id) == Some(Side::Source)
        && state.member(app).is_some_and(Member::goes_back);
    let Some(app) = state.apps.get_mut(app) else {
        return;
    };
    let resumed = match app.lifecycle.state() {
        LifecycleState::Resuming { instance }
        | LifecycleState::Running { instance }
        | LifecycleState::Retrying { instance, .. } => instance == id,
        LifecycleState::Starting { instance, .. } => {
            instance.as_deref() == Some(id) && app.row.instance == id
        }
        LifecycleState::Waiting { .. }
        | LifecycleState::CrashLoop
        | LifecycleState::Ending { .. } => false,
        LifecycleState::Yielded => returned && app.row.instance == id,
        // A morphd that has just begun.
        LifecycleState::Stopped => app.row.instance == id,
    };
    if resumed {
        app.death = Some(Death {
            instance: id.to_owned(),
            release: release.to_string(),
            how: how.to_owned(),
            unix_ms,
        });
    }
}

/// Tells the owner of the slot that an instance is gone.
fn gone(state: &mut State, app: &str, id: &str, why: &str) {
    if let Some(side) = state.side_of(app, id) {
        state
            .outbox
            .member(app, MemberInput::Gone(side, why.to_owned()));
    }
    if let Some(app) = state.apps.get_mut(app) {
        app.last_end = why.to_owned();
    }
    state
        .outbox
        .lifecycle(app, LifecycleInput::Gone(id.to_owned()));
}

/// The session of an instance ended. Either its process ends too, and says why, or it is of no use without one.
pub(super) fn session_ended(state: &mut State, id: &str, reason: String) {
    let until = state.now() + LAST_WORDS;
    let Some(instance) = state.instances.get_mut(id) else {
        return;
    };
    instance.attached = false;
    let was_live = std::mem::replace(&mut instance.live, false);
    if instance.ending {
        return;
    }
    let app = instance.app.clone();
    let known = state.apps.get(&app);
    let yielded = known.is_some_and(|app| *app.lifecycle.state() == LifecycleState::Yielded);
    // What a target was told may have been lost with the session.
    let final_loss = was_live && yielded || state.side_of(&app, id) == Some(Side::Target);
    if let Some(instance) = state.instances.get_mut(id) {
        instance.session_loss = Some(SessionLoss {
            until,
            reason,
            final_loss,
        });
    }
    if was_live && !final_loss {
        // An instance that attaches again is resumed: nobody is live meanwhile.
        state.outbox.lifecycle(&app, LifecycleInput::SessionLost);
    }
}

/// Kills instances that have lost their sessions and have not come back in time.
pub(super) fn time(state: &mut State) {
    let now = state.now();
    let mut lost = Vec::new();
    for (id, instance) in state.instances.iter_mut() {
        let loss = instance.session_loss.take_if(|loss| loss.until <= now);
        let Some(loss) = loss else { continue };
        let back = instance.attached && !loss.final_loss;
        if !(instance.ending || instance.live || back) {
            lost.push((id.clone(), loss.reason));
        }
    }
    for (id, reason) in lost {
        kill(state, &id, &format!("lost its session: {reason}"));
    }
}

/// Offers an instance that is attached and ready to the owner of the slot.
pub(super) fn offer(state: &mut State, id: &str) {
    let Some(instance) = state.instances.get(id).filter(|i| i.is_usable()) else {
        return;
    };
    let (app, summary) = (instance.app.clone(), instance.summary.clone());
    let rule_loss = instance.rule_loss.clone();
    prioritize(state, &app);
    if let Some(side) = state.side_of(&app, id) {
        if let Some(why) = rule_loss.filter(|_| side == Side::Target) {
            state.outbox.member(&app, MemberInput::RuleLoss(why));
        }
        state.outbox.member(&app, MemberInput::Ready(side, summary));
    }
    state
        .outbox
        .lifecycle(&app, LifecycleInput::Ready(id.to_owned()));
}

/// Instances that are ready run before morphd. While their app is upgraded that is the target alone, from the first sample of
/// its probation on: until then the upgrade makes work, which the other apps shall not notice.
pub(super) fn prioritize(state: &mut State, app: &str) {
    let upgrading = state.run(app).is_some();
    let settled_in = state
        .member(app)
        .is_some_and(|member| member.has_settled_in());
    let mut changed = Vec::new();
    for (id, instance) in state.instances.iter_mut() {
        if instance.app != app || !instance.ready || instance.ending {
            continue;
        }
        let first = !upgrading || instance.live && settled_in;
        if instance.first != Some(first) {
            instance.first = Some(first);
            changed.push(NodeOutput::Prioritize(id.clone(), first));
        }
    }
    for output in changed {
        state.outbox.put(output);
    }
}
