//! The daemon: the engine behind gRPC on a unix socket.
//!
//! ```text
//!  run(listener, shutdown)
//!   |-- tonic: a task for each connection; commits wait for the writer, reads run on the blocking pool
//!   |-- a task for each watcher (watch.rs)
//!   '-- waits for the shutdown or for the writer's thread, whichever ends first
//! ```

mod lock;
mod offline;
mod outflow;
mod service;
mod watch;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use morph_api::store::store_server::StoreServer;
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch as watching};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

pub use crate::engine::Source;
pub use crate::engine::error::EngineError;
use crate::engine::{Engine, make_directory};
pub use crate::engine::{RestoreError, Restored};
use crate::limits;
pub use offline::{check, restore};
use service::Service;

/// How long open calls may take after the end was asked for. Watches end at once; a commit is milliseconds; a client
/// that hangs keeps its connection, and is not waited for.
const GRACE: Duration = Duration::from_secs(1);
/// How long the last group and the closing of the file may take.
const CLOSE: Duration = Duration::from_secs(5);
/// Calls that one connection may have open. A client has one connection for calls and one for each watch.
const CALLS: u32 = 1024;

/// Why the daemon does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store itself.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The socket.
    #[error("cannot listen on {}: {source}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The runtime.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// The server behind it.
    #[error("cannot serve: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The writer's thread has ended by a defect. A new start opens the store as the last durable commit left it.
    #[error("the writer has stopped")]
    Writer,
}

/// A store that is open, and locked against a second daemon.
#[derive(Debug)]
pub struct Store {
    engine: Engine,
    /// Ready, with whatever result, when the writer has ended.
    writer: oneshot::Receiver<()>,
    run_dir: PathBuf,
    /// Held as long as the store is open.
    _locks: Vec<morph_api::lock::Lock>,
}

impl Store {
    /// Opens the store in `directory` for the run directory, and formats it where it is new.
    pub fn open(directory: &Path, run_dir: &Path) -> Result<Store, ServeError> {
        Store::open_from(Source::Directory(directory.to_owned()), run_dir)
    }

    /// Opens the store, wherever its data is. Not within a runtime where that is etcd: it waits.
    pub fn open_from(source: Source, run_dir: &Path) -> Result<Store, ServeError> {
        let mut locks = vec![lock(run_dir, "stored.lock", &source)?];
        if let Source::Directory(directory) = &source {
            locks.push(lock(directory, "lock", &source)?);
        }
        let (engine, writer) = Engine::open(source)?;
        Ok(Store {
            engine,
            writer,
            run_dir: run_dir.to_owned(),
            _locks: locks,
        })
    }

    /// Listens on `RUN_DIR/store.sock`. A file left there by a daemon that died is removed: the lock says we are alone.
    pub fn listen(&self) -> Result<UnixListener, ServeError> {
        let path = self.run_dir.join("store.sock");
        bind(&path).map_err(|source| ServeError::Listen { path, source })
    }

    /// Serves until `shutdown` is ready, then ends every watch, answers what is open and closes the store.
    pub async fn run(
        self,
        listener: UnixListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let engine = self.engine;
        let (end, ended) = watching::channel(false);
        let service = StoreServer::new(Service::new(engine.clone(), ended.clone()))
            .max_decoding_message_size(limits::MESSAGE)
            .max_encoding_message_size(limits::MESSAGE);
        let mut asked = ended;
        let server = Server::builder()
            .max_concurrent_streams(CALLS)
            .serve_with_incoming_shutdown(service, UnixListenerStream::new(listener), async move {
                // An error says that nobody can ask any more, which is as good.
                let _ = asked.wait_for(|end| *end).await;
            });
        let mut writer = self.writer;
        let mut server = Box::pin(server);
        tokio::select! {
            served = &mut server => return Ok(served?),
            _ = &mut writer => return Err(ServeError::Writer),
            () = shutdown => {}
        }
        end.send_replace(true);
        let served = tokio::time::timeout(GRACE, server).await;
        if served.is_err() {
            tracing::info!("clients were still connected after {GRACE:?}");
        }
        // What came before this is written and answered; then the file is closed.
        let close = async {
            engine.end().await;
            let _ = writer.await; // ready however it ended
        };
        let closed = tokio::time::timeout(CLOSE, close).await;
        if closed.is_err() {
            tracing::warn!(
                "the store was not closed within {CLOSE:?}; it will be repaired at the next start"
            );
        }
        Ok(served.unwrap_or(Ok(()))?)
    }
}

fn lock(
    directory: &Path,
    name: &str,
    source: &Source,
) -> Result<morph_api::lock::Lock, EngineError> {
    make_directory(directory).map_err(|source| EngineError::Open {
        path: directory.to_owned(),
        source,
    })?;
    // As it was given: whoever gave it knows it again.
    let said = match source {
        Source::Directory(directory) => directory.display().to_string(),
        Source::Etcd(url) => url.text.clone(),
    };
    lock::take(&directory.join(name), &said)
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(morph_api::unix::mode_for_apps(path)),
    )?;
    Ok(listener)
}
