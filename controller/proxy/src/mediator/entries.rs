//! Entries into the tables of the apps: one rule of a switch leads to an app, or past it until the switch has confirmed its rules.

use morph_openflow::Dpid;
use morph_openflow::rule::RuleSet;
use morph_openflow::v13::{FlowMod, FlowModCommand, Message};

use super::*;
use crate::channel::{Expects, Requester};
use crate::pipeline;

impl Switch {
    /// Rules that table 0 and the exit tables are to have. A switch that speaks OpenFlow 1.0 has neither.
    pub(super) fn wanted(&self, apps: &Apps) -> RuleSet {
        if self.channel.transport.has_one_table() {
            return RuleSet::new();
        }
        let rules = pipeline::wanted(apps, &self.entries);
        pipeline::in_switch(rules, self.channel.tables())
    }

    /// Sends changes of table 0 and the exit tables. No deletion, of these rules or of an app's, comes before packets are led past it.
    pub(super) fn send_pipeline(&mut self, mods: Vec<FlowMod>, now: Instant) {
        let transport = &mut self.channel.transport;
        let is_deletion = |flow: &FlowMod| flow.command == FlowModCommand::DeleteStrict;
        let (deletions, changes): (Vec<_>, Vec<_>) = mods.into_iter().partition(is_deletion);
        let barrier = (!changes.is_empty()).then_some(Message::BarrierRequest);
        let changes = changes.into_iter().map(Message::FlowMod).chain(barrier);
        for message in changes.chain(deletions.into_iter().map(Message::FlowMod)) {
            let expects = match message {
                Message::BarrierRequest => Expects::Reply,
                _ => Expects::Nothing,
            };
            transport.send(&message, Requester::Pipeline, expects, now);
        }
    }
}

impl Mediator {
    /// Leads packets into an app's tables, as the switch has confirmed its rules.
    pub(super) fn enter(&mut self, app: u8, conn: u32, now: Instant) {
        let (Some(switch), Some(apps)) = (self.switches.get_mut(&conn), &self.apps) else {
            return;
        };
        let before = switch.entries.is_read().then(|| switch.wanted(apps));
        if !switch.announced || !switch.entries.confirm(app) {
            return;
        }
        // Otherwise the reading that is under way leads to the difference.
        let Some(before) = before else {
            return;
        };
        let (mods, _) = pipeline::difference(&before, &switch.wanted(apps));
        if mods.is_empty() {
            return;
        }
        let name = apps.by_id(app).map(|app| app.name.as_str());
        let dpid = Dpid(switch.channel.dpid());
        let kind = format!("switch {dpid}: rules of app {app} confirmed");
        if self.repeats.note(&kind, now) {
            tracing::info!(%dpid, app = name, "the switch has confirmed the app's rules: packets enter its tables");
        }
        switch.send_pipeline(mods, now);
        // An answer that is on its way shows the former entry.
        switch.verification.interrupt();
        self.mark_dirty(conn);
        self.arm_verification(conn);
    }

    /// Leads packets into the tables of apps whose live instances do not report that rules are confirmed: earlier SDKs do not.
    pub(super) fn enter_unconfirmed(&mut self, conn: u32, now: Instant) {
        for app in self.slots.keys().copied().collect::<Vec<_>>() {
            if self.is_unconfirming(app) {
                self.enter(app, conn, now);
            }
        }
    }

    /// Leads packets into the tables of this app in all switches, if its live instance does not report that rules are confirmed.
    pub(super) fn enter_unconfirmed_of(&mut self, app: &str, now: Instant) {
        let Some(app) = self.app_id(app).filter(|app| self.is_unconfirming(*app)) else {
            return;
        };
        for conn in self.switches.keys().copied().collect::<Vec<_>>() {
            self.enter(app, conn, now);
        }
    }

    fn is_unconfirming(&self, app: u8) -> bool {
        let live = self.slots.get(&app).and_then(Slot::receiver);
        let hello = live.and_then(|id| self.sessions.get(&id)?.hello.as_ref());
        hello.is_some_and(|hello| !hello.confirms_rules)
    }
}
