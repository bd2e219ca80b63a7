//! Rules as an app states them.

use std::collections::BTreeMap;
use std::sync::Arc;

use morph_api::cookie::Cookie;
use morph_openflow::rule::{RuleBody, RuleKey, RuleSet};

use crate::rank::{Ranks, RuleId};
use crate::{Action, Dpid, Instruction, Match, Pipeline, Switch};

/// Tables for the app's rules, and its exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u8,
    exit: u8,
}

/// Tables of an app in all switches. It is made once for the groups that are computed together, as it looks at all switches.
#[derive(Debug)]
pub(crate) struct Layout {
    app: u8,
    /// Range that packets pass.
    range: Range,
    /// Second range, while tables are moved: each rule is in both.
    second: Option<Range>,
    /// Number of tables of the switches that end before an exit, as in `Switch::in_switch`.
    short: BTreeMap<Dpid, u8>,
}

/// Collector of one group's rules, on all switches.
#[derive(Debug)]
pub struct Rules {
    layout: Arc<Layout>,
    pub(crate) by_switch: BTreeMap<Dpid, RuleSet>,
    /// Ranks of the rules that have any.
    pub(crate) ranks: BTreeMap<RuleId, Ranks>,
    pub(crate) faults: RuleFaults,
}

/// Numbers of rules that an app states wrongly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RuleFaults {
    /// Rules that cannot be, and are left out.
    pub(crate) left_out: u64,
    /// Rules that are stated twice, with different bodies.
    pub(crate) disputed: u64,
}

impl RuleFaults {
    pub(crate) fn is_none(self) -> bool {
        self == RuleFaults::default()
    }
}

impl Layout {
    /// `second` is the first table of the second range.
    pub(crate) fn new(
        pipeline: Pipeline,
        second: Option<u8>,
        switches: &BTreeMap<Dpid, Switch>,
    ) -> Self {
        let Pipeline { app, first, exit } = pipeline;
        let second = second.map(|second| Range {
            first: second,
            exit: second.saturating_add(exit.saturating_sub(first)),
        });
        let last = second.map_or(exit, |second| second.exit.max(exit));
        let short = switches.values().filter(|switch| switch.in_switch <= last);
        Layout {
            app,
            range: Range { first, exit },
            second,
            short: short
                .map(|switch| (switch.dpid, switch.in_switch))
                .collect(),
        }
    }
}

impl Rules {
    pub(crate) fn new(layout: &Arc<Layout>) -> Self {
        Rules {
            layout: layout.clone(),
            by_switch: BTreeMap::new(),
            ranks: BTreeMap::new(),
            faults: RuleFaults::default(),
        }
    }

    /// Begins a rule on a switch; one of the builder's last seven methods ends it.
    pub fn on(&mut self, dpid: Dpid) -> RuleBuilder<'_> {
        RuleBuilder {
            rules: self,
            dpid,
            table: 0,
            priority: 0,
            matching: Match::new(),
            own: 0,
            idle_timeout: 0,
            ranks: None,
        }
    }
}

/// A rule in the making. It starts in the first table, with priority 0, and matches all packets.
#[derive(Debug)]
#[must_use = "a rule counts only once it says what to do with a packet"]
pub struct RuleBuilder<'a> {
    rules: &'a mut Rules,
    dpid: Dpid,
    table: u8,
    priority: u16,
    matching: Match,
    own: u32,
    idle_timeout: u16,
    ranks: Option<Ranks>,
}

/// Flag `OFPFF_SEND_FLOW_REM`: the switch reports the end of the rule.
const SEND_FLOW_REM: u16 = 1;

impl RuleBuilder<'_> {
    /// Sets the rule's table, as an offset into the app's tables, from 0.
    pub fn table(mut self, offset: u8) -> Self {
        self.table = offset;
        self
    }

    /// Sets the priority: of all rules of a table that match, the highest one counts.
    pub fn priority(mut self, priority: u16) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the packets that the rule is for.
    pub fn matching(mut self, matching: Match) -> Self {
        self.matching = matching;
        self
    }

    /// Sets the app's own part of the cookie, which packet-ins by this rule bear.
    pub fn own(mut self, own: u32) -> Self {
        self.own = own;
        self
    }

    /// Ends the rule after so many seconds without a packet. The app gets an `Event::FlowRemoved`, and has to change
    /// the state that made it want the rule: one that is still wanted after the event is added again. So is one whose event
    /// was lost, when the switch's rules are read next; it ends again after another idle time.
    pub fn idle_timeout(mut self, seconds: u16) -> Self {
        self.idle_timeout = seconds;
        self
    }

    /// Orders the changes of the group's rules, over all switches: this rule is added or replaced once the switches have
    /// confirmed the group's changes of lower ranks. Rules of the group that are not wanted any more are deleted last.
    ///
    /// A switch that confirms late holds the others up for a second at most. A group of which no rule has a rank is not
    /// ordered. A rank is no part of the rule: one that differs by its rank alone is the same rule.
    pub fn rank(mut self, rank: u16) -> Self {
        self.ranks.get_or_insert_default().add = rank;
        self
    }

    /// Deletes the rule, once it is not wanted any more, after the additions of this rank, not last. Changes of higher ranks wait until
    /// the switch has confirmed it, however long that takes while it is connected, and 20 ms more.
    pub fn removal_rank(mut self, rank: u16) -> Self {
        self.ranks.get_or_insert_default().remove = Some(rank);
        self
    }

    /// Applies these actions to the packet, which ends there.
    pub fn actions(self, actions: Vec<Action>) {
        self.end(actions, None);
    }

    /// Applies these actions to the packet and passes it on to the next app.
    pub fn actions_then_next(self, actions: Vec<Action>) {
        self.end(actions, Some(Goto::Exit));
    }

    /// Applies these actions to the packet, which goes on in a later one of the app's tables.
    pub fn actions_then_table(self, actions: Vec<Action>, offset: u8) {
        self.end(actions, Some(Goto::Table(offset)));
    }

    /// Passes the packet on to the next app.
    pub fn next(self) {
        self.actions_then_next(Vec::new());
    }

    /// Drops the packets that match.
    pub fn drop_(self) {
        self.actions(Vec::new());
    }

    /// Sends the whole packet to the app.
    pub fn punt(self) {
        self.actions(vec![Action::to_controller()]);
    }

    /// Sends the whole packet to the app and passes it on to the next one.
    pub fn punt_and_next(self) {
        self.actions_then_next(vec![Action::to_controller()]);
    }

    fn end(mut self, actions: Vec<Action>, goto: Option<Goto>) {
        let Layout {
            range,
            second,
            ref short,
            ..
        } = *self.rules.layout;
        let in_switch = short.get(&self.dpid).copied();
        // The only table of a switch stands for the first table, wherever that is.
        let second = second.filter(|_| in_switch != Some(0));
        if !self.put(range, in_switch, &actions, goto) {
            self.rules.faults.left_out += 1;
            let (offset, Range { first, exit }) = (self.table, range);
            tracing::error!(
                switch = %self.dpid,
                "a rule in table {offset} of the app that goes to {goto:?} is left out: it has the tables {first} to {exit}, the switch \
                 {in_switch:?} tables in all, and packets go forward only",
            );
        } else if let Some(second) = second {
            self.put(second, in_switch, &actions, goto);
        }
    }

    /// Adds the rule in one range. False if it does not fit there.
    fn put(
        &mut self,
        range: Range,
        in_switch: Option<u8>,
        actions: &[Action],
        goto: Option<Goto>,
    ) -> bool {
        let end = match in_switch {
            None => range.exit,
            Some(0) => range.first.saturating_add(1),
            Some(tables) => range.exit.min(tables),
        };
        let has_exit = in_switch.is_none_or(|tables| range.exit < tables);
        let table = range.first.saturating_add(self.table);
        let goto = match goto {
            None => None,
            Some(Goto::Table(offset)) => Some(range.first.saturating_add(offset)),
            // Nothing is behind the last table of a switch that ends there.
            Some(Goto::Exit) => Some(range.exit).filter(|_| has_exit),
        };
        let leads_on = |goto: u8| table < goto && (goto < end || goto == range.exit && has_exit);
        if table >= end || !goto.is_none_or(leads_on) {
            return false;
        }
        // Same order and form of the instructions as a switch reports them.
        let apply = (!actions.is_empty()).then(|| Instruction::ApplyActions(actions.to_vec()));
        let goto = goto.map(Instruction::GotoTable);
        let key = RuleKey {
            table,
            priority: self.priority,
            match_: self.matching.normal().into(),
        };
        let cookie = Cookie {
            app: self.rules.layout.app,
            epoch: 0,
            own: self.own,
        };
        let body = RuleBody {
            instructions: apply.into_iter().chain(goto).collect(),
            idle_timeout: self.idle_timeout,
            hard_timeout: 0,
            flags: if self.idle_timeout == 0 {
                0
            } else {
                SEND_FLOW_REM
            },
            cookie: cookie.to_u64(),
        };
        if let Some(ranks) = self.ranks {
            self.rules.ranks.insert((self.dpid, key.clone()), ranks);
        }
        let rules = self.rules.by_switch.entry(self.dpid).or_default();
        let faults = &mut self.rules.faults;
        let (table, priority) = (key.table, key.priority);
        if let Some(before) = rules.get(&key).filter(|before| **before != body) {
            faults.disputed += 1;
            tracing::error!(
                switch = %self.dpid,
                "two rules of a group have table {table}, priority {priority} and the same match, and differ in what they do: the \
                 later one counts ({before:?}; {body:?})"
            );
        }
        rules.insert(key, body);
        true
    }
}

/// Table where a packet goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goto {
    /// Table of the app, by its offset.
    Table(u8),
    Exit,
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Dpid = Dpid(1);
    const PIPELINE: Pipeline = Pipeline {
        app: 7,
        first: 3,
        exit: 5,
    };

    /// Table of each rule, with the one where its packets go on.
    fn made(second: Option<u8>, in_switch: u8) -> Vec<(u8, Option<u8>)> {
        let mut switch = Switch::new(S, [1]);
        switch.in_switch = in_switch;
        let layout = Layout::new(PIPELINE, second, &BTreeMap::from([(S, switch)]));
        let mut rules = Rules::new(&layout.into());
        rules.on(S).actions_then_table(Vec::new(), 1);
        rules.on(S).table(1).next();
        rules.on(S).priority(1).punt();
        let of = |(key, body): (&RuleKey, &RuleBody)| {
            let goto = body
                .instructions
                .iter()
                .find_map(|instruction| match instruction {
                    Instruction::GotoTable(to) => Some(*to),
                    _ => None,
                });
            (key.table, goto)
        };
        rules
            .by_switch
            .remove(&S)
            .unwrap_or_default()
            .iter()
            .map(of)
            .collect()
    }

    #[test]
    fn a_switch_that_ends_before_the_exit_drops_what_is_passed_on() {
        assert_eq!(made(None, 6), [(3, Some(4)), (3, None), (4, Some(5))]);
        assert_eq!(made(None, 5), [(3, Some(4)), (3, None), (4, None)]);
        // Rules that need the second table are left out.
        assert_eq!(made(None, 4), [(3, None)]);
    }

    #[test]
    fn the_only_table_stands_for_the_first_one() {
        assert_eq!(made(None, 0), [(3, None)]);
        assert_eq!(made(Some(8), 0), [(3, None)]);
    }

    #[test]
    fn while_tables_are_moved_each_rule_is_in_both_ranges() {
        let own = [(3, Some(4)), (3, None), (4, Some(5))];
        let all = [own, [(8, Some(9)), (8, None), (9, Some(10))]].concat();
        assert_eq!(made(Some(8), 254), all);
        let without_exit = [&all[..5], &[(9, None)]].concat();
        assert_eq!(made(Some(8), 10), without_exit);
    }
}
