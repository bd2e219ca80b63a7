//! The store: its own core over a map, and a disk that may be behind it.

mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use morph_api::RECORDS;
use morph_api::store::{
    Change, Checkpoint, Committed, Durability, Keyspace, RowValue, Seq, StatusReply, Transaction,
    op::Op as Kind,
};
use morph_sdk::machine::CommitOutcome;
use morph_store::core::{Decision, KeyspaceKey, RowKey, Rows, State, apply};
use morphd::machine::record::{HISTORY, RELEASES};

use crate::canon::{Canon, record};
use crate::clock;
use crate::scribe::{BOOK, PLACES};
pub(crate) use watch::Watch;

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

/// Contents of the store, and the part of it that is on disk.
#[derive(Clone)]
pub(crate) struct Store {
    state: State,
    rows: Table,
    /// Contents of the disk, where it is behind.
    disk: Option<Box<(State, Table)>>,
    /// Changes that some watch was not told, with their keyspace.
    past: Vec<(RowKey, Change)>,
    incarnation: u64,
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

    /// Applies a transaction. All that came before gets on disk with it, unless it need not wait for the disk.
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

    /// Answer to a transaction that would be the last one on disk.
    pub(crate) fn nothing_new(&self) -> Committed {
        Committed {
            revision: self.state.revision,
            checkpoints: Vec::new(),
            durable: self.durable(),
        }
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
