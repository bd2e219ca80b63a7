//! Checker of linearizability: is there an order of these operations, one at a time, that agrees with their times and that
//! the model explains?
//!
//! Wing and Gong's search with Lowe's memory of what was tried. Take any operation that was called before the first answer
//! that is still open, see whether the model allows it next, and continue from there. Never try the same set of operations
//! in the same state twice. An operation without an answer has no end: it may come at any time after its call, also after
//! everything else, where it affects nobody.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// Sequential behaviour of one object.
pub trait Model {
    type State: Clone + Eq + Hash + Debug;
    /// Operation with its answer.
    type Op: Debug;

    fn start(&self) -> Self::State;
    /// Returns the state after an operation, or `None` if its answer is impossible in this state.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// Operation with its times, which are of one clock and any unit.
#[derive(Debug, Clone)]
pub struct Operation<O> {
    pub client: usize,
    pub called: u64,
    /// Time of the answer; `None` if there never was one.
    pub answered: Option<u64>,
    pub op: O,
}

#[derive(Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    Linearizable,
    /// Longest order that was found, as indices into the history.
    NotLinearizable {
        longest: Vec<usize>,
    },
    /// The search was given up.
    Undecided,
}

/// Limit of search steps: seconds of work, where a history of some hundred operations takes thousands.
const STEPS: usize = 3_000_000;

pub fn check<M: Model>(model: &M, history: &[Operation<M::Op>]) -> CheckOutcome {
    let mut events = Events::of(history);
    let mut done = Done::new(history.len());
    let mut tried: HashSet<(Vec<u64>, M::State)> = HashSet::new();
    let mut taken: Vec<(usize, M::State)> = Vec::new();
    let mut longest: Vec<usize> = Vec::new();
    let mut state = model.start();
    let mut at = events.first();
    for _ in 0..STEPS {
        let Some(event) = at else {
            return CheckOutcome::Linearizable;
        };
        let n = events.operation(event);
        if events.is_call(event) {
            let next = model.step(&state, &history[n].op);
            if let Some(next) = next.filter(|next| tried.insert((done.with(n), next.clone()))) {
                done.set(n, true);
                taken.push((n, std::mem::replace(&mut state, next)));
                if taken.len() > longest.len() {
                    longest = taken.iter().map(|(n, _)| *n).collect();
                }
                events.lift(n);
                at = events.first();
            } else {
                at = events.next(event);
            }
            continue;
        }
        // No call can be put before this answer, so the last choice was wrong.
        let Some((last, before)) = taken.pop() else {
            return CheckOutcome::NotLinearizable { longest };
        };
        done.set(last, false);
        state = before;
        events.lower(last);
        at = events.next(events.call(last));
    }
    CheckOutcome::Undecided
}

/// Set of operations that are in the order so far.
struct Done(Vec<u64>);

impl Done {
    fn new(operations: usize) -> Done {
        Done(vec![0; operations.div_ceil(64)])
    }

    fn set(&mut self, n: usize, there: bool) {
        let bit = 1 << (n % 64);
        match there {
            true => self.0[n / 64] |= bit,
            false => self.0[n / 64] &= !bit,
        }
    }

    fn with(&self, n: usize) -> Vec<u64> {
        let mut all = self.0.clone();
        all[n / 64] |= 1 << (n % 64);
        all
    }
}

/// Calls and answers by time, as a list from which an operation can be lifted and put back.
struct Events {
    /// Operation, and whether the event is its call.
    events: Vec<(usize, bool)>,
    /// Index of the next event. The extra entry at the end is both before the first and after the last.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Indices of call and answer for each operation.
    places: Vec<(usize, usize)>,
}

impl Events {
    fn of<O>(history: &[Operation<O>]) -> Events {
        let mut all: Vec<(u64, bool, usize)> = Vec::with_capacity(history.len() * 2);
        for (n, operation) in history.iter().enumerate() {
            all.push((operation.called, true, n));
            all.push((operation.answered.unwrap_or(u64::MAX), false, n));
        }
        // At equal times calls come first, since the operations may have overlapped.
        all.sort_by_key(|(time, call, n)| (*time, !call, *n));
        let mut places = vec![(0, 0); history.len()];
        for (place, (_, call, n)) in all.iter().enumerate() {
            match call {
                true => places[*n].0 = place,
                false => places[*n].1 = place,
            }
        }
        let end = all.len();
        Events {
            events: all.into_iter().map(|(_, call, n)| (n, call)).collect(),
            next: (0..=end)
                .map(|n| if n == end { 0 } else { n + 1 })
                .collect(),
            previous: (0..=end)
                .map(|n| if n == 0 { end } else { n - 1 })
                .collect(),
            places,
        }
    }

    fn end(&self) -> usize {
        self.events.len()
    }

    fn there(&self, event: usize) -> Option<usize> {
        (event != self.end()).then_some(event)
    }

    fn first(&self) -> Option<usize> {
        self.there(self.next[self.end()])
    }

    fn next(&self, event: usize) -> Option<usize> {
        self.there(self.next[event])
    }

    fn operation(&self, event: usize) -> usize {
        self.events[event].0
    }

    fn is_call(&self, event: usize) -> bool {
        self.events[event].1
    }

    fn call(&self, operation: usize) -> usize {
        self.places[operation].0
    }

    fn lift(&mut self, operation: usize) {
        let (call, answer) = self.places[operation];
        for event in [call, answer] {
            let (previous, next) = (self.previous[event], self.next[event]);
            self.next[previous] = next;
            self.previous[next] = previous;
        }
    }

    /// Puts an operation back, in reverse order of lifting: so each event still knows its neighbours.
    fn lower(&mut self, operation: usize) {
        let (call, answer) = self.places[operation];
        for event in [answer, call] {
            let (previous, next) = (self.previous[event], self.next[event]);
            self.next[previous] = event;
            self.previous[next] = event;
        }
    }
}
