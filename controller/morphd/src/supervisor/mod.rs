//! The driver: waits for what happens, feeds the machines, and carries out what they ask for. It decides nothing: decisions
//! stand in [`crate::machine`].
//!
//! ```text
//!  management (gRPC) --Request--+                        +--> calls.rs: store and proxy, one task a call
//!  proxy: observe.rs -----------+--> inbox --> machines -+--> children.rs: instances are started, ended, killed
//!  pidfds ----------------------+      ^                 +--> daemons.rs: the store daemon and the proxy
//!  answers of calls ------------+      |                 +--> clients.rs: replies, statuses
//!                                      +-- every answer comes back as an event
//! ```
//!
//! One task owns all state and never waits for a call.

mod calls;
mod children;
mod clients;
mod daemons;
mod event;
pub(crate) mod history;
mod observe;
mod start;
mod stop;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use morph_api::lock::Lock;
use morph_api::supervisor::{Ping, instruction, observation};
use morph_store::Client;
use tokio::sync::mpsc;
use tonic::Code;

use crate::children::AppUsers;
use crate::config::Settings;
use crate::machine::call::Call;
use crate::machine::liveness::{ProbeOutcome, Watch, WatchOutput};
use crate::machine::outbox::NodeOutput;
use crate::machine::{InstanceId, Node, NodeInput, Observed};
use crate::proxy::Proxy;

use calls::Calls;
use children::Children;
use clients::Clients;
pub use clients::{Overview, Reply, Request};
use daemons::Daemons;
pub use event::Event;
use event::present;
pub use start::start;

/// Between two looks at the sizes of the logs.
const LOGS: Duration = Duration::from_secs(5);
/// Events under way to the supervisor. It drains them without waiting for anything, so this is only a burst; a sender
/// that finds it full waits.
const INBOX: usize = 1024;

/// Extent of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// End everything in order.
    All,
    /// End morphd alone.
    Alone,
}

pub struct Supervisor {
    settings: Arc<Settings>,
    calls: Calls,
    inbox: mpsc::Receiver<Event>,
    post: mpsc::Sender<Event>,
    node: Node,
    watch: Watch,
    children: Children,
    daemons: Daemons,
    clients: Clients,
    /// Time of the next look at the sizes of the logs.
    logs_at: Instant,
    /// Held for as long as this morphd lives.
    _lock: Lock,
}

impl Supervisor {
    /// Inbox for requests and events.
    pub fn post(&self) -> mpsc::Sender<Event> {
        self.post.clone()
    }

    /// Group that owns `api.sock`, where the run directory would hand it to the apps' group: morphd's own.
    pub fn api_group(&self) -> Option<u32> {
        let own = self.children.users();
        own.map(|_| rustix::process::getegid().as_raw())
    }

    /// Users that releases run as.
    pub fn app_users(&self) -> Option<AppUsers> {
        self.children.users()
    }

    /// Clients for management's own questions.
    pub fn clients(&self) -> (Client, Proxy, Arc<Settings>) {
        (
            self.calls.store(),
            self.calls.proxy(),
            Arc::clone(&self.settings),
        )
    }

    /// Runs until `shutdown` says how to end, and then ends so.
    ///
    /// # Errors
    /// Nothing that it records is committed any longer ([`crate::records::Records::lost`]); everything else carries on.
    pub async fn run(mut self, shutdown: impl Future<Output = Shutdown>) -> anyhow::Result<()> {
        tokio::pin!(shutdown);
        let records = self.calls.records();
        let lost = records.lost();
        tokio::pin!(lost);
        let how = loop {
            let deadline = self.next_deadline();
            tokio::select! {
                how = &mut shutdown => break how,
                why = &mut lost => bail!("morphd ends alone, everything else carries on: {why}"),
                // The supervisor holds a sender itself, so the inbox never ends.
                Some(event) = self.inbox.recv() => self.on(event),
                () = tokio::time::sleep_until(deadline.into()) => self.on_time(),
            }
        };
        match how {
            Shutdown::Alone => tracing::info!("morphd ends alone; everything else carries on"),
            Shutdown::All => self.stop_all().await,
        }
        Ok(())
    }

    fn on(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Request(request) => {
                let daemons = self.daemons.views();
                if let Some(input) = self.clients.ask(*request, &self.node, daemons) {
                    self.feed(input);
                }
            }
            Event::Observed(observed) => {
                self.hear(&observed);
                self.feed(NodeInput::Observed(observed));
            }
            Event::Answered(id, answer) => {
                self.calls.answered(id);
                self.feed(NodeInput::Answer(id, answer));
            }
            Event::InstanceEnded(id, ending) => {
                let how = self.children.ended(&id, ending, &self.settings);
                self.feed(NodeInput::InstanceEnded(id, how));
            }
            Event::Probed(id, outcome) => {
                let instances = &self.node.state().instances;
                self.watch.probed(&id, outcome, instances);
            }
            Event::DaemonEnded(name, pid, ending) => {
                self.daemons.ended(name, pid, ending, &self.settings, now);
            }
            Event::DaemonReplied(name, pid, reply) => {
                self.daemons.replied(name, pid, reply, now);
            }
            Event::Copied(release) => self.feed(NodeInput::Copied(release)),
        }
    }

    fn next_deadline(&self) -> Instant {
        let instances = &self.node.state().instances;
        let deadlines = [
            self.node.next_deadline(),
            self.watch.next_deadline(instances),
            self.daemons.next_deadline(),
        ];
        let first = deadlines.into_iter().flatten().min();
        first.map_or(self.logs_at, |at| at.min(self.logs_at))
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.logs_at <= now {
            self.logs_at = now + LOGS;
            crate::log::rotate_all(&self.settings.state_dir.join("log"));
        }
        self.daemons
            .time(now, &self.settings, &self.calls, &self.post);
        self.probe_instances(now);
        if self.node.next_deadline().is_some_and(|at| at <= now) {
            self.feed(NodeInput::Time);
        }
    }

    /// Feeds the node, and carries out what it asks for. What can be answered at once is fed next.
    fn feed(&mut self, input: NodeInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let outputs = self.node.handle(input, present());
            for output in outputs {
                inputs.extend(self.carry_out(output));
            }
        }
        self.watch
            .follow(&self.node.state().instances, Instant::now());
    }

    fn carry_out(&mut self, output: NodeOutput) -> Option<NodeInput> {
        match output {
            NodeOutput::Call(id, mut call) => {
                if let Call::Suspect {
                    instance, handling, ..
                } = &mut call
                {
                    *handling = self.children.marked_event(instance);
                }
                self.calls.begin(id, call, &self.post);
            }
            NodeOutput::Abandon(id) => self.calls.abandon(id),
            NodeOutput::Spawn(spawn) => {
                return Some(self.children.spawn(spawn, &self.settings, &self.post));
            }
            NodeOutput::End(id) => self.children.end(&id, self.calls.proxy()),
            NodeOutput::Kill(id) => self.children.kill(&id),
            NodeOutput::Prioritize(id, first) => self.children.prioritize(&id, first),
            NodeOutput::Reply(id, result) => self.clients.reply(id, result),
            NodeOutput::Status(status) => self.clients.status(&status),
            NodeOutput::Reached(milestone) => calls::reached(milestone),
        }
        None
    }

    /// A report of an instance shows that it lives.
    fn hear(&mut self, observed: &Observed) {
        let reports = match observed {
            Observed::Observation(observation) => std::slice::from_ref(observation),
            Observed::Snapshot(snapshot) => &snapshot.reports[..],
            Observed::Lost => &[],
        };
        for report in reports {
            if let Some(observation::What::InstanceReport(report)) = &report.what {
                self.watch.heard(&report.instance);
            }
        }
    }

    fn probe_instances(&mut self, now: Instant) {
        let children = &self.children;
        let instances = &self.node.state().instances;
        let due = self.watch.time(instances, now, |id| children.cpu_time(id));
        for output in due {
            match output {
                WatchOutput::Probe { app, instance } => self.probe(app, instance),
                WatchOutput::Hung(id, why) => self.feed(NodeInput::InstanceHung(id, why)),
            }
        }
    }

    fn probe(&self, app: String, id: InstanceId) {
        let (proxy, post) = (self.calls.proxy(), self.post.clone());
        let token = present().unix_ms;
        tokio::spawn(async move {
            let ping = instruction::Instruction::Ping(Ping { token });
            let outcome = match proxy.instruct(&app, &id, ping).await {
                Ok(()) => ProbeOutcome::HandedOver,
                Err(status) if status.code() == Code::Unavailable => ProbeOutcome::Lost,
                Err(_) => ProbeOutcome::NoSession,
            };
            // Refused only when the supervisor has ended.
            let _ = post.send(Event::Probed(id, outcome)).await;
        });
    }
}
