//! The exploration: each state once, what must never be, and whether there is always an end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::setup::Setup;
use crate::world::{Action, Breach, World};

/// Property: some path comes to the end; otherwise the model is stuck somewhere.
const ENDS: &str = "it ends";
/// Property: on some path packets are told as lost.
const DROPS: &str = "packets are told as lost";
/// Property: from each state a path without a fault leads to source or target serving again.
const END: &str = "there is always an end";

#[derive(Debug, Clone)]
pub struct Handover {
    setup: Setup,
    graph: Arc<Mutex<Graph>>,
}

/// First path to each state, the states before it without a fault, and the states in which all is over.
#[derive(Debug, Default)]
struct Graph {
    came: HashMap<u64, Option<(u64, Action)>>,
    before: HashMap<u64, Vec<u64>>,
    over: Vec<u64>,
}

impl Graph {
    fn add(&mut self, world: &World, came: Option<(u64, Action)>, setup: &Setup) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.came.entry(world.name()) {
            entry.insert(came);
            if world.is_done(setup) {
                self.over.push(world.name());
            }
        }
    }

    /// The states from which there is no end.
    fn endless(&self) -> Vec<u64> {
        let mut reach: HashSet<u64> = self.over.iter().copied().collect();
        let mut open = self.over.clone();
        while let Some(name) = open.pop() {
            let before = self.before.get(&name).into_iter().flatten();
            open.extend(before.filter(|before| reach.insert(**before)));
        }
        let all = self.came.keys().copied();
        all.filter(|name| !reach.contains(name)).collect()
    }

    /// Actions that led to a state.
    fn way_to(&self, name: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut at = name;
        while let Some(Some((before, action))) = self.came.get(&at) {
            actions.push(*action);
            at = *before;
        }
        actions.reverse();
        actions
    }
}

impl Model for Handover {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let world = World::new(&self.setup);
        let mut graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner);
        graph.add(&world, None, &self.setup);
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.breach.is_none() {
            actions.extend(world.steps(&self.setup));
            actions.extend(world.faults(&self.setup));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.step(action, &self.setup);
        let mut graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, to) = (world.name(), next.name());
        graph.add(&next, Some((from, action)), &self.setup);
        if !action.is_fault() && from != to {
            graph.before.entry(to).or_default().push(from);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        use Breach::*;
        vec![
            Property::always("nobody writes past a fence", |_, world: &World| {
                !matches!(world.breach, Some(TwoWriters(_)))
            }),
            Property::always(
                "nobody is let in before the fence is on disk",
                |_, world: &World| !matches!(world.breach, Some(NotOnDisk(_))),
            ),
            Property::always("only accepted turns are stored", |_, world: &World| {
                !matches!(world.breach, Some(NotAccepted(_)))
            }),
            Property::always(
                "each event is applied once, in order",
                |_, world: &World| !matches!(world.breach, Some(Book(_))),
            ),
            Property::always("each packet leaves once, in order", |_, world: &World| {
                !matches!(world.breach, Some(Packets(_)))
            }),
            Property::always(
                "an app that quiesced has stored all that it answered",
                |_, world: &World| !matches!(world.breach, Some(Cursor(_))),
            ),
            Property::always(
                "apps upgraded as one are all old or all new",
                |_, world: &World| !matches!(world.breach, Some(Apart(_))),
            ),
            Property::always(
                "no shadow is dropped while it is read",
                |_, world: &World| !matches!(world.breach, Some(Reader(_))),
            ),
            Property::always("what is so is recorded", |_, world: &World| {
                !matches!(world.breach, Some(Record(_)))
            }),
            Property::always("every wait has a deadline", |_, world: &World| {
                !matches!(world.breach, Some(NoDeadline))
            }),
            Property::always("an upgrade is taken on", |_, world: &World| {
                !matches!(world.breach, Some(Refused))
            }),
            Property::always(
                "rules are called complete once the switch has them",
                |_, world: &World| !matches!(world.breach, Some(Rules(_))),
            ),
            Property::always(
                "no packet is dropped that was delivered, or had to wait in a pause",
                |_, world: &World| !matches!(world.breach, Some(Dropped(_))),
            ),
            Property::sometimes(ENDS, |model: &Self, world: &World| {
                world.is_done(&model.setup)
            }),
            Property::sometimes(DROPS, |_, world: &World| world.tells_losses()),
        ]
    }
}

/// Result of an exploration.
#[derive(Debug)]
pub struct Explored {
    pub setup: Setup,
    pub states: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// All states were visited, so that it is known that there is always an end; else only so many.
    pub whole: bool,
    /// In some state an app was told that packets are lost.
    pub drops: bool,
    /// Properties that do not hold, and the actions that lead there.
    pub found: BTreeMap<&'static str, Vec<String>>,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (states, depth, setup) = (self.states, self.depth, &self.setup);
        let whole = if self.whole { "all" } else { "the first" };
        write!(f, "{whole} {states} states to depth {depth} of {setup}")?;
        if self.drops {
            write!(f, "; packets are told as lost")?;
        }
        for (what, steps) in &self.found {
            write!(f, "\nnot so: {what}")?;
            for (at, step) in steps.iter().enumerate() {
                write!(f, "\n{:4}. {step}", at + 1)?;
            }
        }
        Ok(())
    }
}

/// Explores all states, or so many, until something is not as it must be.
pub fn explore(setup: Setup, most: Option<usize>) -> Explored {
    let graph = Arc::new(Mutex::new(Graph::default()));
    let model = Handover {
        setup,
        graph: Arc::clone(&graph),
    };
    let mut checker = model
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(most) = most {
        checker = checker.target_state_count(most);
    }
    let checker = checker.spawn_bfs().join();
    let mut found = BTreeMap::new();
    let (mut ends, mut drops) = (false, false);
    for (name, path) in checker.discoveries() {
        if name == ENDS {
            ends = true;
            continue;
        }
        if name == DROPS {
            drops = true;
            continue;
        }
        let breach = path.last_state().breach.clone();
        let mut steps = words(path.into_actions());
        steps.extend(breach.map(|breach| format!("{breach:?}")));
        found.insert(name, steps);
    }
    let whole = found.is_empty() && most.is_none_or(|most| checker.state_count() < most);
    let graph = graph.lock().unwrap_or_else(PoisonError::into_inner);
    if whole {
        let ways = graph.endless().into_iter().map(|name| graph.way_to(name));
        found.extend(ways.min_by_key(Vec::len).map(|way| (END, words(way))));
        if !ends {
            found.insert(ENDS, Vec::new());
        }
    }
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    Explored {
        setup,
        states,
        depth,
        whole,
        drops,
        found,
    }
}

fn words(actions: Vec<Action>) -> Vec<String> {
    actions.iter().map(|action| format!("{action:?}")).collect()
}
