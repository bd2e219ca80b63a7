//! The state of the model, and its transitions: each is one input of one shipped machine, and whatever that puts out.

mod action;
mod broken;
mod check;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};

use morph_api::store::{Reason, Seq, Transaction};
use morph_api::supervisor::{Observation, observation};
use morph_api::{RECORDS, store::Checkpoint};
use morph_proxy::machine::{
    ControlReply, ControlRequest, FenceOutcome, Input as ProxyInput, Refusal,
};
use morph_sdk::machine::{CommitOutcome, Input};
use morph_store::op;

use crate::Setup;
use crate::canon::{Part, Parts};
use crate::instance::{Instance, Up};
use crate::morphd::{Broken, Effect, Finds, Hands, Morphd};
use crate::proxy::{self, Proxy};
use crate::records::{NODE, ops_of, writes_of};
use crate::store::Store;
pub use action::{Action, Fate, Who};

/// A request that was given up and may arrive.
#[derive(Debug, Clone)]
enum Stray {
    Call(ControlRequest),
    Fence(Transaction),
}

/// What is on its way between morphd, the proxy and the store.
#[derive(Debug, Clone, Default)]
struct Ways {
    calls: VecDeque<(u64, ControlRequest)>,
    answers: VecDeque<(u64, Result<ControlReply, Refusal>)>,
    observed: VecDeque<Observation>,
    proxy_fences: VecDeque<String>,
    strays: VecDeque<Stray>,
}

impl crate::canon::Canon for Ways {
    const FIGURES: &'static [&'static str] = &[
        "held_us",
        "queued",
        "replayed",
        "reason",
        "pid",
        "difference",
    ];

    fn now(&self) -> std::time::Instant {
        crate::clock::base()
    }
}

/// What must never be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Breach {
    /// A turn passes of an epoch that is over, or that the store does not know.
    TwoWriters(String),
    /// A turn passes of an epoch that is not on disk.
    NotOnDisk(String),
    /// A turn is in the store that the proxy has not accepted.
    NotAccepted(String),
    /// Of several apps upgraded as one some are old and some are new.
    Apart(String),
    /// The book of the app is not what came, in order and each once.
    Book(String),
    /// A packet has left a second time, or before an earlier one.
    Packets(String),
}

/// One app, as the switches and the operator see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Seen {
    /// Packets that came for it.
    pub came: u8,
    /// Those that it sent.
    pub sent: Vec<u8>,
    /// The highest epoch in which something of it passed.
    pub epoch: u64,
}

/// The state. Two are the same when their names are.
#[derive(Debug, Clone)]
pub struct World {
    name: u64,
    proxy: Part<Proxy>,
    store: Part<Store>,
    /// None: it has died, and no other one has started.
    morphd: Option<Part<Morphd>>,
    instances: BTreeMap<u32, Part<Instance>>,
    ways: Part<Ways>,
    /// Processes whose end morphd has not heard of.
    deaths: Vec<u32>,
    next_id: u32,
    seen: BTreeMap<String, Seen>,
    /// Upgrades that are to come.
    pub upgrades: u8,
    /// Faults that may come.
    pub faults: u8,
    /// The first breach.
    pub breach: Option<Breach>,
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

fn with<'a>(next_id: &'a mut u32, setup: &Setup) -> Hands<'a> {
    let broken = Broken {
        resume_before_fence: setup.mutation == Some(crate::Mutation::ResumeBeforeFence),
        unflushed_fence: setup.mutation == Some(crate::Mutation::UnflushedFence),
    };
    Hands::new(next_id, broken)
}

impl World {
    /// The first release of each app serves, and nothing is on its way.
    pub(crate) fn new(setup: &Setup) -> Self {
        let apps: Vec<String> = setup.apps();
        let mut store = Store::new();
        let keyspaces = apps.iter().map(|app| op::create_primary(app, 1, 1));
        let keyspaces = keyspaces.chain([op::create_primary(RECORDS, 1, 1)]);
        store.commit(op::shared([], keyspaces.collect::<Vec<_>>()), false);
        let mut proxy = Proxy::new(&apps, 1);
        proxy.put(ProxyInput::Observer { present: true });
        let mut next_id = 0;
        let mut hands = with(&mut next_id, setup);
        let morphd = Morphd::new(&apps, &mut hands);
        let effects = hands.effects;
        let mut world = World {
            name: 0,
            proxy: Part::new(proxy),
            store: Part::new(store),
            morphd: Some(Part::new(morphd)),
            instances: BTreeMap::new(),
            ways: Part::new(Ways::default()),
            deaths: Vec::new(),
            next_id,
            seen: apps
                .iter()
                .map(|app| (app.clone(), Seen::default()))
                .collect(),
            upgrades: 0,
            faults: 0,
            breach: None,
        };
        world.carry_out(effects, setup);
        world.seal();
        while let Some(action) = world
            .steps(setup)
            .into_iter()
            .find(|action| !matches!(action, Action::Packet | Action::Time(_)))
        {
            world.step(action, setup);
        }
        world.upgrades = setup.upgrades;
        world.faults = setup.faults;
        world
    }

    fn morphd<T>(
        &mut self,
        setup: &Setup,
        call: impl FnOnce(&mut Morphd, &mut Hands<'_>) -> T,
    ) -> Option<T> {
        let morphd = self.morphd.as_mut()?;
        let mut hands = with(&mut self.next_id, setup);
        let result = call(morphd.change(), &mut hands);
        let effects = hands.effects;
        self.carry_out(effects, setup);
        Some(result)
    }

    fn carry_out(&mut self, effects: Vec<Effect>, setup: &Setup) {
        for effect in effects {
            match effect {
                Effect::Spawn { id, app, release } => {
                    let accepts_itself =
                        setup.mutation == Some(crate::Mutation::CommitBeforeAccept);
                    let store = self.store.get();
                    let instance =
                        Instance::new(&app, &id, &release, setup.lazy, accepts_itself, store);
                    self.instances.insert(number(&id), Part::new(instance));
                }
                Effect::End(id) => {
                    if let Some(instance) = self.instances.get_mut(&number(&id)) {
                        instance.change().ending = true;
                    }
                }
                Effect::Call(ticket, ask) => self.ways.change().calls.push_back((ticket, ask)),
            }
        }
    }

    /// Feeds the proxy on behalf of this session, or of nobody's.
    fn feed_proxy(&mut self, input: ProxyInput, session: Option<u32>) {
        let effects = self.proxy.change().put(input);
        self.take(effects, session);
    }

    fn take(&mut self, effects: Vec<proxy::Effect>, session: Option<u32>) {
        for effect in effects {
            match effect {
                proxy::Effect::Blob(to, blob) => {
                    if let Some(instance) = self.instances.get_mut(&(to as u32))
                        && instance.get().is_alive()
                    {
                        instance.change().down(blob);
                    }
                }
                proxy::Effect::Answer(ticket, answer) => {
                    let waits =
                        |morphd: &Part<Morphd>| morphd.get().tickets().any(|waits| waits == ticket);
                    if self.morphd.as_ref().is_some_and(waits) {
                        self.ways.change().answers.push_back((ticket, answer));
                    }
                }
                proxy::Effect::Observe(observation) => self.observed(observation),
                proxy::Effect::Fence(app) => self.ways.change().proxy_fences.push_back(app),
                proxy::Effect::Packet(app, number) => self.packet_left(app, number, session),
            }
        }
    }

    fn observed(&mut self, observation: Observation) {
        let matters = !matches!(
            observation.what,
            Some(
                observation::What::Resumed(_)
                    | observation::What::Synced(_)
                    | observation::What::Switch(_)
            ) | None
        );
        if matters && self.morphd.is_some() {
            self.ways.change().observed.push_back(observation);
        }
    }

    /// One transition.
    pub(crate) fn step(&mut self, action: Action, setup: &Setup) {
        if action.is_fault() && action != Action::Stray {
            self.faults = self.faults.saturating_sub(1);
        }
        match action {
            Action::Packet => self.packet(),
            Action::ToProxy(id) => self.comes_to_proxy(id),
            Action::ToInstance(id) => self.instance(id, Instance::receive),
            Action::Commit(id) => {
                self.commit(id);
                if !setup.late {
                    self.instance(id, Instance::is_answered);
                }
            }
            Action::Committed(id) => self.instance(id, Instance::is_answered),
            Action::News(id) => self.instance(id, Instance::is_told),
            Action::Sync => self.store.change().sync(),
            Action::Write => self.write(setup),
            Action::Call => {
                if let Some((ticket, ask)) = self.ways.change().calls.pop_front() {
                    self.feed_proxy(
                        ProxyInput::Request {
                            ticket,
                            request: ask,
                        },
                        None,
                    );
                }
            }
            Action::Answer => {
                if let Some((ticket, answer)) = self.ways.change().answers.pop_front() {
                    self.morphd(setup, |morphd, hands| morphd.answer(ticket, answer, hands));
                }
            }
            Action::Observe => {
                if let Some(observation) = self.ways.change().observed.pop_front() {
                    self.morphd(setup, |morphd, hands| morphd.observe(observation, hands));
                }
            }
            Action::Ended(id) => {
                self.deaths.retain(|death| *death != id);
                self.morphd(setup, |morphd, hands| {
                    morphd.instance_ended(&id.to_string(), hands)
                });
            }
            Action::ProxyFence => self.proxy_fence(setup),
            Action::Ends(id) => {
                self.instance(id, |instance, store| instance.feed(Input::Terminate, store));
            }
            Action::Time(who) | Action::Early(who) => self.time(who, setup),
            Action::Upgrade => {
                self.upgrades -= 1;
                self.morphd(setup, Morphd::begin);
            }
            Action::MorphdStarts => self.morphd_starts(setup),
            Action::Rollback => {
                self.morphd(setup, Morphd::roll_back);
            }
            Action::Kill(id, delivers) => self.instance(id, |instance, _| instance.dies(delivers)),
            Action::KillMorphd(calls_arrive) => self.kill_morphd(calls_arrive),
            Action::KillStore => {
                self.store.change().crash();
                for instance in self.instances.values_mut() {
                    instance.change().store_died(self.store.get());
                }
            }
            Action::GiveUp(ticket, fate) => self.give_up(ticket, fate, setup),
            Action::GiveUpFence(fate) => self.give_up_fence(fate, setup),
            Action::Stray => self.stray(),
        }
        self.bury();
        self.check();
        self.seal();
    }

    fn instance(&mut self, id: u32, call: impl FnOnce(&mut Instance, &Store)) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        let lived = instance.get().is_alive();
        call(instance.change(), self.store.get());
        if lived && !instance.get().is_alive() && self.morphd.is_some() {
            self.deaths.push(id);
        }
    }

    fn packet(&mut self) {
        let next = self
            .seen
            .values_mut()
            .enumerate()
            .min_by_key(|(_, seen)| seen.came);
        let Some((at, seen)) = next else { return };
        seen.came += 1;
        let number = seen.came;
        let effects = self.proxy.change().packet_in(at as u8 + 1, number);
        self.take(effects, None);
    }

    fn comes_to_proxy(&mut self, id: u32) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        let session = u64::from(id);
        let input = match instance.change().up.pop_front() {
            Some(Up::Open) => ProxyInput::SessionOpened { session },
            Some(Up::Blob(records)) => ProxyInput::Blob { session, records },
            Some(Up::End) => ProxyInput::SessionEnded {
                session,
                reason: String::new(),
            },
            None => return,
        };
        self.feed_proxy(input, Some(id));
    }

    fn commit(&mut self, id: u32) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        let Some((commit, transaction)) = instance.change().commits.pop_front() else {
            return;
        };
        let outcome = self.store.change().commit(transaction, false);
        if instance.get().is_alive() {
            instance.change().answers.push_back((commit, outcome));
        }
    }

    fn write(&mut self, setup: &Setup) {
        let Some(morphd) = self.morphd.as_mut() else {
            return;
        };
        let mut hands = with(&mut self.next_id, setup);
        morphd.change().write(self.store.change(), &mut hands);
        let effects = hands.effects;
        self.carry_out(effects, setup);
    }

    fn time(&mut self, who: Who, setup: &Setup) {
        match who {
            Who::Morphd => {
                self.morphd(setup, Morphd::time);
            }
            Who::Proxy => {
                let effects = self.proxy.change().time();
                self.take(effects, None);
            }
            Who::Instance(id) => self.instance(id, Instance::time),
        }
    }

    /// Forgets what nobody can see any longer.
    fn bury(&mut self) {
        self.instances
            .retain(|_, instance| !instance.get().is_gone());
        let told = self
            .instances
            .values()
            .filter_map(|instance| instance.get().told())
            .min();
        let told = told.unwrap_or(u64::MAX);
        if self.store.get().may_forget(told) {
            self.store.change().forget(told);
        }
    }

    fn seal(&mut self) {
        self.proxy.seal();
        self.store.seal();
        self.ways.seal();
        self.morphd.iter_mut().for_each(Part::seal);
        self.instances.values_mut().for_each(Part::seal);
        let mut parts = Parts::default();
        parts.share(&self.proxy);
        parts.share(&self.store);
        parts.share(&self.ways);
        self.morphd.iter().for_each(|part| parts.share(part));
        self.instances.values().for_each(|part| parts.add(part));
        let ids: Vec<u32> = self.instances.keys().copied().collect();
        let counts = (
            self.next_id,
            self.upgrades,
            self.faults,
            self.morphd.is_some(),
        );
        let store = self.store.get();
        let current = self
            .morphd
            .as_ref()
            .map(|morphd| morphd.get().records().are_current(store));
        let strays = self.ways.get().strays.iter();
        let strays: Vec<bool> = strays
            .map(|stray| matches!(stray, Stray::Fence(fence) if store.expects(fence)))
            .collect();
        self.name = parts.name(&(
            ids,
            counts,
            current,
            strays,
            &self.deaths,
            &self.seen,
            &self.breach,
        ));
    }

    /// The same for all states that are the same.
    pub fn name(&self) -> u64 {
        self.name
    }
}

fn number(id: &str) -> u32 {
    id.parse().unwrap_or(0)
}
