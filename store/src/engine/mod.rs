//! The engine: the core over a view, which a backend makes durable, with a writer of its own thread.
//!
//! ```text
//!                                        .--> etcd
//!  server tasks --Job--> [ writer thread ] --> view: store.redb, or memory <--reads-- readers (blocking pool)
//!       ^                      |
//!       +----- mailboxes <-----+   one for each watcher
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
mod history;
mod layout;
mod mailbox;
mod reader;
mod restore;
mod step;
mod sweep;
mod tables;
mod watchers;
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
use etcd::{Etcd, EtcdUrl, Health};
pub(crate) use export::Export;
pub(crate) use file::File;
pub(crate) use mailbox::{Mail, Mailbox};
pub(crate) use reader::Walk;
pub use restore::{RestoreError, Restored};
pub(crate) use watchers::Watching;
use writer::{Commit, Job, Watch, Writer};

/// Jobs that may wait: twice the largest group, so that the next one is always there when a group is done.
const JOBS: usize = 1024;
/// KiB that waiting transactions may take together: sixteen of the largest.
const WAITING_KIB: usize = 16 * limits::TRANSACTION / 1024;

/// Where the data is.
#[derive(Debug, Clone)]
pub enum Source {
    /// In this directory.
    Directory(PathBuf),
    /// In etcd.
    Etcd(EtcdUrl),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Directory(directory) => write!(f, "{}", directory.display()),
            Source::Etcd(url) => write!(f, "{url}"),
        }
    }
}

/// A handle to the engine; the writer ends when the last one is dropped.
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
    /// Opens the store. The receiver is ready when the writer has ended: after the last handle, or by a defect.
    /// Not within a runtime: it may wait.
    pub(crate) fn open(source: Source) -> Result<(Engine, oneshot::Receiver<()>), EngineError> {
        // Of the thread's own: what the backend waits for must not wait for the server's tasks, nor they for it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(EngineError::Thread)?;
        let health = Health::default();
        let name = source.to_string();
        let (backend, state, incarnation) = match source {
            Source::Directory(directory) => {
                let (file, state, incarnation) = File::open(&directory)?;
                let backend = Backend::Embedded(Embedded::new(Arc::new(file), state.revision));
                (backend, state, incarnation)
            }
            Source::Etcd(url) => {
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

    /// Where the data is, in words.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// What is wrong with the backend, in words; nothing where all is well.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.health.trouble()
    }

    /// Differs after every start.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// For reading, which blocks.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Answers when the transaction is durable or refused.
    pub(crate) async fn commit(
        &self,
        transaction: Transaction,
    ) -> Result<CommitReply, EngineError> {
        let since = Instant::now();
        // What is over its limit waits as if at it: it is refused without being kept.
        let size = transaction.encoded_len().min(limits::TRANSACTION) / 1024 + 1;
        let room = Arc::clone(&self.room).acquire_many_owned(size as u32).await;
        let share = room.map_err(|_| EngineError::Stopped)?;
        let (answer, answered) = oneshot::channel();
        self.ask(Job::Commit(Commit {
            transaction,
            answer,
            _share: Some(share),
            since,
        }))
        .await?;
        answered.await.map_err(|_| EngineError::Stopped)?
    }

    /// Begins a watch, or says why it ends at once.
    pub(crate) async fn watch(
        &self,
        request: WatchRequest,
    ) -> Result<watchers::Started, EngineError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Job::Watch(Watch { request, answer })).await?;
        answered.await.map_err(|_| EngineError::Stopped)?
    }

    /// Everything asked so far is answered, and the file closed.
    pub(crate) async fn end(&self) {
        // An error says that the writer has ended already.
        let _ = self.ask(Job::End).await;
    }

    async fn ask(&self, job: Job) -> Result<(), EngineError> {
        self.jobs.send(job).await.map_err(|_| EngineError::Stopped)
    }
}

/// Makes the store of a backup, where there is none. Whoever calls this holds a directory's lock. Not within a runtime.
pub(crate) fn restore(source: Source, backup: &Path) -> Result<Restored, RestoreError> {
    match source {
        Source::Directory(directory) => restore::restore(&directory, backup),
        Source::Etcd(url) => etcd::restore(url, backup),
    }
}

/// Makes a directory that only its owner may enter.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}
