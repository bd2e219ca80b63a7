//! The engine: the core above a view, which a backend makes durable. The writer has a thread of its own.
//!
//! ```text
//!                                        .--> etcd
//!  server tasks --Job--> [ writer thread ] --> view: store.redb, or memory <--reads-- readers (blocking pool)
//!       ^                      |
//!       +- subscriber queues <-+   one for each watcher
//! ```

mod backend;
mod check;
pub(crate) mod crc;
mod disk;
mod embedded;
pub(crate) mod error;
pub(crate) mod etcd;
mod expiry;
mod export;
mod file;
mod garbage;
mod group;
mod health;
mod history;
mod layout;
mod read;
mod restore;
mod subscriber_queue;
mod tables;
mod watchers;
mod weight;
mod write_set;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use morph_api::store::{CommitReply, Transaction, WatchRequest};
use prost::Message;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::limits;
use backend::Backend;
pub(crate) use check::Check;
use embedded::Embedded;
pub(crate) use error::EngineError;
use etcd::{Etcd, EtcdUrl};
pub(crate) use export::Export;
pub(crate) use file::File;
use health::Health;
pub(crate) use read::Scan;
pub use restore::{RestoreError, RestoreSummary};
pub(crate) use subscriber_queue::{Notice, SubscriberQueue};
pub(crate) use watchers::OpenWatch;
use writer::{CommitJob, Job, WatchJob, Writer};

/// Jobs that may wait: twice the largest group, so that the next group is always ready.
const JOBS: usize = 1024;
/// KiB that waiting transactions may take: sixteen of the largest.
const WAITING_KIB: usize = 16 * limits::TRANSACTION / 1024;

/// Place where the data is kept.
#[derive(Debug, Clone)]
pub enum Location {
    Directory(PathBuf),
    Etcd(EtcdUrl),
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::Directory(directory) => write!(f, "{}", directory.display()),
            Location::Etcd(url) => write!(f, "{url}"),
        }
    }
}

/// Handle to the engine. The writer ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    file: Arc<File>,
    incarnation: u64,
    source: Arc<str>,
    health: Health,
}

impl Engine {
    /// Opens the store. The receiver completes when the writer has ended: after the last handle, or because of a
    /// defect. Do not call this within a runtime, since it may block.
    pub(crate) fn open(source: Location) -> Result<(Engine, oneshot::Receiver<()>), EngineError> {
        // The writer's thread has a runtime of its own, so that neither the backend nor the server's tasks delay each
        // other.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(EngineError::Thread)?;
        let health = Health::default();
        let name = source.to_string();
        let (backend, state, incarnation) = match source {
            Location::Directory(directory) => {
                let (file, state, incarnation) = File::open(&directory)?;
                let backend = Backend::Embedded(Embedded::new(Arc::new(file), state.revision));
                (backend, state, incarnation)
            }
            Location::Etcd(url) => {
                let opened = runtime.block_on(Etcd::open(url, health.clone()));
                let (etcd, state, incarnation) = opened?;
                (Backend::Etcd(Box::new(etcd)), state, incarnation)
            }
        };
        let (revision, file) = (state.revision, Arc::clone(backend.view()));
        let (jobs, queue) = mpsc::channel(JOBS);
        let writer = Writer::new(backend, state, incarnation);
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                let _end = end; // goes when the thread goes, however it goes
                runtime.block_on(writer.run(queue));
            })
            .map_err(EngineError::Thread)?;
        tracing::info!(source = name, revision, incarnation, "store open");
        let engine = Engine {
            jobs,
            room: Arc::new(Semaphore::new(WAITING_KIB)),
            file,
            incarnation,
            source: name.into(),
            health,
        };
        Ok((engine, ended))
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Problem of the backend in words, or `None`.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.health.trouble()
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Returns the file for reading, which blocks.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Commits a transaction: returns when it is durable or refused.
    pub(crate) async fn commit(
        &self,
        transaction: Transaction,
    ) -> Result<CommitReply, EngineError> {
        let since = Instant::now();
        // An overlarge transaction reserves as much as the largest allowed one: it is refused without being kept.
        let size = transaction.encoded_len().min(limits::TRANSACTION) / 1024 + 1;
        let room = Arc::clone(&self.room).acquire_many_owned(size as u32).await;
        let share = room.map_err(|_| EngineError::Stopped)?;
        let (answer, answered) = oneshot::channel();
        self.ask(Job::Commit(CommitJob {
            transaction,
            answer,
            _share: Some(share),
            since,
        }))
        .await?;
        answered.await.map_err(|_| EngineError::Stopped)?
    }

    /// Begins a watch, or returns the reason why it ends at once.
    pub(crate) async fn watch(
        &self,
        request: WatchRequest,
    ) -> Result<watchers::WatchStart, EngineError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Job::Watch(WatchJob { request, answer })).await?;
        answered.await.map_err(|_| EngineError::Stopped)?
    }

    /// Ends the writer after everything requested so far is answered, and closes the file.
    pub(crate) async fn end(&self) {
        // An error means that the writer has ended already.
        let _ = self.ask(Job::End).await;
    }

    async fn ask(&self, job: Job) -> Result<(), EngineError> {
        self.jobs.send(job).await.map_err(|_| EngineError::Stopped)
    }
}

/// Creates a store from a backup, where there is none. The caller holds the directory's lock. Do not call this within
/// a runtime.
pub(crate) fn restore(source: Location, backup: &Path) -> Result<RestoreSummary, RestoreError> {
    match source {
        Location::Directory(directory) => restore::restore(&directory, backup),
        Location::Etcd(url) => etcd::restore(url, backup),
    }
}

/// Creates a directory that only its owner may enter.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}
