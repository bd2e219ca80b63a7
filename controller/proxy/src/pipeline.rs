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
//! Packets enter the tables of an app once the switch has confirmed its rules ([`Entries`]), and pass it by until then, unless its
//! manifest says that they are dropped meanwhile. One rule decides: all exits are there already, and lead on.
//!
//! Rules that are right are not sent again, and the exit table of a removed app is emptied.
//!
//! A switch that speaks OpenFlow 1.0 has one table, which belongs to one app. There nothing is wanted, and Morpheus's rules
//! of other apps are deleted, because nothing else would bypass them.

use std::collections::BTreeSet;

use morph_api::cookie::Cookie;
use morph_openflow::rule::{self, RuleBody, RuleKey, RuleSet};
use morph_openflow::v13::{
    Action, FlowMod, FlowStats, FlowStatsRequest, Instruction, Match, Message, MultipartRequest,
};

use crate::dispatch::{Apps, PipelineApp};

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

/// Apps whose rules one switch has, so that packets may enter their tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    /// Ids of these apps.
    apps: BTreeSet<u8>,
    /// Ids of apps that were started while the switch was connected, until it has confirmed their rules.
    started: BTreeSet<u8>,
    /// The entries that the switch had when it connected are among them.
    is_read: bool,
}

impl Entries {
    /// Returns those of a switch that is known to have no rules.
    pub(crate) fn of_empty_switch() -> Self {
        Entries {
            is_read: true,
            ..Entries::default()
        }
    }

    /// Returns whether packets enter an app's tables. Those that passed before the start of an app that drops pass on until its
    /// rules decide: nothing is lost, and nothing more passes. They do not should it end before.
    fn leads_into(&self, app: &PipelineApp) -> bool {
        let is_starting = app.is_running && self.started.contains(&app.id);
        self.apps.contains(&app.id) || app.drops_absent && !is_starting
    }

    /// Returns whether table 0 and the exits of the switch were read since it connected.
    pub(crate) fn is_read(&self) -> bool {
        self.is_read
    }

    /// Notes that the switch has confirmed an app's rules. False if that was known.
    pub(crate) fn confirm(&mut self, app: u8) -> bool {
        self.started.remove(&app);
        self.apps.insert(app)
    }

    /// Takes over the present apps. The rules of those that are not among them any more are deleted.
    pub(crate) fn follow(&mut self, before: &Apps, apps: &Apps) {
        let is_present = |id: &u8| apps.by_id(*id).is_some();
        self.apps.retain(is_present);
        self.started.retain(is_present);
        if self.is_read {
            let new = apps.iter().filter(|app| before.by_id(app.id).is_none());
            self.started.extend(new.map(|app| app.id));
        }
    }

    /// Keeps the entries that the switch has had since an earlier connection. They were made once the rules behind them were
    /// confirmed, and a switch keeps both or neither.
    pub(crate) fn read(&mut self, apps: &Apps, installed: &RuleSet) {
        if std::mem::replace(&mut self.is_read, true) {
            return;
        }
        let leads_to = |first: u8| {
            let goto = Instruction::GotoTable(first);
            let is_entry = |(key, body): (&RuleKey, &RuleBody)| {
                let is_own = Cookie::from_u64(body.cookie).is_some_and(|cookie| cookie.app == 0);
                is_own && key.priority == 0 && body.instructions[..] == [goto.clone()]
            };
            installed.iter().any(is_entry)
        };
        let had = apps.iter().filter(|app| {
            let mut ranges = app.ranges();
            ranges.any(|(first, _)| leads_to(first))
        });
        self.apps.extend(had.map(|app| app.id));
    }
}

/// Computes the rules of table 0 and the exit tables for these apps, in a switch with these entries.
pub(crate) fn wanted(apps: &Apps, entries: &Entries) -> RuleSet {
    let mut rules = RuleSet::new();
    if let Some(topology) = apps.by_name(TOPOLOGY) {
        let punt = vec![Instruction::ApplyActions(vec![Action::to_controller()])];
        let matching = Match::new().eth_type(LLDP);
        put(&mut rules, 0, LLDP_PRIORITY, matching, topology.id, punt);
    }
    let now: Vec<_> = apps
        .iter()
        .map(|app| (app.own_range(), entries.leads_into(app)))
        .collect();
    let other = apps.by_other_range();
    let other: Vec<_> = other
        .iter()
        .map(|app| (app.other_range(), entries.leads_into(app)))
        .collect();
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

/// Adds the rules that lead from table 0 through those of these ranges that packets enter. All exits lead on, also of the others.
fn chain(rules: &mut RuleSet, ranges: &[((u8, u8), bool)]) {
    // Behind the last range a rule without instructions drops.
    let mut next = Vec::new();
    for ((first, exit), is_entered) in ranges.iter().rev() {
        put(rules, *exit, 0, Match::new(), 0, next.clone());
        if *is_entered {
            next = vec![Instruction::GotoTable(*first)];
        }
    }
    if !ranges.is_empty() {
        put(rules, 0, 0, Match::new(), 0, next);
    }
}

/// Compares the rules that a switch has with the wanted ones.
pub(crate) fn difference(
    installed: &RuleSet,
    wanted: &RuleSet,
) -> (Vec<FlowMod>, DifferenceCounts) {
    let difference = rule::difference(installed, wanted, EPOCH_BITS);
    let counts = DifferenceCounts {
        added: difference.add.len(),
        changed: difference.change.len(),
        removed: difference.remove.len(),
        unchanged: difference.unchanged,
    };
    (difference.flow_mods(), counts)
}

/// Selects the rules for a switch with so many tables. One that ends before the last exit table drops where that would.
pub(crate) fn in_switch(mut wanted: RuleSet, tables: u8) -> RuleSet {
    wanted.retain(|key, _| key.table < tables);
    wanted
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

    /// Adds a part of a reply. Returns all rules once the last reply is complete: the difference is to be sent.
    pub(crate) fn reply(&mut self, xid: u32, more: bool, stats: &[FlowStats]) -> Option<RuleSet> {
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
        let installed = std::mem::take(installed);
        *self = Reconciliation::InStep;
        Some(installed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::configuration;

    fn apps(apps: &[(&str, u32, u32, u32)]) -> Apps {
        Apps::new(&configuration(apps)).unwrap()
    }

    /// Rules where all apps are entered.
    fn all_entered(apps: &Apps) -> RuleSet {
        let ids = apps.iter().map(|app| app.id).collect();
        let entries = Entries {
            apps: ids,
            ..Entries::of_empty_switch()
        };
        wanted(apps, &entries)
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
        let rules = all_entered(&apps(&[("router", 3, 20, 29), ("topology", 2, 2, 9)]));
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
        assert!(all_entered(&apps(&[])).is_empty());
        assert_eq!(
            all_entered(&apps(&[("learning-switch", 1, 10, 19)])).len(),
            2
        );
    }

    #[test]
    fn a_move_of_tables_flips_one_rule() {
        let two = [("topology", 2, 1, 2), ("router", 3, 3, 4)];
        let before = all_entered(&apps(&two));
        let with = |tables: [(u32, u32); 2]| {
            let mut two = configuration(&two);
            for (app, (first, second)) in two.apps.iter_mut().zip(tables) {
                app.first_table = first;
                app.last_table = first + 1;
                app.second_table = second;
            }
            all_entered(&Apps::new(&two).unwrap())
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
        let all = all_entered(&apps(&[("topology", 2, 1, 2), ("router", 3, 3, 4)]));
        assert_eq!(in_switch(all.clone(), 5).len(), 4);
        let few = in_switch(all, 4);
        assert_eq!(
            (next(&few, 0), next(&few, 2), few.len()),
            (Some(1), Some(3), 3)
        );
    }

    fn reconcile(installed: &[FlowStats], wanted: &RuleSet) -> (Vec<FlowMod>, DifferenceCounts) {
        let mut machine = Reconciliation::default();
        machine.begin(2);
        machine.sent(7);
        assert!(machine.reply(7, true, installed).is_none());
        assert!(
            machine.reply(9, false, &[]).is_none(),
            "somebody else's reply"
        );
        machine.sent(8);
        assert!(machine.reply(8, false, installed).is_none());
        let installed = machine.reply(7, false, &[]).unwrap();
        difference(&installed, wanted)
    }

    #[test]
    fn a_switch_that_has_it_all_is_sent_nothing() {
        let wanted = all_entered(&apps(&[("topology", 2, 2, 9), ("router", 3, 20, 29)]));
        let (mods, counts) = reconcile(&stats(&wanted, 0), &wanted);
        assert_eq!((mods.len(), counts.unchanged), (0, 4));
        let (mods, _) = reconcile(&stats(&wanted, 9), &wanted);
        assert!(mods.is_empty(), "the epoch does not count: {mods:?}");
    }

    #[test]
    fn a_removed_app_is_bypassed_and_its_exit_table_emptied() {
        let before = all_entered(&apps(&[("topology", 2, 2, 9), ("router", 3, 20, 29)]));
        let after = all_entered(&apps(&[("router", 3, 20, 29)]));
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

    /// Three apps, of which the second one drops what its rules do not let pass.
    fn three() -> Apps {
        let mut three = configuration(&[
            ("topology", 2, 1, 2),
            ("firewall", 9, 3, 4),
            ("router", 3, 5, 6),
        ]);
        three.apps[1].drops_absent = true;
        Apps::new(&three).unwrap()
    }

    fn path(apps: &Apps, entries: &Entries) -> Vec<u8> {
        let rules = wanted(apps, entries);
        let exits = [0, 2, 4, 6];
        assert!(
            exits
                .iter()
                .all(|exit| rules.keys().any(|key| key.table == *exit)),
            "{rules:?}"
        );
        let mut tables = Vec::new();
        let mut at = next(&rules, 0);
        while let Some(first) = at {
            tables.push(first);
            at = next(&rules, first + 1);
        }
        tables
    }

    #[test]
    fn packets_enter_an_app_once_its_rules_are_confirmed_or_are_dropped_there_until_then() {
        let apps = three();
        let mut entries = Entries::default();
        assert_eq!(path(&apps, &entries), [3]);
        assert!(entries.confirm(3));
        assert!(!entries.confirm(3));
        assert_eq!(path(&apps, &entries), [3, 5]);
        let before = wanted(&apps, &entries);
        entries.confirm(2);
        assert_eq!(path(&apps, &entries), [1, 3, 5]);
        let (mods, counts) = difference(&before, &wanted(&apps, &entries));
        assert_eq!(
            (mods.len(), mods[0].table_id, counts.changed),
            (1, 0, 1),
            "one rule decides"
        );
        entries.follow(&apps, &self::apps(&[("firewall", 9, 3, 4)]));
        assert_eq!(
            path(&apps, &entries),
            [3],
            "an app that was removed begins anew"
        );
    }

    #[test]
    fn a_switch_without_any_rules_of_apps_drops() {
        let apps = apps(&[("topology", 2, 1, 2), ("router", 3, 5, 6)]);
        let rules = wanted(&apps, &Entries::default());
        assert_eq!((next(&rules, 0), next(&rules, 2)), (None, None));
        assert!(
            rules.keys().any(|key| key.table == 0 && key.priority == 0),
            "and counts what it drops"
        );
    }

    #[test]
    fn entries_that_a_switch_has_kept_stay_and_others_of_its_rules_make_none() {
        let apps = three();
        let mut had = Entries::default();
        had.confirm(3);
        let installed = wanted(&apps, &had);
        let mut entries = Entries::default();
        entries.read(&apps, &installed);
        assert_eq!(path(&apps, &entries), [3, 5]);
        let all = all_entered(&apps);
        entries.read(&apps, &all);
        assert_eq!(path(&apps, &entries), [3, 5], "only when it connects");
        let mut foreign = Entries::default();
        let goto = FlowStats {
            cookie: 7,
            ..stats(&all, 0)[0].clone()
        };
        let foreign_rule: RuleSet = [rule::from_stats(&goto)].into();
        foreign.read(&apps, &foreign_rule);
        assert_eq!(path(&apps, &foreign), [3]);
    }

    #[test]
    fn packets_pass_on_while_an_app_that_drops_is_started_and_only_then() {
        let (two, three) = (apps(&[("topology", 2, 1, 2), ("router", 3, 5, 6)]), three());
        let mut entries = Entries::of_empty_switch();
        entries.confirm(3);
        entries.follow(&two, &three);
        assert_eq!(path(&three, &entries), [5]);
        let mut stopped = three.clone();
        stopped.0[1].is_running = false;
        assert_eq!(
            path(&stopped, &entries),
            [3, 5],
            "it ended before its rules were there"
        );
        entries.confirm(9);
        assert_eq!(path(&three, &entries), [3, 5]);
        // A switch that has connected, and is not read yet, has led no packet past it.
        let mut unread = Entries::default();
        unread.follow(&two, &three);
        assert_eq!(path(&three, &unread), [3]);
    }
}
