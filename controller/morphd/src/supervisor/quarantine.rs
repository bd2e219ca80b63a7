//! Events that killed their app and were set aside (`inquest.rs`): kept, tried again or dropped by people.
//!
//! ```text
//!   death -> inquest: the proxy says what was in its hands -> the fence: {count} or {record, cursor past it}
//!   retry -> record says so -> the proxy queues it again -> record says where -> cursor past it -> record goes
//!                                                                            \-> it kills again: set aside again
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use morph_api::management::QuarantinedEvent;
use morph_api::store::Seq;
use morph_api::supervisor::RetryRequest;
use morph_openflow::Dpid;
use tonic::{Code, Status};

use super::requests::refused;
use super::{Reply, Supervisor};
use crate::app::State;
use crate::proxy::Proxy;
use crate::records::{EVENTS, Records, Write};
use crate::suspicion::{EventRow, Trial, Tried, unhex};

/// Between two looks at what became of events that are tried again.
const LOOK: Duration = Duration::from_millis(250);

/// The events that were set aside, of all apps.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    pub(super) rows: BTreeMap<String, EventRow>,
    /// A call is under way that changes it.
    busy: BTreeSet<String>,
    look_at: Option<Instant>,
}

impl Aside {
    /// As they are recorded.
    pub(super) fn new(rows: Vec<(String, EventRow)>) -> Self {
        let rows: BTreeMap<_, _> = rows.into_iter().collect();
        let tried = rows.values().any(|row| row.trial.is_some());
        Aside {
            rows,
            busy: BTreeSet::new(),
            look_at: tried.then(Instant::now),
        }
    }

    /// When `look_at_trials` is due.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.look_at
    }

    /// How many of an app's there are.
    pub(super) fn of(&self, app: &str) -> u64 {
        self.rows.values().filter(|row| row.app == app).count() as u64
    }
}

impl Supervisor {
    /// The cursor of an app is there: what that means for those of its events that are tried again.
    pub(super) fn trials_at(&mut self, app: &str, cursor: Seq) {
        let tried = self.aside.rows.iter().filter(|(id, row)| {
            row.app == app && row.trial.is_some() && !self.aside.busy.contains(*id)
        });
        let tried: Vec<(String, EventRow)> =
            tried.map(|(id, row)| (id.clone(), row.clone())).collect();
        for (id, row) in tried {
            match row.outcome(cursor, self.incarnation) {
                Tried::Aside | Tried::Queued => {}
                Tried::Unknown => self.try_event(id, row, None),
                Tried::Applied => {
                    tracing::info!(app, id, "an event that was set aside is applied");
                    self.write_event(id, None);
                }
                Tried::Lost => {
                    let unsure = match cursor.incarnation > row.trial.map_or(0, |t| t.incarnation) {
                        true => "; it may have been applied before",
                        false => "",
                    };
                    tracing::warn!(
                        app,
                        id,
                        "the proxy that had this event is gone: it is set aside again{unsure}"
                    );
                    self.write_event(id, Some(EventRow { trial: None, ..row }));
                }
            }
        }
    }

    /// Asks the store how far the apps are whose events are tried again.
    pub(super) fn look_at_trials(&mut self, now: Instant) {
        if self.aside.look_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        let records = Arc::clone(&self.records);
        let call = async move { records.status().await.checkpoints };
        self.after(call, |supervisor, checkpoints| {
            let node = supervisor.settings.node.clone();
            for checkpoint in checkpoints
                .into_iter()
                .filter(|checkpoint| checkpoint.node == node)
            {
                let state = supervisor
                    .apps
                    .get(&checkpoint.app)
                    .map(|m| m.machine.state());
                let at_rest = match state {
                    Some(State::Running { .. } | State::Yielded | State::Stopped) => true,
                    // The fence may have set it aside again: its answer says so.
                    Some(
                        State::Starting { .. }
                        | State::Resuming { .. }
                        | State::Again { .. }
                        | State::Waiting { .. }
                        | State::Looping
                        | State::Ending { .. },
                    )
                    | None => false,
                };
                if at_rest {
                    supervisor.trials_at(&checkpoint.app, checkpoint.cursor.unwrap_or(Seq::ZERO));
                }
            }
            supervisor.look_again();
        });
    }

    fn look_again(&mut self) {
        if self.aside.rows.values().any(|row| row.trial.is_some()) {
            let at = Instant::now() + LOOK;
            self.aside.look_at.get_or_insert(at);
        }
    }

    /// Writes the record of an event, or deletes it.
    fn write_event(&mut self, id: String, row: Option<EventRow>) {
        let write = match &row {
            Some(row) => Write::new(EVENTS, id.as_str(), row),
            None => Write::gone(EVENTS, id.as_str()),
        };
        self.aside.busy.insert(id.clone());
        let records = Arc::clone(&self.records);
        let call = async move { records.write(&[write], &[]).await };
        self.after(call, move |supervisor, result| {
            supervisor.aside.busy.remove(&id);
            if let Err(refusal) = result {
                tracing::error!(id, %refusal, "the record of an event was refused");
                return supervisor.look_again();
            }
            match row {
                Some(row) => drop(supervisor.aside.rows.insert(id, row)),
                None => drop(supervisor.aside.rows.remove(&id)),
            }
        });
    }

    // ---- asked by people ----

    pub(super) fn quarantined(&self, app: &str) -> Result<Vec<QuarantinedEvent>, Status> {
        let rows = self.aside.rows.iter();
        let rows = rows.filter(|(_, row)| app.is_empty() || row.app == app);
        let events: Vec<_> = rows.map(|(id, row)| shown(id, row)).collect();
        if events.is_empty() && !app.is_empty() {
            self.known(app)?;
        }
        Ok(events)
    }

    fn set_aside_as(&self, id: &str) -> Result<&EventRow, Status> {
        let row = self.aside.rows.get(id).ok_or_else(|| {
            Status::not_found(format!(
                "no event {id} is set aside; see `morphctl events quarantined`"
            ))
        })?;
        match row.trial.is_some() || self.aside.busy.contains(id) {
            true => Err(refused(format!(
                "event {id} is tried again already: it goes when {} has applied it, and is set aside again if it kills",
                row.app
            ))),
            false => Ok(row),
        }
    }

    pub(super) fn retry_event(&mut self, id: &str, reply: Reply<QuarantinedEvent>) {
        let row = match self.set_aside_as(id) {
            Ok(row) => row.clone(),
            Err(status) => return drop(reply.send(Err(status))),
        };
        let Some(incarnation) = self.incarnation else {
            let away = Status::unavailable("the proxy has not been seen yet: try again");
            return drop(reply.send(Err(away)));
        };
        let row = EventRow {
            attempts: row.attempts + 1,
            trial: Some(Trial { incarnation, n: 0 }),
            ..row
        };
        self.try_event(id.to_owned(), row, Some(reply));
    }

    /// Writes that it is tried, has the proxy queue it, writes where. Whatever dies in between, this can be done again.
    fn try_event(&mut self, id: String, row: EventRow, reply: Option<Reply<QuarantinedEvent>>) {
        self.aside.busy.insert(id.clone());
        let (records, proxy, key) = (Arc::clone(&self.records), self.proxy.clone(), id.clone());
        let call = async move { try_it(&records, &proxy, &key, row).await };
        self.after(call, move |supervisor, (row, result)| {
            supervisor.aside.busy.remove(&id);
            let event = shown(&id, &row);
            supervisor.aside.rows.insert(id, row);
            supervisor.look_again();
            if let Some(reply) = reply {
                let _ = reply.send(result.map(|()| event));
            }
        });
    }

    pub(super) fn drop_event(&mut self, id: &str, reply: Reply<QuarantinedEvent>) {
        let event = match self.set_aside_as(id) {
            Ok(row) => shown(id, row),
            Err(status) => return drop(reply.send(Err(status))),
        };
        self.aside.busy.insert(id.to_owned());
        let (records, id) = (Arc::clone(&self.records), id.to_owned());
        let write = Write::gone(EVENTS, id.as_str());
        let call = async move { records.write(&[write], &[]).await };
        self.after(call, move |supervisor, result| {
            supervisor.aside.busy.remove(&id);
            let answer = match result {
                Ok(_) => {
                    tracing::info!(
                        app = event.app,
                        id,
                        "an event that was set aside is dropped"
                    );
                    supervisor.aside.rows.remove(&id);
                    Ok(event)
                }
                Err(refusal) => Err(Status::unavailable(refusal.to_string())),
            };
            let _ = reply.send(answer);
        });
    }
}

/// What became of it, and the record as it is then.
async fn try_it(
    records: &Records,
    proxy: &Proxy,
    id: &str,
    row: EventRow,
) -> (EventRow, Result<(), Status>) {
    let before = EventRow {
        trial: None,
        ..row.clone()
    };
    let write = async |row: &EventRow| {
        let written = records.write(&[Write::new(EVENTS, id, row)], &[]).await;
        written.map_err(|refusal| Status::unavailable(refusal.to_string()))
    };
    if let Err(status) = write(&row).await {
        return (before, Err(status));
    }
    let request = RetryRequest {
        app: row.app.clone(),
        id: id.to_owned(),
        attempt: row.attempts,
        event: Some(row.event()),
    };
    match proxy.retry(request).await {
        Ok(reply) => {
            let Seq { incarnation, n } = reply.seq.unwrap_or(Seq::ZERO);
            let row = EventRow {
                trial: Some(Trial { incarnation, n }),
                ..row
            };
            // Refused: the next look asks the proxy again, which queues nothing twice.
            if let Err(status) = write(&row).await {
                tracing::warn!(
                    id,
                    why = status.message(),
                    "where an event is queued is not recorded"
                );
            }
            (row, Ok(()))
        }
        // It may have been queued, or not: that is found out at the next look.
        Err(status) if status.code() == Code::Unavailable => (row, Err(status)),
        Err(status) => {
            if let Err(status) = write(&before).await {
                tracing::warn!(
                    id,
                    why = status.message(),
                    "that an event is not tried is not recorded"
                );
            }
            (before, Err(status))
        }
    }
}

fn shown(id: &str, row: &EventRow) -> QuarantinedEvent {
    let seq = Seq {
        incarnation: row.incarnation,
        n: row.n,
    };
    QuarantinedEvent {
        id: id.to_owned(),
        app: row.app.clone(),
        release: row.release.clone(),
        dpid: match row.dpid {
            0 => String::new(),
            dpid => Dpid(dpid).to_string(),
        },
        unix_ms: row.unix_ms,
        seq: seq.to_string(),
        how: row.how.clone(),
        deaths: row.deaths,
        kind: row.kind.name().to_owned(),
        message: unhex(&row.message).into(),
        count: row.count,
        attempts: row.attempts,
        state: match row.trial {
            Some(_) => "retrying".to_owned(),
            None => "quarantined".to_owned(),
        },
    }
}
