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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v13::{Action, FlowModCommand, Oxm, OxmField, port};

    const COOKIE: u64 = 0x4d01_0001_0000_0000;
    const EPOCH: u64 = 0xffff << 32;

    fn rule(priority: u16, out: u32) -> (RuleKey, RuleBody) {
        let body = RuleBody {
            instructions: vec![Instruction::ApplyActions(vec![Action::output(out)])],
            cookie: COOKIE,
            ..RuleBody::default()
        };
        (RuleKey::new(10, priority, &Match::new().in_port(1)), body)
    }

    fn set<const N: usize>(rules: [(RuleKey, RuleBody); N]) -> RuleSet {
        rules.into()
    }

    #[test]
    fn what_is_there_as_wanted_is_left_alone() {
        let rules = set([rule(1, 1), rule(2, 2)]);
        let difference = difference(&rules, &rules, 0);
        assert_eq!((difference.is_empty(), difference.unchanged), (true, 2));
        assert!(difference.flow_mods().is_empty());
    }

    #[test]
    fn additions_come_before_changes_and_deletions_last() {
        let installed = set([rule(1, 1), rule(2, 2), rule(3, 3)]);
        let wanted = set([rule(2, 9), rule(3, 3), rule(4, 4)]);
        let difference = difference(&installed, &wanted, 0);
        assert_eq!(difference.unchanged, 1);
        let done: Vec<_> = difference
            .flow_mods()
            .into_iter()
            .map(|m| (m.command, m.priority, m.cookie_mask))
            .collect();
        let add = FlowModCommand::Add;
        let delete = FlowModCommand::DeleteStrict;
        assert_eq!(done, [(add, 4, 0), (add, 2, 0), (delete, 1, u64::MAX)]);
    }

    #[test]
    fn of_the_cookie_only_what_counts_is_compared() {
        let (key, mut body) = rule(1, 1);
        let wanted = set([(key.clone(), body.clone())]);
        body.cookie |= 7 << 32;
        let newer = set([(key.clone(), body.clone())]);
        assert!(difference(&newer, &wanted, EPOCH).is_empty());
        assert_eq!(difference(&newer, &wanted, 0).change, [rule(1, 1)]);
        body.cookie |= 7;
        let other = set([(key, body)]);
        assert_eq!(difference(&other, &wanted, EPOCH).change.len(), 1);
    }

    #[test]
    fn a_deletion_names_the_cookie_that_is_installed() {
        let (key, mut body) = rule(1, 1);
        body.cookie |= 7 << 32;
        let installed = set([(key, body.clone())]);
        let mods = difference(&installed, &RuleSet::new(), EPOCH).flow_mods();
        assert_eq!((mods.len(), mods[0].cookie), (1, body.cookie));
    }

    #[test]
    fn a_transient_rule_goes_by_itself_but_is_adopted_where_wanted() {
        let (key, mut body) = rule(1, 1);
        body.idle_timeout = 5;
        let transient = set([(key, body)]);
        let unwanted = difference(&transient, &RuleSet::new(), 0);
        assert_eq!(unwanted, Difference::default());
        assert_eq!(difference(&transient, &transient, 0).unchanged, 1);
    }

    /// Found on Open vSwitch 3.1: it leaves out masks of all ones, empty action lists and `max_len` of ports, and orders
    /// fields and instructions its own way. Flags it reports as sent; another switch need not.
    #[test]
    fn what_a_switch_reports_otherwise_is_the_same_rule() {
        let (mut key, mut body) = rule(1, 1);
        key.match_ = Match {
            fields: vec![
                Oxm::masked(OxmField::ARP_SPA, &[10, 0, 0, 1], &[255; 4]),
                Oxm::masked(OxmField::METADATA, &[0xff; 8], &[0, 0, 0, 0, 0, 0, 0, 1]),
                Oxm::masked(OxmField::VLAN_VID, &[0x10, 7], &[0x1f, 0xff]),
                Oxm::masked(OxmField::ETH_DST, &[2; 6], &[0; 6]),
                Oxm::exact(OxmField::ETH_TYPE, &[8, 6]),
            ],
        };
        let goto = Instruction::GotoTable(20);
        let max_len = 0xffff;
        let output = Action::Output { port: 1, max_len };
        body.instructions = vec![
            goto.clone(),
            Instruction::WriteActions(vec![]),
            Instruction::ApplyActions(vec![output, Action::to_controller()]),
        ];
        body.flags = flag::CHECK_OVERLAP | flag::SEND_FLOW_REM;
        let one = [0, 0, 0, 0, 0, 0, 0, 1];
        let stats = FlowStats {
            table_id: 10,
            duration_sec: 5,
            duration_nsec: 0,
            priority: 1,
            idle_timeout: 0,
            hard_timeout: 0,
            flags: flag::SEND_FLOW_REM,
            cookie: COOKIE,
            packet_count: 1,
            byte_count: 2,
            match_: Match {
                fields: vec![
                    Oxm::exact(OxmField::ETH_TYPE, &[8, 6]),
                    Oxm::exact(OxmField::VLAN_VID, &[0x10, 7]),
                    Oxm::exact(OxmField::ARP_SPA, &[10, 0, 0, 1]),
                    Oxm::masked(OxmField::METADATA, &one, &one),
                ],
            },
            instructions: vec![
                Instruction::ApplyActions(vec![Action::output(1), Action::to_controller()]),
                goto,
            ],
        };
        let installed = set([from_stats(&stats)]);
        let wanted = set([(key, body)]);
        assert_eq!(difference(&installed, &wanted, 0).unchanged, 1);
    }

    #[test]
    fn how_much_goes_to_the_controller_counts() {
        let (key, body) = rule(1, port::CONTROLLER);
        let mut whole = body.clone();
        whole.instructions = vec![Instruction::ApplyActions(vec![Action::to_controller()])];
        let installed = set([(key.clone(), body)]);
        let wanted = set([(key, whole)]);
        assert_eq!(difference(&installed, &wanted, 0).change.len(), 1);
    }
}
