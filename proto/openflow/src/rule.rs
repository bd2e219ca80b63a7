//! Rules as values: their normal form, the difference between what a switch has and what is wanted, and the flow-mods
//! that make it. Pure.
//!
//! 1. What a switch reports and what was sent to it are equal in the normal form ([`Match::normal`],
//!    [`instruction::normal`]).
//! 2. A wanted rule that is not there is added; one that is there with another body is replaced by an ADD (MODIFY would
//!    keep the old cookie); one that is there and not wanted is deleted, by its own cookie.
//! 3. A rule with a timeout that is not wanted is transient: it goes by itself and is left alone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::v13::flow_mod::flag;
use crate::v13::instruction::{self, Instruction};
use crate::v13::{FlowMod, FlowStats, Match};

/// Flags that are part of a rule; the others only say how to add it.
const LASTING: u16 = flag::SEND_FLOW_REM | flag::NO_PKT_COUNTS | flag::NO_BYT_COUNTS;

/// What identifies a rule in a switch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleKey {
    /// Its table.
    pub table: u8,
    /// Its priority.
    pub priority: u16,
    /// Which packets, in normal form.
    pub match_: Match,
}

/// What a rule does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleBody {
    /// What happens to the packets.
    pub instructions: Vec<Instruction>,
    /// Seconds without a packet until it goes.
    pub idle_timeout: u16,
    /// Seconds until it goes.
    pub hard_timeout: u16,
    /// `flow_mod::flag::*`.
    pub flags: u16,
    /// Its cookie.
    pub cookie: u64,
}

/// Rules of one switch.
pub type RuleSet = BTreeMap<RuleKey, RuleBody>;

impl RuleKey {
    /// With the match brought into normal form.
    pub fn new(table: u8, priority: u16, match_: &Match) -> RuleKey {
        RuleKey {
            table,
            priority,
            match_: match_.normal(),
        }
    }
}

impl RuleBody {
    /// The normal form: instructions in normal form, and only the flags that are part of a rule.
    pub fn normal(&self) -> RuleBody {
        RuleBody {
            instructions: instruction::normal(&self.instructions),
            flags: self.flags & LASTING,
            ..*self
        }
    }

    /// It goes by itself.
    pub const fn is_transient(&self) -> bool {
        self.idle_timeout != 0 || self.hard_timeout != 0
    }

    /// Both in normal form: the same rule, but for bits of the cookie that do not count.
    fn same(&self, other: &RuleBody, ignore_cookie: u64) -> bool {
        (self.cookie ^ other.cookie) & !ignore_cookie == 0
            && self.idle_timeout == other.idle_timeout
            && self.hard_timeout == other.hard_timeout
            && self.flags == other.flags
            && self.instructions == other.instructions
    }
}

/// A rule as a switch reports it, in normal form.
pub fn from_stats(stats: &FlowStats) -> (RuleKey, RuleBody) {
    let body = RuleBody {
        instructions: instruction::normal(&stats.instructions),
        idle_timeout: stats.idle_timeout,
        hard_timeout: stats.hard_timeout,
        flags: stats.flags & LASTING,
        cookie: stats.cookie,
    };
    let key = RuleKey::new(stats.table_id, stats.priority, &stats.match_);
    (key, body)
}

/// What has to be done to a switch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Not there.
    pub add: Vec<(RuleKey, RuleBody)>,
    /// There, and different: as wanted.
    pub change: Vec<(RuleKey, RuleBody)>,
    /// There, and not wanted: as installed.
    pub remove: Vec<(RuleKey, RuleBody)>,
    /// How many are there as wanted.
    pub unchanged: usize,
}

/// What has to be done to a switch that has `installed` so that it has `wanted`. Bits of the cookie in `ignore_cookie`
/// do not count. Neither set need be in normal form.
pub fn difference(installed: &RuleSet, wanted: &RuleSet, ignore_cookie: u64) -> Difference {
    let (installed, wanted) = (normal(installed), normal(wanted));
    let mut difference = Difference::default();
    for (key, body) in wanted.iter() {
        let rule = || (key.clone(), body.clone());
        match installed.get(key) {
            None => difference.add.push(rule()),
            Some(there) if there.normal().same(&body.normal(), ignore_cookie) => {
                difference.unchanged += 1;
            }
            Some(_) => difference.change.push(rule()),
        }
    }
    for (key, body) in installed.iter() {
        if !wanted.contains_key(key) && !body.is_transient() {
            difference.remove.push((key.clone(), body.clone()));
        }
    }
    difference
}

/// With keys in normal form; the same set, if they are.
fn normal(rules: &RuleSet) -> Cow<'_, RuleSet> {
    if rules.keys().all(|key| key.match_.is_normal()) {
        return Cow::Borrowed(rules);
    }
    let normal = |(key, body): (&RuleKey, &RuleBody)| {
        let key = RuleKey::new(key.table, key.priority, &key.match_);
        (key, body.clone())
    };
    Cow::Owned(rules.iter().map(normal).collect())
}

impl Difference {
    /// Nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.change.is_empty() && self.remove.is_empty()
    }

    /// What makes it: new rules first, then changed ones, deletions last.
    pub fn flow_mods(&self) -> Vec<FlowMod> {
        let add = self.add.iter().chain(&self.change);
        let add = add.map(|(key, body)| FlowMod::add(key, body));
        let remove = self.remove.iter();
        let remove = remove.map(|(key, body)| FlowMod::delete_strict(key, body.cookie));
        add.chain(remove).collect()
    }
}
