//! The machine of a node: takes one input at a time, and says what is to be done.

use std::time::Instant;

use super::adoption::{self, FoundInstance, Records};
use super::call::{Answer, CallId};
use super::instances::InstanceId;
use super::observe::{self, Observed, Snapshot};
use super::outbox::{NodeOutput, Present, Purpose, Signal};
use super::pipeline::Move;
use super::request::{Request, RequestId};
use super::state::{NodeConfig, State};
use super::{apps, moving, processes, requests, retry, shadows, upgrading};
use crate::release::Release;

/// Something that has happened.
#[derive(Debug)]
pub enum NodeInput {
    /// Somebody asks for a change.
    Request(RequestId, Request),
    /// A call was answered.
    Answer(CallId, Answer),
    /// The observer of the proxy has heard something.
    Observed(Observed),
    /// The process of an instance runs, with this id.
    InstanceStarted(InstanceId, u32),
    /// The process of an instance ended, or could not be started, and how.
    InstanceEnded(InstanceId, String),
    /// An instance does not answer any longer.
    InstanceHung(InstanceId, &'static str),
    /// The bundle of a release that was found beside morphd has been copied.
    Copied(Box<Release>),
    /// A deadline has passed.
    Time,
}

#[derive(Debug, Clone)]
pub struct Node {
    state: State,
}

impl Node {
    /// A node with nothing in it yet.
    pub fn new(config: NodeConfig, present: Present) -> Self {
        Node {
            state: State::new(config, present),
        }
    }

    /// Takes over what is recorded.
    pub fn load(&mut self, records: Records) {
        adoption::load(&mut self.state, records);
    }

    /// Takes over the instances that run, and decides about every app.
    pub fn adopt(
        &mut self,
        found: Vec<FoundInstance>,
        snapshot: Snapshot,
        present: Present,
    ) -> Vec<NodeOutput> {
        self.state.outbox.present = present;
        adoption::find(&mut self.state, found, &snapshot);
        adoption::decide(&mut self.state);
        self.settle()
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// The time at which `Time` is to come.
    pub fn next_deadline(&self) -> Option<Instant> {
        let state = &self.state;
        let lifecycles = state.apps.values();
        let lifecycles = lifecycles.filter_map(|app| app.lifecycle.next_deadline());
        let upgrades = state.upgrades.values();
        let upgrades = upgrades.filter_map(|upgrade| upgrade.group.next_deadline());
        let others = [
            state.outbox.next_deadline(),
            state.instances.next_deadline(),
            state.quarantine.next_deadline(),
            state.shadows_at,
            state.moving.as_ref().map(Move::next_deadline),
        ];
        let others = others.into_iter().flatten();
        lifecycles.chain(upgrades).chain(others).min()
    }

    pub fn handle(&mut self, input: NodeInput, present: Present) -> Vec<NodeOutput> {
        self.state.outbox.present = present;
        let state = &mut self.state;
        match input {
            NodeInput::Request(id, request) => requests::handle(state, id, request),
            NodeInput::Answer(id, answer) => {
                if let Some(purpose) = state.outbox.answered(id) {
                    self.answered(purpose, answer);
                }
            }
            NodeInput::Observed(observed) => observe::observed(state, observed),
            NodeInput::InstanceStarted(id, pid) => processes::started(state, &id, pid),
            NodeInput::InstanceEnded(id, how) => processes::ended(state, &id, &how),
            NodeInput::InstanceHung(id, why) => processes::kill(state, &id, why),
            NodeInput::Copied(release) => requests::record_staged(state, *release, None),
            NodeInput::Time => self.time(),
        }
        self.settle()
    }

    /// Feeds the sub-machines what they have for each other, until nothing is left.
    fn settle(&mut self) -> Vec<NodeOutput> {
        let state = &mut self.state;
        while let Some(signal) = state.outbox.next_signal() {
            match signal {
                Signal::Lifecycle(app, input) => {
                    if let Some(yielded) = apps::feed(state, &app, input) {
                        upgrading::yielded(state, &app, yielded);
                    }
                }
                Signal::Member(app, input) => upgrading::feed(state, &app, input),
                Signal::Settled(serial) => moving::settled(state, serial),
                Signal::Request(id, request) => requests::handle(state, id, request),
            }
        }
        std::mem::take(&mut state.outbox.out)
    }

    fn time(&mut self) {
        while let Some((id, answer)) = self.state.outbox.overdue() {
            if let Some(purpose) = self.state.outbox.answered(id) {
                self.answered(purpose, answer);
            }
        }
        let state = &mut self.state;
        processes::time(state);
        retry::time(state);
        shadows::time(state);
        moving::time(state);
        let now = state.now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let mut due = Vec::new();
        for (name, app) in &state.apps {
            if is_due(app.lifecycle.next_deadline()) {
                let time = super::lifecycle::LifecycleInput::Time;
                due.push(Signal::Lifecycle(name.clone(), time));
            }
        }
        for upgrade in state.upgrades.values() {
            for (name, member) in upgrade.group.members() {
                if is_due(member.next_deadline()) {
                    let time = super::upgrade::MemberInput::Time;
                    due.push(Signal::Member(name.clone(), time));
                }
            }
        }
        for signal in due {
            state.outbox.signal(signal);
        }
    }

    /// Hands an answer to whoever has asked.
    fn answered(&mut self, purpose: Purpose, answer: Answer) {
        let state = &mut self.state;
        match purpose {
            Purpose::Step { app, step } => upgrading::recorded(state, &app, step, answer),
            Purpose::RolledBack { app } => upgrading::end_recorded(state, &[app], answer),
            Purpose::Commit { apps } => upgrading::end_recorded(state, &apps, answer),
            Purpose::Fence { members, .. } => upgrading::fence_answered(state, members, answer),
            Purpose::Keyspace {
                app,
                side,
                maker,
                schema,
            } => upgrading::keyspace_made(state, &app, (side, maker, schema), answer),
            Purpose::Hold { app } => upgrading::held(state, &app, answer),
            Purpose::Resume { app, instance } => {
                upgrading::resumed(state, &app, &instance, answer);
            }
            Purpose::Sample { app } => {
                let load = super::upgrade::MemberInput::Load(answer.load());
                upgrading::feed(state, &app, load);
            }
            Purpose::Order {
                app,
                side,
                instance,
                order,
            } => upgrading::instructed(state, &app, (side, instance, order), answer),
            Purpose::Suspect { app } => apps::suspected(state, &app, answer),
            Purpose::Cursor { app } => apps::cursor_read(state, &app, answer),
            Purpose::TakeoverFence { app } => apps::takeover_fenced(state, &app, answer),
            Purpose::TakeoverResume { app } => apps::takeover_resumed(state, &app, answer),
            Purpose::App(change) => {
                requests::change_recorded(state, *change, answer.written());
            }
            Purpose::Pipeline(change) => {
                requests::pipeline_changed(state, change, answer.written());
            }
            Purpose::Tables => moving::recorded(state, answer.written()),
            Purpose::Stage { request, release } => {
                requests::staged_recorded(state, *release, request, answer.written());
            }
            Purpose::Event { id, row, request } => {
                let row = row.map(|row| *row);
                retry::written(state, &id, row, request, answer.written());
            }
            Purpose::Retry {
                id,
                row,
                step,
                request,
            } => retry::retry_answered(state, id, *row, (step, request), answer),
            Purpose::RetryCursors => retry::cursors_read(state, answer),
            Purpose::ReaderShadows => shadows::keyspaces_read(state, answer),
            Purpose::ReaderKeyspace { app, maker, schema } => {
                shadows::keyspace_made(state, &app, (maker, schema), answer);
            }
            Purpose::Log(what) => {
                if let Err(why) = answer.written() {
                    tracing::warn!(why, "{what}");
                }
            }
        }
    }
}
