//! The engine: the core over a view, which a backend makes durable, with a writer of its own thread.
//!
//! ```text
//!  server tasks --Job--> [ writer thread ] --fsync--> view: store.redb <--reads-- readers (blocking pool)
//!       ^                      |
//!       +----- mailboxes <-----+   one for each watcher
//! ```

mod backend;
mod crc;
mod disk;
mod embedded;
pub(crate) mod error;
mod expiry;
mod file;
mod history;
mod layout;
mod mailbox;
mod reader;
mod sweep;
mod tables;
mod watchers;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;

use morph_api::store::{CommitReply, Transaction, WatchRequest};
use prost::Message;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::limits;
use backend::Backend;
use embedded::Embedded;
pub(crate) use error::EngineError;
pub(crate) use file::File;
pub(crate) use mailbox::{Mail, Mailbox};
pub(crate) use reader::Walk;
pub(crate) use watchers::Watching;
use writer::{Commit, Job, Watch, Writer};

/// Jobs that may wait: twice the largest group, so that the next one is always there when a group is done.
const JOBS: usize = 1024;
/// KiB that waiting transactions may take together: sixteen of the largest.
const WAITING_KIB: usize = 16 * limits::TRANSACTION / 1024;

/// A handle to the engine; the writer ends when the last one is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    file: Arc<File>,
    incarnation: u64,
}

impl Engine {
    /// Opens the store in a directory. The receiver is ready when the writer has ended: after the last handle, or by a
    /// defect.
    pub(crate) fn open(directory: &Path) -> Result<(Engine, oneshot::Receiver<()>), EngineError> {
        let (file, state, incarnation) = File::open(directory)?;
        let (revision, file) = (state.revision, Arc::new(file));
        let (jobs, queue) = mpsc::channel(JOBS);
        let backend = Backend::Embedded(Embedded::new(Arc::clone(&file)));
        let writer = Writer::new(backend, state, incarnation);
        let open = |source| EngineError::Open {
            path: directory.to_owned(),
            source,
        };
        // Of the thread's own: what the backend waits for must not wait for the server's tasks, nor they for it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(open)?;
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                let _end = end; // goes when the thread goes, however it goes
                runtime.block_on(writer.run(queue));
            })
            .map_err(open)?;
        tracing::info!(directory = %directory.display(), revision, incarnation, "store open");
        let engine = Engine {
            jobs,
            room: Arc::new(Semaphore::new(WAITING_KIB)),
            file,
            incarnation,
        };
        Ok((engine, ended))
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
        // What is over its limit waits as if at it: it is refused without being kept.
        let size = transaction.encoded_len().min(limits::TRANSACTION) / 1024 + 1;
        let room = Arc::clone(&self.room).acquire_many_owned(size as u32).await;
        let share = room.map_err(|_| EngineError::Stopped)?;
        let (answer, answered) = oneshot::channel();
        self.ask(Job::Commit(Commit {
            transaction,
            answer,
            share: Some(share),
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

/// Makes a directory that only its owner may enter.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}
