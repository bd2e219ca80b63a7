//! Sockets, tasks and time around the mediator. One thread; no decisions.
//!
//! ```text
//!   accept (one a listener) ---+
//!   connection read, write ----+--- events, bounded ---> the loop, which owns the mediator
//!   session read, write -------+                            |
//!   gRPC services -------------+                            +---> outboxes of connections and sessions
//!   fence (one at a time) -----+                            +---> answers, observations
//! ```

mod connection;
mod control;
mod listener;
mod lock;
mod outbox;
mod sessions;
mod store;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use morph_api::Role;
use morph_api::session::sessions_server::SessionsServer;
use morph_api::supervisor::Observation;
use morph_api::supervisor::proxy_server::ProxyServer;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;

pub use listener::ListenError;
pub use lock::RunDirError;

use crate::mediator::{Answer, Ask, Input, Mediator, Output, QUOTA, Refusal, Settings};
use connection::Connection;
use control::ControlService;
use lock::{Lock, Socket};
use sessions::{Attach, SessionLink, SessionService};
use store::Store;

/// Events that wait for the loop. Whoever has one more waits with it, so a switch or an app that is faster than the loop is
/// not read.
const EVENTS: usize = 1024;
/// Events between two flushes, so that the first of them does not wait for too many others.
const BATCH: usize = 256;
/// A blob of an app may hold a whole turn.
const LARGEST_BLOB: usize = 32 << 20;
/// What the end may take, in each of its steps.
const GRACE: Duration = Duration::from_secs(2);
/// With nothing due, the loop looks around now and then.
const IDLE: Duration = Duration::from_secs(60);

/// What a proxy is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its sockets and its lock are, and the store's socket.
    pub run_dir: PathBuf,
    /// The node whose checkpoints it fences.
    pub node: String,
    /// Where switches connect; none: 6653 and 6633 on all addresses.
    pub openflow: Vec<SocketAddr>,
    /// Bytes of events kept for one app; none: 64 MiB.
    pub quota: Option<usize>,
    /// Asked for at every switch.
    pub role: Role,
}

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its run directory cannot be used.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A port is taken, say.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// A proxy that has its lock, its ports and its sockets, and does not run yet.
#[derive(Debug)]
pub struct Proxy {
    options: Options,
    listeners: Vec<TcpListener>,
    control: (Socket, UnixListener),
    sessions: (Socket, UnixListener),
    // Last, so that it is let go of when the sockets are gone.
    _lock: Lock,
}

/// What the tasks tell the loop.
#[derive(Debug)]
enum Event {
    Seen(Input),
    Accepted {
        stream: TcpStream,
        remote: SocketAddr,
    },
    Attach(Box<Attach>),
    Ask {
        ask: Ask,
        reply: oneshot::Sender<Result<Answer, Refusal>>,
    },
    Observe(mpsc::Sender<Result<Observation, Status>>),
}

impl Proxy {
    /// Takes the lock and opens all sockets.
    pub fn bind(options: Options) -> Result<Self, StartError> {
        let lock = Lock::take(&options.run_dir)?;
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

    /// Where switches can connect.
    pub fn openflow_addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Runs until `shutdown`; then closes everything in order.
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
        let (events, inbox) = mpsc::channel(EVENTS);
        // Dropped at the end, and all tasks with it.
        let mut tasks = JoinSet::new();
        for listener in self.listeners {
            tasks.spawn(listener::accept(listener, events.clone()));
        }
        let (_control, control) = self.control;
        let (_sessions, sessions) = self.sessions;
        let (end, ended) = watch::channel(());
        let servers = [
            tokio::spawn(serve_control(control, events.clone(), ended.clone())),
            tokio::spawn(serve_sessions(sessions, events.clone(), ended)),
        ];
        let settings = Settings {
            incarnation,
            quota: self.options.quota.unwrap_or(QUOTA),
            role: self.options.role,
        };
        let hands = Hands::new(events, store);
        run_loop(Mediator::new(settings), hands, inbox, shutdown).await;
        drop(end);
        for server in servers {
            // Its connections end with what is open on them, which has just been ended.
            let _ = tokio::time::timeout(GRACE, server).await;
        }
    }
}

async fn serve_control(
    listener: UnixListener,
    events: mpsc::Sender<Event>,
    mut ended: watch::Receiver<()>,
) {
    let service = ProxyServer::new(ControlService { events });
    let server = tonic::transport::Server::builder();
    let end = async move {
        // An error says that the sender is gone, which is the end.
        let _ = ended.changed().await;
    };
    let incoming = UnixListenerStream::new(listener);
    if let Err(error) = server
        .serve_with_incoming_shutdown(service, incoming, end)
        .await
    {
        tracing::error!("proxy.sock is no longer served: {error}");
    }
}

async fn serve_sessions(
    listener: UnixListener,
    events: mpsc::Sender<Event>,
    mut ended: watch::Receiver<()>,
) {
    let service =
        SessionsServer::new(SessionService { events }).max_decoding_message_size(LARGEST_BLOB);
    let server = tonic::transport::Server::builder();
    let end = async move {
        // An error says that the sender is gone, which is the end.
        let _ = ended.changed().await;
    };
    let incoming = UnixListenerStream::new(listener);
    if let Err(error) = server
        .serve_with_incoming_shutdown(service, incoming, end)
        .await
    {
        tracing::error!("sessions.sock is no longer served: {error}");
    }
}

async fn run_loop(
    mut mediator: Mediator,
    mut hands: Hands,
    mut inbox: mpsc::Receiver<Event>,
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
        let event = tokio::select! {
            biased;
            () = &mut shutdown => break,
            event = inbox.recv() => event,
            () = &mut sleep => Some(Event::Seen(Input::Timer)),
        };
        let Some(event) = event else { break };
        let now = Instant::now();
        let mut next = Some(event);
        let mut left = BATCH;
        while let Some(event) = next {
            let input = hands.register(event);
            mediator.handle(input, now, &mut outputs);
            left -= 1;
            next = if left > 0 {
                inbox.try_recv().ok()
            } else {
                None
            };
        }
        if mediator.next_deadline().is_some_and(|at| at <= now) {
            mediator.handle(Input::Timer, now, &mut outputs);
        }
        mediator.flush(now, &mut outputs);
        while let Some(input) = hands.carry_out(&mut outputs) {
            mediator.handle(input, now, &mut outputs);
        }
    }
    tracing::info!("ending");
    let now = Instant::now();
    mediator.handle(Input::Shutdown, now, &mut outputs);
    mediator.flush(now, &mut outputs);
    hands.carry_out(&mut outputs);
    hands.finish().await;
}

/// What the loop acts with.
#[derive(Debug)]
struct Hands {
    events: mpsc::Sender<Event>,
    store: Store,
    connections: HashMap<u32, Connection>,
    sessions: HashMap<u64, SessionLink>,
    answers: HashMap<u64, oneshot::Sender<Result<Answer, Refusal>>>,
    observer: Option<mpsc::Sender<Result<Observation, Status>>>,
    closing: JoinSet<()>,
    last_conn: u32,
    last_session: u64,
    last_ticket: u64,
}

impl Hands {
    fn new(events: mpsc::Sender<Event>, store: Store) -> Self {
        Hands {
            events,
            store,
            connections: HashMap::new(),
            sessions: HashMap::new(),
            answers: HashMap::new(),
            observer: None,
            closing: JoinSet::new(),
            last_conn: 0,
            last_session: 0,
            last_ticket: 0,
        }
    }

    /// Gives what comes a number, where it needs one.
    fn register(&mut self, event: Event) -> Input {
        match event {
            Event::Seen(input) => input,
            Event::Accepted { stream, remote } => {
                self.last_conn += 1;
                let conn = self.last_conn;
                self.connections
                    .insert(conn, Connection::start(conn, stream, &self.events));
                let remote = remote.to_string();
                Input::Connected { conn, remote }
            }
            Event::Attach(attach) => {
                self.last_session += 1;
                let session = self.last_session;
                self.sessions
                    .insert(session, SessionLink::start(session, *attach, &self.events));
                Input::SessionOpened { session }
            }
            Event::Ask { ask, reply } => {
                self.last_ticket += 1;
                let ticket = self.last_ticket;
                self.answers.insert(ticket, reply);
                Input::Ask { ticket, ask }
            }
            Event::Observe(observer) => {
                // The older one's stream ends.
                self.observer = Some(observer);
                Input::Observer { present: true }
            }
        }
    }

    /// Does what the mediator says; what it has to be told of that.
    fn carry_out(&mut self, outputs: &mut Vec<Output>) -> Option<Input> {
        let mut told = None;
        while self.closing.try_join_next().is_some() {}
        for output in outputs.drain(..) {
            match output {
                Output::Write { conn, bytes } => {
                    if let Some(connection) = self.connections.get(&conn) {
                        connection.outbox.push(bytes);
                    }
                }
                Output::Disconnect { conn } => {
                    if let Some(connection) = self.connections.remove(&conn) {
                        self.closing.spawn(connection.finish());
                    }
                }
                Output::Blob { session, records } => {
                    if let Some(link) = self.sessions.get(&session) {
                        link.outbox.push(records);
                    }
                }
                Output::EndSession { session } => drop(self.sessions.remove(&session)),
                Output::Credit { session } => {
                    if let Some(link) = self.sessions.get(&session) {
                        link.credits.add_permits(1);
                    }
                }
                Output::Answer { ticket, answer } => {
                    // Whoever asked may have gone.
                    let _ = self.answers.remove(&ticket).map(|reply| reply.send(answer));
                }
                Output::Observe(observation) => {
                    if !self.tell(observation) {
                        told = Some(Input::Observer { present: false });
                    }
                }
                Output::Fence { app } => self.fence(app),
            }
        }
        told
    }

    fn tell(&mut self, observation: Observation) -> bool {
        let Some(observer) = &self.observer else {
            return false;
        };
        match observer.try_send(Ok(observation)) {
            Ok(()) => true,
            Err(error) => {
                if matches!(error, mpsc::error::TrySendError::Full(_)) {
                    tracing::warn!("the observer does not read; it has to observe anew");
                }
                self.observer = None;
                false
            }
        }
    }

    fn fence(&mut self, app: String) {
        let (store, events) = (self.store.clone(), self.events.clone());
        self.closing.spawn(async move {
            let outcome = store.fence(&app).await;
            let fenced = Input::Fenced { app, outcome };
            let _ = events.send(Event::Seen(fenced)).await;
        });
    }

    /// Waits until what was queued is written.
    async fn finish(mut self) {
        drop(self.events);
        self.sessions.clear();
        for (_, connection) in self.connections.drain() {
            self.closing.spawn(connection.finish());
        }
        // Each gives up by itself after a second.
        let all = async { while self.closing.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, all).await;
    }
}
