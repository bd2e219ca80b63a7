//! A bench for an app's tests: feeds inputs and shows what the app did. No process, no socket, no clock.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use morph_api::entry::{GROUPS, METERS};
use morph_openflow::entry::{self, EntryBody, EntryKey, EntrySet};
use morph_openflow::rule::{RuleKey, RuleSet};
use morph_openflow::v13::{FlowMod, Message};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use crate::migration::{down, up};

use crate::alarms::ALARMS;
use crate::engine::{Cause, Effects, Engine};
use crate::rank::{Stage, StaleRules};
use crate::{
    AlarmRow, App, AppError, ChangedRow, Changes, Dpid, DueTimer, Event, Key, PacketIn, PacketOut,
    Pipeline, Rows, Switch, Table, View, entries, install,
};

/// An app on the bench: live from the start, every turn accepted and durable at once.
///
/// ```
/// use morph_sdk::bench::Bench;
/// use morph_sdk::{App, Dpid, Pipeline};
///
/// /// Rules that an app wants on a switch with two ports, before any packet.
/// fn rules_at_start<A: App>(app: A) -> usize {
///     let mut bench = Bench::new(app, Pipeline { app: 1, first: 1, exit: 2 });
///     let outcome = bench.switch(Dpid(1), [1, 2]);
///     assert!(outcome.error.is_none());
///     bench.rules().values().map(|rules| rules.len()).sum()
/// }
/// ```
#[derive(Debug)]
pub struct Bench<A: App> {
    engine: Engine<A>,
    installed: BTreeMap<Dpid, RuleSet>,
    /// Groups and meters of the connected switches.
    entries: BTreeMap<Dpid, EntrySet>,
    /// Rules that may have changed since they were last installed, and those that switches removed by themselves.
    stale: StaleRules,
    expired: BTreeMap<Dpid, BTreeSet<RuleKey>>,
    now: Instant,
    wall: SystemTime,
}

/// Everything that the app did with one input.
///
/// ```
/// use morph_sdk::bench::Outcome;
/// use morph_sdk::{Dpid, Table};
///
/// const COUNTS: Table<Dpid, u64> = Table::new("counts");
///
/// /// Whether an input counted one packet, and sent nothing.
/// fn counted(outcome: &Outcome, dpid: Dpid) -> bool {
///     outcome.put(&COUNTS) == [(dpid, 1)] && outcome.packet_outs.is_empty()
/// }
/// ```
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows that were set, by table and key.
    pub puts: BTreeMap<(String, String), Value>,
    /// Rows that were deleted, by table and key.
    pub deletes: BTreeSet<(String, String)>,
    /// Packets that were sent.
    pub packet_outs: Vec<PacketOut>,
    /// Number of packets that were not sent on because only their beginning came.
    pub cut: u64,
    /// Changes of rules, in the order in which they leave, before the packets.
    pub flow_mods: Vec<(Dpid, FlowMod)>,
    /// Additions and changes of groups and meters, in the order in which they leave, before those of rules.
    pub entry_sets: Vec<(Dpid, Message)>,
    /// Deletions of groups and meters, in the order in which they leave, behind the changes of rules.
    pub entry_deletes: Vec<(Dpid, Message)>,
    /// The app's error, if it failed.
    pub error: Option<AppError>,
}

impl Outcome {
    /// Whether the app did nothing at all.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty()
            && self.deletes.is_empty()
            && self.packet_outs.is_empty()
            && self.flow_mods.is_empty()
            && self.entry_sets.is_empty()
            && self.entry_deletes.is_empty()
            && self.error.is_none()
    }

    /// Typed rows of a table that were set.
    pub fn put<K: Key, V: DeserializeOwned>(&self, table: &Table<K, V>) -> Vec<(K, V)> {
        let rows = self.puts.iter();
        rows.filter_map(|((name, key), value)| {
            let key = table.key_of(None, name, key)?;
            Some((key, V::deserialize(value).ok()?))
        })
        .collect()
    }

    /// Keys of a table's rows that were deleted.
    pub fn deleted<K: Key, V>(&self, table: &Table<K, V>) -> Vec<K> {
        let rows = self.deletes.iter();
        rows.filter_map(|(name, key)| table.key_of(None, name, key))
            .collect()
    }
}

impl<A: App> Bench<A> {
    /// Puts an app on the bench.
    pub fn new(app: A, pipeline: Pipeline) -> Self {
        Bench {
            engine: Engine::new(app, pipeline),
            installed: BTreeMap::new(),
            entries: BTreeMap::new(),
            stale: StaleRules::new(),
            expired: BTreeMap::new(),
            now: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        }
    }

    /// Connects a switch without rules, with these ports up.
    pub fn switch(&mut self, dpid: Dpid, ports: impl IntoIterator<Item = u32>) -> Outcome {
        self.event(Event::SwitchUp(Switch::new(dpid, ports)))
    }

    /// Sets a row as its owner does (another app, or a person for the app's own tables), and tells the app.
    pub fn row<K: Key, V: Serialize>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Outcome {
        let value = serde_json::to_value(value).unwrap_or_default();
        self.foreign(table, key, Some(value))
    }

    /// Deletes a row as its owner does, and tells the app.
    pub fn no_row<K: Key, V>(&mut self, table: &Table<K, V>, key: &K) -> Outcome {
        self.foreign(table, key, None)
    }

    fn foreign<K: Key, V>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: Option<Value>,
    ) -> Outcome {
        let key = key.text();
        if !self.engine.set_row(table.app(), table.name(), &key, value) {
            return Outcome::default();
        }
        let row = ChangedRow {
            app: table.app().map(str::to_owned),
            table: table.name().to_owned(),
            key,
        };
        let changes = Changes {
            all: false,
            rows: vec![row],
        };
        self.turn(Cause::Changed(&changes))
    }

    /// Feeds one event.
    pub fn event(&mut self, event: Event) -> Outcome {
        self.event_after(event, Duration::ZERO)
    }

    /// Feeds an event that waited in the proxy for this long, as in a hold.
    pub fn event_after(&mut self, event: Event, waited: Duration) -> Outcome {
        if let Event::SwitchUp(Switch { dpid, .. }) | Event::SwitchDown(dpid) = &event {
            self.installed.remove(dpid);
            self.entries.remove(dpid);
        }
        if let Event::FlowRemoved(removed) = &event
            && removed.is_timeout()
        {
            let key = removed.key();
            let dpid = removed.dpid;
            self.stale.note(dpid, key.clone());
            self.expired.entry(dpid).or_default().insert(key);
        }
        self.engine.see(&event);
        let arrived = self.now.checked_sub(waited).unwrap_or(self.now);
        self.turn(Cause::Event(&event, arrived))
    }

    /// Feeds a packet that came in by a port of a switch and missed in the app's first table.
    pub fn packet_in(&mut self, dpid: Dpid, in_port: u32, data: impl Into<Bytes>) -> Outcome {
        let data = data.into();
        self.event(Event::PacketIn(PacketIn {
            dpid,
            in_port,
            table: self.engine.pipeline.first,
            reason: 0,
            cookie_own: 0,
            length: data.len() as u16,
            buffer: None,
            data,
        }))
    }

    /// Tells the app that anything may have changed, as after a resume.
    pub fn resume(&mut self) -> Outcome {
        self.turn(Cause::Changed(&Changes::all()))
    }

    /// Lets time pass, and has the app handle the timers that are due meanwhile, each at its time. Returns one outcome for each.
    pub fn timers(&mut self, after: Duration) -> Vec<Outcome> {
        let end = self.now + after;
        let mut outcomes = Vec::new();
        while let Some(wait) = DueTimer::next_in(&self.view(), self.wall)
            && self.now + wait <= end
        {
            self.now += wait;
            self.wall += wait;
            let Some(due) = DueTimer::first(&self.view(), self.wall) else {
                break;
            };
            outcomes.push(self.turn(Cause::Timer(&due)));
        }
        self.wall += end - self.now;
        self.now = end;
        outcomes
    }

    /// Lets time pass, then ticks once. Timers wait for [`Bench::timers`].
    pub fn tick(&mut self, after: Duration) -> Outcome {
        self.now += after;
        self.wall += after;
        self.turn(Cause::Tick)
    }

    /// Sets the wall clock, as an operator or NTP does.
    pub fn set_wall(&mut self, wall: SystemTime) {
        self.wall = wall;
    }

    /// Current time of the bench by the wall clock.
    pub fn wall(&self) -> SystemTime {
        self.wall
    }

    fn turn(&mut self, cause: Cause<'_>) -> Outcome {
        let mut packet_outs = Vec::new();
        let (now, wall) = (self.now, self.wall);
        let Effects {
            journal,
            cut,
            error,
        } = self.engine.turn(cause, now, wall, &mut packet_outs);
        let mut outcome = Outcome {
            packet_outs,
            cut,
            error,
            ..Outcome::default()
        };
        for ((table, key), _) in journal {
            match self.engine.tables.get(None, &table, &key) {
                Some(value) => {
                    outcome.puts.insert((table, key), value.clone());
                }
                None => {
                    outcome.deletes.insert((table, key));
                }
            }
        }
        self.engine.settle(&mut self.stale);
        self.check_reads();
        let stale = std::mem::take(&mut self.stale);
        let stages = stale.stages();
        let mut expired = std::mem::take(&mut self.expired);
        let none = RuleSet::new();
        let mut flow_mods: Vec<(Stage, Dpid, FlowMod)> = Vec::new();
        for dpid in self.engine.switches.keys() {
            let wanted = self.engine.wanted().get(dpid).unwrap_or(&none);
            let at_once = |flow_mod| (Stage::Rank(0), *dpid, flow_mod);
            match (self.installed.entry(*dpid), stale.rules.get(dpid)) {
                (Entry::Vacant(new), _) => {
                    let all = install::all(new.insert(RuleSet::new()), wanted, 1);
                    flow_mods.extend(all.flow_mods().into_iter().map(at_once));
                }
                (Entry::Occupied(_), None) => {}
                (Entry::Occupied(mut there), Some(stale)) => {
                    let there = there.get_mut();
                    for key in expired.remove(dpid).unwrap_or_default() {
                        install::forget_expired(there, wanted, &key);
                    }
                    // Additions, then replacements, then deletions.
                    let mut keys: Vec<_> = stale.iter().collect();
                    keys.sort_by_key(|key| (!wanted.contains_key(key), there.contains_key(key)));
                    for key in keys {
                        let stage = stages.get(&(*dpid, key.clone()));
                        let stage = stage.copied().unwrap_or(Stage::Rank(0));
                        let flow_mod = install::one(there, wanted, key, 1);
                        flow_mods.extend(flow_mod.map(|flow_mod| (stage, *dpid, flow_mod)));
                    }
                }
            }
        }
        flow_mods.sort_by_key(|(stage, _, _)| *stage);
        let flow_mods = flow_mods.into_iter().map(|(_, dpid, m)| (dpid, m));
        outcome.flow_mods.extend(flow_mods);
        self.install_entries(&mut outcome);
        outcome
    }

    /// Brings groups and meters of the connected switches in line.
    fn install_entries(&mut self, outcome: &mut Outcome) {
        let (none, no_rules) = (EntrySet::new(), RuleSet::new());
        for dpid in self.engine.switches.keys() {
            let wanted = self.engine.wanted_entries().get(dpid).unwrap_or(&none);
            let there = self.entries.entry(*dpid).or_default();
            let (mut waiting, mut gone) = entries::differences(there, wanted);
            loop {
                let ready = entries::ready(&waiting, there, wanted);
                if ready.is_empty() {
                    break;
                }
                for key in ready {
                    waiting.remove(&key);
                    if let Some(body) = wanted.get(&key) {
                        let before = there.insert(key, body.clone());
                        let message = entry::set(key, body, before.is_some());
                        outcome.entry_sets.push((*dpid, message));
                    }
                }
            }
            let rules = self.installed.get(dpid).unwrap_or(&no_rules);
            loop {
                let unused = entries::unused(&gone, there, rules);
                if unused.is_empty() {
                    break;
                }
                for key in unused {
                    gone.remove(&key);
                    there.remove(&key);
                    outcome.entry_deletes.push((*dpid, entry::delete(key)));
                }
            }
        }
    }

    /// Wanted groups by switch and the app's number, also for switches that are not connected.
    pub fn groups(&self) -> BTreeMap<(Dpid, u32), EntryBody> {
        self.numbered(|key| match key {
            EntryKey::Group(id) => Some(id % GROUPS),
            EntryKey::Meter(_) => None,
        })
    }

    /// Wanted meters by switch and the app's number, also for switches that are not connected.
    pub fn meters(&self) -> BTreeMap<(Dpid, u32), EntryBody> {
        self.numbered(|key| match key {
            EntryKey::Meter(id) => Some(id % METERS),
            EntryKey::Group(_) => None,
        })
    }

    fn numbered(
        &self,
        number: impl Fn(EntryKey) -> Option<u32>,
    ) -> BTreeMap<(Dpid, u32), EntryBody> {
        let mut numbered = BTreeMap::new();
        for (dpid, set) in self.engine.wanted_entries() {
            for (key, body) in set {
                numbered.extend(number(*key).map(|number| ((*dpid, number), body.clone())));
            }
        }
        numbered
    }

    /// Wanted rules by switch, also for switches that are not connected.
    pub fn rules(&self) -> &BTreeMap<Dpid, RuleSet> {
        self.engine.wanted()
    }

    /// View that the app sees now.
    pub fn view(&self) -> View<'_> {
        self.engine.view()
    }

    /// Number of rows that the app has read so far, for its events, groups and rules: what an input costs must not grow
    /// with the number of rows.
    pub fn rows_read(&self) -> u64 {
        self.engine.tables.reads()
    }

    /// Mutable access to the app under test.
    pub fn app(&mut self) -> &mut A {
        &mut self.engine.app
    }

    /// Current time of the bench.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// All rows of the app, as they stand in the store.
    pub fn own_rows(&self) -> Rows {
        let tables = self.engine.tables.of(None).into_iter().flatten();
        Rows(
            tables
                .flat_map(|(table, rows)| {
                    rows.iter()
                        .map(move |(key, value)| ((table.clone(), key), value))
                })
                .collect(),
        )
    }

    /// Alarms of the app by kind and subject.
    pub fn alarms(&self) -> BTreeMap<(String, String), AlarmRow> {
        self.view().iter(&ALARMS).collect()
    }

    /// Loads rows of the app before it starts, as for an instance that takes over.
    pub fn load(&mut self, rows: &Rows) {
        self.load_into(None, rows);
    }

    /// Loads another app's rows before the app starts.
    pub fn load_of(&mut self, app: &str, rows: &Rows) {
        self.load_into(Some(app), rows);
    }

    fn load_into(&mut self, app: Option<&str>, rows: &Rows) {
        for ((table, key), value) in &rows.0 {
            self.engine.set_row(app, table, key, Some(value.clone()));
        }
        self.engine.settle(&mut self.stale);
        self.check_reads();
    }

    /// Fails the test where the app has read a table of another app that it does not declare.
    #[expect(clippy::panic, reason = "a test on the bench fails by it")]
    fn check_reads(&self) {
        if let Some(read) = self.engine.tables.undeclared_read() {
            panic!("{read}");
        }
    }
}
