//! Rules as an app states them.

mod entries;

use std::collections::BTreeMap;
use std::sync::Arc;

use morph_api::cookie::Cookie;
use morph_openflow::entry::{EntrySet, used_by};
use morph_openflow::rule::{RuleBody, RuleKey, RuleSet};
use morph_openflow::v13::check_rule;
use morph_openflow::v13::flow_mod::flag;
use morph_openflow::v13::instruction;

use crate::entries::{meter_of, with_own_groups};
use crate::rank::{Ranks, RuleId};
use crate::{Action, Dpid, Instruction, Match, Pipeline, Switch};
pub use entries::{GroupBuilder, MeterBuilder, Watch};

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
    /// Groups and meters, in normal form.
    pub(crate) entries: BTreeMap<Dpid, EntrySet>,
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
            entries: BTreeMap::new(),
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
            hard_timeout: 0,
            flags: 0,
            instructions: Vec::new(),
            meter: None,
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
    hard_timeout: u16,
    /// Bits of `flow_mod::flag`.
    flags: u16,
    /// Instructions besides apply-actions, goto-table and meter.
    instructions: Vec<Instruction>,
    meter: Option<u32>,
    ranks: Option<Ranks>,
}

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

    /// Ends the rule so many seconds after it was added. The app gets an `Event::FlowRemoved`; what [`RuleBuilder::idle_timeout`] says
    /// of rules that are still wanted holds here too.
    pub fn hard_timeout(mut self, seconds: u16) -> Self {
        self.hard_timeout = seconds;
        self
    }

    /// Has the switch report the end of the rule in an `Event::FlowRemoved`, also where it is deleted. A rule with a timeout is
    /// always reported.
    pub fn report_removal(mut self) -> Self {
        self.flags |= flag::SEND_FLOW_REM;
        self
    }

    /// Spares the switch counting the rule's packets.
    pub fn no_packet_counts(mut self) -> Self {
        self.flags |= flag::NO_PKT_COUNTS;
        self
    }

    /// Spares the switch counting the rule's bytes.
    pub fn no_byte_counts(mut self) -> Self {
        self.flags |= flag::NO_BYT_COUNTS;
        self
    }

    /// Writes these bits of the metadata, which later tables of the app match. An app is entered with the metadata that the app
    /// before has left: its first table writes all bits that it matches later.
    pub fn write_metadata(mut self, metadata: u64, mask: u64) -> Self {
        let metadata = metadata & mask;
        self.instructions
            .push(Instruction::WriteMetadata { metadata, mask });
        self
    }

    /// Adds these actions to the packet's action set, which is executed where the packet ends, in the order that OpenFlow defines for
    /// sets. A rule cannot do so and pass the packet on to the next app: the set would be executed even where a later app drops it.
    pub fn write_actions(mut self, actions: Vec<Action>) -> Self {
        self.instructions.push(Instruction::WriteActions(actions));
        self
    }

    /// Passes the packets through the app's meter with this number before anything else.
    pub fn meter(mut self, number: u32) -> Self {
        self.meter = Some(number);
        self
    }

    /// Empties the packet's action set, before the rule writes actions to it.
    pub fn clear_actions(mut self) -> Self {
        self.instructions.push(Instruction::ClearActions);
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
        if self.idle_timeout != 0 || self.hard_timeout != 0 {
            self.flags |= flag::SEND_FLOW_REM;
        }
        if !actions.is_empty() {
            self.instructions.push(Instruction::ApplyActions(actions));
        }
        self.matching = self.matching.normal();
        let Layout {
            range,
            second,
            ref short,
            ..
        } = *self.rules.layout;
        let in_switch = short.get(&self.dpid).copied();
        // The only table of a switch stands for the first table, wherever that is.
        let second = second.filter(|_| in_switch != Some(0));
        let checked = self.with_ids();
        let checked = checked.and_then(|()| self.check(range, in_switch, goto));
        if let Err(why) = checked {
            self.rules.faults.left_out += 1;
            let (dpid, table, priority) = (self.dpid, self.table, self.priority);
            tracing::error!(
                switch = %dpid,
                "a rule in table {table} of the app (priority {priority}, match {}) is left out: {why}",
                self.matching,
            );
            return;
        }
        self.put(range, in_switch, goto);
        if let Some(second) = second
            && place(second, in_switch, self.table, goto).is_some()
        {
            self.put(second, in_switch, goto);
        }
    }

    /// Replaces the app's numbers of groups and meters by the ids that they have on the switch.
    fn with_ids(&mut self) -> Result<(), String> {
        let app = self.rules.layout.app;
        let instructions = std::mem::take(&mut self.instructions);
        self.instructions = with_own_groups(app, instructions)?;
        if let Some(number) = self.meter {
            let meter = Instruction::Meter(meter_of(app, number)?);
            self.instructions.push(meter);
        }
        Ok(())
    }

    /// Finds what is wrong with the rule whatever the state of the switch.
    fn check(&self, range: Range, in_switch: Option<u8>, goto: Option<Goto>) -> Result<(), String> {
        check_rule(&self.matching, &self.instructions).map_err(|problem| problem.to_string())?;
        let writes_actions = |instruction: &Instruction| matches!(instruction, Instruction::WriteActions(actions) if !actions.is_empty());
        if goto == Some(Goto::Exit) && self.instructions.iter().any(writes_actions) {
            return Err(
                "it writes actions and passes the packet on to the next app, which could not drop it any more".into(),
            );
        }
        if in_switch == Some(0) && used_by(&self.instructions).next().is_some() {
            return Err("a switch of OpenFlow 1.0 has neither groups nor meters".into());
        }
        if place(range, in_switch, self.table, goto).is_none() {
            let Range { first, exit } = range;
            return Err(format!(
                "it goes to {goto:?}; the app has the tables {first} to {exit}, the switch {in_switch:?} tables in all, and packets go \
                 forward only"
            ));
        }
        Ok(())
    }

    /// Adds the rule in one range, where it fits.
    fn put(&mut self, range: Range, in_switch: Option<u8>, goto: Option<Goto>) {
        let Some((table, goto)) = place(range, in_switch, self.table, goto) else {
            return;
        };
        let mut instructions = self.instructions.clone();
        instructions.extend(goto.map(Instruction::GotoTable));
        let key = RuleKey {
            table,
            priority: self.priority,
            match_: self.matching.clone().into(),
        };
        let cookie = Cookie {
            app: self.rules.layout.app,
            epoch: 0,
            own: self.own,
        };
        let body = RuleBody {
            // Same order and form as a switch reports them.
            instructions: instruction::normal(&instructions).into(),
            idle_timeout: self.idle_timeout,
            hard_timeout: self.hard_timeout,
            flags: self.flags,
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
    }
}

/// Table of a rule, and the table where its packets go on. None if the rule does not fit in the range.
fn place(
    range: Range,
    in_switch: Option<u8>,
    offset: u8,
    goto: Option<Goto>,
) -> Option<(u8, Option<u8>)> {
    let end = match in_switch {
        None => range.exit,
        Some(0) => range.first.saturating_add(1),
        Some(tables) => range.exit.min(tables),
    };
    let has_exit = in_switch.is_none_or(|tables| range.exit < tables);
    let table = range.first.saturating_add(offset);
    let goto = match goto {
        None => None,
        Some(Goto::Table(offset)) => Some(range.first.saturating_add(offset)),
        // Nothing is behind the last table of a switch that ends there.
        Some(Goto::Exit) => Some(range.exit).filter(|_| has_exit),
    };
    let leads_on = |goto: u8| table < goto && (goto < end || goto == range.exit && has_exit);
    (table < end && goto.is_none_or(leads_on)).then_some((table, goto))
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
    use crate::Oxm;

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

    /// Rules of one switch, as the builder makes them.
    fn rules_of(make: impl FnOnce(&mut Rules)) -> Vec<(RuleKey, RuleBody)> {
        let layout = Layout::new(PIPELINE, None, &BTreeMap::new());
        let mut rules = Rules::new(&layout.into());
        make(&mut rules);
        let set = rules.by_switch.remove(&S).unwrap_or_default();
        set.into_iter().collect()
    }

    #[test]
    fn instructions_are_in_the_order_in_which_a_switch_executes_them() {
        let made = rules_of(|rules| {
            let rule = rules.on(S).write_metadata(0xff, 0x0f);
            let rule = rule.write_actions(vec![Action::output(1)]).clear_actions();
            rule.actions_then_table(vec![Action::SetQueue(1)], 1);
        });
        let (metadata, mask) = (0x0f, 0x0f);
        let expected = [
            Instruction::ApplyActions(vec![Action::SetQueue(1)]),
            Instruction::ClearActions,
            Instruction::WriteActions(vec![Action::output(1)]),
            Instruction::WriteMetadata { metadata, mask },
            Instruction::GotoTable(4),
        ];
        assert_eq!(*made[0].1.instructions, expected);
    }

    #[test]
    fn a_rule_with_a_timeout_is_reported() {
        let made = rules_of(|rules| {
            rules.on(S).hard_timeout(9).drop_();
            rules.on(S).priority(1).no_packet_counts().drop_();
            rules.on(S).priority(2).report_removal().drop_();
        });
        let bodies = made.iter().map(|(_, body)| (body.hard_timeout, body.flags));
        let flags = [(9, 1), (0, flag::NO_PKT_COUNTS), (0, flag::SEND_FLOW_REM)];
        assert_eq!(bodies.collect::<Vec<_>>(), flags);
    }

    #[test]
    fn rules_that_cannot_be_right_are_left_out() {
        let to_server = Action::set_field(Oxm::tcp_dst(80));
        let write = || vec![Action::output(1)];
        let made = rules_of(|rules| {
            let rule = rules.on(S).priority(1);
            rule.actions(vec![to_server.clone(), Action::output(1)]);
            let rule = rules.on(S).priority(2).matching(Match::new().tcp_dst(8));
            rule.drop_();
            rules.on(S).priority(3).write_actions(write()).next();
            rules.on(S).priority(4).write_metadata(1, 0).next();
            rules.on(S).table(1).actions_then_table(Vec::new(), 0);
            rules.on(S).table(2).drop_();
        });
        assert_eq!(made, []);
        let tcp = Match::new().eth_type(0x800).ip_proto(6);
        let made = rules_of(|rules| {
            let rule = rules.on(S).matching(tcp);
            rule.write_actions(write()).actions(vec![to_server]);
        });
        assert_eq!(made.len(), 1);
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
