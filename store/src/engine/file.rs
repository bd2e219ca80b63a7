//! File of the store: opened, checked, loaded, and opened again after the disk failed.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use morph_api::fail;
use morph_api::store::op::Op as Kind;
use morph_api::store::{Checkpoint, CreateKeyspace, Keyspace, Op, RowValue, Transaction};
use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable,
    StorageError, WriteTransaction,
};

use super::disk::Disk;
use super::error::EngineError;
use super::layout::{self, CHECKPOINTS, FORMAT, KEYSPACES, META, ROWS, USED};
use super::tables::Tables;
use super::write_set::WriteSet;
use crate::core::{Decision, Effects, LEASES, RowKey, State, apply};

/// Bytes of the engine's page cache. The state of a large network takes some ten megabytes.
const CACHE: usize = 64 << 20;
/// Bytes of the page cache where the pages themselves are in memory.
const CACHE_OF_MEMORY: usize = 8 << 20;

/// File of a store, shared by the writer and all readers.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    /// `None` after the disk failed and the file could not be opened again.
    database: RwLock<Option<Database>>,
    /// Revision up to which everything is on disk.
    durable: AtomicU64,
}

impl File {
    /// Opens or formats the store in a directory, and begins a new incarnation.
    pub(super) fn open(directory: &Path) -> Result<(File, State, u64), EngineError> {
        let path = directory.join("store.redb");
        if !path.exists() {
            File::make(directory, &path)?;
        }
        // The engine panics on some kinds of damage, which is reported as an error here.
        std::panic::catch_unwind(|| File::begin(&path))
            .unwrap_or_else(|_| Err(beyond_repair(&path)))
    }

    fn begin(path: &Path) -> Result<(File, State, u64), EngineError> {
        let file = File::at(path.to_owned())?;
        fail::point("store.open.opened")?;
        let mut state = file.format()?;
        fail::point("store.open.formatted")?;
        if state.revision == 0 {
            state = file.create_records()?;
        }
        state.revision = file.above_the_ceiling(state.revision)?;
        file.set_durable(state.revision);
        let incarnation = file.begin_incarnation()?;
        fail::point("store.open.begun")?;
        Ok((file, state, incarnation))
    }

    fn at(path: PathBuf) -> Result<File, EngineError> {
        let database = database(&path)?;
        Ok(File {
            path,
            database: RwLock::new(Some(database)),
            durable: AtomicU64::new(0),
        })
    }

    /// Creates the file under another name, and moves it to its place when it is complete: a half-written first file
    /// would be no valid store.
    fn make(directory: &Path, path: &Path) -> Result<(), EngineError> {
        let begun = directory.join("store.redb.new");
        let failed = |source| EngineError::Open {
            path: begun.clone(),
            source,
        };
        match std::fs::remove_file(&begun) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let file = File::at(begun.clone())?;
        file.format()?;
        file.close();
        std::fs::rename(&begun, path).map_err(failed)?;
        let entry = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
        entry.map_err(failed)
    }

    /// Creates a store in memory, for a backend that keeps the data elsewhere.
    pub(super) fn in_memory() -> Result<File, EngineError> {
        let memory = redb::backends::InMemoryBackend::new();
        let database = Builder::new()
            .set_cache_size(CACHE_OF_MEMORY)
            .create_with_backend(memory)?;
        let file = File {
            path: PathBuf::new(),
            database: RwLock::new(Some(database)),
            durable: AtomicU64::new(u64::MAX),
        };
        file.format()?;
        Ok(file)
    }

    /// Loads everything but rows.
    pub(super) fn state(&self) -> Result<State, EngineError> {
        load(&self.begin_read()?)
    }

    /// Opens an existing file without changing it or beginning an incarnation.
    pub(crate) fn open_to_check(directory: &Path) -> Result<File, EngineError> {
        let path = directory.join("store.redb");
        let opened = std::panic::catch_unwind(|| {
            let file = File::at(path.clone())?;
            let found = meta(&file.begin_read()?, "format")?;
            file.known(found)?;
            Ok(file)
        });
        opened.unwrap_or_else(|_| Err(beyond_repair(&path)))
    }

    /// Verifies every page, and repairs the file where that is possible.
    pub(crate) fn is_sound(&self) -> Result<bool, EngineError> {
        let mut slot = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match &mut *slot {
            Some(database) => Ok(database.check_integrity()?),
            None => Err(closed()),
        }
    }

    fn known(&self, found: u64) -> Result<(), EngineError> {
        match found > FORMAT {
            true => Err(EngineError::Format {
                path: self.path.clone(),
                found,
                known: FORMAT,
            }),
            false => Ok(()),
        }
    }

    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(super) fn set_durable(&self, revision: u64) {
        self.durable.store(revision, Ordering::Release);
    }

    /// Continues above the ceiling. Revisions up to it may have been seen although they are lost, and must not be
    /// given again.
    fn above_the_ceiling(&self, revision: u64) -> Result<u64, EngineError> {
        let transaction = self.begin_write()?;
        let above = {
            let mut meta = transaction.open_table(META)?;
            let ceiling = meta.get("ceiling")?.map_or(0, |ceiling| ceiling.value());
            if ceiling <= revision {
                return Ok(revision);
            }
            meta.insert("revision", ceiling)?;
            ceiling
        };
        transaction.commit()?;
        tracing::info!(
            revision,
            above,
            "the store ended by a crash; revisions continue above those that may have been seen"
        );
        Ok(above)
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, EngineError> {
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => Ok(database.begin_read()?),
            None => Err(closed()),
        }
    }

    /// Begins a transaction that is durable when it is committed, which is the engine's default.
    pub(super) fn begin_write(&self) -> Result<WriteTransaction, EngineError> {
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => Ok(database.begin_write()?),
            None => Err(closed()),
        }
    }

    /// Opens the file again after an I/O error, since the engine refuses everything until then. Its checksums lead to
    /// the last complete commit.
    pub(super) fn reopen(&self) -> Result<State, EngineError> {
        let mut slot = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = None; // lets go of the lock on the file
        *slot = Some(database(&self.path)?);
        drop(slot);
        load(&self.begin_read()?)
    }

    /// Closes the file, so that the next start needs no repair.
    pub(super) fn close(&self) {
        let mut slot = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = None;
    }

    fn format(&self) -> Result<State, EngineError> {
        let transaction = self.begin_write()?;
        let found = {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get("format")?.map(|format| format.value());
            if found.is_none() {
                for (key, value) in [("format", FORMAT), ("revision", 0), ("incarnation", 0)] {
                    meta.insert(key, value)?;
                }
                drop(meta);
                transaction.open_table(ROWS)?;
                transaction.open_table(CHECKPOINTS)?;
                transaction.open_table(KEYSPACES)?;
                transaction.open_table(USED)?;
            }
            found.unwrap_or(FORMAT)
        };
        self.known(found)?;
        if found < FORMAT {
            // Each format so far can be read as its successor.
            transaction.open_table(META)?.insert("format", FORMAT)?;
        }
        transaction.commit()?;
        load(&self.begin_read()?)
    }

    /// Creates the keyspace of Morpheus's own records.
    fn create_records(&self) -> Result<State, EngineError> {
        let (transaction, effects) = self.first()?;
        let mut tables = Tables::open(&transaction)?;
        tables.write(&WriteSet::of(&effects))?;
        drop(tables);
        transaction.commit()?;
        self.state()
    }

    /// Returns the changes of an empty store's first transaction, and the write transaction for them.
    pub(super) fn first(&self) -> Result<(WriteTransaction, Effects), EngineError> {
        let create = Kind::CreateKeyspace(CreateKeyspace {
            app: morph_api::RECORDS.to_owned(),
            id: 1,
            schema: 1,
            primary: true,
            owner: String::new(),
        });
        let first = Transaction {
            ops: vec![Op { op: Some(create) }],
            ..Transaction::default()
        };
        let transaction = self.begin_write()?;
        let decision = apply(&State::default(), first, &Tables::open(&transaction)?)?;
        match decision {
            Decision::Accepted(effects) => Ok((transaction, effects)),
            Decision::Refused(refused) => Err(EngineError::WriteFailed(refused.message)),
        }
    }

    fn begin_incarnation(&self) -> Result<u64, EngineError> {
        let transaction = self.begin_write()?;
        let incarnation = {
            let mut meta = transaction.open_table(META)?;
            let last = meta.get("incarnation")?.map_or(0, |last| last.value());
            meta.insert("incarnation", last + 1)?;
            last + 1
        };
        transaction.commit()?;
        Ok(incarnation)
    }
}

fn beyond_repair(path: &Path) -> EngineError {
    EngineError::NotAStore {
        path: path.to_owned(),
        message: "its content is damaged beyond repair; restore a backup".to_owned(),
    }
}

fn closed() -> EngineError {
    EngineError::Storage(redb::Error::DatabaseClosed)
}

fn database(path: &Path) -> Result<Database, EngineError> {
    let opened = Disk::open(path).and_then(|disk| {
        Builder::new()
            .set_cache_size(CACHE)
            .create_with_backend(disk)
    });
    opened.map_err(|error| {
        let path = path.to_owned();
        match error {
            DatabaseError::DatabaseAlreadyOpen => EngineError::InUse { path, by: None },
            DatabaseError::Storage(StorageError::Io(source))
                if source.kind() == io::ErrorKind::InvalidData =>
            {
                let message = source.to_string();
                EngineError::NotAStore { path, message }
            }
            DatabaseError::Storage(StorageError::Io(source))
                if source.kind() != io::ErrorKind::StorageFull =>
            {
                EngineError::Open { path, source }
            }
            DatabaseError::Storage(StorageError::Corrupted(message)) => {
                EngineError::NotAStore { path, message }
            }
            DatabaseError::UpgradeRequired(version) => EngineError::NotAStore {
                path,
                message: format!("it has version {version} of the engine's own format"),
            },
            error => error.into(),
        }
    })
}

/// Loads everything but rows into memory.
pub(super) fn load(transaction: &ReadTransaction) -> Result<State, EngineError> {
    let mut state = State {
        revision: meta(transaction, "revision")?,
        ..State::default()
    };
    for entry in transaction.open_table(CHECKPOINTS)?.iter()? {
        let (key, value) = entry?;
        let checkpoint: Checkpoint = layout::message(key.value(), value.value())?;
        state.checkpoints.insert(
            (checkpoint.app.clone(), checkpoint.node.clone()),
            checkpoint,
        );
    }
    for entry in transaction.open_table(KEYSPACES)?.iter()? {
        let (key, value) = entry?;
        let keyspace: Keyspace = layout::message(key.value(), value.value())?;
        state
            .keyspaces
            .insert((keyspace.app.clone(), keyspace.id), keyspace);
    }
    let mut used = BTreeSet::new();
    for entry in transaction.open_table(USED)?.iter()? {
        let (key, value) = entry?;
        layout::unseal(key.value(), value.value())?;
        used.insert(layout::keyspace_of_key(key.value())?);
    }
    state.used = Arc::new(used);
    for (name, row) in leases(transaction)? {
        let at = RowKey {
            app: morph_api::RECORDS.to_owned(),
            keyspace: 1,
            table: LEASES.to_owned(),
            key: name,
        };
        let json = row.value.as_deref().unwrap_or_default();
        state
            .take_row(&at, Some((row.revision, json)))
            .map_err(|_| EngineError::Corrupt(format!("{LEASES}/{}", at.key)))?;
    }
    Ok(state)
}

fn leases(transaction: &ReadTransaction) -> Result<Vec<(String, RowValue)>, EngineError> {
    let prefix = layout::table_key(morph_api::RECORDS, 1, LEASES);
    let keyspace = layout::keyspace_key(morph_api::RECORDS, 1).len();
    let mut found = Vec::new();
    for entry in transaction
        .open_table(ROWS)?
        .range::<&[u8]>(&prefix[..]..)?
    {
        let (key, value) = entry?;
        if !key.value().starts_with(&prefix) {
            break;
        }
        let row = layout::row_value(keyspace, key.value(), value.value())?;
        found.push((row.key.clone(), row));
    }
    Ok(found)
}

pub(super) fn meta(transaction: &ReadTransaction, key: &str) -> Result<u64, EngineError> {
    let value = transaction.open_table(META)?.get(key)?;
    value
        .map(|value| value.value())
        .ok_or_else(|| EngineError::Corrupt(key.to_owned()))
}
