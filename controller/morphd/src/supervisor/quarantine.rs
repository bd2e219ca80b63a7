//! Events that kill their app: found with the fence after a death, set aside with it, tried again or dropped by people.
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
use morph_api::supervisor::{RetryRequest, SetAside};
use morph_openflow::Dpid;
use semver::Version;
use tonic::{Code, Status};

use super::requests::refused;
use super::statuses::may_fail;
use super::{Feed, Reply, Supervisor};
use crate::app::{Input, State};
use crate::proxy::Proxy;
use crate::records::{EVENTS, Records, Write};
use crate::suspicion::{
    DEATHS, Death, EventRow, KEPT, Suspicion, Trial, Tried, Verdict, judge, unhex,
};

/// Between two looks at what became of events that are tried again.
const LOOK: Duration = Duration::from_millis(250);

/// The events that were set aside, of all apps.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    rows: BTreeMap<String, EventRow>,
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

/// What is known before the proxy was asked about a death.
pub(super) struct Inquest {
    app: String,
    node: String,
    death: Option<Death>,
    before: Option<Suspicion>,
    kept: Vec<(String, EventRow)>,
    /// Of the record, should there be one.
    id: String,
}

/// What a death means for the fence after it.
#[derive(Debug, Default)]
pub(super) struct Finding {
    death: Option<Death>,
    /// What the app's record is to say.
    pub(super) suspicion: Option<Suspicion>,
    /// To be set aside, and from where to where the cursor goes.
    aside: Option<(String, EventRow, (Seq, Seq))>,
    /// The death is the event's, not the app's.
    counted: bool,
    /// There is no room for the event.
    full: bool,
}

impl Finding {
    /// How the fence is to move the cursor.
    pub(super) fn skip(&self) -> Option<(Seq, Seq)> {
        self.aside.as_ref().map(|(_, _, skip)| *skip)
    }

    /// The record of the event.
    pub(super) fn write(&self) -> Option<Write> {
        let (id, row, _) = self.aside.as_ref()?;
        Some(Write::new(EVENTS, id.as_str(), row))
    }

    /// It was applied.
    pub(super) fn acquit(&mut self) {
        (self.aside, self.suspicion, self.counted) = (None, None, false);
    }
}

impl Inquest {
    pub(super) async fn find(self, proxy: &Proxy, records: &Records) -> Finding {
        let Some(death) = self.death.clone() else {
            return Finding {
                suspicion: self.before,
                ..Finding::default()
            };
        };
        // One that is away has lost its events, and those that come after it are others.
        let suspect = proxy.suspect(&self.app, &death.instance).await;
        let suspect = suspect.unwrap_or_default();
        let finding = match judge(self.before.as_ref(), &death, suspect.seq) {
            Verdict::Innocent => Finding {
                suspicion: self.before,
                ..Finding::default()
            },
            Verdict::Suspected(suspicion) => Finding {
                suspicion: Some(suspicion),
                counted: true,
                ..Finding::default()
            },
            Verdict::Guilty(suspicion) => {
                let cursor = self.cursor(records).await;
                let event = suspect.event.unwrap_or_default();
                self.set_aside(&death, suspicion, event, cursor)
            }
        };
        Finding {
            death: Some(death),
            ..finding
        }
    }

    async fn cursor(&self, records: &Records) -> Seq {
        let lanes = records.status().await.lanes;
        let mut lanes = lanes.into_iter();
        let lane = lanes.find(|lane| lane.app == self.app && lane.node == self.node);
        lane.and_then(|lane| lane.cursor).unwrap_or(Seq::ZERO)
    }

    fn set_aside(
        self,
        death: &Death,
        suspicion: Suspicion,
        event: SetAside,
        cursor: Seq,
    ) -> Finding {
        let seq = suspicion.seq();
        if cursor >= seq {
            return Finding::default();
        }
        let trial = Trial {
            stream: seq.stream,
            n: seq.n,
        };
        let is_it = |(_, row): &&(String, EventRow)| row.trial == Some(trial);
        let (id, row) = match self.kept.iter().find(is_it) {
            Some((id, row)) => (id.clone(), row.again(death, &suspicion)),
            // Nothing is lost: the event stays where it is.
            None if self.kept.len() >= KEPT => {
                return Finding {
                    suspicion: Some(suspicion),
                    full: true,
                    ..Finding::default()
                };
            }
            None => (self.id, EventRow::new(&self.app, death, &suspicion, event)),
        };
        Finding {
            aside: Some((id, row, (cursor, seq))),
            counted: true,
            ..Finding::default()
        }
    }
}

impl Supervisor {
    /// An instance died that was, or may have been, live; in an upgrade others see to that.
    pub(super) fn note_death(&mut self, app: &str, id: &str, release: &Version, how: &str) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        let resumed = match managed.machine.state() {
            State::Resuming { instance }
            | State::Running { instance }
            | State::Again { instance, .. } => instance == id,
            State::Starting { instance, .. } => {
                instance.as_deref() == Some(id) && managed.row.instance == id
            }
            State::Waiting { .. } | State::Looping | State::Ending { .. } | State::Yielded => false,
            // A morphd that has just begun.
            State::Stopped => managed.row.instance == id,
        };
        if resumed {
            managed.death = Some(Death {
                instance: id.to_owned(),
                release: release.to_string(),
                how: how.to_owned(),
                unix_ms: super::unix_ms(),
            });
        }
    }

    pub(super) fn inquest(&mut self, app: &str) -> Option<Inquest> {
        self.last_id = super::unix_ms().max(self.last_id + 1);
        let managed = self.apps.get(app)?;
        let kept = self.aside.rows.iter().filter(|(_, row)| row.app == app);
        Some(Inquest {
            app: app.to_owned(),
            node: self.settings.node.clone(),
            death: managed.death.clone(),
            before: managed.row.suspicion.clone(),
            kept: kept.map(|(id, row)| (id.clone(), row.clone())).collect(),
            id: format!("{app}-{:x}", self.last_id),
        })
    }

    /// The fence has written what was found.
    pub(super) fn found(&mut self, app: &str, finding: Finding) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        if managed.death == finding.death {
            managed.death = None;
        }
        if let Some(suspicion) = &finding.suspicion
            && managed.row.suspicion != finding.suspicion
        {
            let (event, deaths) = (suspicion.seq(), suspicion.deaths);
            tracing::warn!(app, %event, deaths, "died with this event in hand; after {DEATHS} such deaths it is set aside");
            may_fail("morphd.suspected");
        }
        managed.row.suspicion = finding.suspicion;
        if finding.full {
            tracing::error!(
                app,
                "dies of an event, and {KEPT} are set aside already: it is not. Retry or drop some, see `morphctl events \
                 quarantined app={app}`"
            );
        }
        if let Some((id, row, (_, event))) = finding.aside {
            let (kind, dpid, how) = (row.kind.name(), Dpid(row.dpid), &row.how);
            tracing::error!(app, id, %event, kind, %dpid, how, "an event has killed its app {DEATHS} times and is set \
                 aside; the app goes on after it: see `morphctl events quarantined`");
            self.aside.rows.insert(id, row);
        }
        if finding.counted {
            self.feed(Feed::App(app.to_owned(), Input::Forgiven));
        }
    }

    /// The cursor of an app is there: what that means for those of its events that are tried again.
    pub(super) fn trials_at(&mut self, app: &str, cursor: Seq) {
        let tried = self.aside.rows.iter().filter(|(id, row)| {
            row.app == app && row.trial.is_some() && !self.aside.busy.contains(*id)
        });
        let tried: Vec<(String, EventRow)> =
            tried.map(|(id, row)| (id.clone(), row.clone())).collect();
        for (id, row) in tried {
            match row.outcome(cursor, self.stream) {
                Tried::Aside | Tried::Queued => {}
                Tried::Unknown => self.try_event(id, row, None),
                Tried::Applied => {
                    tracing::info!(app, id, "an event that was set aside is applied");
                    self.write_event(id, None);
                }
                Tried::Lost => {
                    let unsure = match cursor.stream > row.trial.map_or(0, |t| t.stream) {
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
        let call = async move { records.status().await.lanes };
        self.after(call, |supervisor, lanes| {
            let node = supervisor.settings.node.clone();
            for lane in lanes.into_iter().filter(|lane| lane.node == node) {
                let state = supervisor.apps.get(&lane.app).map(|m| m.machine.state());
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
                    supervisor.trials_at(&lane.app, lane.cursor.unwrap_or(Seq::ZERO));
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
        let Some(stream) = self.stream else {
            let away = Status::unavailable("the proxy has not been seen yet: try again");
            return drop(reply.send(Err(away)));
        };
        let row = EventRow {
            attempts: row.attempts + 1,
            trial: Some(Trial { stream, n: 0 }),
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
            let Seq { stream, n } = reply.seq.unwrap_or(Seq::ZERO);
            let row = EventRow {
                trial: Some(Trial { stream, n }),
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
        stream: row.stream,
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
