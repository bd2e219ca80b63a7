//! morphd: its node, and what its driver does with what the node puts out.

mod adopt;
mod requests;
mod stored;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use morph_api::management::Step;
use morph_proxy::machine::{ControlReply, ControlRequest, Refusal};
use morphd::machine::call::{Answer, Call, CallId};
use morphd::machine::instances::Instance as Known;
use morphd::machine::lifecycle::LifecycleState;
use morphd::machine::outbox::{NodeOutput, Present, Spawn};
use morphd::machine::request::{Request, RequestId, UpgradeRequest};
use morphd::machine::{Node, NodeInput};

use crate::canon::Canon;
use crate::instance::Start;
use crate::records::Records;
use crate::releases;
use crate::setup::{Mutation, Setup};
pub(crate) use adopt::{first_records, snapshot};

/// As long as the node samples the load, so that one step of the clock ends the probation.
const PROBATION: Duration = Duration::from_millis(500);
/// Inputs that a deadline in the past may cause one after the other.
const OVERDUE: usize = 50;

/// Something that morphd does to others.
#[derive(Debug)]
pub(crate) enum Effect {
    Spawn(Start),
    End(String),
    Kill(String),
    Call(u64, ControlRequest),
    /// A call is given up: its request may yet arrive.
    Forget(u64),
    /// A fence is given up: its request may yet arrive.
    ForgetFence(Call),
}

/// Values of the world that one input of morphd needs, and its effects.
#[derive(Debug)]
pub(crate) struct Port<'a> {
    pub(crate) setup: &'a Setup,
    /// The newest number that was given out.
    pub(crate) next_id: &'a mut u32,
    /// Tickets of calls that were given up, and that the proxy may yet answer.
    pub(crate) abandoned: &'a BTreeSet<u64>,
    pub(crate) effects: Vec<Effect>,
}

#[derive(Clone)]
pub(crate) struct Morphd {
    node: Node,
    now: Instant,
    records: Records,
    /// Calls of the store under way, each in a task of its own.
    store_calls: Vec<(CallId, Call)>,
    /// A mutation holds this write back.
    held_back: Option<Call>,
    /// Calls of the proxy under way, by ticket.
    tickets: BTreeMap<u64, (CallId, requests::Kind)>,
    /// A deadline stays in the past.
    overdue: bool,
}

/// Without releases and settings, which are the same in all states, and without the numbers that were given out.
impl fmt::Debug for Morphd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.node.state();
        let mut text = f.debug_struct("Morphd");
        text.field("outbox", &state.outbox)
            .field("apps", &state.apps)
            .field("instances", &state.instances)
            .field("upgrades", &state.upgrades)
            .field("quarantine", &state.quarantine)
            .field("incarnation", &state.proxy.incarnation)
            .field("shadows_at", &state.shadows_at)
            .field("records", &self.records)
            .field("store_calls", &self.store_calls)
            .field("held_back", &self.held_back)
            .field("tickets", &self.tickets)
            .field("overdue", &self.overdue)
            .finish()
    }
}

impl Canon for Morphd {
    const FIGURES: &'static [&'static str] = &[
        "present",
        "last_call",
        "unix_ms",
        "started",
        "published",
        "migration",
        "numbers",
        "message",
        "how",
        "why",
        "reason",
        "last_end",
        "last_upgrade",
        "summary",
        "pid",
        "first",
        "source_answers",
        "faults",
        "last_events_at",
        "events_reported",
        "standstill",
        "total",
        "plan",
        "counts",
        "groups_checked",
        "losses",
        "started_unix_ms",
        "step_unix_ms",
        "since_start_us",
        "by",
        "ended",
        "seen_at",
        "name",
    ];

    fn now(&self) -> Instant {
        self.now
    }
}

impl Morphd {
    fn present(&self, next_id: u32) -> Present {
        Present {
            at: self.now,
            // The node numbers by it.
            unix_ms: u64::from(next_id) + 1,
            moment: None,
        }
    }

    /// Feeds one input, and the deadlines that have passed: only the look at the shadows, unless everything may be late.
    pub(crate) fn feed(&mut self, input: NodeInput, port: &mut Port<'_>) {
        let mut inputs = VecDeque::from([input]);
        let mut late = 0;
        loop {
            while let Some(input) = inputs.pop_front() {
                let out = self.node.handle(input, self.present(*port.next_id));
                self.carry_out(out, port, &mut inputs);
            }
            let due = match port.setup.late {
                true => self.node.next_deadline(),
                false => self.node.state().shadows_at,
            };
            if due.is_none_or(|at| at > self.now) {
                return;
            }
            late += 1;
            if late == OVERDUE {
                self.overdue = true;
                return;
            }
            inputs.push_back(NodeInput::Time);
        }
    }

    fn carry_out(
        &mut self,
        out: Vec<NodeOutput>,
        port: &mut Port<'_>,
        inputs: &mut VecDeque<NodeInput>,
    ) {
        let newest = u32::try_from(self.node.state().last_id).unwrap_or(u32::MAX);
        *port.next_id = newest.max(*port.next_id);
        for output in out {
            match output {
                NodeOutput::Call(id, call) => self.call(id, call, port, inputs),
                NodeOutput::Abandon(id) => self.abandon(id, port),
                NodeOutput::Spawn(spawn) => port.effects.push(Effect::Spawn(start(spawn))),
                NodeOutput::End(id) => port.effects.push(Effect::End(id)),
                NodeOutput::Kill(id) => port.effects.push(Effect::Kill(id)),
                NodeOutput::Prioritize(..)
                | NodeOutput::Reply(..)
                | NodeOutput::Status(_)
                | NodeOutput::Reached(_) => {}
            }
        }
    }

    fn call(
        &mut self,
        id: CallId,
        call: Call,
        port: &mut Port<'_>,
        inputs: &mut VecDeque<NodeInput>,
    ) {
        if let Some(answer) = at_once(&call, port.setup) {
            return inputs.push_back(NodeInput::Answer(id, answer));
        }
        let call = self.mutated(id, call, port.setup, inputs);
        match requests::request(&call) {
            Some((request, kind)) => {
                let is_free = |ticket: &u64| {
                    !self.tickets.contains_key(ticket) && !port.abandoned.contains(ticket)
                };
                let ticket = (1..).find(is_free).unwrap_or(0);
                self.tickets.insert(ticket, (id, kind));
                port.effects.push(Effect::Call(ticket, request));
            }
            None => self.store_calls.push((id, call)),
        }
    }

    /// Changes a call on its way, where that is what is broken.
    fn mutated(
        &mut self,
        id: CallId,
        mut call: Call,
        setup: &Setup,
        inputs: &mut VecDeque<NodeInput>,
    ) -> Call {
        match (&mut call, setup.mutation) {
            (Call::Fence(fence), Some(Mutation::ResumeBeforeFence))
                if fence.step == Some(Step::Resuming) =>
            {
                let answer = Answer::Fenced(Ok(stored::foretold(fence)));
                inputs.push_back(NodeInput::Answer(id, answer));
            }
            (Call::Fence(fence), Some(Mutation::SkipOneMore)) => {
                let parts = fence.parts.iter_mut();
                for (_, to) in parts.filter_map(|part| part.fencing.skip.as_mut()) {
                    to.n += 1;
                }
            }
            (Call::Write(write), Some(Mutation::RecordsOutOfOrder))
                if write.step == Some(Step::Upgraded) =>
            {
                self.held_back = Some(Call::Write(write.clone()));
                write.writes.clear();
            }
            (Call::Write(write), Some(Mutation::CommitWithoutOne))
                if write.step == Some(Step::Committed) =>
            {
                write.writes.retain(|write| !write.key.starts_with('b'));
            }
            (Call::Hold { app, .. }, Some(Mutation::DropWhileRead)) => {
                let (app, owner) = (app.clone(), None);
                self.store_calls
                    .push((CallId(0), Call::DropShadows { app, owner }));
            }
            _ => {}
        }
        call
    }

    /// Nobody waits for a call any longer.
    fn abandon(&mut self, id: CallId, port: &mut Port<'_>) {
        let mut tickets = self.tickets.iter();
        let ticket = tickets.find(|(_, (call, _))| *call == id);
        if let Some(ticket) = ticket.map(|(ticket, _)| *ticket) {
            self.tickets.remove(&ticket);
            port.effects.push(Effect::Forget(ticket));
        }
        if let Some(at) = self.store_calls.iter().position(|(call, _)| *call == id) {
            let (_, call) = self.store_calls.remove(at);
            port.effects.push(Effect::ForgetFence(call));
        }
    }

    /// The tickets that are waited for.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = u64> {
        self.tickets.keys().copied()
    }

    /// The tickets of calls that may be given up: the pipeline is waited for as long as it takes.
    pub(crate) fn may_be_given_up(&self) -> impl Iterator<Item = u64> {
        let tickets = self.tickets.iter();
        let tickets = tickets.filter(|(_, (_, kind))| *kind != requests::Kind::Configure);
        tickets.map(|(ticket, _)| *ticket)
    }

    /// The proxy has answered, or did not.
    pub(crate) fn answer(
        &mut self,
        ticket: u64,
        answer: Result<ControlReply, Refusal>,
        port: &mut Port<'_>,
    ) {
        if let Some((id, kind)) = self.tickets.remove(&ticket) {
            let answer = requests::answer(kind, answer);
            self.feed(NodeInput::Answer(id, answer), port);
        }
    }

    /// A call of the proxy is given up, whatever its deadline.
    pub(crate) fn give_up(&mut self, ticket: u64, port: &mut Port<'_>) {
        if let Some((id, _)) = self.tickets.remove(&ticket) {
            port.effects.push(Effect::Forget(ticket));
            let overdue = Answer::Overdue(Duration::from_secs(1));
            self.feed(NodeInput::Answer(id, overdue), port);
        }
    }

    /// A fence for targets is on its way.
    pub(crate) fn fences(&self) -> bool {
        self.store_calls
            .iter()
            .any(|(_, call)| stored::may_be_given_up(call))
    }

    /// Gives up that fence, whatever its deadline.
    pub(crate) fn give_up_fence(&mut self, port: &mut Port<'_>) {
        let mut calls = self.store_calls.iter();
        if let Some(at) = calls.position(|(_, call)| stored::may_be_given_up(call)) {
            let (id, call) = self.store_calls.remove(at);
            port.effects.push(Effect::ForgetFence(call));
            let overdue = Answer::Overdue(Duration::from_secs(1));
            self.feed(NodeInput::Answer(id, overdue), port);
        }
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// All apps begin an upgrade to their other release, as one if there are several.
    pub(crate) fn begin(&mut self, port: &mut Port<'_>) {
        let apps = self.node.state().apps.iter();
        let releases = apps.map(|(app, known)| {
            let to = releases::other(&known.row.release);
            (app.clone(), Some(to))
        });
        let request = UpgradeRequest {
            releases: releases.collect(),
            probation: Some(PROBATION),
            min_events: Some(0),
            ..UpgradeRequest::default()
        };
        self.feed(
            NodeInput::Request(RequestId(0), Request::Upgrade(request)),
            port,
        );
    }

    /// The operator wants the source back.
    pub(crate) fn roll_back(&mut self, port: &mut Port<'_>) {
        if let Some(app) = self.node.state().apps.keys().next().cloned() {
            self.feed(
                NodeInput::Request(RequestId(0), Request::Rollback(app)),
                port,
            );
        }
    }

    pub(crate) fn is_upgrading(&self) -> bool {
        !self.node.state().upgrades.is_empty()
    }

    /// The instance that serves the app, once nothing is under way.
    pub(crate) fn serves(&self, app: &str) -> Option<&Known> {
        let state = self.node.state();
        let known = state
            .apps
            .get(app)
            .filter(|known| known.upgrade.is_none())?;
        match known.lifecycle.state() {
            LifecycleState::Running { instance } => {
                let instance = state.instances.get(instance)?;
                (instance.release == known.row.release).then_some(instance)
            }
            _ => None,
        }
    }

    /// Something is under way and has no deadline, or one that stays in the past.
    pub(crate) fn waits_for_ever(&self) -> bool {
        let state = self.node.state();
        let mut lifecycles = state.apps.values().map(|app| app.lifecycle.state());
        let is_idle = |state: &LifecycleState| {
            matches!(
                state,
                LifecycleState::Stopped | LifecycleState::Running { .. } | LifecycleState::Yielded
            )
        };
        let under_way = self.is_upgrading()
            || !self.store_calls.is_empty()
            || !self.tickets.is_empty()
            || !lifecycles.all(is_idle);
        self.overdue || under_way && self.node.next_deadline().is_none()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.node.next_deadline()
    }

    /// Its clock goes on to the next deadline.
    pub(crate) fn time(&mut self, port: &mut Port<'_>) {
        let deadline = self.node.next_deadline();
        self.now = deadline.map_or(self.now, |at| at.max(self.now));
        self.feed(NodeInput::Time, port);
    }
}

/// The answer to a call that decides nothing here, and is not late.
fn at_once(call: &Call, setup: &Setup) -> Option<Answer> {
    match call {
        Call::Sample { .. } => Some(Answer::Load(None)),
        Call::BoundHistory { .. } => Some(Answer::Written(Ok(()))),
        // No event is to blame.
        Call::Suspect { .. } if setup.poison.is_none() => Some(Answer::Suspect(Default::default())),
        // There is no shadow.
        Call::DropShadows { .. } | Call::DropKeyspaces { .. } if !setup.migrates() => {
            Some(Answer::Written(Ok(())))
        }
        Call::ReadStore if !setup.migrates() && setup.poison.is_none() => {
            Some(Answer::Store(Default::default()))
        }
        _ => None,
    }
}

fn start(spawn: Spawn) -> Start {
    let manifest = spawn.release.manifest;
    Start {
        id: spawn.instance,
        app: manifest.name,
        release: manifest.version,
        keyspace: spawn.keyspace,
        alone: spawn.alone,
    }
}
