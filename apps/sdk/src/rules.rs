//! Rules as an app states them.

use std::collections::BTreeMap;

use morph_api::cookie::Cookie;
use morph_openflow::rule::{RuleBody, RuleKey, RuleSet};

use crate::rank::{Ranks, RuleId};
use crate::{Action, Dpid, Instruction, Match, Pipeline, Switch};

/// Collector of one group's rules, on all switches.
#[derive(Debug)]
pub struct Rules {
    pipeline: Pipeline,
    /// Number of the app's tables in the switches that end before its exit.
    short: BTreeMap<Dpid, u32>,
    pub(crate) by_switch: BTreeMap<Dpid, RuleSet>,
    /// Ranks of the rules that have any.
    pub(crate) ranks: BTreeMap<RuleId, Ranks>,
}

impl Rules {
    pub(crate) fn new(pipeline: Pipeline, switches: &BTreeMap<Dpid, Switch>) -> Self {
        let short = switches.values().filter(|switch| !switch.has_exit);
        Rules {
            pipeline,
            short: short.map(|switch| (switch.dpid, switch.tables)).collect(),
            by_switch: BTreeMap::new(),
            ranks: BTreeMap::new(),
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

    /// Deletes the rule, once it is not wanted any more, among the changes of this rank, not last.
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
        let exit = self.rules.pipeline.exit;
        self.end(actions, Some(exit));
    }

    /// Applies these actions to the packet, which goes on in a later one of the app's tables.
    pub fn actions_then_table(self, actions: Vec<Action>, offset: u8) {
        let table = self.rules.pipeline.first.saturating_add(offset);
        self.end(actions, Some(table));
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

    fn end(self, actions: Vec<Action>, goto: Option<u8>) {
        let Pipeline { app, first, exit } = self.rules.pipeline;
        let table = first.saturating_add(self.table);
        let short = self.rules.short.get(&self.dpid);
        // Nothing is behind the last table of a switch that ends there.
        let goto = goto.filter(|goto| *goto != exit || short.is_none());
        let end = short.map_or(exit, |tables| {
            first.saturating_add(u8::try_from(*tables).unwrap_or(u8::MAX))
        });
        let last = if short.is_none() {
            exit
        } else {
            end.saturating_sub(1)
        };
        if table >= end || goto.is_some_and(|goto| goto <= table || goto > last) {
            tracing::error!(
                switch = %self.dpid,
                "a rule in table {table} that goes to {goto:?} is left out: the app's tables are {first} to {last}, and \
                 packets go forward only",
            );
            return;
        }
        // Same order and form of the instructions as a switch reports them.
        let apply = (!actions.is_empty()).then_some(Instruction::ApplyActions(actions));
        let goto = goto.map(Instruction::GotoTable);
        let key = RuleKey {
            table,
            priority: self.priority,
            match_: self.matching.normal().into(),
        };
        let cookie = Cookie {
            app,
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
        self.rules
            .by_switch
            .entry(self.dpid)
            .or_default()
            .insert(key, body);
    }
}
