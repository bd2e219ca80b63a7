//! Creation of a store from a backup, beside its final place, to which it is moved when it is complete.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use morph_api::store::Keyspace;
use prost::Message;
use redb::{Database, WriteTransaction};

use super::error::EngineError;
use super::layout::{self, CHECKPOINTS, FORMAT, KEYSPACES, META, ROWS, USED};
use crate::backup::{BackupError, BackupReader, Entry};
use crate::core::KeyspaceKey;

/// Entries of one transaction.
const BATCH: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreSummary {
    pub revision: u64,
    pub rows: u64,
}

/// Reason why nothing was restored. The target is unchanged, unless etcd became unreachable in the middle: then the
/// message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("{} is a store already, and nothing is written over it: move it away, or name another directory", .0.display())]
    NotEmpty(PathBuf),
    /// The prefix in etcd was not empty, or somebody else wrote there meanwhile.
    #[error("{0}")]
    Occupied(String),
    #[error("{}: {error}", path.display())]
    Backup { path: PathBuf, error: BackupError },
    /// The backup is complete, but contradicts itself.
    #[error("{}: {message}", path.display())]
    Inconsistent { path: PathBuf, message: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Creates the store in `directory` from a backup. The caller holds the directory's lock.
pub(super) fn restore(directory: &Path, backup: &Path) -> Result<RestoreSummary, RestoreError> {
    let target = directory.join("store.redb");
    if target.exists() {
        return Err(RestoreError::NotEmpty(target));
    }
    let beside = directory.join("store.restoring");
    let restored = fill(&beside, backup);
    let moved = restored.and_then(|restored| {
        fs::rename(&beside, &target)
            .and_then(|()| fs::File::open(directory)?.sync_all())
            .map_err(|source| EngineError::Open {
                path: target,
                source,
            })?;
        Ok(restored)
    });
    if moved.is_err() {
        let _ = fs::remove_file(&beside); // what is left of it says why
    }
    moved
}

fn fill(beside: &Path, backup: &Path) -> Result<RestoreSummary, RestoreError> {
    let open = |path: &Path, source| EngineError::Open {
        path: path.to_owned(),
        source,
    };
    match fs::remove_file(beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(open(beside, error).into());
        }
        Ok(()) | Err(_) => {}
    }
    let database = Database::create(beside).map_err(EngineError::from)?;
    read_into(&database, backup)
}

/// Reads a backup into an empty database. After an error the database is of no use.
pub(super) fn read_into(
    database: &Database,
    backup: &Path,
) -> Result<RestoreSummary, RestoreError> {
    let input = fs::File::open(backup).map_err(|error| RestoreError::Backup {
        path: backup.to_owned(),
        error: error.into(),
    })?;
    let mut import = Import {
        backup,
        reader: BackupReader::new(BufReader::new(input)),
        keyspaces: BTreeMap::new(),
        revision: 0,
        rows: 0,
        ended: false,
    };
    while !import.ended {
        let transaction = database.begin_write().map_err(EngineError::from)?;
        import.batch(&transaction)?;
        transaction.commit().map_err(EngineError::from)?;
    }
    import.check()
}

struct Import<'a, R> {
    backup: &'a Path,
    reader: BackupReader<R>,
    /// Keyspaces of the backup, and the number of rows read for each.
    keyspaces: BTreeMap<KeyspaceKey, (Keyspace, u64)>,
    revision: u64,
    rows: u64,
    ended: bool,
}

impl<R: BufRead> Import<'_, R> {
    fn next(&mut self) -> Result<Option<Entry>, RestoreError> {
        self.reader.next().map_err(|error| RestoreError::Backup {
            path: self.backup.to_owned(),
            error,
        })
    }

    fn batch(&mut self, transaction: &WriteTransaction) -> Result<(), RestoreError> {
        for _ in 0..BATCH {
            match self.next()? {
                Some(entry) => self.take(transaction, entry)?,
                None => {
                    self.ended = true;
                    break;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, transaction: &WriteTransaction, entry: Entry) -> Result<(), RestoreError> {
        match entry {
            Entry::Begin { revision } => {
                self.revision = revision;
                begin(transaction, revision)?;
            }
            Entry::Checkpoint(checkpoint) => {
                let key = layout::checkpoint_key(&checkpoint.app, &checkpoint.node);
                put(transaction, CHECKPOINTS, &key, &checkpoint.encode_to_vec())?;
            }
            Entry::Used((app, id)) => put(transaction, USED, &layout::keyspace_key(&app, id), &[])?,
            Entry::Keyspace(keyspace) => {
                let key = layout::keyspace_key(&keyspace.app, keyspace.id);
                put(transaction, KEYSPACES, &key, &keyspace.encode_to_vec())?;
                self.keyspaces
                    .insert((keyspace.app.clone(), keyspace.id), (keyspace, 0));
            }
            Entry::Row(at, revision, value) => {
                let Some((_, rows)) = self.keyspaces.get_mut(&(at.app.clone(), at.keyspace)) else {
                    let (app, keyspace) = (&at.app, at.keyspace);
                    return Err(self.nonsense(format!(
                        "rows of keyspace {keyspace} of app {app:?}, which it has not"
                    )));
                };
                *rows += 1;
                self.rows += 1;
                let key = layout::row_key(&at);
                let sealed = layout::seal_row(&key, revision, &value);
                let mut table = transaction.open_table(ROWS).map_err(EngineError::from)?;
                table
                    .insert(&key[..], &sealed[..])
                    .map_err(EngineError::from)?;
            }
            Entry::End => {}
        }
        Ok(())
    }

    /// Compares the number of rows with that in the keyspaces.
    fn check(&self) -> Result<RestoreSummary, RestoreError> {
        for (keyspace, rows) in self.keyspaces.values() {
            if keyspace.keys != *rows {
                let (app, id, keys) = (&keyspace.app, keyspace.id, keyspace.keys);
                return Err(self.nonsense(format!(
                    "keyspace {id} of app {app:?} has {rows} rows, and says that it has {keys}"
                )));
            }
        }
        Ok(RestoreSummary {
            revision: self.revision,
            rows: self.rows,
        })
    }

    fn nonsense(&self, message: String) -> RestoreError {
        RestoreError::Inconsistent {
            path: self.backup.to_owned(),
            message,
        }
    }
}

fn begin(transaction: &WriteTransaction, revision: u64) -> Result<(), EngineError> {
    let mut meta = transaction.open_table(META)?;
    for (key, value) in [
        ("format", FORMAT),
        ("revision", revision),
        ("incarnation", 0),
    ] {
        meta.insert(key, value)?;
    }
    for table in [ROWS, CHECKPOINTS, KEYSPACES, USED] {
        transaction.open_table(table)?;
    }
    Ok(())
}

fn put(
    transaction: &WriteTransaction,
    table: redb::TableDefinition<'_, layout::Bytes, layout::Bytes>,
    key: &[u8],
    content: &[u8],
) -> Result<(), EngineError> {
    let mut table = transaction.open_table(table)?;
    table.insert(key, &layout::seal(key, content)[..])?;
    Ok(())
}
