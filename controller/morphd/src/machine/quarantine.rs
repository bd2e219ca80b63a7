//! Events in quarantine, of all apps.
//!
//! ```text
//!   retry -> record says so -> the proxy queues it again -> record says where -> cursor past it -> record goes
//!                                                                            \-> it kills again: quarantined again
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use morph_api::management::QuarantinedEvent;
use morph_api::store::Seq;
use morph_openflow::Dpid;

use super::poison::{EventRow, unhex};

/// Between two looks at what became of events that are tried again.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Default)]
pub struct Quarantine {
    rows: BTreeMap<String, EventRow>,
    /// Events whose record, or whose place in the queue, is being changed.
    busy: BTreeSet<String>,
    look_at: Option<Instant>,
}

impl Quarantine {
    pub fn load(rows: Vec<(String, EventRow)>, now: Instant) -> Self {
        let rows: BTreeMap<_, _> = rows.into_iter().collect();
        let retried = rows.values().any(|row| row.retry.is_some());
        Quarantine {
            rows,
            busy: BTreeSet::new(),
            look_at: retried.then_some(now),
        }
    }

    pub fn get(&self, id: &str) -> Option<&EventRow> {
        self.rows.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &EventRow)> {
        self.rows.iter()
    }

    pub fn of_app<'a>(&'a self, app: &'a str) -> impl Iterator<Item = (&'a String, &'a EventRow)> {
        self.rows.iter().filter(move |(_, row)| row.app == app)
    }

    pub fn insert(&mut self, id: String, row: EventRow) {
        self.rows.insert(id, row);
    }

    pub fn remove(&mut self, id: &str) {
        self.rows.remove(id);
    }

    pub fn set_busy(&mut self, id: &str, busy: bool) {
        match busy {
            true => self.busy.insert(id.to_owned()),
            false => self.busy.remove(id),
        };
    }

    pub fn is_busy(&self, id: &str) -> bool {
        self.busy.contains(id)
    }

    /// Events of an app that are queued again, and whose record nobody is changing.
    pub fn retried(&self, app: &str) -> Vec<(String, EventRow)> {
        let retried = self.of_app(app);
        let retried = retried.filter(|(id, row)| row.retry.is_some() && !self.is_busy(id));
        retried.map(|(id, row)| (id.clone(), row.clone())).collect()
    }

    /// Whether the cursors are to be looked at now.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.look_at.take_if(|at| *at <= now).is_some()
    }

    /// Another look, as long as any event is queued again.
    pub fn look_again(&mut self, now: Instant) {
        if self.rows.values().any(|row| row.retry.is_some()) {
            self.look_at.get_or_insert(now + LOOK);
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.look_at
    }
}

/// An event as the management API shows it.
pub fn shown(id: &str, row: &EventRow) -> QuarantinedEvent {
    let seq = Seq {
        incarnation: row.cause.incarnation,
        n: row.cause.n,
    };
    QuarantinedEvent {
        id: id.to_owned(),
        app: row.app.clone(),
        release: row.cause.release.clone(),
        dpid: match row.body.dpid {
            0 => String::new(),
            dpid => Dpid(dpid).to_string(),
        },
        unix_ms: row.cause.unix_ms,
        seq: seq.to_string(),
        how: row.cause.how.clone(),
        deaths: row.cause.deaths,
        kind: row.body.kind.name().to_owned(),
        message: unhex(&row.body.message).into(),
        count: row.body.count,
        attempts: row.attempts,
        state: match row.retry {
            Some(_) => "retrying".to_owned(),
            None => "quarantined".to_owned(),
        },
    }
}
