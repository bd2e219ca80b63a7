//! What can go wrong between the store and its disk.

use std::io;
use std::path::PathBuf;

/// The engine cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The directory or the file cannot be made, opened or locked.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The writer cannot be started.
    #[error("cannot start the writer: {0}")]
    Thread(io::Error),
    /// Someone else has it open.
    #[error("{} is in use by another morph-stored{}", path.display(), by.as_deref().unwrap_or_default())]
    InUse {
        /// What.
        path: PathBuf,
        /// Who, if it says so.
        by: Option<String>,
    },
    /// The file was written by a newer version.
    #[error("{} has format {found}, this version reads formats up to {known}; use the version that wrote it", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest that is known.
        known: u64,
    },
    /// The file is there, but is no store.
    #[error("{} is not a store: {message}", path.display())]
    NoStore {
        /// Which file.
        path: PathBuf,
        /// What was found.
        message: String,
    },
    /// What lies on the disk is not what was written.
    #[error("the entry {0:?} on disk fails its checksum or makes no sense")]
    Damaged(String),
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// etcd's quota is used up.
    #[error("etcd is full: compact and defragment it, then `etcdctl alarm disarm`")]
    EtcdFull,
    /// The disk or the engine fails otherwise.
    #[error("{0}")]
    Storage(redb::Error),
    /// etcd cannot be reached, has no quorum, or does not do what it is asked.
    #[error("{0}")]
    Away(String),
    /// etcd knows us not.
    #[error("{0}")]
    NotLetIn(String),
    /// Other daemons on the same etcd were always faster.
    #[error("overtaken again and again by other daemons on the same etcd")]
    Overtaken,
    /// A group of transactions could not be written.
    #[error("cannot write: {0}")]
    Unwritten(String),
    /// No further watch is begun.
    #[error(
        "{0} watches are open, and no more are taken; a client watches an app once, and ends watches that it does not read"
    )]
    TooManyWatches(usize),
    /// The engine has stopped.
    #[error("the store is shutting down")]
    Stopped,
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for EngineError {
            fn from(error: redb::$error) -> Self {
                storage(error.into())
            }
        }
    )*};
}
from_redb!(
    DatabaseError,
    SetDurabilityError,
    TransactionError,
    TableError,
    StorageError,
    CommitError
);

impl From<morph_api::fail::Failed> for EngineError {
    fn from(failed: morph_api::fail::Failed) -> Self {
        EngineError::Storage(redb::Error::Io(io::Error::other(failed)))
    }
}

fn storage(error: redb::Error) -> EngineError {
    let full = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    };
    match error {
        redb::Error::Io(error) if full(&error) => EngineError::DiskFull,
        error => EngineError::Storage(error),
    }
}
