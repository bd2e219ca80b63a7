//! Quarantined events that are tried again, or dropped, by people.

use morph_api::store::Seq;
use morph_api::supervisor::RetryRequest;

use super::call::{Answer, Call, RecordWrite, RetryRefusal};
use super::lifecycle::LifecycleState;
use super::outbox::{Purpose, Reply, RetryStep};
use super::poison::{EventRow, Retry, RetryStatus};
use super::quarantine::shown;
use super::record::{EVENTS, Write};
use super::request::{RequestError, RequestId, refused, unavailable};
use super::state::State;

/// The cursor of an app is there: what that means for those of its events that are tried again.
pub(super) fn cursor_at(state: &mut State, app: &str, cursor: Seq) {
    for (id, row) in state.quarantine.retried(app) {
        match row.retry_status(cursor, state.proxy.incarnation) {
            RetryStatus::NotRetried | RetryStatus::Queued => {}
            RetryStatus::Unknown => begin(state, id, row, None),
            RetryStatus::Applied => {
                tracing::info!(app, id, "a quarantined event is applied");
                write(state, id, None, None);
            }
            RetryStatus::Lost => {
                let retry = row.retry.map_or(0, |retry| retry.incarnation);
                let unsure = match cursor.incarnation > retry {
                    true => "; it may have been applied before",
                    false => "",
                };
                tracing::warn!(
                    app,
                    id,
                    "the proxy that had this event is gone: it is quarantined again{unsure}"
                );
                let row = EventRow { retry: None, ..row };
                write(state, id, Some(row), None);
            }
        }
    }
}

/// An app is live: another release tries the events by which the one before has given way, in their order.
pub(super) fn follow(state: &mut State, app: &str) {
    let Some(incarnation) = state.proxy.incarnation else {
        return;
    };
    let Some(known) = state.apps.get(app) else {
        return;
    };
    let release = known.row.release.to_string();
    let awaits =
        |row: &EventRow| row.awaits_release && row.retry.is_none() && row.cause.release != release;
    let events = state.quarantine.of_app(app);
    let events = events.filter(|(id, row)| awaits(row) && !state.quarantine.is_busy(id));
    let mut events: Vec<_> = events.map(|(id, row)| (id.clone(), row.clone())).collect();
    events.sort_by_key(|(_, row)| (row.cause.incarnation, row.cause.n));
    for (id, row) in events {
        tracing::info!(
            app,
            id,
            release,
            "a quarantined event is tried again by the release that follows"
        );
        begin(state, id, row.tried(incarnation), None);
    }
}

/// Asks the store how far the apps are whose events are tried again.
pub(super) fn time(state: &mut State) {
    let now = state.now();
    if state.quarantine.is_due(now) {
        state.outbox.call(Call::ReadStore, Purpose::RetryCursors);
    }
}

pub(super) fn cursors_read(state: &mut State, answer: Answer) {
    let view = answer.store().unwrap_or_default();
    let apps: Vec<String> = state.apps.keys().cloned().collect();
    for app in apps {
        let lifecycle = state.apps.get(&app).map(|app| app.lifecycle.state());
        let at_rest = match lifecycle {
            Some(
                LifecycleState::Running { .. } | LifecycleState::Yielded | LifecycleState::Stopped,
            ) => true,
            // The fence may quarantine it again: its answer says so.
            Some(
                LifecycleState::Starting { .. }
                | LifecycleState::Resuming { .. }
                | LifecycleState::Retrying { .. }
                | LifecycleState::Waiting { .. }
                | LifecycleState::CrashLoop
                | LifecycleState::Ending { .. },
            )
            | None => false,
        };
        let node = &state.config.node;
        let mut checkpoints = view.checkpoints.iter();
        let has_one = checkpoints.any(|c| c.app == app && c.node == *node);
        if at_rest && has_one {
            let cursor = view.cursor(&app, node);
            cursor_at(state, &app, cursor);
        }
    }
    let now = state.now();
    state.quarantine.look_again(now);
}

/// Writes the record of an event, or deletes it.
fn write(state: &mut State, id: String, row: Option<EventRow>, request: Option<RequestId>) {
    let write = match &row {
        Some(row) => Write::new(EVENTS, id.as_str(), row),
        None => Write::gone(EVENTS, id.as_str()),
    };
    state.quarantine.set_busy(&id, true);
    let row = row.map(Box::new);
    state.outbox.call(
        Call::Write(record(write)),
        Purpose::Event { id, row, request },
    );
}

fn record(write: Write) -> RecordWrite {
    RecordWrite {
        writes: vec![write],
        ..RecordWrite::default()
    }
}

/// The record of an event is written, or refused.
pub(super) fn written(
    state: &mut State,
    id: &str,
    row: Option<EventRow>,
    request: Option<RequestId>,
    result: Result<(), String>,
) {
    state.quarantine.set_busy(id, false);
    let event = state.quarantine.get(id).map(|row| shown(id, row));
    if let Err(why) = result {
        tracing::error!(id, why, "the record of a quarantined event was refused");
        if let Some(request) = request {
            state.outbox.reply(request, Err(unavailable(why)));
        }
        let now = state.now();
        return state.quarantine.look_again(now);
    }
    match row {
        Some(row) => state.quarantine.insert(id.to_owned(), row),
        None => state.quarantine.remove(id),
    }
    if let (Some(request), Some(event)) = (request, event) {
        tracing::info!(app = event.app, id, "a quarantined event is dropped");
        state.outbox.reply(request, Ok(Reply::Event(event)));
    }
}

// ---- asked by people ----

fn may_change(state: &State, id: &str) -> Result<EventRow, RequestError> {
    let row = state.quarantine.get(id).ok_or_else(|| {
        RequestError::not_found(format!(
            "no event {id} is in quarantine; see `morphctl events quarantined`"
        ))
    })?;
    match row.retry.is_some() || state.quarantine.is_busy(id) {
        true => Err(refused(format!(
            "event {id} is tried again already: it goes when {} has applied it, and is quarantined again if it kills",
            row.app
        ))),
        false => Ok(row.clone()),
    }
}

pub(super) fn retry_event(state: &mut State, id: &str, request: RequestId) {
    let row = match may_change(state, id) {
        Ok(row) => row,
        Err(error) => return state.outbox.reply(request, Err(error)),
    };
    let Some(incarnation) = state.proxy.incarnation else {
        let away = unavailable("the proxy has not been seen yet: try again");
        return state.outbox.reply(request, Err(away));
    };
    begin(state, id.to_owned(), row.tried(incarnation), Some(request));
}

pub(super) fn drop_event(state: &mut State, id: &str, request: RequestId) {
    match may_change(state, id) {
        Ok(_) => write(state, id.to_owned(), None, Some(request)),
        Err(error) => state.outbox.reply(request, Err(error)),
    }
}

/// Writes that an event is tried, has the proxy queue it, and writes where. Whatever dies in between, this can be done
/// again: the proxy queues nothing twice.
fn begin(state: &mut State, id: String, row: EventRow, request: Option<RequestId>) {
    state.quarantine.set_busy(&id, true);
    let write = Write::new(EVENTS, id.as_str(), &row);
    go_on(
        state,
        Call::Write(record(write)),
        id,
        row,
        RetryStep::Announce,
        request,
    );
}

fn go_on(
    state: &mut State,
    call: Call,
    id: String,
    row: EventRow,
    step: RetryStep,
    request: Option<RequestId>,
) {
    let row = Box::new(row);
    let purpose = Purpose::Retry {
        id,
        row,
        step,
        request,
    };
    state.outbox.call(call, purpose);
}

/// A step of a retry was answered.
pub(super) fn retry_answered(
    state: &mut State,
    id: String,
    row: EventRow,
    (step, request): (RetryStep, Option<RequestId>),
    answer: Answer,
) {
    let not_tried = |row: &EventRow| EventRow {
        retry: None,
        ..row.clone()
    };
    match step {
        RetryStep::Announce => match answer.written() {
            Ok(()) => {
                let call = Call::Retry(RetryRequest {
                    app: row.app.clone(),
                    id: id.clone(),
                    attempt: row.attempts,
                    event: Some(row.event()),
                });
                go_on(state, call, id, row, RetryStep::Queue, request);
            }
            Err(why) => {
                let row = not_tried(&row);
                end(state, &id, row, request, Err(unavailable(why)));
            }
        },
        RetryStep::Queue => match answer.retried() {
            Ok(Seq { incarnation, n }) => {
                let row = EventRow {
                    retry: Some(Retry { incarnation, n }),
                    ..row
                };
                let call = Call::Write(record(Write::new(EVENTS, id.as_str(), &row)));
                go_on(state, call, id, row, RetryStep::Place, request);
            }
            // The event may have been queued; the next look at the cursors shows it.
            Err(RetryRefusal::Away(why)) => {
                end(state, &id, row, request, Err(unavailable(why)));
            }
            Err(RetryRefusal::Refused(why)) => {
                if let Some(request) = request {
                    state.outbox.reply(request, Err(refused(why)));
                }
                let row = not_tried(&row);
                let call = Call::Write(record(Write::new(EVENTS, id.as_str(), &row)));
                go_on(state, call, id, row, RetryStep::Withdraw, None);
            }
        },
        RetryStep::Place | RetryStep::Withdraw => {
            // Where it is refused the next look asks the proxy again.
            if let Err(why) = answer.written() {
                tracing::warn!(id, why, "the place of a retried event is not recorded");
            }
            end(state, &id, row, request, Ok(()));
        }
    }
}

fn end(
    state: &mut State,
    id: &str,
    row: EventRow,
    request: Option<RequestId>,
    result: Result<(), RequestError>,
) {
    state.quarantine.set_busy(id, false);
    if let Some(request) = request {
        let event = shown(id, &row);
        state
            .outbox
            .reply(request, result.map(|()| Reply::Event(event)));
    }
    state.quarantine.insert(id.to_owned(), row);
    let now = state.now();
    state.quarantine.look_again(now);
}
