//! Ranks of rules: the order in which the changes of one group are carried out, on all switches.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use morph_openflow::rule::RuleKey;

use crate::Dpid;
use crate::entries::StaleEntries;

/// Identity of a rule among those of all switches.
pub(crate) type RuleId = (Dpid, RuleKey);

/// Step of an ordered change; a step begins once the steps before it are confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Rank(u16),
    /// Deletions with a rank, behind additions of that rank. What follows waits until they are in effect.
    Removal(u16),
    /// Deletions without a rank.
    Last,
}

impl Ord for Stage {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |stage: &Stage| match *stage {
            Stage::Rank(rank) => (u32::from(rank), false),
            Stage::Removal(rank) => (u32::from(rank), true),
            Stage::Last => (u32::MAX, true),
        };
        place(self).cmp(&place(other))
    }
}

impl PartialOrd for Stage {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Steps in which one rule is added or replaced, and deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ranks {
    pub(crate) add: u16,
    pub(crate) remove: Option<u16>,
}

impl Ranks {
    pub(crate) fn addition(self) -> Stage {
        Stage::Rank(self.add)
    }

    pub(crate) fn deletion(self) -> Stage {
        self.remove.map_or(Stage::Last, Stage::Removal)
    }
}

/// Rules whose wanted form may have changed.
#[derive(Debug, Default)]
pub(crate) struct StaleRules {
    pub(crate) rules: BTreeMap<Dpid, BTreeSet<RuleKey>>,
    /// Groups and meters whose wanted form has changed.
    pub(crate) entries: StaleEntries,
    /// Present stages of all rules of each ordered group, and of those that it wants no more, by the group's number.
    pub(crate) orders: BTreeMap<u64, BTreeMap<RuleId, Stage>>,
}

impl StaleRules {
    pub(crate) fn new() -> Self {
        StaleRules::default()
    }

    pub(crate) fn note(&mut self, dpid: Dpid, key: RuleKey) {
        self.rules.entry(dpid).or_default().insert(key);
    }

    /// Stage of each rule that has one. Of several groups that want a rule, the one with the lowest number counts.
    pub(crate) fn stages(&self) -> BTreeMap<&RuleId, Stage> {
        let orders = self.orders.values().rev().flatten();
        orders.map(|(id, stage)| (id, *stage)).collect()
    }
}
