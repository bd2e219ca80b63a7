//! The file: opened, checked, loaded, opened again after the disk failed.

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
use super::step::Step;
use super::tables::Tables;
use crate::core::{At, Effects, LEASES, State, Verdict, apply};

/// Bytes of the engine's page cache. The state of a large network is some ten megabytes.
const CACHE: usize = 64 << 20;
/// The same where the pages themselves are in memory.
const CACHE_OF_MEMORY: usize = 8 << 20;

/// The file of a store, shared by the writer and all readers.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    /// None: the disk failed, and so did the attempt to open the file again.
    database: RwLock<Option<Database>>,
    /// All up to this revision is on disk.
    durable: AtomicU64,
}

impl File {
    /// Opens or formats the store in a directory, and begins a new incarnation.
    pub(super) fn open(directory: &Path) -> Result<(File, State, u64), EngineError> {
        let path = directory.join("store.redb");
        if !path.exists() {
            File::make(directory, &path)?;
        }
        // On some damages the engine panics: that is its way to say so, and ours to tell.
        std::panic::catch_unwind(|| File::begin(&path)).unwrap_or_else(|_| Err(senseless(&path)))
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

    /// Beside its place, and moved there when it is whole: half a first file would be no store to anyone.
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

    /// A store that nothing lasts of, for a backend that keeps the data elsewhere.
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

    /// Everything but rows, as it is now.
    pub(super) fn state(&self) -> Result<State, EngineError> {
        load(&self.begin_read()?)
    }

    /// Opens what is there, changes nothing of it and begins no incarnation.
    pub(crate) fn open_to_check(directory: &Path) -> Result<File, EngineError> {
        let path = directory.join("store.redb");
        let opened = std::panic::catch_unwind(|| {
            let file = File::at(path.clone())?;
            let found = meta(&file.begin_read()?, "format")?;
            file.known(found)?;
            Ok(file)
        });
        opened.unwrap_or_else(|_| Err(senseless(&path)))
    }

    /// Looks at every page; mends what can be mended where one is not what was written.
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

    /// All up to this revision is on disk.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(super) fn set_durable(&self, revision: u64) {
        self.durable.store(revision, Ordering::Release);
    }

    /// Revisions up to the ceiling may have been seen, though they are gone: none of them is given again.
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
            "the last end was a crash; it goes on above what may have been seen"
        );
        Ok(above)
    }

    /// A view of everything as it is now.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, EngineError> {
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => Ok(database.begin_read()?),
            None => Err(closed()),
        }
    }

    /// Durable when it is committed: that is the engine's default.
    pub(super) fn begin_write(&self) -> Result<WriteTransaction, EngineError> {
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => Ok(database.begin_write()?),
            None => Err(closed()),
        }
    }

    /// After an I/O error the engine refuses everything until the file is opened anew. Its last whole commit is then
    /// found by its checksums.
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

    /// So that the next start finds a file that needs no repair.
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
            // Each format so far reads as the one before it.
            transaction.open_table(META)?.insert("format", FORMAT)?;
        }
        transaction.commit()?;
        load(&self.begin_read()?)
    }

    /// Morpheus's own records have a keyspace from the beginning.
    fn create_records(&self) -> Result<State, EngineError> {
        let (transaction, effects) = self.first()?;
        let mut tables = Tables::open(&transaction)?;
        tables.write(&Step::of(&effects))?;
        drop(tables);
        transaction.commit()?;
        self.state()
    }

    /// What the first transaction of an empty store changes, and within what it would be written.
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
        let verdict = apply(&State::default(), first, &Tables::open(&transaction)?)?;
        match verdict {
            Verdict::Accepted(effects) => Ok((transaction, effects)),
            Verdict::Refused(refused) => Err(EngineError::Unwritten(refused.message)),
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

fn senseless(path: &Path) -> EngineError {
    EngineError::NoStore {
        path: path.to_owned(),
        message: "what is in it makes no sense; restore a backup".to_owned(),
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
                EngineError::NoStore { path, message }
            }
            DatabaseError::Storage(StorageError::Io(source))
                if source.kind() != io::ErrorKind::StorageFull =>
            {
                EngineError::Open { path, source }
            }
            DatabaseError::Storage(StorageError::Corrupted(message)) => {
                EngineError::NoStore { path, message }
            }
            DatabaseError::UpgradeRequired(version) => EngineError::NoStore {
                path,
                message: format!("it has version {version} of the engine's own format"),
            },
            error => error.into(),
        }
    })
}

/// Everything but rows, into memory.
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
        let at = At {
            app: morph_api::RECORDS.to_owned(),
            keyspace: 1,
            table: LEASES.to_owned(),
            key: name,
        };
        let json = row.value.as_deref().unwrap_or_default();
        state
            .take_row(&at, Some((row.revision, json)))
            .map_err(|_| EngineError::Damaged(format!("{LEASES}/{}", at.key)))?;
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
        .ok_or_else(|| EngineError::Damaged(key.to_owned()))
}
