//! The state of the model, and its transitions: each is one input of one shipped machine, and whatever that puts out.

mod action;
mod broken;
mod check;
mod exchange;
mod steps;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};

use morph_api::RECORDS;
use morph_api::store::{Seq, Transaction};
use morph_api::supervisor::Observation;
use morph_proxy::machine::{ControlReply, ControlRequest, Input as ProxyInput, Refusal};
use morph_sdk::machine::Input;
use morph_store::op;
use morphd::machine::{NodeInput, Observed, Snapshot};

use crate::canon::{Part, Parts};
use crate::instance::Instance;
use crate::morphd::{Effect, Morphd, Port, first_records};
use crate::proxy::Proxy;
use crate::records::Records;
use crate::releases;
use crate::setup::Setup;
use crate::store::Store;
use crate::switch::Switch;
pub use action::{Action, Who};

/// A request that was given up and may arrive.
#[derive(Debug, Clone)]
enum Stray {
    Call(ControlRequest),
    Fence(Transaction),
}

/// Message to morphd's observer.
#[derive(Debug, Clone)]
enum Heard {
    Observation(Observation),
    Snapshot(Snapshot),
}

/// Messages on their way between morphd, the proxy and the store.
#[derive(Debug, Clone, Default)]
struct Ways {
    calls: VecDeque<(u64, ControlRequest)>,
    answers: VecDeque<(u64, Result<ControlReply, Refusal>)>,
    /// Tickets of calls that came to the proxy, whose answers nobody waits for.
    abandoned: BTreeSet<u64>,
    observed: VecDeque<Heard>,
    /// morphd's observer has lost the proxy.
    unobserved: bool,
    /// The proxy knows the apps: before that it drops packets, as they are nobody's.
    configured: bool,
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

/// State that must never be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Breach {
    /// A turn passes of an epoch that is over, or that the store does not know.
    TwoWriters(String),
    /// A turn passes of an epoch that is not on disk.
    NotOnDisk(String),
    /// A turn is in the store that the proxy has not accepted.
    NotAccepted(String),
    /// Some apps of a group are old and some are new.
    Apart(String),
    /// The book of the app is not what came, in order and each once.
    Book(String),
    /// A packet has left a second time, or before an earlier one.
    Packets(String),
    /// An instance has quiesced, and an event that it answered is not stored.
    Cursor(String),
    /// A shadow is dropped while an instance reads it.
    Reader(String),
    /// Nothing is under way, and a record says something else than morphd.
    Record(String),
    /// morphd waits, and no deadline ends that.
    NoDeadline,
    /// morphd refuses an upgrade.
    Refused,
    /// A packet is dropped by age that was delivered before, or that had to wait for something else than the app.
    Dropped(String),
    /// An app's rules are called complete, and the switch does not have them.
    Rules(String),
}

/// One app, as the switches and the operator see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Seen {
    /// Packets that came for it.
    pub came: u8,
    /// Packets that it sent.
    pub sent: Vec<u8>,
    /// Packets that a proxy had when it died, and that were not durable.
    pub lost: BTreeSet<u8>,
    /// The book when it was last looked at.
    pub book: Vec<u8>,
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
    /// The proxy's incarnation.
    incarnation: u64,
    seen: BTreeMap<String, Seen>,
    /// Upgrades that are to come.
    pub upgrades: u8,
    /// Times that the proxy's clock may go on while packets wait.
    pub waits: u8,
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

impl World {
    /// The first release of each app serves, and nothing is on its way.
    pub(crate) fn new(setup: &Setup) -> Self {
        let apps: Vec<String> = setup.apps();
        let schema = releases::schema(&releases::first(setup), setup);
        let mut store = Store::new();
        let keyspaces = apps.iter().map(|app| op::create_primary(app, 1, schema));
        let keyspaces = keyspaces.chain([op::create_primary(RECORDS, 1, 1)]);
        store.commit(op::shared([], keyspaces.collect::<Vec<_>>()), false);
        // No other transaction comes before it, so it is not refused.
        let _ = Records::default().write(&mut store, &first_records(setup), &[], false);
        let mut world = World {
            name: 0,
            proxy: Part::new(Proxy::new(1, Switch::new(setup), setup)),
            store: Part::new(store),
            morphd: None,
            instances: BTreeMap::new(),
            ways: Part::new(Ways::default()),
            deaths: Vec::new(),
            next_id: 0,
            incarnation: 1,
            seen: apps
                .iter()
                .map(|app| (app.clone(), Seen::default()))
                .collect(),
            upgrades: 0,
            waits: 0,
            faults: 0,
            breach: None,
        };
        world.seal();
        while let Some(action) = world
            .steps(setup)
            .into_iter()
            .find(|action| !matches!(action, Action::Packet | Action::Time(_)))
        {
            world.step(action, setup);
        }
        world.upgrades = setup.upgrades;
        world.waits = setup.waits;
        world.faults = setup.faults;
        world.seal();
        world
    }

    /// Takes one transition, checks what follows, and names the new state.
    pub(crate) fn step(&mut self, action: Action, setup: &Setup) {
        self.advance(action, setup);
        self.seal();
    }

    /// Takes one transition, and checks what follows. The name stays that of the state before.
    pub(crate) fn advance(&mut self, action: Action, setup: &Setup) {
        if action.is_fault() && action != Action::Stray {
            self.faults = self.faults.saturating_sub(1);
        }
        match action {
            Action::Packet => self.packet(setup),
            Action::Wait => {
                self.waits = self.waits.saturating_sub(1);
                self.proxy.change().wait();
            }
            Action::Switch => {
                let effects = self.proxy.change().catch_up();
                self.take(effects, None);
            }
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
            Action::Write(at) => self.write(usize::from(at), setup),
            Action::Call => {
                if let Some((ticket, request)) = self.ways.change().calls.pop_front() {
                    self.call(ticket, request, setup);
                }
            }
            Action::Answer => {
                if let Some((ticket, answer)) = self.ways.change().answers.pop_front() {
                    self.morphd(setup, |morphd, port| morphd.answer(ticket, answer, port));
                }
            }
            Action::Observe => {
                if let Some(heard) = self.ways.change().observed.pop_front() {
                    let observed = match heard {
                        Heard::Observation(observation) => Observed::Observation(observation),
                        Heard::Snapshot(snapshot) => Observed::Snapshot(snapshot),
                    };
                    let input = NodeInput::Observed(observed);
                    self.morphd(setup, |morphd, port| morphd.feed(input, port));
                }
            }
            Action::Observer => self.observe_again(),
            Action::Ended(id) => {
                self.deaths.retain(|death| *death != id);
                let input = NodeInput::InstanceEnded(format!("{id:x}"), "died".into());
                self.morphd(setup, |morphd, port| morphd.feed(input, port));
            }
            Action::ProxyFence => self.proxy_fence(setup),
            Action::Ends(id) => {
                self.instance(id, |instance, store| instance.feed(Input::Terminate, store));
            }
            Action::Time(who) | Action::Early(who) => self.time(who, setup),
            Action::Upgrade => {
                self.upgrades -= 1;
                self.morphd(setup, Morphd::begin);
                if !self.morphd.as_ref().is_some_and(|m| m.get().is_upgrading()) {
                    self.breach = Some(Breach::Refused);
                }
            }
            Action::MorphdStarts => self.morphd_starts(setup),
            Action::Rollback => self.morphd(setup, Morphd::roll_back),
            Action::Kill(id, delivers) => self.instance(id, |instance, _| instance.dies(delivers)),
            Action::KillMorphd(calls_arrive) => self.kill_morphd(calls_arrive, setup),
            Action::KillStore => self.kill_store(setup),
            Action::KillProxy => self.kill_proxy(setup),
            Action::GiveUp(ticket) => {
                self.morphd(setup, |morphd, port| morphd.give_up(ticket, port));
            }
            Action::GiveUpFence => self.morphd(setup, Morphd::give_up_fence),
            Action::Stray => self.stray(setup),
        }
        self.check_synced(setup);
        self.bury();
        self.check(setup);
    }

    /// One input of morphd, and what follows from it.
    fn morphd(&mut self, setup: &Setup, call: impl FnOnce(&mut Morphd, &mut Port<'_>)) {
        let Some(morphd) = self.morphd.as_mut() else {
            return;
        };
        let mut port = Port {
            setup,
            next_id: &mut self.next_id,
            abandoned: &self.ways.get().abandoned,
            effects: Vec::new(),
        };
        call(morphd.change(), &mut port);
        let effects = port.effects;
        self.carry_out(effects, setup);
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
            self.incarnation,
            self.upgrades,
            self.waits,
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

    /// Equal for states that are the same.
    pub fn name(&self) -> u64 {
        self.name
    }
}
