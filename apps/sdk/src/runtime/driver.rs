//! Tasks of an instance.
//!
//! ```text
//!   session (attaches, reads) -SessionEvent-> +--------+ --Blob--> transport
//!   watches (one a source) --------Input----> | driver |
//!   calls (commits, status) -------Input----> +--------+ --spawns--> calls, watches
//!                                              signals, deadline
//! ```
//!
//! The driver decides nothing: it waits, feeds the machine, and carries out its outputs.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use morph_api::fail;
use morph_api::session::Blob;
use morph_api::store::WatchRequest;
use morph_store::Client;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::session::{self, Outbox, SessionEvent};
use crate::App;
use crate::instance::{CommitOutcome, Input, Instance, Now, Output, RowSource};

/// Bound of the inputs between a task and the driver, which takes them one by one: enough to keep both busy. A watch
/// whose queue is full is read no further, and the store ends it if that lasts.
const QUEUE: usize = 16;
/// Deadline for the last records to leave.
const CLOSING: Duration = Duration::from_millis(500);
/// Time in which an instance reaches the store or the proxy for the first time, or ends: nobody has started Morpheus there.
const REACHED_WITHIN: Duration = Duration::from_secs(5);
/// Exit status after a panic of the app, which is also Rust's own.
pub(super) const PANICKED: u8 = 101;

/// An instance and its tasks; dropping it stops them.
#[derive(Debug)]
pub(super) struct Driver<A: App> {
    instance: Instance<A>,
    store: Client,
    outbox: Outbox,
    sender: Option<mpsc::Sender<Blob>>,
    events: mpsc::Receiver<SessionEvent>,
    calls: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    watches: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    following: BTreeMap<RowSource, AbortHandle>,
    tasks: JoinSet<()>,
    /// SIGTERM and SIGINT.
    signals: (Signal, Signal),
    /// Fail point of this release, for fault injection: `APP.VERSION.input`.
    fail_point: String,
    /// Time at which the instance ends unless it has reached anybody; `None` once it has.
    give_up_at: Option<Instant>,
}

/// Reason why the driver wakes up.
enum Wakeup {
    Session(Option<SessionEvent>),
    Input(Input),
    /// Room for another blob.
    Room,
    /// Neither the store nor the proxy was reached.
    Unreached,
}

impl<A: App> Driver<A> {
    /// Makes a driver; needs a Tokio runtime around it.
    pub(super) fn new(instance: Instance<A>, release: &str, run_dir: &Path) -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        let (sender, events) = mpsc::channel(QUEUE);
        tasks.spawn(session::attach(run_dir.join("sessions.sock"), sender));
        Ok(Driver {
            instance,
            store: Client::new(run_dir.join("store.sock")),
            outbox: Outbox::default(),
            sender: None,
            events,
            calls: mpsc::channel(QUEUE),
            watches: mpsc::channel(QUEUE),
            following: BTreeMap::new(),
            tasks,
            signals: (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            ),
            fail_point: format!("{release}.input"),
            give_up_at: Some(Instant::now() + REACHED_WITHIN),
        })
    }

    /// Runs until the instance ends. Returns its exit status.
    pub(super) async fn run(mut self) -> u8 {
        let mut out = Vec::new();
        self.instance.start(now(), &mut out);
        loop {
            if let Some(status) = self.carry_out(&mut out) {
                self.close().await;
                return status;
            }
            let inputs = match self.wait().await {
                Wakeup::Room => {
                    self.send();
                    continue;
                }
                Wakeup::Unreached => {
                    tracing::error!(
                        "nobody answers at store.sock and sessions.sock in RUN_DIR: start morphd, which starts its apps itself, or name \
                         its folder with --run-dir"
                    );
                    return 1;
                }
                Wakeup::Input(input) => {
                    if matches!(input, Input::Status(Ok(_))) {
                        self.give_up_at = None;
                    }
                    vec![input]
                }
                Wakeup::Session(Some(SessionEvent::Inputs(inputs))) => inputs,
                Wakeup::Session(Some(SessionEvent::Up(sender))) => {
                    self.outbox.clear();
                    self.sender = Some(sender);
                    self.give_up_at = None;
                    vec![Input::SessionUp]
                }
                Wakeup::Session(Some(SessionEvent::Down)) => {
                    self.sender = None;
                    self.outbox.clear();
                    vec![Input::SessionDown]
                }
                Wakeup::Session(None) => {
                    tracing::error!(
                        "internal error: the task of the session with the proxy has ended"
                    );
                    return 1;
                }
            };
            let instance = &mut self.instance;
            // After a panic of the app the process ends, and nothing of that turn goes out.
            let result = catch_unwind(AssertUnwindSafe(|| {
                if let Err(failed) = fail::point(&self.fail_point) {
                    instance.fail(failed.to_string(), &mut out);
                }
                instance.handle_all(inputs, now(), &mut out);
            }));
            if result.is_err() {
                return PANICKED;
            }
        }
    }

    async fn wait(&mut self) -> Wakeup {
        let takes_watches = self.instance.takes_watches();
        let deadline = self.instance.next_deadline();
        let sending = self.sender.as_ref().filter(|_| !self.outbox.is_empty());
        tokio::select! {
            _ = self.signals.0.recv() => Wakeup::Input(Input::Terminate),
            _ = self.signals.1.recv() => Wakeup::Input(Input::Terminate),
            Some(input) = self.calls.1.recv() => Wakeup::Input(input),
            event = self.events.recv() => Wakeup::Session(event),
            Some(input) = self.watches.1.recv(), if takes_watches => Wakeup::Input(input),
            () = room(sending) => Wakeup::Room,
            () = until(deadline) => Wakeup::Input(Input::Time),
            () = until(self.give_up_at) => Wakeup::Unreached,
            // Finished tasks are released.
            Some(_) = self.tasks.join_next() => Wakeup::Room,
        }
    }

    /// Carries out the machine's outputs. Returns its exit status, if it ends.
    fn carry_out(&mut self, out: &mut Vec<Output>) -> Option<u8> {
        let mut exit = None;
        for output in out.drain(..) {
            match self.outbox.put(output) {
                None | Some(Output::Control(_) | Output::Message { .. }) => {}
                Some(Output::Exit(status)) => exit = Some(status),
                Some(Output::Status) => {
                    let (store, inputs) = (self.store.clone(), self.calls.0.clone());
                    self.tasks.spawn(async move {
                        let status = store.status().await.map_err(|away| away.to_string());
                        let _ = inputs.send(Input::Status(status)).await;
                    });
                }
                Some(Output::Commit { id, transaction }) => {
                    let (store, inputs) = (self.store.clone(), self.calls.0.clone());
                    self.tasks.spawn(async move {
                        let outcome = match store.commit(transaction).await {
                            Ok(Ok(committed)) => CommitOutcome::Committed(committed),
                            Ok(Err(refusal)) => CommitOutcome::Refused(Box::new(refusal)),
                            Err(away) => CommitOutcome::Unknown(away.to_string()),
                        };
                        let _ = inputs.send(Input::Committed { id, outcome }).await;
                    });
                }
                Some(Output::Watch {
                    source,
                    generation,
                    request,
                }) => {
                    let (store, inputs) = (self.store.clone(), self.watches.0.clone());
                    let watch = watch(store, request, source.clone(), generation, inputs);
                    let handle = self.tasks.spawn(watch);
                    if let Some(before) = self.following.insert(source, handle) {
                        before.abort();
                    }
                }
            }
        }
        self.send();
        exit
    }

    /// Hands over as many blobs as there is room for.
    fn send(&mut self) {
        let Some(sender) = &self.sender else {
            self.outbox.clear();
            return;
        };
        while !self.outbox.is_empty() {
            let Ok(permit) = sender.try_reserve() else {
                return;
            };
            if let Some(blob) = self.outbox.take() {
                permit.send(blob);
            }
        }
    }

    /// Sends what is left, closes the session, and waits until the proxy has read it.
    async fn close(mut self) {
        let closing = async {
            while !self.outbox.is_empty() {
                room(self.sender.as_ref()).await;
                self.send();
            }
            self.sender = None;
            while !matches!(self.events.recv().await, None | Some(SessionEvent::Down)) {}
        };
        let _ = tokio::time::timeout(CLOSING, closing).await;
    }
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        wall: SystemTime::now(),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

async fn room(sender: Option<&mpsc::Sender<Blob>>) {
    match sender {
        // An ended session always has room: what is sent to it is lost, and the machine is told.
        Some(sender) => drop(sender.reserve().await),
        None => pending().await,
    }
}

async fn watch(
    store: Client,
    request: WatchRequest,
    source: RowSource,
    generation: u64,
    inputs: mpsc::Sender<Input>,
) {
    let send = |reply| {
        let source = source.clone();
        inputs.send(Input::Watch {
            source,
            generation,
            reply,
        })
    };
    let mut replies = match store.watch(request).await {
        Ok(replies) => replies,
        Err(away) => {
            let _ = send(Err(away.to_string())).await;
            return;
        }
    };
    loop {
        let reply = match replies.message().await {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err("the store ended it".to_owned()),
            Err(status) => Err(status.message().to_owned()),
        };
        let broken = reply.is_err();
        if send(reply).await.is_err() || broken {
            return;
        }
    }
}
