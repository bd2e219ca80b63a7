//! Requests of an app's own supervision: instances and takeovers.

use super::call::{Answer, Call, FencePart, FenceRequest, Resume};
use super::changes::live_write;
use super::crash_loop;
use super::instances::InstanceId;
use super::lifecycle::{LifecycleInput, LifecycleOutput, LifecycleState};
use super::outbox::{Milestone, NodeOutput, Purpose};
use super::poison::{DEATHS, KEPT};
use super::processes;
use super::record::{AppRow, Fenced, Fencing};
use super::retry;
use super::state::State;
use super::takeover::{Earlier, Finding, Takeover, TakeoverStep};
use morph_openflow::Dpid;

/// One input of an app's lifecycle. Returns what the app's upgrade has to do where it got the slot.
pub(super) fn feed(state: &mut State, app: &str, input: LifecycleInput) -> Option<Yielded> {
    let now = state.now();
    let known = state.apps.get_mut(app)?;
    let mut out = Vec::new();
    known.lifecycle.handle(input, now, &mut out);
    let mut yielded = None;
    for output in out {
        match output {
            LifecycleOutput::Spawn => spawn(state, app),
            LifecycleOutput::Resume(instance) => begin_takeover(state, app, instance),
            LifecycleOutput::End(instance) => end(state, app, &instance),
            LifecycleOutput::Yielded(instance) => {
                yielded = Some(Yielded {
                    instance: instance.map(|(id, _)| id),
                });
            }
            LifecycleOutput::CrashLoop(deaths) => crash_loop::begin(state, app, deaths),
            LifecycleOutput::KeepsDying(deaths, wait) => {
                tracing::error!(
                    app,
                    deaths,
                    ?wait,
                    "the app keeps dying; it is started again after a wait"
                );
            }
        }
    }
    yielded
}

/// An app's own supervision has given the slot away, with this instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Yielded {
    pub(super) instance: Option<InstanceId>,
}

fn spawn(state: &mut State, app: &str) {
    let Some(known) = state.apps.get(app) else {
        return;
    };
    let version = known.row.release.clone();
    match processes::spawn(state, app, &version, None, true) {
        Ok(instance) => state
            .outbox
            .lifecycle(app, LifecycleInput::Spawned(instance)),
        Err(why) => {
            tracing::error!(app, release = %version, "{why}");
            if let Some(known) = state.apps.get_mut(app) {
                known.last_end = why;
            }
            // No process, so its end is told at once.
            let instance = format!("{:x}", state.next_id());
            state
                .outbox
                .lifecycle(app, LifecycleInput::Spawned(instance.clone()));
            state.outbox.lifecycle(app, LifecycleInput::Gone(instance));
        }
    }
}

fn end(state: &mut State, app: &str, instance: &str) {
    if state.instances.get(instance).is_some_and(|i| i.ending) {
        tracing::warn!(app, instance, "does not end, though it was killed");
    }
    processes::end(state, instance);
}

/// The app's own supervision goes on with this instance, live or not.
pub(super) fn take_back(state: &mut State, app: &str, instance: Option<(InstanceId, bool)>) {
    let id = instance.as_ref().map(|(id, _)| id.clone());
    state.outbox.lifecycle(app, LifecycleInput::Take(instance));
    if let Some(id) = id {
        processes::offer(state, &id);
    }
}

// ---- takeover ----

fn begin_takeover(state: &mut State, app: &str, instance: InstanceId) {
    let Some(known) = state.apps.get_mut(app) else {
        return;
    };
    if let Some(takeover) = &mut known.takeover {
        return takeover.follow_with(instance);
    }
    let earlier = Earlier {
        suspect: known.row.suspect.clone(),
        run: known.row.poison_run.clone(),
    };
    let (takeover, step) = Takeover::begin(instance, known.death.clone(), earlier);
    known.takeover = Some(takeover);
    next_step(state, app, step);
}

fn next_step(state: &mut State, app: &str, step: TakeoverStep) {
    let Some(takeover) = state.apps.get(app).and_then(|app| app.takeover.as_ref()) else {
        return;
    };
    let name = app.to_owned();
    match step {
        TakeoverStep::AskSuspect => {
            let Some(death) = takeover.death() else {
                return;
            };
            let call = Call::Suspect {
                app: name.clone(),
                instance: death.instance.clone(),
                handling: None,
            };
            state.outbox.call(call, Purpose::Suspect { app: name });
        }
        TakeoverStep::ReadCursor => {
            state
                .outbox
                .call(Call::ReadStore, Purpose::Cursor { app: name });
        }
        TakeoverStep::Fence => fence(state, app),
        TakeoverStep::Resume(fenced) => {
            let call = Call::Resume(Resume {
                app: name.clone(),
                instance: takeover.instance().clone(),
                fenced,
                group: None,
            });
            state
                .outbox
                .call(call, Purpose::TakeoverResume { app: name });
        }
    }
}

fn fence(state: &mut State, app: &str) {
    let Some(known) = state.apps.get(app) else {
        return;
    };
    let Some(takeover) = &known.takeover else {
        return;
    };
    let finding = takeover.finding();
    let let_in = state.releases.get(app, &known.row.release);
    let let_in = let_in.filter(|release| release.row.live != Some(true));
    let let_in = let_in.map(|release| live_write(release, release.row.status));
    let part = FencePart {
        fencing: Fencing {
            app: app.to_owned(),
            node: state.config.node.clone(),
            release: known.row.release.to_string(),
            epoch: known.row.epoch,
            force: true,
            swap: None,
            skip: finding.skip(),
        },
        row: AppRow {
            instance: takeover.instance().clone(),
            suspect: finding.suspect.clone(),
            poison_run: finding.run.clone(),
            ..known.row.clone()
        },
        writes: finding.write().into_iter().chain(let_in).collect(),
    };
    let request = FenceRequest {
        parts: vec![part],
        step: None,
        primaries: false,
    };
    let app = app.to_owned();
    state
        .outbox
        .call(Call::Fence(request), Purpose::TakeoverFence { app });
}

/// The proxy has said which event a dead instance had in flight.
pub(super) fn suspected(state: &mut State, app: &str, answer: Answer) {
    let known = state.apps.get_mut(app);
    let takeover = known.and_then(|app| app.takeover.as_mut());
    let step = takeover.and_then(|takeover| takeover.suspected(answer.suspect()));
    if let Some(step) = step {
        next_step(state, app, step);
    }
}

/// The durable cursor of an app whose instance died of a poison event.
pub(super) fn cursor_read(state: &mut State, app: &str, answer: Answer) {
    let view = answer.store().unwrap_or_default();
    let cursor = view.cursor(app, &state.config.node);
    let kept: Vec<_> = state.quarantine.of_app(app).collect();
    let known = state.apps.get_mut(app);
    let takeover = known.and_then(|app| app.takeover.as_mut());
    let step = takeover.and_then(|takeover| takeover.cursor_read(app, cursor, &kept));
    if let Some(step) = step {
        next_step(state, app, step);
    }
}

pub(super) fn takeover_fenced(state: &mut State, app: &str, answer: Answer) {
    let known = state.apps.get_mut(app);
    let Some(takeover) = known.and_then(|app| app.takeover.as_mut()) else {
        return;
    };
    let instance = takeover.instance().clone();
    let refusal = match answer.fenced() {
        Ok(answer) => {
            let Some(fenced) = answer.fenced.first().copied() else {
                return takeover_failed(state, app, "the fence names no checkpoint");
            };
            let step = takeover.fenced(fenced);
            let finding = takeover.finding().clone();
            let death = takeover.death().cloned();
            checkpoint_is(state, app, &instance, fenced);
            if let Some(known) = state.apps.get_mut(app) {
                state.releases.set_live(app, &known.row.release);
                known.death.take_if(|found| Some(&*found) == death.as_ref());
            }
            found(state, app, finding);
            retry::cursor_at(state, app, fenced.cursor);
            if crash_loop::gives_way(state, app, fenced.cursor) {
                return;
            }
            return next_step(state, app, step);
        }
        Err(refusal) => refusal,
    };
    match takeover.fence_refused(&refusal) {
        Some(step) => {
            tracing::warn!(app, "{}: the event is not quarantined", refusal.message);
            next_step(state, app, step);
        }
        None => {
            let why = format!("the fence was refused: {}", refusal.message);
            takeover_failed(state, app, &why);
        }
    }
}

fn takeover_failed(state: &mut State, app: &str, why: &str) {
    let Some(known) = state.apps.get_mut(app) else {
        return;
    };
    let Some(takeover) = known.takeover.take() else {
        return;
    };
    let instance = takeover.instance().clone();
    tracing::error!(app, instance, "{why}");
    takeover_over(state, app, takeover, LifecycleInput::ResumeFailed(instance));
}

/// Tells the result of a takeover, unless another one is wanted by now: then that one begins.
fn takeover_over(state: &mut State, app: &str, takeover: Takeover, result: LifecycleInput) {
    let same = takeover.next() == Some(takeover.instance());
    let known = state.apps.get(app);
    let lifecycle = known.map(|app| app.lifecycle.state());
    let wanted = match lifecycle {
        Some(LifecycleState::Resuming { instance }) => takeover.next() == Some(instance),
        _ => false,
    };
    let next = takeover.next().filter(|_| wanted).cloned();
    match (next, &result) {
        (Some(_), LifecycleInput::Resumed(_)) if same => state.outbox.lifecycle(app, result),
        (Some(next), _) => begin_takeover(state, app, next),
        (None, _) => state.outbox.lifecycle(app, result),
    }
}

pub(super) fn takeover_resumed(state: &mut State, app: &str, answer: Answer) {
    let Some(known) = state.apps.get_mut(app) else {
        return;
    };
    let Some(takeover) = known.takeover.take() else {
        return;
    };
    if takeover.finding().suspect.is_some() && takeover.finding().counted {
        state.outbox.put(NodeOutput::Reached(Milestone::Suspected));
    }
    let (instance, epoch) = (takeover.instance().clone(), known.row.epoch);
    let result = match answer.resumed() {
        Ok(resumption) => {
            let (queued, replayed) = (resumption.queued, resumption.replayed);
            let held_us = resumption.held_us;
            tracing::info!(app, instance, epoch, queued, replayed, held_us, "resumed");
            state.instances.set_live(app, Some(&instance));
            state.look_at_shadows();
            retry::follow(state, app);
            LifecycleInput::Resumed(instance)
        }
        Err(why) => {
            tracing::warn!(app, instance, "could not be resumed: {why}");
            LifecycleInput::ResumeFailed(instance)
        }
    };
    takeover_over(state, app, takeover, result);
}

/// A fence has raised the epoch for this instance. Nobody is live before the resume.
pub(super) fn checkpoint_is(state: &mut State, app: &str, instance: &str, fenced: Fenced) {
    if let Some(known) = state.apps.get_mut(app) {
        known.row.epoch = fenced.epoch;
        known.row.instance = instance.to_owned();
    }
    state.instances.set_live(app, None);
}

/// Takes over what a fence has written about a death.
fn found(state: &mut State, app: &str, finding: Finding) {
    let Some(known) = state.apps.get_mut(app) else {
        return;
    };
    if let Some(suspect) = &finding.suspect
        && known.row.suspect != finding.suspect
    {
        let (event, deaths) = (suspect.seq(), suspect.deaths);
        tracing::warn!(app, %event, deaths, "died with this event in flight; after {DEATHS} such deaths it is quarantined");
    }
    known.row.suspect = finding.suspect;
    known.row.poison_run = finding.run;
    if finding.full {
        tracing::error!(
            app,
            "dies of an event, and {KEPT} are in quarantine already, so this one is not: retry or drop some, see \
             `morphctl events quarantined app={app}`"
        );
    }
    if let Some(quarantine) = finding.quarantine {
        let (id, row, event) = (quarantine.id, quarantine.row, quarantine.skip.1);
        let (kind, dpid, how) = (row.body.kind.name(), Dpid(row.body.dpid), &row.cause.how);
        tracing::error!(app, id, %event, kind, %dpid, how, "an event has killed its app {DEATHS} times and is quarantined; \
             the app goes on after it: see `morphctl events quarantined`");
        state.quarantine.insert(id, row);
    }
    if finding.counted {
        state.outbox.lifecycle(app, LifecycleInput::Forgiven);
    }
}
