//! The daemon: serves the engine over gRPC on a unix socket.
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
mod status;
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

pub use crate::engine::Location;
pub use crate::engine::error::EngineError;
use crate::engine::{Engine, make_directory};
pub use crate::engine::{RestoreError, RestoreSummary};
use crate::limits;
pub use offline::{check, restore};
use service::Service;

/// Time for open calls after the shutdown was requested. Watches end at once, and a commit takes milliseconds. A
/// client that hangs keeps its connection and is not waited for.
const GRACE: Duration = Duration::from_secs(1);
/// Time for the last group and for closing the file.
const CLOSE: Duration = Duration::from_secs(5);
/// Open calls of one connection. A client uses one connection for calls and one for each watch.
const CALLS: u32 = 1024;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("cannot listen on {}: {source}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("cannot serve: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The writer's thread ended because of a defect. The next start opens the store as the last durable commit left
    /// it.
    #[error("the writer has ended because of a defect; see the log, and start the store again")]
    Writer,
}

/// Open store that is locked against a second daemon.
#[derive(Debug)]
pub struct Store {
    engine: Engine,
    /// Completes when the writer's thread has ended, whatever the result.
    writer: oneshot::Receiver<()>,
    run_dir: PathBuf,
    /// Held as long as the store is open.
    _locks: Vec<morph_api::lock::Lock>,
}

impl Store {
    /// Opens the store in `directory`, and formats it if it is new.
    pub fn open(directory: &Path, run_dir: &Path) -> Result<Store, ServeError> {
        Store::open_from(Location::Directory(directory.to_owned()), run_dir)
    }

    /// Opens the store at a location. Do not call this within a runtime: for etcd it blocks.
    pub fn open_from(source: Location, run_dir: &Path) -> Result<Store, ServeError> {
        let mut locks = vec![lock(run_dir, "stored.lock", &source)?];
        if let Location::Directory(directory) = &source {
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

    /// Listens on `RUN_DIR/store.sock`. The socket file of a daemon that died is removed first, which the lock makes
    /// safe.
    pub fn listen(&self) -> Result<UnixListener, ServeError> {
        let path = self.run_dir.join("store.sock");
        bind(&path).map_err(|source| ServeError::Listen { path, source })
    }

    /// Serves until `shutdown` completes. Then it ends every watch, answers open calls and closes the store.
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
            .http2_max_pending_accept_reset_streams(Some(morph_api::ABANDONED_CALLS))
            .serve_with_incoming_shutdown(service, UnixListenerStream::new(listener), async move {
                // An error means that the sender is gone, which ends the server too.
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
        // Everything requested before this is written and answered before the file is closed.
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
    source: &Location,
) -> Result<morph_api::lock::Lock, EngineError> {
    make_directory(directory).map_err(|source| EngineError::Open {
        path: directory.to_owned(),
        source,
    })?;
    // The lock file repeats the location as it was given, so that its user recognizes it.
    let said = match source {
        Location::Directory(directory) => directory.display().to_string(),
        Location::Etcd(url) => url.text.clone(),
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
