//! The store: its own core over a map, and a disk that may be behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use morph_api::RECORDS;
use morph_api::store::ended::Why;
use morph_api::store::watch_request::Which;
use morph_api::store::{
    Change, Changes, Checkpoint, Committed, Durability, Ended, Keyspace, RowValue,
    Rows as RowsReply, Seq, StatusReply, Synced, Transaction, WatchReply, WatchRequest,
    op::Op as Kind, watch_reply,
};
use morph_sdk::machine::CommitOutcome;
use morph_store::core::{Decision, KeyspaceKey, RowKey, Rows, State, apply};
use morphd::machine::record::{HISTORY, RELEASES};

use crate::canon::{Canon, record};
use crate::clock;
use crate::scribe::{BOOK, PLACES};

/// A row, and the revision that wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) revision: u64,
    pub(crate) value: String,
    /// The value as states are compared by it; only of records.
    text: Arc<str>,
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
    pub(crate) keyspace: u32,
    /// Told up to here.
    pub(crate) told: u64,
    durable: u64,
    /// The revision of its last transaction that was not on disk when it was answered.
    seen: u64,
}

impl Watch {
    /// What it was told is not on disk, as far as it knows.
    fn awaits_disk(&self) -> bool {
        self.durable < self.told.max(self.seen)
    }

    /// An answer of the store that came beside the watch.
    pub(crate) fn answered(&mut self, outcome: &CommitOutcome) {
        if let CommitOutcome::Committed(committed) = outcome
            && committed.durable < committed.revision
        {
            self.seen = self.seen.max(committed.revision);
        }
    }
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
            let keyspaces = keyspaces.filter(|keyspace| keyspace.app != RECORDS);
            let used = state.used.iter().filter(|(app, _)| app != RECORDS);
            let decides = |table: &str| table != RELEASES && table != HISTORY;
            let records = rows.iter().filter(|(at, _)| at.app == RECORDS);
            let records = records.filter(|(at, _)| decides(&at.table));
            let rows = rows.iter().filter(|(at, _)| at.app != RECORDS);
            text.field("checkpoints", &checkpoints.collect::<Vec<_>>())
                .field("keyspaces", &keyspaces.collect::<Vec<_>>())
                .field("used", &used.collect::<Vec<_>>());
            let rows = rows.map(|(at, row)| (at, Shown(row)));
            text.field("rows", &rows.collect::<Vec<_>>());
            let records = records.map(|(at, row)| (&at.table, &at.key, &row.text));
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

/// A row of an app.
struct Shown<'a>(&'a Row);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row {
            revision, value, ..
        } = self.0;
        let mut text = f.debug_struct("Row");
        text.field("revision", revision)
            .field("value", value)
            .finish()
    }
}

impl Canon for Store {
    const FIGURES: &'static [&'static str] = &["keys", "bytes"];

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
                Some(value) => {
                    let revision = effects.revision;
                    let text = match at.app == RECORDS {
                        true => record(&value).into(),
                        false => Arc::default(),
                    };
                    let row = Row {
                        revision,
                        value,
                        text,
                    };
                    self.rows.insert(at, row)
                }
                None => self.rows.remove(&at),
            };
        }
        for (app, keyspace) in &effects.dropped {
            let is_in = |at: &RowKey| at.app == *app && at.keyspace == *keyspace;
            self.rows.retain(|at, _| !is_in(at));
            self.past.retain(|(at, _)| !is_in(at));
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

    pub(crate) fn primary(&self, app: &str) -> Option<&Keyspace> {
        self.state.primary(app)
    }

    /// Keyspaces of an app that are not its primary.
    pub(crate) fn shadows(&self, app: &str) -> impl Iterator<Item = &Keyspace> {
        let keyspaces = self.state.keyspaces_of(app);
        keyspaces.filter(|keyspace| !keyspace.primary)
    }

    /// All keyspaces.
    pub(crate) fn keyspaces(&self) -> BTreeSet<KeyspaceKey> {
        self.state.keyspaces.keys().cloned().collect()
    }

    pub(crate) fn has_keyspace(&self, app: &str, id: u32) -> bool {
        self.state.keyspaces.contains_key(&(app.to_owned(), id))
    }

    /// Rows of a table of morphd's records.
    pub(crate) fn records(&self, table: &str) -> impl Iterator<Item = (&str, &Row)> {
        let rows = self.rows.iter();
        let rows = rows.filter(move |(at, _)| at.app == RECORDS && at.table == table);
        rows.map(|(at, row)| (at.key.as_str(), row))
    }

    /// Numbers that an app has written down, in either schema version.
    pub(crate) fn book(&self, app: &str) -> Vec<u8> {
        book(&self.state, &self.rows, app)
    }

    /// The numbers that a crash would leave.
    pub(crate) fn book_on_disk(&self, app: &str) -> Vec<u8> {
        match &self.disk {
            Some(disk) => book(&disk.0, &disk.1, app),
            None => self.book(app),
        }
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
            seen: 0,
        };
        (replies, Some(watch))
    }

    /// Something of this watch's keyspace was not told.
    pub(crate) fn has_news(&self, watch: &Watch, late: bool) -> bool {
        if !self.has_keyspace(&watch.app, watch.keyspace) {
            return true;
        }
        if !late {
            return watch.durable < self.durable() && watch.awaits_disk();
        }
        let is_new = |(at, change): &(RowKey, Change)| {
            at.app == watch.app && at.keyspace == watch.keyspace && change.revision > watch.told
        };
        self.past.iter().any(is_new) || watch.durable < self.durable() && watch.awaits_disk()
    }

    /// All that a watch was not told.
    pub(crate) fn tell(&self, watch: &mut Watch) -> WatchReply {
        if !self.has_keyspace(&watch.app, watch.keyspace) {
            return ended(Why::KeyspaceGone);
        }
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

fn book(state: &State, rows: &Table, app: &str) -> Vec<u8> {
    let Some(primary) = state.primary(app) else {
        return Vec::new();
    };
    let value = |table: &str| {
        let at = RowKey {
            app: app.to_owned(),
            keyspace: primary.id,
            table: table.to_owned(),
            key: "0".to_owned(),
        };
        rows.get(&at).map(|row| row.value.as_str())
    };
    if primary.schema == 1 {
        let book = value(BOOK.name()).and_then(|book| serde_json::from_str(book).ok());
        return book.unwrap_or_default();
    }
    let places = value(PLACES.name());
    let places = places.and_then(|places| serde_json::from_str::<Vec<(u8, u8)>>(places).ok());
    let numbers = places.unwrap_or_default().into_iter();
    numbers.map(|(_, number)| number).collect()
}

fn ended(why: Why) -> WatchReply {
    let mut ended = Ended::default();
    ended.set_why(why);
    wrap(watch_reply::Reply::Ended(ended))
}

fn wrap(reply: watch_reply::Reply) -> WatchReply {
    WatchReply { reply: Some(reply) }
}
