//! The store: its own core over a map, and a disk that may be behind it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::time::Instant;

use morph_api::RECORDS;
use morph_api::store::ended::Why;
use morph_api::store::watch_request::Which;
use morph_api::store::{
    Change, Changes, Checkpoint, Committed, Durability, Ended, RowValue, Rows as RowsReply, Seq,
    StatusReply, Synced, Transaction, WatchReply, WatchRequest, op::Op as Kind, watch_reply,
};
use morph_sdk::machine::CommitOutcome;
use morph_store::core::{Decision, RowKey, Rows, State, apply};

use crate::canon::Canon;
use crate::clock;
use crate::scribe::BOOK;

/// A row, and the revision that wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) revision: u64,
    pub(crate) value: String,
}

type Table = BTreeMap<RowKey, Row>;

/// Revisions do not come again after a crash.
const AHEAD: u64 = 100;

/// What it holds, and what of it is on disk.
#[derive(Clone)]
pub(crate) struct Store {
    state: State,
    rows: Table,
    /// Where the disk is behind: what it has.
    disk: Option<Box<(State, Table)>>,
    /// Changes that some watch was not told, with their keyspace.
    past: Vec<(RowKey, Change)>,
    incarnation: u64,
}

/// A watch of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) generation: u64,
    app: String,
    keyspace: u32,
    /// Told up to here.
    pub(crate) told: u64,
    durable: u64,
}

struct Revisions<'a>(&'a Table);

impl Rows for Revisions<'_> {
    type Error = Infallible;

    fn revision(&self, at: &RowKey) -> Result<Option<u64>, Infallible> {
        Ok(self.0.get(at).map(|row| row.revision))
    }
}

/// Without the latest revision, which is later than all others, and without those of morphd's rows, which morphd alone compares:
/// see [`Records::are_current`](crate::records::Records::are_current).
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Store");
        for (state, rows) in [(&self.state, &self.rows)]
            .into_iter()
            .chain(self.disk.as_deref().map(|(s, r)| (s, r)))
        {
            let (checkpoints, keyspaces) = (state.checkpoints.values(), state.keyspaces.values());
            let records = rows.iter().filter(|(at, _)| at.app == RECORDS);
            let rows = rows.iter().filter(|(at, _)| at.app != RECORDS);
            text.field("checkpoints", &checkpoints.collect::<Vec<_>>())
                .field("keyspaces", &keyspaces.collect::<Vec<_>>());
            text.field("rows", &rows.collect::<Vec<_>>());
            let records = records.map(|(at, row)| (&at.table, &at.key, &row.value));
            text.field("records", &records.collect::<Vec<_>>());
        }
        text.field("past", &self.past)
            .field("incarnation", &self.incarnation);
        if let Some(disk) = &self.disk {
            text.field("durable", &disk.0.revision);
        }
        text.finish()
    }
}

impl Canon for Store {
    // The watermarks are those of shadows.
    const FIGURES: &'static [&'static str] = &["modified", "watermark", "keys"];

    fn now(&self) -> Instant {
        clock::base()
    }
}

impl Store {
    pub(crate) fn new() -> Self {
        Store {
            state: State::default(),
            rows: Table::new(),
            disk: None,
            past: Vec::new(),
            incarnation: 1,
        }
    }

    /// What becomes of a transaction; with `flushes`, one that is not to wait for the disk takes all before it there.
    pub(crate) fn commit(
        &mut self,
        transaction: Transaction,
        unflushed_fence: bool,
    ) -> CommitOutcome {
        let is_fence = |op: &morph_api::store::Op| matches!(op.op, Some(Kind::Fence(_)));
        let lazy = transaction.durability() == Durability::Async
            || unflushed_fence && transaction.ops.iter().any(is_fence);
        let before = (self.state.clone(), self.rows.clone());
        let outcome = self.apply(transaction);
        match lazy {
            true if self.disk.is_none() => self.disk = Some(Box::new(before)),
            true => {}
            false => self.sync(),
        }
        match outcome {
            CommitOutcome::Committed(committed) => CommitOutcome::Committed(Committed {
                durable: self.durable(),
                ..committed
            }),
            other => other,
        }
    }

    fn apply(&mut self, transaction: Transaction) -> CommitOutcome {
        let Ok(decision) = apply(&self.state, transaction, &Revisions(&self.rows));
        let effects = match decision {
            Decision::Accepted(effects) => effects,
            Decision::Refused(refused) => return CommitOutcome::Refused(Box::new(refused.into())),
        };
        for (at, value) in effects.rows.clone() {
            let row = RowValue {
                table: at.table.clone(),
                key: at.key.clone(),
                value: value.clone(),
                revision: effects.revision,
            };
            let change = Change {
                origin: effects.origin.clone(),
                revision: effects.revision,
                rows: vec![row],
            };
            if at.app != RECORDS {
                self.past.push((at.clone(), change));
            }
            match value {
                Some(value) => self.rows.insert(
                    at,
                    Row {
                        revision: effects.revision,
                        value,
                    },
                ),
                None => self.rows.remove(&at),
            };
        }
        self.state.advance(&effects);
        CommitOutcome::Committed(Committed {
            revision: effects.revision,
            checkpoints: effects.checkpoints,
            durable: effects.revision,
        })
    }

    /// All gets on disk.
    pub(crate) fn sync(&mut self) {
        self.disk = None;
    }

    pub(crate) fn is_behind(&self) -> bool {
        self.disk.is_some()
    }

    /// The daemon dies, and another one starts on what is on disk.
    pub(crate) fn crash(&mut self) {
        let revision = self.state.revision + AHEAD;
        if let Some(disk) = self.disk.take() {
            (self.state, self.rows) = *disk;
            self.state.revision = revision;
        }
        self.past.clear();
        self.incarnation += 1;
    }

    pub(crate) fn revision(&self) -> u64 {
        self.state.revision
    }

    fn durable(&self) -> u64 {
        self.disk
            .as_ref()
            .map_or(self.state.revision, |d| d.0.revision)
    }

    pub(crate) fn status(&self) -> StatusReply {
        StatusReply {
            checkpoints: self.state.checkpoints.values().cloned().collect(),
            keyspaces: self.state.keyspaces.values().cloned().collect(),
            ..StatusReply::default()
        }
    }

    pub(crate) fn checkpoint(&self, app: &str) -> Option<&Checkpoint> {
        self.state
            .checkpoints
            .values()
            .find(|checkpoint| checkpoint.app == app)
    }

    /// All that a transaction expects of rows is so.
    pub(crate) fn expects(&self, transaction: &Transaction) -> bool {
        transaction.expect.iter().all(|expect| {
            let row = expect
                .row
                .as_ref()
                .and_then(|row| self.row(&row.app, &row.table, &row.key));
            row.map_or(0, |row| row.revision) == expect.revision
        })
    }

    /// The epoch that a crash would leave.
    pub(crate) fn epoch_on_disk(&self, app: &str) -> u64 {
        let state = self.disk.as_ref().map_or(&self.state, |disk| &disk.0);
        let mut checkpoints = state.checkpoints.values();
        checkpoints
            .find(|checkpoint| checkpoint.app == app)
            .map_or(0, |checkpoint| checkpoint.epoch)
    }

    /// A row and its revision.
    pub(crate) fn row(&self, app: &str, table: &str, key: &str) -> Option<&Row> {
        let keyspace = self.state.primary(app)?.id;
        let (app, table, key) = (app.to_owned(), table.to_owned(), key.to_owned());
        self.rows.get(&RowKey {
            app,
            keyspace,
            table,
            key,
        })
    }

    /// What an app has written down.
    pub(crate) fn book(&self, app: &str) -> Vec<u8> {
        let row = self.row(app, BOOK.name(), "0");
        row.and_then(|row| serde_json::from_str(&row.value).ok())
            .unwrap_or_default()
    }

    pub(crate) fn cursor(&self, app: &str) -> Seq {
        self.checkpoint(app)
            .and_then(|checkpoint| checkpoint.cursor)
            .unwrap_or(Seq::ZERO)
    }

    /// Begins a watch of one's own keyspace: what it says first, and itself.
    pub(crate) fn watch(
        &self,
        generation: u64,
        request: &WatchRequest,
    ) -> (Vec<WatchReply>, Option<Watch>) {
        let app = &request.app;
        let Some(Which::Keyspace(id)) = request.which else {
            return (vec![ended(Why::KeyspaceGone)], None);
        };
        let Some(keyspace) = self.state.keyspaces.get(&(app.clone(), id)) else {
            return (vec![ended(Why::KeyspaceGone)], None);
        };
        let goes_on = request.from_revision != 0;
        if goes_on && request.incarnation != self.incarnation {
            return (vec![ended(Why::Compacted)], None);
        }
        let told = match goes_on {
            true => request.from_revision,
            false => self.state.revision,
        };
        let synced = watch_reply::Reply::Synced(Synced {
            revision: told,
            incarnation: self.incarnation,
            keyspace: Some(keyspace.clone()),
            resumed: goes_on,
        });
        let mut replies = vec![wrap(synced)];
        if !goes_on {
            let of = |(at, _): &(&RowKey, &Row)| at.app == *app && at.keyspace == id;
            let rows = self.rows.iter().filter(of);
            let rows = rows.map(|(at, row)| RowValue {
                table: at.table.clone(),
                key: at.key.clone(),
                value: Some(row.value.clone()),
                revision: row.revision,
            });
            let rows = RowsReply {
                rows: rows.collect(),
            };
            replies.insert(0, wrap(watch_reply::Reply::Snapshot(rows)));
        }
        let (app, keyspace) = (app.clone(), id);
        let durable = self.durable();
        let watch = Watch {
            generation,
            app,
            keyspace,
            told,
            durable,
        };
        (replies, Some(watch))
    }

    /// Something of this watch's keyspace was not told.
    pub(crate) fn has_news(&self, watch: &Watch, late: bool) -> bool {
        if !late {
            return watch.durable < self.durable() && watch.durable < watch.told;
        }
        let is_new = |(at, change): &(RowKey, Change)| {
            at.app == watch.app && at.keyspace == watch.keyspace && change.revision > watch.told
        };
        self.past.iter().any(is_new) || watch.durable < self.durable() && watch.durable < watch.told
    }

    /// All that a watch was not told.
    pub(crate) fn tell(&self, watch: &mut Watch) -> WatchReply {
        let is_new = |(at, change): &&(RowKey, Change)| {
            at.app == watch.app && at.keyspace == watch.keyspace && change.revision > watch.told
        };
        let new = self.past.iter().filter(is_new);
        let changes = Changes {
            revision: self.state.revision,
            changes: new.map(|(_, change)| change.clone()).collect(),
            durable: self.durable(),
        };
        watch.told = self.state.revision;
        watch.durable = self.durable();
        wrap(watch_reply::Reply::Changes(changes))
    }

    /// Whether there is something that no watch needs any longer.
    pub(crate) fn may_forget(&self, told: u64) -> bool {
        self.past.iter().any(|(_, change)| change.revision <= told)
    }

    /// All watches were told up to here.
    pub(crate) fn forget(&mut self, told: u64) {
        self.past.retain(|(_, change)| change.revision > told);
    }
}

fn ended(why: Why) -> WatchReply {
    let mut ended = Ended::default();
    ended.set_why(why);
    wrap(watch_reply::Reply::Ended(ended))
}

fn wrap(reply: watch_reply::Reply) -> WatchReply {
    WatchReply { reply: Some(reply) }
}
