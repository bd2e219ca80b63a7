//! Table 0 and the exits: what they have to be, and how a switch is brought there.
//!
//! ```text
//!   Unread --begin--> Reading --both replies whole--> InStep
//!                        ^                               |
//!                        +------- begin, no answer ------+
//! ```
//!
//! 1. Ask for all rules of app 0, and for all of ours in table 0 (the one for LLDP bears topology's id).
//! 2. Compare what is there with what is wanted when the last reply has come.
//! 3. Send the difference: additions and changes first, so that a bypass is there before the range it bypasses goes.
//!
//! So nothing that is right is sent again, and an exit of a range that is no more is deleted.
//!
//! A switch that speaks OpenFlow 1.0 has one table and one app, whose it is: there nothing is wanted, and what is deleted are
//! the rules of ours that are not that app's, since nothing else would bypass them.

use std::time::{Duration, Instant};

use morph_api::cookie::Cookie;
use morph_openflow::rule::{self, RuleBody, RuleKey, RuleSet};
use morph_openflow::v13::{
    Action, FlowMod, FlowStats, FlowStatsRequest, Instruction, Match, Message, MultipartRequest,
};

use crate::dispatch::Apps;

/// The epoch in a cookie says who added the rule, not what it is.
const EPOCH_BITS: u64 = 0x0000_ffff_0000_0000;
/// Selects rules with our first byte.
const FIRST_BYTE: u64 = 0xff << 56;
/// The link layer discovery protocol's Ethernet type.
const LLDP: u16 = 0x88cc;
/// Above all else in table 0.
const LLDP_PRIORITY: u16 = 0xffff;
/// The app that is told of LLDP.
const TOPOLOGY: &str = "topology";
/// A read that takes longer is begun again.
const READ: Duration = Duration::from_secs(10);

/// What table 0 and the exits have to be for these apps.
pub(crate) fn wanted(apps: &Apps) -> RuleSet {
    let mut rules = RuleSet::new();
    if let Some(topology) = apps.by_name(TOPOLOGY) {
        let punt = vec![Instruction::ApplyActions(vec![Action::to_controller()])];
        let matching = Match::new().eth_type(LLDP);
        put(&mut rules, 0, LLDP_PRIORITY, matching, topology.id, punt);
    }
    let mut from = 0;
    for app in apps.iter() {
        let next = vec![Instruction::GotoTable(app.first_table)];
        put(&mut rules, from, 0, Match::new(), 0, next);
        from = app.last_table;
    }
    if from != 0 {
        // The last exit drops.
        put(&mut rules, from, 0, Match::new(), 0, Vec::new());
    }
    rules
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
        match_: matching.normal(),
    };
    let cookie = Cookie {
        app,
        epoch: 0,
        own: 0,
    };
    let body = RuleBody {
        instructions,
        idle_timeout: 0,
        hard_timeout: 0,
        flags: 0,
        cookie: cookie.to_u64(),
    };
    rules.insert(key, body);
}

/// What was done to a switch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) added: usize,
    pub(crate) changed: usize,
    pub(crate) removed: usize,
    pub(crate) unchanged: usize,
}

/// Where one switch stands.
#[derive(Debug, Clone, Default)]
pub(crate) enum Reconcile {
    /// Nothing is known of it.
    #[default]
    Unread,
    /// Questions are out.
    Reading {
        waiting: Vec<u32>,
        installed: RuleSet,
        until: Instant,
    },
    /// It has been sent what it lacked.
    InStep,
}

impl Reconcile {
    /// The questions of a read.
    pub(crate) fn questions(one_table: bool) -> Vec<Message> {
        let (morpheus, mask) = Cookie::all_of(0);
        if one_table {
            let ours = FlowStatsRequest::by_cookie(morpheus & FIRST_BYTE, FIRST_BYTE);
            return vec![Message::MultipartRequest(MultipartRequest::Flow(ours))];
        }
        let of_morpheus = FlowStatsRequest::by_cookie(morpheus, mask);
        let mut of_table_0 = FlowStatsRequest::by_cookie(morpheus & FIRST_BYTE, FIRST_BYTE);
        of_table_0.table_id = 0;
        [of_morpheus, of_table_0]
            .map(|stats| Message::MultipartRequest(MultipartRequest::Flow(stats)))
            .to_vec()
    }

    /// The questions are out under these xids.
    pub(crate) fn begin(&mut self, waiting: Vec<u32>, now: Instant) {
        *self = Reconcile::Reading {
            waiting,
            installed: RuleSet::new(),
            until: now + READ,
        };
    }

    /// Part of a reply. With the last part of the last one: what has to be sent.
    pub(crate) fn reply(
        &mut self,
        xid: u32,
        more: bool,
        stats: &[FlowStats],
        wanted: &RuleSet,
    ) -> Option<(Vec<FlowMod>, Sent)> {
        let Reconcile::Reading {
            waiting, installed, ..
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
        waiting.retain(|asked| *asked != xid);
        if !waiting.is_empty() {
            return None;
        }
        let difference = rule::difference(installed, wanted, EPOCH_BITS);
        let sent = Sent {
            added: difference.add.len(),
            changed: difference.change.len(),
            removed: difference.remove.len(),
            unchanged: difference.unchanged,
        };
        *self = Reconcile::InStep;
        Some((difference.flow_mods(), sent))
    }

    /// When an unanswered read is begun again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Reconcile::Reading { until, .. } => Some(*until),
            Reconcile::Unread | Reconcile::InStep => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::configuration;

    fn apps(apps: &[(&str, u32, u32, u32)]) -> Apps {
        Apps::new(&configuration(apps)).unwrap()
    }

    /// The table that a packet which matches no app's rule visits after `table`, if it is not dropped.
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
            match_: key.match_.clone(),
            instructions: body.instructions.clone(),
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

    fn reconcile(installed: &[FlowStats], wanted: &RuleSet) -> (Vec<FlowMod>, Sent) {
        let mut machine = Reconcile::default();
        machine.begin(vec![7, 8], Instant::now());
        assert!(machine.reply(7, true, installed, wanted).is_none());
        assert!(
            machine.reply(9, false, &[], wanted).is_none(),
            "somebody else's reply"
        );
        assert!(machine.reply(8, false, installed, wanted).is_none());
        machine.reply(7, false, &[], wanted).unwrap()
    }

    #[test]
    fn a_switch_that_has_it_all_is_sent_nothing() {
        let wanted = wanted(&apps(&[("topology", 2, 2, 9), ("router", 3, 20, 29)]));
        let (mods, sent) = reconcile(&stats(&wanted, 0), &wanted);
        assert_eq!((mods.len(), sent.unchanged), (0, 4));
        let (mods, _) = reconcile(&stats(&wanted, 9), &wanted);
        assert!(mods.is_empty(), "the epoch does not count: {mods:?}");
    }

    #[test]
    fn an_app_that_goes_is_bypassed_and_its_exit_deleted() {
        let before = wanted(&apps(&[("topology", 2, 2, 9), ("router", 3, 20, 29)]));
        let after = wanted(&apps(&[("router", 3, 20, 29)]));
        let (_, sent) = reconcile(&stats(&before, 0), &after);
        let wanted = Sent {
            added: 0,
            changed: 1,
            removed: 2,
            unchanged: 1,
        };
        assert_eq!(
            sent, wanted,
            "table 0 changes, the LLDP rule and the exit go, router's exit stays"
        );
    }
}
