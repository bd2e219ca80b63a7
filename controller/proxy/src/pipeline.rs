//! Table 0 and the exit tables: their rules, and how a switch is brought to have them.
//!
//! ```text
//!   Unread --begin--> Reading --both replies complete--> InStep
//!                        ^                                  |
//!                        +-------- begin, no answer --------+
//! ```
//!
//! 1. Read all rules of app 0, and all of Morpheus's rules in table 0 (the one for LLDP has topology's id).
//! 2. Compare them with the wanted rules when the last reply is complete.
//! 3. Send the difference, additions and changes first: a bypass must be there before the range that it bypasses goes.
//!
//! Rules that are right are not sent again, and the exit table of a removed app is emptied.
//!
//! A switch that speaks OpenFlow 1.0 has one table, which belongs to one app. There nothing is wanted, and Morpheus's rules
//! of other apps are deleted, because nothing else would bypass them.

use std::borrow::Cow;

use morph_api::cookie::Cookie;
use morph_openflow::rule::{self, RuleBody, RuleKey, RuleSet};
use morph_openflow::v13::{
    Action, FlowMod, FlowStats, FlowStatsRequest, Instruction, Match, Message, MultipartRequest,
};

use crate::dispatch::Apps;

/// Bits of a cookie that hold the epoch. Ignored in comparisons: they say who added a rule, not which rule it is.
const EPOCH_BITS: u64 = 0x0000_ffff_0000_0000;
/// Mask that selects cookies with Morpheus's first byte.
const FIRST_BYTE: u64 = 0xff << 56;
/// Ethernet type of the Link Layer Discovery Protocol.
const LLDP: u16 = 0x88cc;
/// Highest priority, above everything else in table 0.
const LLDP_PRIORITY: u16 = 0xffff;
/// Name of the app that receives LLDP packets.
const TOPOLOGY: &str = "topology";

/// Computes the rules of table 0 and the exit tables for these apps.
pub(crate) fn wanted(apps: &Apps) -> RuleSet {
    let mut rules = RuleSet::new();
    if let Some(topology) = apps.by_name(TOPOLOGY) {
        let punt = vec![Instruction::ApplyActions(vec![Action::to_controller()])];
        let matching = Match::new().eth_type(LLDP);
        put(&mut rules, 0, LLDP_PRIORITY, matching, topology.id, punt);
    }
    let now: Vec<_> = apps
        .iter()
        .map(|app| (app.first_table, app.last_table))
        .collect();
    let other = apps.by_other_range();
    let other: Vec<_> = other.iter().map(|app| app.other_range()).collect();
    chain(&mut rules, &now);
    if other != now {
        // The exits of second ranges lead on already, or still. Packets do not come there.
        let mut all = RuleSet::new();
        chain(&mut all, &other);
        for (key, body) in all {
            rules.entry(key).or_insert(body);
        }
    }
    rules
}

/// Adds the rules that lead from table 0 through these ranges.
fn chain(rules: &mut RuleSet, ranges: &[(u8, u8)]) {
    let mut from = 0;
    for (first, exit) in ranges {
        let next = vec![Instruction::GotoTable(*first)];
        put(rules, from, 0, Match::new(), 0, next);
        from = *exit;
    }
    if from != 0 {
        // The last exit table drops.
        put(rules, from, 0, Match::new(), 0, Vec::new());
    }
}

/// Selects the rules for a switch with so many tables. One that ends before the last exit table drops where that would.
pub(crate) fn in_switch(wanted: &RuleSet, tables: u8) -> Cow<'_, RuleSet> {
    let is_there = |key: &RuleKey| key.table < tables;
    if wanted.keys().all(is_there) {
        return Cow::Borrowed(wanted);
    }
    let there = wanted.iter().filter(|(key, _)| is_there(key));
    Cow::Owned(
        there
            .map(|(key, body)| (key.clone(), body.clone()))
            .collect(),
    )
}

fn put(
    rules: &mut RuleSet,
    table: u8,
    priority: u16,
    matching: Match,
    app: u8,
    instructions: Vec<Instruction>,
) {
    let key = RuleKey {
        table,
        priority,
        match_: matching.normal().into(),
    };
    let cookie = Cookie {
        app,
        epoch: 0,
        own: 0,
    };
    let body = RuleBody {
        instructions: instructions.into(),
        idle_timeout: 0,
        hard_timeout: 0,
        flags: 0,
        cookie: cookie.to_u64(),
    };
    rules.insert(key, body);
}

/// Counts of the changes sent to a switch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DifferenceCounts {
    pub(crate) added: usize,
    pub(crate) changed: usize,
    pub(crate) removed: usize,
    pub(crate) unchanged: usize,
}

/// Reconciliation state of one switch.
#[derive(Debug, Clone, Default)]
pub(crate) enum Reconciliation {
    #[default]
    Unread,
    /// Not all replies are complete.
    Reading {
        /// Number of requests that are still to be sent.
        unsent: usize,
        /// Xids of the others.
        waiting: Vec<u32>,
        installed: RuleSet,
    },
    /// The difference was sent.
    InStep,
}

impl Reconciliation {
    /// Builds the requests of a read.
    pub(crate) fn requests(one_table: bool) -> Vec<Message> {
        let (morpheus, _) = Cookie::all_of(0);
        if one_table {
            let ours = FlowStatsRequest::by_cookie(morpheus & FIRST_BYTE, FIRST_BYTE);
            return vec![Message::MultipartRequest(MultipartRequest::Flow(ours))];
        }
        Self::selections()
            .map(|stats| Message::MultipartRequest(MultipartRequest::Flow(stats)))
            .to_vec()
    }

    /// Selections of the rules that a switch with several tables is asked for.
    pub(crate) fn selections() -> [FlowStatsRequest; 2] {
        let (morpheus, mask) = Cookie::all_of(0);
        let mut of_table_0 = FlowStatsRequest::by_cookie(morpheus & FIRST_BYTE, FIRST_BYTE);
        of_table_0.table_id = 0;
        [FlowStatsRequest::by_cookie(morpheus, mask), of_table_0]
    }

    /// Starts a read with this number of requests.
    pub(crate) fn begin(&mut self, requests: usize) {
        *self = Reconciliation::Reading {
            unsent: requests,
            waiting: Vec::new(),
            installed: RuleSet::new(),
        };
    }

    /// Notes that a request was sent under this xid.
    pub(crate) fn sent(&mut self, xid: u32) {
        if let Reconciliation::Reading {
            unsent, waiting, ..
        } = self
        {
            *unsent = unsent.saturating_sub(1);
            waiting.push(xid);
        }
    }

    /// Returns whether the difference was sent, and nothing is read.
    pub(crate) fn is_in_step(&self) -> bool {
        matches!(self, Reconciliation::InStep)
    }

    /// Returns whether the reply to the request with this xid is awaited.
    pub(crate) fn awaits(&self, xid: u32) -> bool {
        match self {
            Reconciliation::Reading { waiting, .. } => waiting.contains(&xid),
            Reconciliation::Unread | Reconciliation::InStep => false,
        }
    }

    /// Adds a part of a reply. Returns the difference once the last reply is complete.
    pub(crate) fn reply(
        &mut self,
        xid: u32,
        more: bool,
        stats: &[FlowStats],
        wanted: &RuleSet,
    ) -> Option<(Vec<FlowMod>, DifferenceCounts)> {
        let Reconciliation::Reading {
            unsent,
            waiting,
            installed,
        } = self
        else {
            return None;
        };
        if !waiting.contains(&xid) {
            return None;
        }
        installed.extend(stats.iter().map(rule::from_stats));
        if more {
            return None;
        }
        // Both questions may be answered by one request, whose xid is there twice.
        if let Some(at) = waiting.iter().position(|asked| *asked == xid) {
            waiting.swap_remove(at);
        }
        if *unsent > 0 || !waiting.is_empty() {
            return None;
        }
        let difference = rule::difference(installed, wanted, EPOCH_BITS);
        let counts = DifferenceCounts {
            added: difference.add.len(),
            changed: difference.change.len(),
            removed: difference.remove.len(),
            unchanged: difference.unchanged,
        };
        *self = Reconciliation::InStep;
        Some((difference.flow_mods(), counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::configuration;

    fn apps(apps: &[(&str, u32, u32, u32)]) -> Apps {
        Apps::new(&configuration(apps)).unwrap()
    }

    /// Finds the table that a packet without a matching app rule visits after `table`; `None`: it is dropped.
    fn next(rules: &RuleSet, table: u8) -> Option<u8> {
        let (_, body) = rules
            .iter()
            .find(|(key, _)| key.table == table && key.priority == 0)?;
        match body.instructions[..] {
            [Instruction::GotoTable(next)] => Some(next),
            _ => None,
        }
    }

    fn stats(rules: &RuleSet, epoch: u64) -> Vec<FlowStats> {
        let of = |(key, body): (&RuleKey, &RuleBody)| FlowStats {
            table_id: key.table,
            duration_sec: 5,
            duration_nsec: 0,
            priority: key.priority,
            idle_timeout: 0,
            hard_timeout: 0,
            flags: body.flags,
            cookie: body.cookie | epoch << 32,
            packet_count: 1,
            byte_count: 1,
            match_: (*key.match_).clone(),
            instructions: body.instructions.to_vec(),
        };
        rules.iter().map(of).collect()
    }

    #[test]
    fn packets_pass_the_apps_in_order_and_are_dropped_behind_the_last() {
        let rules = wanted(&apps(&[("router", 3, 20, 29), ("topology", 2, 2, 9)]));
        assert_eq!(next(&rules, 0), Some(2));
        assert_eq!(next(&rules, 9), Some(20));
        assert_eq!(next(&rules, 29), None);
        assert!(
            rules.keys().any(|key| key.table == 29),
            "the drop is a rule, and counts"
        );
        let (_, lldp) = rules
            .iter()
            .find(|(key, _)| key.priority == LLDP_PRIORITY)
            .unwrap();
        assert_eq!(Cookie::from_u64(lldp.cookie).unwrap().app, 2);
        assert_eq!(rules.len(), 4);
        assert!(wanted(&apps(&[])).is_empty());
        assert_eq!(wanted(&apps(&[("learning-switch", 1, 10, 19)])).len(), 2);
    }

    #[test]
    fn a_move_of_tables_flips_one_rule() {
        let two = [("topology", 2, 1, 2), ("router", 3, 3, 4)];
        let before = wanted(&apps(&two));
        let with = |tables: [(u32, u32); 2]| {
            let mut two = configuration(&two);
            for (app, (first, second)) in two.apps.iter_mut().zip(tables) {
                app.first_table = first;
                app.last_table = first + 1;
                app.second_table = second;
            }
            wanted(&Apps::new(&two).unwrap())
        };
        // router comes before topology afterwards.
        let (copied, flipped) = (with([(1, 7), (3, 5)]), with([(7, 1), (5, 3)]));
        assert!(before.iter().all(|rule| copied.get(rule.0) == Some(rule.1)));
        let changed = copied
            .iter()
            .filter(|rule| flipped.get(rule.0) != Some(rule.1));
        let changed: Vec<u8> = changed.map(|(key, _)| key.table).collect();
        assert_eq!((changed, copied.len()), (vec![0], flipped.len()));
        assert_eq!(
            [0, 6, 8].map(|table| next(&flipped, table)),
            [Some(5), Some(7), None]
        );
        let after = with([(7, 0), (5, 0)]);
        assert!(after.iter().all(|rule| flipped.get(rule.0) == Some(rule.1)));
        assert_eq!(after.len(), before.len());
    }

    #[test]
    fn a_switch_that_ends_before_the_last_exit_has_the_other_rules() {
        let all = wanted(&apps(&[("topology", 2, 1, 2), ("router", 3, 3, 4)]));
        assert_eq!(in_switch(&all, 5).len(), 4);
        let few = in_switch(&all, 4);
        assert_eq!(
            (next(&few, 0), next(&few, 2), few.len()),
            (Some(1), Some(3), 3)
        );
    }

    fn reconcile(installed: &[FlowStats], wanted: &RuleSet) -> (Vec<FlowMod>, DifferenceCounts) {
        let mut machine = Reconciliation::default();
        machine.begin(2);
        machine.sent(7);
        assert!(machine.reply(7, true, installed, wanted).is_none());
        assert!(
            machine.reply(9, false, &[], wanted).is_none(),
            "somebody else's reply"
        );
        machine.sent(8);
        assert!(machine.reply(8, false, installed, wanted).is_none());
        machine.reply(7, false, &[], wanted).unwrap()
    }

    #[test]
    fn a_switch_that_has_it_all_is_sent_nothing() {
        let wanted = wanted(&apps(&[("topology", 2, 2, 9), ("router", 3, 20, 29)]));
        let (mods, counts) = reconcile(&stats(&wanted, 0), &wanted);
        assert_eq!((mods.len(), counts.unchanged), (0, 4));
        let (mods, _) = reconcile(&stats(&wanted, 9), &wanted);
        assert!(mods.is_empty(), "the epoch does not count: {mods:?}");
    }

    #[test]
    fn a_removed_app_is_bypassed_and_its_exit_table_emptied() {
        let before = wanted(&apps(&[("topology", 2, 2, 9), ("router", 3, 20, 29)]));
        let after = wanted(&apps(&[("router", 3, 20, 29)]));
        let (_, counts) = reconcile(&stats(&before, 0), &after);
        let wanted = DifferenceCounts {
            added: 0,
            changed: 1,
            removed: 2,
            unchanged: 1,
        };
        assert_eq!(
            counts, wanted,
            "table 0 changes, the LLDP rule and the exit go, router's exit stays"
        );
    }
}
