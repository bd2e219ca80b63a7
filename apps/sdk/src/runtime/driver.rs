//! The tasks of an instance:
//!
//! ```text
//!   session (attaches, reads) --Said--> +--------+ --Blob--> transport
//!   watches (one a source) ----Input--> | driver |
//!   calls (commits, status) ---Input--> +--------+ --spawns--> calls, watches
//!                                        signals, deadline
//! ```
//!
//! The driver holds no decision: it waits, feeds the machine, and carries out what that says.

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

use super::session::{self, Outbox, Said};
use crate::App;
use crate::instance::{Input, Instance, Now, Outcome, Output, Source};

/// Inputs between a task and the driver, which takes them one by one: enough to keep both busy. A watch whose queue is
/// full is read no further, and the store ends it if that lasts.
const QUEUE: usize = 16;
/// How long the last words may take to leave.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The exit status after a panic of the app; the one that Rust gives.
const PANICKED: u8 = 101;

/// An instance and its tasks; dropping it stops them.
#[derive(Debug)]
pub(super) struct Driver<A: App> {
    instance: Instance<A>,
    store: Client,
    outbox: Outbox,
    sender: Option<mpsc::Sender<Blob>>,
    said: mpsc::Receiver<Said>,
    calls: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    watches: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    following: BTreeMap<Source, AbortHandle>,
    tasks: JoinSet<()>,
    terminate: Signal,
    interrupt: Signal,
    /// A place where tests make an instance of this release fail: `APP.VERSION.input`.
    fails_at: String,
}

/// What the driver wakes up with.
enum Woken {
    Said(Option<Said>),
    Input(Input),
    /// There is room for a blob.
    Room,
}

impl<A: App> Driver<A> {
    /// Needs a runtime around it.
    pub(super) fn new(instance: Instance<A>, release: &str, run_dir: &Path) -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        let (sender, said) = mpsc::channel(QUEUE);
        tasks.spawn(session::attach(run_dir.join("sessions.sock"), sender));
        Ok(Driver {
            instance,
            store: Client::new(run_dir.join("store.sock")),
            outbox: Outbox::default(),
            sender: None,
            said,
            calls: mpsc::channel(QUEUE),
            watches: mpsc::channel(QUEUE),
            following: BTreeMap::new(),
            tasks,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            fails_at: format!("{release}.input"),
        })
    }

    /// Runs until the instance ends; its exit status.
    pub(super) async fn run(mut self) -> u8 {
        let mut out = Vec::new();
        self.instance.start(now(), &mut out);
        loop {
            if let Some(status) = self.carry_out(&mut out) {
                self.last_words().await;
                return status;
            }
            let inputs = match self.wait().await {
                Woken::Room => {
                    self.send();
                    continue;
                }
                Woken::Input(input) => vec![input],
                Woken::Said(Some(Said::Inputs(inputs))) => inputs,
                Woken::Said(Some(Said::Up(sender))) => {
                    self.outbox.clear();
                    self.sender = Some(sender);
                    vec![Input::SessionUp]
                }
                Woken::Said(Some(Said::Down)) => {
                    self.sender = None;
                    self.outbox.clear();
                    vec![Input::SessionDown]
                }
                Woken::Said(None) => {
                    tracing::error!("the session's task has ended");
                    return 1;
                }
            };
            for input in inputs {
                let instance = &mut self.instance;
                // A panic of the app ends the process, and nothing of what it was at goes out.
                let fed = catch_unwind(AssertUnwindSafe(|| {
                    if let Err(failed) = fail::point(&self.fails_at) {
                        instance.fail(failed.to_string(), &mut out);
                    }
                    instance.handle(input, now(), &mut out);
                }));
                if fed.is_err() {
                    return PANICKED;
                }
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let takes_watches = self.instance.takes_watches();
        let deadline = self.instance.next_deadline();
        let sending = self.sender.as_ref().filter(|_| !self.outbox.is_empty());
        tokio::select! {
            _ = self.terminate.recv() => Woken::Input(Input::Terminate),
            _ = self.interrupt.recv() => Woken::Input(Input::Terminate),
            Some(input) = self.calls.1.recv() => Woken::Input(input),
            said = self.said.recv() => Woken::Said(said),
            Some(input) = self.watches.1.recv(), if takes_watches => Woken::Input(input),
            () = room(sending) => Woken::Room,
            () = until(deadline) => Woken::Input(Input::Time),
            // Ended tasks are let go of.
            Some(_) = self.tasks.join_next() => Woken::Room,
        }
    }

    /// Does what the machine says; its exit status, if it ends.
    fn carry_out(&mut self, out: &mut Vec<Output>) -> Option<u8> {
        let mut exit = None;
        for output in out.drain(..) {
            match self.outbox.put(output) {
                None | Some(Output::Control(_) | Output::Message { .. }) => {}
                Some(Output::Exit(status)) => exit = Some(status),
                Some(Output::Status) => {
                    let (store, said) = (self.store.clone(), self.calls.0.clone());
                    self.tasks.spawn(async move {
                        let status = store.status().await.map_err(|away| away.to_string());
                        let _ = said.send(Input::Status(status)).await;
                    });
                }
                Some(Output::Commit { id, transaction }) => {
                    let (store, said) = (self.store.clone(), self.calls.0.clone());
                    self.tasks.spawn(async move {
                        let outcome = match store.commit(transaction).await {
                            Ok(Ok(committed)) => Outcome::Committed(committed),
                            Ok(Err(refusal)) => Outcome::Refused(Box::new(refusal)),
                            Err(away) => Outcome::Unknown(away.to_string()),
                        };
                        let _ = said.send(Input::Committed { id, outcome }).await;
                    });
                }
                Some(Output::Watch {
                    source,
                    generation,
                    request,
                }) => {
                    let (store, said) = (self.store.clone(), self.watches.0.clone());
                    let watch = watch(store, request, source.clone(), generation, said);
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

    /// Hands over what there is room for.
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

    /// Sends what is left, closes the session, and waits for the proxy to have read that.
    async fn last_words(mut self) {
        let words = async {
            while !self.outbox.is_empty() {
                room(self.sender.as_ref()).await;
                self.send();
            }
            self.sender = None;
            while !matches!(self.said.recv().await, None | Some(Said::Down)) {}
        };
        let _ = tokio::time::timeout(LAST_WORDS, words).await;
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
        // A session that has ended has room: what is sent then is lost with it, and the machine is told.
        Some(sender) => drop(sender.reserve().await),
        None => pending().await,
    }
}

async fn watch(
    store: Client,
    request: WatchRequest,
    source: Source,
    generation: u64,
    said: mpsc::Sender<Input>,
) {
    let tell = |reply| {
        let source = source.clone();
        said.send(Input::Watch {
            source,
            generation,
            reply,
        })
    };
    let mut replies = match store.watch(request).await {
        Ok(replies) => replies,
        Err(away) => {
            let _ = tell(Err(away.to_string())).await;
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
        if tell(reply).await.is_err() || broken {
            return;
        }
    }
}
