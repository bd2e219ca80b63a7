//! An app, its view and its wanted rules: the part that the runtime and the test bench share. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use morph_api::is_beside_schema;
use morph_openflow::entry::EntrySet;
use serde_json::Value;

use crate::alarms::ALARMS;
use crate::rank::StaleRules;
use crate::rules::{Layout, RuleFaults};
use crate::timers::{BY_TIME, TIMERS};
use crate::turn::{Journal, RowId};
use crate::view::Tables;
use crate::wanted::WantedRules;
use crate::{
    App, AppError, Changes, Dpid, DueTimer, Event, PacketOut, Pipeline, RowChange, RuleInput,
    Rules, Switch, Turn, View,
};

/// Input that a turn is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause<'a> {
    /// An event, and the time at which it reached the proxy.
    Event(&'a Event, Instant),
    Changed(&'a Changes),
    Tick,
    Timer(&'a DueTimer),
}

/// Everything that the app did with one input.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Changed rows, each with its value before.
    pub(crate) journal: Journal,
    /// Number of packets that were not sent on because only their beginning came.
    pub(crate) cut: u64,
    /// Set if the app failed; nothing was changed then.
    pub(crate) error: Option<AppError>,
}

#[derive(Debug, Clone)]
pub(crate) struct Engine<A: App> {
    pub(crate) app: A,
    pub(crate) pipeline: Pipeline,
    /// First table of a second range, while tables are moved: rules are in both, and packets pass the first.
    pub(crate) second: Option<u8>,
    pub(crate) tables: Tables,
    pub(crate) switches: BTreeMap<Dpid, Switch>,
    wanted: WantedRules<A::Group>,
    /// Groups whose rules have to be computed again.
    dirty: BTreeSet<A::Group>,
}

impl<A: App> Engine<A> {
    pub(crate) fn new(app: A, pipeline: Pipeline) -> Self {
        let beside = [ALARMS.shape(), TIMERS.shape().indexed(&BY_TIME)];
        Engine {
            app,
            pipeline,
            second: None,
            tables: Tables::new(A::tables().into_iter().chain(beside), A::reads()),
            switches: BTreeMap::new(),
            wanted: WantedRules::new(),
            dirty: BTreeSet::new(),
        }
    }

    pub(crate) fn healthy(&self) -> Result<(), AppError> {
        self.app.healthy(&self.view())
    }

    pub(crate) fn view(&self) -> View<'_> {
        View {
            tables: &self.tables,
            switches: &self.switches,
            pipeline: self.pipeline,
        }
    }

    /// Wanted rules as of the last [`Engine::settle`].
    pub(crate) fn wanted(&self) -> &BTreeMap<Dpid, morph_openflow::rule::RuleSet> {
        self.wanted.sets()
    }

    /// Wanted groups and meters as of the last [`Engine::settle`].
    pub(crate) fn wanted_entries(&self) -> &BTreeMap<Dpid, EntrySet> {
        self.wanted.entries().sets()
    }

    /// Numbers of rules that the app states wrongly, as of the last [`Engine::settle`].
    pub(crate) fn rule_faults(&self) -> RuleFaults {
        self.wanted.faults()
    }

    /// Has the app handle one input. Its changes are in the view afterwards, and its packets behind those of before; its rules
    /// follow with [`Engine::settle`].
    pub(crate) fn turn(
        &mut self,
        cause: Cause<'_>,
        now: Instant,
        wall: SystemTime,
        packet_outs: &mut Vec<PacketOut>,
    ) -> Effects {
        let packets_before = packet_outs.len();
        let arrived = match cause {
            Cause::Event(_, arrived) => arrived,
            Cause::Changed(_) | Cause::Tick | Cause::Timer(_) => now,
        };
        let mut turn = Turn {
            tables: &mut self.tables,
            switches: &self.switches,
            pipeline: self.pipeline,
            alarms: A::alarms(),
            now,
            arrived,
            wall,
            journal: Journal::new(),
            packet_outs,
            cut: 0,
            evicted: Vec::new(),
            defect: None,
        };
        if let Cause::Changed(Changes { all: true, .. }) = cause {
            turn.end_undeclared_alarms();
        }
        match cause {
            Cause::Event(..) => {}
            Cause::Changed(_) | Cause::Tick => turn.end_full_tables(),
            Cause::Timer(timer) => turn.take_timer(timer),
        }
        let result = match cause {
            Cause::Event(event, _) => self.app.event(event, &mut turn),
            Cause::Changed(changes) => self.app.changed(changes, &mut turn),
            Cause::Tick => self.app.tick(&mut turn),
            Cause::Timer(timer) => self.app.timer(timer, &mut turn),
        };
        let error = result.err().or(turn.defect.take());
        let mut effects = Effects {
            journal: turn.journal,
            cut: turn.cut,
            error,
        };
        if effects.error.is_some() {
            self.restore(std::mem::take(&mut effects.journal));
            packet_outs.truncate(packets_before);
            if let Cause::Timer(timer) = cause {
                effects.journal = self.forget_timer(timer);
            }
            return effects;
        }
        let tables = &self.tables;
        effects
            .journal
            .retain(|(table, key), before| tables.get(None, table, key) != *before);
        for ((table, key), before) in &effects.journal {
            self.touch_row(None, table, key, before.as_ref());
        }
        effects
    }

    /// Deletes the row of a timer on which the app failed: it is past all the same.
    fn forget_timer(&mut self, timer: &DueTimer) -> Journal {
        let (table, key) = (TIMERS.name(), timer.row_key());
        let before = self.tables.set(None, table, &key, None);
        Journal::from([((table.to_owned(), key), before)])
    }

    /// Reverts a turn's changes, in the view and in the rules.
    pub(crate) fn undo(&mut self, journal: Journal) {
        for ((table, key), after) in self.restore(journal) {
            self.touch_row(None, &table, &key, after.as_ref());
        }
    }

    fn restore(&mut self, journal: Journal) -> Vec<(RowId, Option<Value>)> {
        let mut undone = Vec::new();
        for ((table, key), before) in journal {
            let after = self.tables.set(None, &table, &key, before);
            undone.push(((table, key), after));
        }
        undone
    }

    /// Applies a row that was changed elsewhere. True if the view had another value.
    pub(crate) fn set_row(
        &mut self,
        app: Option<&str>,
        table: &str,
        key: &str,
        value: Option<Value>,
    ) -> bool {
        if self.tables.get(app, table, key) == value {
            return false;
        }
        let before = self.tables.set(app, table, key, value);
        self.touch_row(app, table, key, before.as_ref());
        true
    }

    fn touch_row(&mut self, app: Option<&str>, table: &str, key: &str, before: Option<&Value>) {
        if is_beside_schema(table) {
            // Rules do not depend on alarms and timers.
            return;
        }
        let after = self.tables.get(app, table, key);
        let change = RowChange {
            app,
            table,
            key,
            before,
            after: after.as_ref(),
        };
        let groups = self.app.groups(&RuleInput::Row(change), &self.view());
        self.dirty.extend(groups);
    }

    /// Adds a switch to the view, or updates its ports.
    pub(crate) fn set_switch(&mut self, switch: Switch) {
        let dpid = switch.dpid;
        let known = self.switches.get(&dpid);
        if known == Some(&switch) {
            return;
        }
        // Rules for a switch that is away are made as if it had all tables.
        let room =
            |switch: &Switch| Some(switch.in_switch).filter(|tables| *tables <= self.last_exit());
        if known.and_then(room) != room(&switch) {
            self.dirty.extend(self.wanted.groups());
        }
        self.switches.insert(dpid, switch);
        self.touch_switch(dpid);
    }

    pub(crate) fn remove_switch(&mut self, dpid: Dpid) {
        if self.switches.remove(&dpid).is_some() {
            self.touch_switch(dpid);
        }
    }

    fn touch_switch(&mut self, dpid: Dpid) {
        let groups = self.app.groups(&RuleInput::Switch(dpid), &self.view());
        self.dirty.extend(groups);
    }

    /// Brings the view of the switches in line with an event, before the app gets it.
    pub(crate) fn see(&mut self, event: &Event) {
        match event {
            Event::SwitchUp(switch) => self.set_switch(switch.clone()),
            Event::SwitchDown(dpid) => self.remove_switch(*dpid),
            Event::PortStatus { dpid, reason, port } => {
                let switch = self.switches.get_mut(dpid);
                if switch.is_some_and(|switch| switch.port_status(*reason, port)) {
                    self.touch_switch(*dpid);
                }
            }
            Event::PacketIn(_)
            | Event::FlowRemoved(_)
            | Event::Lost { .. }
            | Event::SwitchForgotten(_)
            | Event::Resync { .. } => {}
        }
    }

    /// Computes the rules of the dirty groups. Adds the rules that may have changed to `stale`.
    pub(crate) fn settle(&mut self, stale: &mut StaleRules) {
        if self.dirty.is_empty() {
            return;
        }
        let layout = Layout::new(self.pipeline, self.second, &self.switches).into();
        for group in std::mem::take(&mut self.dirty) {
            let mut rules = Rules::new(&layout);
            let view = View {
                tables: &self.tables,
                switches: &self.switches,
                pipeline: self.pipeline,
            };
            self.app.rules(&group, &view, &mut rules);
            self.wanted.replace(&group, rules, stale);
        }
    }

    /// Last exit of the app's ranges.
    fn last_exit(&self) -> u8 {
        let Pipeline { first, exit, .. } = self.pipeline;
        let second = self.second.unwrap_or(first);
        exit.max(second.saturating_add(exit.saturating_sub(first)))
    }

    /// Takes over changed tables, which dirties all groups. True if there are fewer or more of them in any switch.
    pub(crate) fn set_pipeline(
        &mut self,
        pipeline: Pipeline,
        second: Option<u8>,
        stale: &mut StaleRules,
    ) -> bool {
        if (self.pipeline, self.second) == (pipeline, second) {
            return false;
        }
        (self.pipeline, self.second) = (pipeline, second);
        let mut is_changed = false;
        for switch in self.switches.values_mut() {
            let tables = Switch::own_tables(switch.in_switch, pipeline.range());
            is_changed |= std::mem::replace(&mut switch.tables, tables) != tables;
        }
        self.dirty.extend(self.wanted.groups());
        self.settle(stale);
        is_changed
    }
}
