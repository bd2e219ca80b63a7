//! Rules (flow entries) as values: their normal form, the difference between the installed and the wanted ones, and the
//! flow-mods for that difference.
//!
//! 1. A rule as sent and as reported by the switch have the same normal form ([`Match::normal`],
//!    [`instruction::normal`]).
//! 2. A wanted rule that is missing is added. An installed rule with another body is replaced by an ADD, because MODIFY
//!    would keep the old cookie. An installed rule that is not wanted is deleted, selected by its own cookie.
//! 3. An unwanted rule with a timeout is left alone: the switch will expire it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::v13::flow_mod::flag;
use crate::v13::instruction::{self, Instruction};
use crate::v13::{FlowMod, FlowModCommand, FlowStats, Match};

/// Flags that the switch stores with the rule; the others only affect how it is added.
const STORED_FLAGS: u16 = flag::SEND_FLOW_REM | flag::NO_PKT_COUNTS | flag::NO_BYT_COUNTS;

/// Identity of a rule within a switch: table, priority and match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleKey {
    /// Table that holds the rule.
    pub table: u8,
    /// Priority; a packet takes the matching rule with the highest one.
    pub priority: u16,
    /// Match, in normal form. Copies of the key share it.
    pub match_: Arc<Match>,
}

/// Contents of a rule: instructions, timeouts, flags and cookie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleBody {
    /// Instructions for matching packets. Copies of the body share them.
    pub instructions: Arc<[Instruction]>,
    /// Seconds without a matching packet until the switch removes the rule; 0 for never.
    pub idle_timeout: u16,
    /// Seconds after installation until the switch removes the rule; 0 for never.
    pub hard_timeout: u16,
    /// Bits of `flow_mod::flag`.
    pub flags: u16,
    /// Opaque number chosen by the controller.
    pub cookie: u64,
}

/// Rules of one switch, by key.
pub type RuleSet = BTreeMap<RuleKey, RuleBody>;

impl RuleKey {
    /// Makes a key, with the match brought into normal form.
    pub fn new(table: u8, priority: u16, match_: &Match) -> RuleKey {
        RuleKey {
            table,
            priority,
            match_: match_.normal().into(),
        }
    }
}

impl RuleBody {
    /// Returns the normal form: normal instructions, and only the flags that the switch stores.
    pub fn normal(&self) -> RuleBody {
        RuleBody {
            instructions: instruction::normal(&self.instructions).into(),
            flags: self.flags & STORED_FLAGS,
            ..*self
        }
    }

    /// Tells whether the switch removes the rule after a timeout.
    pub const fn is_transient(&self) -> bool {
        self.idle_timeout != 0 || self.hard_timeout != 0
    }

    /// Tells whether two bodies have the same normal form, except for the cookie bits in `ignore_cookie`.
    pub fn is_same(&self, other: &RuleBody, ignore_cookie: u64) -> bool {
        self.normal().same(&other.normal(), ignore_cookie)
    }

    /// Compares two bodies in normal form, except for the cookie bits in `ignore_cookie`.
    fn same(&self, other: &RuleBody, ignore_cookie: u64) -> bool {
        (self.cookie ^ other.cookie) & !ignore_cookie == 0
            && self.idle_timeout == other.idle_timeout
            && self.hard_timeout == other.hard_timeout
            && self.flags == other.flags
            && self.instructions == other.instructions
    }
}

/// Converts a rule reported by a switch, into normal form.
pub fn from_stats(stats: &FlowStats) -> (RuleKey, RuleBody) {
    let body = RuleBody {
        instructions: instruction::normal(&stats.instructions).into(),
        idle_timeout: stats.idle_timeout,
        hard_timeout: stats.hard_timeout,
        flags: stats.flags & STORED_FLAGS,
        cookie: stats.cookie,
    };
    let key = RuleKey::new(stats.table_id, stats.priority, &stats.match_);
    (key, body)
}

/// Changes that turn the installed rules of a switch into the wanted ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Wanted rules that are not installed.
    pub add: Vec<(RuleKey, RuleBody)>,
    /// Wanted rules that are installed with another body.
    pub change: Vec<(RuleKey, RuleBody)>,
    /// Installed rules that are not wanted, as installed.
    pub remove: Vec<(RuleKey, RuleBody)>,
    /// Number of rules that are installed as wanted.
    pub unchanged: usize,
}

/// Computes the changes that turn `installed` into `wanted`. Cookie bits in `ignore_cookie` are not compared. The
/// sets need not be in normal form.
pub fn difference(installed: &RuleSet, wanted: &RuleSet, ignore_cookie: u64) -> Difference {
    let (installed, wanted) = (normal(installed), normal(wanted));
    let mut difference = Difference::default();
    for (key, body) in wanted.iter() {
        let rule = || (key.clone(), body.clone());
        match installed.get(key) {
            None => difference.add.push(rule()),
            Some(there) if there.is_same(body, ignore_cookie) => {
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

/// Brings the keys into normal form; borrows the set if they already are.
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
    /// Tells whether the switch needs no change.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.change.is_empty() && self.remove.is_empty()
    }

    /// Builds the flow-mods: additions first, then replacements, then deletions, so that no packet meets a gap.
    pub fn flow_mods(&self) -> Vec<FlowMod> {
        let add = self.add.iter().chain(&self.change);
        let add = add.map(|(key, body)| FlowMod::add(key, body));
        let remove = self.remove.iter();
        let remove = remove.map(|(key, body)| FlowMod::delete_strict(key, body.cookie));
        add.chain(remove).collect()
    }
}

/// Flow-mods for one rule, kept here so that `v13` does not depend on this module.
impl FlowMod {
    /// Adds a rule, or replaces the rule with its key. Everything is in normal form, because switches refuse bits
    /// outside a mask.
    pub fn add(key: &RuleKey, body: &RuleBody) -> FlowMod {
        FlowMod {
            cookie: body.cookie,
            table_id: key.table,
            idle_timeout: body.idle_timeout,
            hard_timeout: body.hard_timeout,
            priority: key.priority,
            flags: body.flags,
            match_: key.match_.normal(),
            instructions: instruction::normal(&body.instructions),
            ..FlowMod::default()
        }
    }

    /// Deletes the rule with this key, if its cookie is this one.
    pub fn delete_strict(key: &RuleKey, cookie: u64) -> FlowMod {
        FlowMod {
            cookie,
            cookie_mask: u64::MAX,
            table_id: key.table,
            command: FlowModCommand::DeleteStrict,
            priority: key.priority,
            match_: key.match_.normal(),
            ..FlowMod::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v13::{Action, Oxm, OxmField, port};

    const COOKIE: u64 = 0x4d01_0001_0000_0000;
    const EPOCH: u64 = 0xffff << 32;

    fn rule(priority: u16, out: u32) -> (RuleKey, RuleBody) {
        let body = RuleBody {
            instructions: [Instruction::ApplyActions(vec![Action::output(out)])].into(),
            cookie: COOKIE,
            ..RuleBody::default()
        };
        (RuleKey::new(10, priority, &Match::new().in_port(1)), body)
    }

    fn set<const N: usize>(rules: [(RuleKey, RuleBody); N]) -> RuleSet {
        rules.into()
    }

    #[test]
    fn rules_installed_as_wanted_are_left_alone() {
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
    fn ignored_cookie_bits_are_not_compared() {
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
    fn an_unwanted_rule_with_a_timeout_is_left_to_expire() {
        let (key, mut body) = rule(1, 1);
        body.idle_timeout = 5;
        let transient = set([(key, body)]);
        let unwanted = difference(&transient, &RuleSet::new(), 0);
        assert_eq!(unwanted, Difference::default());
        assert_eq!(difference(&transient, &transient, 0).unchanged, 1);
    }

    /// Differences seen in reports of Open vSwitch 3.1: masks of all ones, empty action lists and `max_len` of
    /// ports are left out, fields and instructions are reordered. Flags are reported as sent, which other switches
    /// need not do.
    #[test]
    fn a_rule_that_the_switch_reports_in_another_form_is_the_same_rule() {
        let (mut key, mut body) = rule(1, 1);
        let fields = Match {
            fields: vec![
                Oxm::masked(OxmField::ARP_SPA, &[10, 0, 0, 1], &[255; 4]),
                Oxm::masked(OxmField::METADATA, &[0xff; 8], &[0, 0, 0, 0, 0, 0, 0, 1]),
                Oxm::masked(OxmField::VLAN_VID, &[0x10, 7], &[0x1f, 0xff]),
                Oxm::masked(OxmField::ETH_DST, &[2; 6], &[0; 6]),
                Oxm::exact(OxmField::ETH_TYPE, &[8, 6]),
            ],
        };
        key.match_ = fields.into();
        let goto = Instruction::GotoTable(20);
        let max_len = 0xffff;
        let output = Action::Output { port: 1, max_len };
        body.instructions = [
            goto.clone(),
            Instruction::WriteActions(vec![]),
            Instruction::ApplyActions(vec![output, Action::to_controller()]),
        ]
        .into();
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
    fn max_len_to_the_controller_is_compared() {
        let (key, body) = rule(1, port::CONTROLLER);
        let mut whole = body.clone();
        whole.instructions = [Instruction::ApplyActions(vec![Action::to_controller()])].into();
        let installed = set([(key.clone(), body)]);
        let wanted = set([(key, whole)]);
        assert_eq!(difference(&installed, &wanted, 0).change.len(), 1);
    }
}
