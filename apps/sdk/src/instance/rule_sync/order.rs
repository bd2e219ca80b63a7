//! Ordered changes: those of a group whose rules have ranks, on all switches.
//!
//! ```text
//!   held ---- earlier stages confirmed, or late ----> released ---- sent ----> sent ---- confirmed ----> done
//! ```
//!
//! 1. Each group has an order of its own, so a slow switch delays no change of another group.
//! 2. The changes of the lowest stage of an order are released, and the next stage once the switches have confirmed them. A stage
//!    that is not confirmed a second after its release is not waited for any longer.
//!    Deletions with a rank are different: what follows is not to overlap with them. They are waited for as long as their switch is
//!    connected, and 20 ms longer, as Open vSwitch answers a barrier some milliseconds before packets follow the change.
//! 3. A group that changes again meanwhile keeps its one order: what it has not confirmed gets the stages that it has now. Changes
//!    that were not sent are held again.
//! 4. A switch that goes away, or is to be read anew, is not waited for: its reading shows what it lacks.
//!
//! **Paths.** A group of rules to one destination, each with its distance on a tree of paths as its rank, moves from tree to tree
//! without a loop or a gap, however often the tree changes meanwhile. Say that a switch *follows* tree n if its rule is that of
//! tree n and all rules nearer to the destination on tree n were confirmed before. By 2 and 3 the next hop of a switch that
//! follows tree n follows tree n or a later one, and follows none before n again. So on a packet's way the number of the tree
//! never falls, and while it stays the distance falls: the packet arrives. Deletions come last, when no switch leads a packet to
//! where the rule was.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use morph_openflow::rule::RuleKey;

use crate::Dpid;
use crate::rank::{RuleId, Stage};

/// Time after which the confirmation of a stage is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Time from the confirmation of deletions with a rank until they are in effect.
const EFFECT: Duration = Duration::from_millis(20);

/// Unconfirmed change of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    order: u64,
    stage: Stage,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    Released,
    /// Sent, as one of so many changes of the switch.
    Sent(u64),
}

/// Changes of one switch.
#[derive(Debug, Clone, Default)]
struct SwitchChanges {
    by_rule: BTreeMap<RuleKey, Change>,
    /// Rules in the order in which they were sent, each with the number of changes sent by then.
    sent: VecDeque<(u64, RuleKey)>,
}

/// Unconfirmed changes of one group.
#[derive(Debug, Clone, Default)]
struct Order {
    stages: BTreeMap<Stage, BTreeSet<RuleId>>,
    /// Time until which the lowest stage is waited for, once it is released.
    until: Option<(Stage, Instant)>,
    effect: Effect,
}

/// Whether deletions with a rank have been confirmed that may not be in effect yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Effect {
    #[default]
    Complete,
    /// Confirmed since the order was last looked at.
    Begins,
    /// In effect from this time on.
    From(Instant),
}

/// Orders of all groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Orders {
    by_group: BTreeMap<u64, Order>,
    by_switch: BTreeMap<Dpid, SwitchChanges>,
    /// Orders whose lowest stage may have to be released.
    unlooked: BTreeSet<u64>,
    /// Ends of waits.
    deadlines: BTreeSet<(Instant, u64)>,
}

impl Orders {
    /// Forgets all changes.
    pub(super) fn clear(&mut self) {
        *self = Orders::default();
    }

    /// Holds a change of a rule back until its stage is released.
    pub(super) fn hold(&mut self, order: u64, (dpid, key): RuleId, stage: Stage) {
        self.remove(dpid, &key);
        let id = (dpid, key.clone());
        let group = self.by_group.entry(order).or_default();
        group.stages.entry(stage).or_default().insert(id);
        let change = Change {
            order,
            stage,
            state: State::Held,
        };
        let switch = self.by_switch.entry(dpid).or_default();
        switch.by_rule.insert(key, change);
        self.unlooked.insert(order);
    }

    /// Gives a rule that has not changed its present stage. True if its change was not sent yet, and is held again.
    pub(super) fn reorder(&mut self, order: u64, id: &RuleId, stage: Stage) -> bool {
        let (dpid, key) = id;
        let changes = self.by_switch.get_mut(dpid);
        let Some(change) = changes.and_then(|switch| switch.by_rule.get_mut(key)) else {
            return false;
        };
        if change.order != order || change.stage == stage {
            return false;
        }
        let before = std::mem::replace(&mut change.stage, stage);
        let is_unsent = !matches!(change.state, State::Sent(_));
        if is_unsent {
            change.state = State::Held;
        }
        let group = self.by_group.entry(order).or_default();
        group.leave(before, id);
        group.stages.entry(stage).or_default().insert(id.clone());
        self.unlooked.insert(order);
        is_unsent
    }

    /// Ends the wait for a rule.
    pub(super) fn remove(&mut self, dpid: Dpid, key: &RuleKey) {
        let changes = self.by_switch.get_mut(&dpid);
        if let Some(change) = changes.and_then(|switch| switch.by_rule.remove(key)) {
            self.leave(&change, &(dpid, key.clone()));
        }
    }

    fn leave(&mut self, change: &Change, id: &RuleId) {
        if let Some(group) = self.by_group.get_mut(&change.order) {
            group.leave(change.stage, id);
            self.unlooked.insert(change.order);
        }
    }

    /// Ends the wait for a switch.
    pub(super) fn forget_switch(&mut self, dpid: Dpid) {
        let changes = self.by_switch.remove(&dpid).unwrap_or_default();
        for (key, change) in changes.by_rule {
            self.leave(&change, &(dpid, key));
        }
    }

    /// Whether [`Orders::release`] has something to do.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.unlooked.is_empty() || self.next_deadline().is_some_and(|at| at <= now)
    }

    /// Time at which a wait ends.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes the changes that are to be sent now.
    pub(super) fn release(&mut self, now: Instant) -> Vec<RuleId> {
        while let Some((at, order)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.remove(&(at, order));
            self.give_up(order);
        }
        let mut released = Vec::new();
        for order in std::mem::take(&mut self.unlooked) {
            self.release_of(order, now, &mut released);
        }
        released
    }

    /// Ends the wait for the stage of an order that was released last. A lower one that came meanwhile has a wait of its own.
    fn give_up(&mut self, number: u64) {
        self.unlooked.insert(number);
        let Some(order) = self.by_group.get_mut(&number) else {
            return;
        };
        let Some((stage, _)) = order.until.take() else {
            return;
        };
        let is_removal = matches!(stage, Stage::Removal(_));
        if is_removal || order.stages.keys().next() != Some(&stage) {
            return;
        }
        for (dpid, key) in order.stages.remove(&stage).into_iter().flatten() {
            let Some(switch) = self.by_switch.get_mut(&dpid) else {
                continue;
            };
            let state = switch.by_rule.get(&key).map(|change| change.state);
            if state == Some(State::Held) {
                // Changes that joined the stage later are still to be released.
                order.stages.entry(stage).or_default().insert((dpid, key));
            } else {
                switch.by_rule.remove(&key);
            }
        }
    }

    fn release_of(&mut self, number: u64, now: Instant, released: &mut Vec<RuleId>) {
        let Some(order) = self.by_group.get_mut(&number) else {
            return;
        };
        if !order.begins_with_removals() {
            match order.effect {
                Effect::Complete => {}
                Effect::From(at) if at <= now => order.effect = Effect::Complete,
                Effect::From(_) => return,
                Effect::Begins => {
                    if let Some((_, until)) = order.until.take() {
                        self.deadlines.remove(&(until, number));
                    }
                    order.effect = Effect::From(now + EFFECT);
                    self.deadlines.insert((now + EFFECT, number));
                    return;
                }
            }
        }
        let Some((&stage, rules)) = order.stages.first_key_value() else {
            if let Some((_, until)) = order.until {
                self.deadlines.remove(&(until, number));
            }
            self.by_group.remove(&number);
            return;
        };
        for (dpid, key) in rules {
            let changes = self.by_switch.get_mut(dpid);
            if let Some(change) = changes.and_then(|switch| switch.by_rule.get_mut(key))
                && change.state == State::Held
            {
                change.state = State::Released;
                released.push((*dpid, key.clone()));
            }
        }
        if order.until.is_none_or(|(waits, _)| waits != stage) {
            if let Some((_, until)) = order.until {
                self.deadlines.remove(&(until, number));
            }
            let until = now + LONGEST_WAIT;
            order.until = Some((stage, until));
            self.deadlines.insert((until, number));
        }
    }

    /// Notes that rules of a switch were written, as the last of so many changes. True if a confirmation is to be asked for.
    pub(super) fn sent(&mut self, dpid: Dpid, written: &[RuleKey], number: u64) -> bool {
        let Some(switch) = self.by_switch.get_mut(&dpid) else {
            return false;
        };
        let mut asks = false;
        for key in written {
            if let Some(change) = switch.by_rule.get_mut(key) {
                change.state = State::Sent(number);
                switch.sent.push_back((number, key.clone()));
                asks = true;
            }
        }
        asks
    }

    /// Notes that a switch has confirmed so many changes.
    pub(super) fn confirmed(&mut self, dpid: Dpid, number: u64) {
        let mut done = Vec::new();
        if let Some(switch) = self.by_switch.get_mut(&dpid) {
            while let Some((at, key)) = switch.sent.pop_front_if(|(at, _)| *at <= number) {
                let state = switch.by_rule.get(&key).map(|change| change.state);
                if state == Some(State::Sent(at)) {
                    done.push(key);
                }
            }
        }
        for key in done {
            self.remove(dpid, &key);
        }
    }
}

impl Order {
    fn begins_with_removals(&self) -> bool {
        let first = self.stages.keys().next();
        matches!(first, Some(Stage::Removal(_)))
    }

    fn leave(&mut self, stage: Stage, id: &RuleId) {
        if let Some(rules) = self.stages.get_mut(&stage) {
            rules.remove(id);
            if rules.is_empty() {
                self.stages.remove(&stage);
                if matches!(stage, Stage::Removal(_)) {
                    self.effect = Effect::Begins;
                }
            }
        }
    }
}
