//! Sockets, tasks and time around the mediator. One thread, no decisions.
//!
//! ```text
//!   accept (one per listener) -+
//!   connection read, write ----+--- messages, bounded --> the loop, which owns the mediator
//!   session read, write -------+                            |
//!   gRPC services -------------+                            +---> outboxes of connections and sessions
//!   fence (one per app) -------+                            +---> replies, observations
//! ```

mod connection;
mod control;
mod executor;
mod listener;
mod lock;
mod message;
mod outbox;
mod sessions;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use morph_api::Role;
use morph_api::session::sessions_server::SessionsServer;
use morph_api::supervisor::proxy_server::ProxyServer;
use morph_api::verification::VerificationPeriods;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::transport::server::Router;

pub use listener::ListenError;
pub use lock::RunDirError;

use crate::mediator::{Input, Mediator, QUOTA, Settings, TARGET_DELAY};
use control::ControlService;
use executor::Executor;
use lock::Socket;
use message::LoopMessage;
use sessions::SessionService;
use store::Store;

/// Capacity of the loop's inbox. A full inbox suspends its senders, so a switch or an app that is faster than the loop is not
/// read.
const INBOX: usize = 1024;
/// Messages handled between two flushes; bounds the delay of the first one.
const BATCH: usize = 256;
/// Largest blob that is accepted: an app may send a whole turn in one.
const LARGEST_BLOB: usize = 32 << 20;
/// Time limit of each step of the shutdown.
const GRACE: Duration = Duration::from_secs(2);
/// Longest sleep while no deadline is pending.
const IDLE: Duration = Duration::from_secs(60);

/// Start options of a proxy.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of the sockets and the lock; the store's socket is expected here.
    pub run_dir: PathBuf,
    /// Node whose checkpoints this proxy fences.
    pub node: String,
    /// Listening addresses for switches. If empty: ports 6653 and 6633 on all addresses.
    pub openflow: Vec<SocketAddr>,
    /// Limit in bytes of the events kept for one app; default 48 MiB.
    pub quota: Option<usize>,
    /// Time after which a packet-in that waits for delivery is dropped, while the app answers; default 200 ms. Zero: it
    /// never is.
    pub target_delay: Option<Duration>,
    /// OpenFlow role that the proxy requests from every switch.
    pub role: Role,
    /// Periods of the verification of table 0 and the exit tables.
    pub verification: VerificationPeriods,
}

/// Error that prevents the start of a proxy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Run directory that cannot be used.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// Address that cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// Bound proxy: holds its lock, ports and sockets, and does not run yet.
#[derive(Debug)]
pub struct Proxy {
    options: Options,
    listeners: Vec<TcpListener>,
    control: (Socket, UnixListener),
    sessions: (Socket, UnixListener),
    // Declared last: the sockets are removed before the lock is released.
    _lock: morph_api::lock::Lock,
}

impl Proxy {
    /// Takes the lock and opens all sockets.
    pub fn bind(options: Options) -> Result<Self, StartError> {
        let lock = lock::take(&options.run_dir)?;
        let listeners = listener::listen(&options.openflow)?;
        let sessions = options.run_dir.join("sessions.sock");
        let mode = morph_api::unix::mode_for_apps(&sessions);
        Ok(Proxy {
            control: Socket::listen(options.run_dir.join("proxy.sock"), 0o600)?,
            sessions: Socket::listen(sessions, mode)?,
            listeners,
            options,
            _lock: lock,
        })
    }

    /// Returns the addresses on which switches can connect.
    pub fn openflow_addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Runs until `shutdown` resolves, then closes everything in order.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let store = Store::new(&self.options.run_dir.join("store.sock"), &self.options.node);
        let incarnation = tokio::select! {
            incarnation = store.take_incarnation() => incarnation,
            () = &mut shutdown => return,
        };
        for address in self.openflow_addresses() {
            tracing::info!(%address, "listening for switches");
        }
        tracing::info!(incarnation, run_dir = %self.options.run_dir.display(), "ready");
        let (inbox, messages) = mpsc::channel(INBOX);
        // Dropping the set at the end aborts all tasks.
        let mut tasks = JoinSet::new();
        for listener in self.listeners {
            tasks.spawn(listener::accept(listener, inbox.clone()));
        }
        let (_control, control) = self.control;
        let (_sessions, sessions) = self.sessions;
        let (end, ended) = watch::channel(());
        let control_service = ControlService {
            inbox: inbox.clone(),
        };
        let session_service = SessionService {
            inbox: inbox.clone(),
        };
        let server = || {
            let most = morph_api::ABANDONED_CALLS;
            Server::builder().http2_max_pending_accept_reset_streams(Some(most))
        };
        let for_morphd = server().add_service(ProxyServer::new(control_service));
        let for_apps = server().add_service(
            SessionsServer::new(session_service).max_decoding_message_size(LARGEST_BLOB),
        );
        let servers = [
            tokio::spawn(serve("proxy.sock", for_morphd, control, ended.clone())),
            tokio::spawn(serve("sessions.sock", for_apps, sessions, ended)),
        ];
        let settings = Settings {
            incarnation,
            quota: self.options.quota.unwrap_or(QUOTA),
            target_delay: self.options.target_delay.unwrap_or(TARGET_DELAY),
            role: self.options.role,
            verification: self.options.verification,
        };
        let executor = Executor::new(inbox, store);
        run_loop(Mediator::new(settings), executor, messages, shutdown).await;
        drop(end);
        for server in servers {
            // Open calls end with their streams, which have just been closed.
            let _ = tokio::time::timeout(GRACE, server).await;
        }
    }
}

/// Serves a socket until the sender of `ended` is dropped.
async fn serve(
    socket: &str,
    router: Router,
    listener: UnixListener,
    mut ended: watch::Receiver<()>,
) {
    let end = async move {
        let _ = ended.changed().await;
    };
    let incoming = UnixListenerStream::new(listener);
    if let Err(error) = router.serve_with_incoming_shutdown(incoming, end).await {
        tracing::error!("{socket} is no longer served, restart the proxy: {error}");
    }
}

async fn run_loop(
    mut mediator: Mediator,
    mut executor: Executor,
    mut messages: mpsc::Receiver<LoopMessage>,
    mut shutdown: std::pin::Pin<&mut impl Future<Output = ()>>,
) {
    let mut outputs = Vec::new();
    let mut sleep = pin!(tokio::time::sleep(IDLE));
    loop {
        let deadline = mediator
            .next_deadline()
            .unwrap_or_else(|| Instant::now() + IDLE);
        if sleep.deadline().into_std() != deadline {
            sleep.as_mut().reset(deadline.into());
        }
        let message = tokio::select! {
            biased;
            () = &mut shutdown => break,
            message = messages.recv() => message,
            () = &mut sleep => Some(LoopMessage::Input(Input::Timer)),
        };
        let Some(message) = message else { break };
        let now = Instant::now();
        let mut next = Some(message);
        let mut left = BATCH;
        while let Some(message) = next {
            let input = executor.register(message);
            mediator.handle(input, now, &mut outputs);
            left -= 1;
            next = if left > 0 {
                messages.try_recv().ok()
            } else {
                None
            };
        }
        if mediator.next_deadline().is_some_and(|at| at <= now) {
            mediator.handle(Input::Timer, now, &mut outputs);
        }
        mediator.flush(now, &mut outputs);
        while let Some(input) = executor.carry_out(&mut outputs) {
            mediator.handle(input, now, &mut outputs);
        }
    }
    tracing::info!("shutting down");
    let now = Instant::now();
    mediator.handle(Input::Shutdown, now, &mut outputs);
    mediator.flush(now, &mut outputs);
    executor.carry_out(&mut outputs);
    executor.finish(GRACE).await;
}
