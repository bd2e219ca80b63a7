//! What an app says its rules are.

use std::collections::BTreeMap;

use morph_api::cookie::Cookie;
use morph_openflow::rule::{RuleBody, RuleKey, RuleSet};

use crate::{Action, Dpid, Instruction, Match, Pipeline};

/// Takes the rules of one group, on all switches.
#[derive(Debug)]
pub struct Rules {
    pipeline: Pipeline,
    pub(crate) by_switch: BTreeMap<Dpid, RuleSet>,
}

impl Rules {
    pub(crate) fn new(pipeline: Pipeline) -> Self {
        Rules {
            pipeline,
            by_switch: BTreeMap::new(),
        }
    }

    /// Begins a rule on a switch; one of the builder's last five methods ends it.
    pub fn on(&mut self, dpid: Dpid) -> RuleBuilder<'_> {
        RuleBuilder {
            rules: self,
            dpid,
            table: 0,
            priority: 0,
            matching: Match::new(),
            own: 0,
            idle_timeout: 0,
        }
    }
}

/// A rule in the making. It starts as: first table, priority 0, matches all.
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
}

/// `OFPFF_SEND_FLOW_REM`.
const SEND_FLOW_REM: u16 = 1;

impl RuleBuilder<'_> {
    /// In which of the app's tables, from 0.
    pub fn table(mut self, offset: u8) -> Self {
        self.table = offset;
        self
    }

    /// Among the rules of its table, the highest one that matches counts.
    pub fn priority(mut self, priority: u16) -> Self {
        self.priority = priority;
        self
    }

    /// Which packets.
    pub fn matching(mut self, matching: Match) -> Self {
        self.matching = matching;
        self
    }

    /// The app's own part of the cookie; packet-ins by this rule bear it.
    pub fn own(mut self, own: u32) -> Self {
        self.own = own;
        self
    }

    /// Ends after so many seconds without a packet, and says so: the app gets an [`Event::FlowRemoved`]. It is then to
    /// change what made it want the rule.
    ///
    /// [`Event::FlowRemoved`]: crate::Event::FlowRemoved
    pub fn idle_timeout(mut self, seconds: u16) -> Self {
        self.idle_timeout = seconds;
        self
    }

    /// Does this with the packet, and ends there.
    pub fn actions(self, actions: Vec<Action>) {
        self.end(actions, None);
    }

    /// Does this with the packet and passes it on to the next app.
    pub fn actions_then_next(self, actions: Vec<Action>) {
        let exit = self.rules.pipeline.exit;
        self.end(actions, Some(exit));
    }

    /// Does this with the packet and goes on in a later one of the app's tables.
    pub fn actions_then_table(self, actions: Vec<Action>, offset: u8) {
        let table = self.rules.pipeline.first.saturating_add(offset);
        self.end(actions, Some(table));
    }

    /// Passes the packet on to the next app.
    pub fn next(self) {
        self.actions_then_next(Vec::new());
    }

    /// Drops the packet.
    pub fn drop_(self) {
        self.actions(Vec::new());
    }

    /// Sends the packet to the app, whole.
    pub fn punt(self) {
        self.actions(vec![Action::to_controller()]);
    }

    /// Sends the packet to the app and passes it on to the next one.
    pub fn punt_and_next(self) {
        self.actions_then_next(vec![Action::to_controller()]);
    }

    fn end(self, actions: Vec<Action>, goto: Option<u8>) {
        let Pipeline { app, first, exit } = self.rules.pipeline;
        let table = first.saturating_add(self.table);
        if table >= exit || goto.is_some_and(|goto| goto <= table || goto > exit) {
            tracing::error!(
                switch = %self.dpid,
                "a rule in table {table} that goes to {goto:?} is left out: the app's tables are {first} to {exit}, and \
                 packets go forward only",
            );
            return;
        }
        // Instructions in the order, and of the form, in which a switch reports them.
        let mut instructions = Vec::new();
        if !actions.is_empty() {
            instructions.push(Instruction::ApplyActions(actions));
        }
        instructions.extend(goto.map(Instruction::GotoTable));
        let key = RuleKey {
            table,
            priority: self.priority,
            match_: self.matching.normal(),
        };
        let cookie = Cookie {
            app,
            epoch: 0,
            own: self.own,
        };
        let body = RuleBody {
            instructions,
            idle_timeout: self.idle_timeout,
            hard_timeout: 0,
            flags: if self.idle_timeout == 0 {
                0
            } else {
                SEND_FLOW_REM
            },
            cookie: cookie.to_u64(),
        };
        self.rules
            .by_switch
            .entry(self.dpid)
            .or_default()
            .insert(key, body);
    }
}
