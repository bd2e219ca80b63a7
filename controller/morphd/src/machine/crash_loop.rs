//! Releases that keep dying: another one runs instead, or the app stops and its rules stay.
//!
//! Two findings lead here: too many deaths in a row (`restarts.rs`), and poison events in a row with none applied between them
//! (`poison.rs`). The events of the latter are tried again by the release that follows: they may be poison for this one alone.

use super::changes::{change_releases, write_change};
use super::checks::fallback;
use super::lifecycle::{LifecycleInput, LifecycleState};
use super::outbox::{AppChange, AppChangeKind};
use super::poison::{DEATHS, EventRow, PoisonRun};
use super::record::{AppRow, CrashLoop, Desired};
use super::state::{App, State};
use morph_api::store::Seq;

/// Ends the takeover of an app whose release dies of one event after the other, where nobody is about to give it another release.
/// The fence that found out has just moved the cursor here.
pub(super) fn gives_way(state: &mut State, app: &str, cursor: Seq) -> bool {
    let Some(known) = state.apps.get_mut(app) else {
        return false;
    };
    let gives_way = known.upgrade.is_none()
        && matches!(known.lifecycle.state(), LifecycleState::Resuming { .. })
        && poisoned(known).is_some_and(|run| run.seq() == cursor);
    if gives_way {
        known.takeover = None;
        state.outbox.lifecycle(app, LifecycleInput::GivesWay);
    }
    gives_way
}

/// The run of poison events by which an app's release has to give way.
fn poisoned(known: &App) -> Option<&PoisonRun> {
    let run = known.row.poison_run.as_ref()?;
    let is_its = known.row.release.to_string() == run.release;
    (is_its && run.is_full()).then_some(run)
}

/// Goes back to the release before, or stops the app with its rules as they are.
pub(super) fn begin(state: &mut State, app: &str, deaths: u32) {
    let Some(known) = state.apps.get(app) else {
        return;
    };
    if known.upgrade.is_some() {
        // Somebody is about to give it another release already.
        return state.outbox.lifecycle(app, LifecycleInput::Start);
    }
    let to = fallback(state, app, known);
    let (to, why) = match to {
        Ok(to) => (Some(to.clone()), String::new()),
        Err(why) => (None, format!("; {why}")),
    };
    let run = poisoned(known);
    let found = match run {
        Some(run) => format!(
            "{DEATHS} deaths by each of {} different events in a row, and none applied between them",
            run.events.len()
        ),
        None => format!("{deaths} deaths"),
    };
    let crash_loop = CrashLoop {
        unix_ms: state.outbox.present.unix_ms,
        release: known.row.release.to_string(),
        to: to.as_ref().map(|to| to.manifest.version.to_string()),
        why: format!("{found}, the last: {}{why}", known.last_end),
    };
    tracing::error!(app, "crash loop: {}", crash_loop.summary());
    let row = AppRow {
        release: match &to {
            Some(to) => to.manifest.version.clone(),
            None => known.row.release.clone(),
        },
        desired: match to {
            Some(_) => Desired::Running,
            None => Desired::Stopped,
        },
        // From there, only down.
        fallback: None,
        crash_loop: Some(crash_loop),
        poison_run: None,
        ..known.row.clone()
    };
    let change = AppChange {
        app: app.to_owned(),
        displaced: to.as_ref().map(|_| known.row.release.clone()),
        permanent: to,
        row,
        passed_on: run.map_or(Vec::new(), |run| passed_on(state, run)),
        then: AppChangeKind::CrashLoop,
    };
    write_change(state, change);
}

/// The events of a run that are in quarantine still, for the release that follows.
fn passed_on(state: &State, run: &PoisonRun) -> Vec<(String, EventRow)> {
    let rows = run.events.iter().filter_map(|id| {
        let row = state.quarantine.get(id)?;
        let row = EventRow {
            awaits_release: true,
            ..row.clone()
        };
        let rests = row.retry.is_none() && !state.quarantine.is_busy(id);
        rests.then_some((id.clone(), row))
    });
    rows.collect()
}

/// The record of a crash loop is written, or refused.
pub(super) fn recorded(state: &mut State, change: AppChange, result: Result<(), String>) {
    let app = &change.app;
    if let Err(why) = result {
        tracing::error!(
            app,
            why,
            "what is done about a crash loop is not recorded; the app is started again"
        );
        return state.outbox.lifecycle(app, LifecycleInput::Start);
    }
    change_releases(state, &change);
    let input = match change.row.desired {
        Desired::Running => LifecycleInput::Start,
        Desired::Stopped | Desired::Removed => LifecycleInput::Stop,
    };
    if let Some(known) = state.apps.get_mut(app) {
        known.row = change.row.clone();
    }
    for (id, row) in change.passed_on {
        state.quarantine.insert(id, row);
    }
    state.outbox.lifecycle(&change.app, input);
}
