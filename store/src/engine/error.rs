use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("cannot open {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot start the writer: {0}")]
    Thread(io::Error),
    #[error("{} is in use by another morph-stored{}", path.display(), by.as_deref().unwrap_or_default())]
    InUse {
        path: PathBuf,
        /// Description of the process that holds the lock, if known.
        by: Option<String>,
    },
    #[error("{} has format {found}, this version reads formats up to {known}; use the version that wrote it", path.display())]
    Format {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    #[error("{} is not a store: {message}", path.display())]
    NotAStore { path: PathBuf, message: String },
    /// Content on disk differs from what was written.
    #[error(
        "entry {0:?} fails its checksum or cannot be decoded; restore a backup if it is needed"
    )]
    Corrupt(String),
    #[error("the disk is full")]
    DiskFull,
    /// Quota of etcd is used up.
    #[error("etcd is full: compact and defragment it, then `etcdctl alarm disarm`")]
    EtcdFull,
    /// Disk or engine failed in another way.
    #[error("{0}")]
    Storage(redb::Error),
    /// etcd cannot be reached, has no quorum, or refuses a request.
    #[error("{0}")]
    Unreachable(String),
    /// etcd rejects the user or asks for one.
    #[error("{0}")]
    AccessDenied(String),
    /// Other daemons on the same etcd committed first on every attempt.
    #[error("other daemons on the same etcd committed first on every attempt; try again")]
    LostRace,
    #[error("cannot write: {0}")]
    WriteFailed(String),
    #[error(
        "{0} watches are open, which is the limit; a client should watch an app once, and end watches that it does not read"
    )]
    TooManyWatches(usize),
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

impl From<morph_api::fail::InjectedFailure> for EngineError {
    fn from(failed: morph_api::fail::InjectedFailure) -> Self {
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
