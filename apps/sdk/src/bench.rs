//! A bench for an app's tests: feeds inputs, shows turns. No process, no socket, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use morph_openflow::rule::RuleSet;
use morph_openflow::v13::FlowMod;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use crate::migration::{down, up};

use crate::engine::{Cause, Engine, Made};
use crate::wanted::Stale;
use crate::{
    App, AppError, ChangedRow, Changes, Dpid, Event, Key, PacketIn, PacketOut, Pipeline, Rows,
    Switch, Table, View, install,
};

/// An app on the bench: live from the start, every turn accepted and durable at once.
#[derive(Debug)]
pub struct Bench<A: App> {
    engine: Engine<A>,
    installed: BTreeMap<Dpid, RuleSet>,
    now: Instant,
    wall: SystemTime,
}

/// What the app did with one input.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows set, by table and key.
    pub puts: BTreeMap<(String, String), Value>,
    /// Rows deleted.
    pub deletes: BTreeSet<(String, String)>,
    /// Packets sent.
    pub packet_outs: Vec<PacketOut>,
    /// Changes of rules, in the order in which they leave, before the packets.
    pub flow_mods: Vec<(Dpid, FlowMod)>,
    /// The app's error, if it failed.
    pub error: Option<AppError>,
}

impl Outcome {
    /// Whether nothing at all was done.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty()
            && self.deletes.is_empty()
            && self.packet_outs.is_empty()
            && self.flow_mods.is_empty()
            && self.error.is_none()
    }

    /// The rows of a table that were set.
    pub fn put<K: Key, V: DeserializeOwned>(&self, table: &Table<K, V>) -> Vec<(K, V)> {
        let rows = self.puts.iter();
        rows.filter_map(|((name, key), value)| {
            let key = table.key_of(None, name, key)?;
            Some((key, V::deserialize(value).ok()?))
        })
        .collect()
    }

    /// The rows of a table that were deleted.
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
            now: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        }
    }

    /// A switch connects, with these ports up; its rules are none.
    pub fn switch(&mut self, dpid: Dpid, ports: impl IntoIterator<Item = u32>) -> Outcome {
        self.event(Event::SwitchUp(Switch::new(dpid, ports)))
    }

    /// Sets a row as another app (where the table is one's) or a person does, and tells the app.
    pub fn row<K: Key, V: Serialize>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Outcome {
        let value = serde_json::to_value(value).unwrap_or_default();
        self.foreign(table, key, Some(value))
    }

    /// Deletes a row as another app or a person does, and tells the app.
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
        if let Event::SwitchUp(Switch { dpid, .. }) | Event::SwitchDown(dpid) = &event {
            self.installed.remove(dpid);
        }
        self.engine.see(&event);
        self.turn(Cause::Event(&event))
    }

    /// Feeds a packet that came in by a port of a switch and missed in the app's first table.
    pub fn packet_in(&mut self, dpid: Dpid, in_port: u32, data: impl Into<Bytes>) -> Outcome {
        self.event(Event::PacketIn(PacketIn {
            dpid,
            in_port,
            table: self.engine.pipeline.first,
            reason: 0,
            cookie_own: 0,
            data: data.into(),
        }))
    }

    /// Says that anything may have changed, as after a resume.
    pub fn resume(&mut self) -> Outcome {
        self.turn(Cause::Changed(&Changes::all()))
    }

    /// Lets time pass, then ticks once.
    pub fn tick(&mut self, after: Duration) -> Outcome {
        self.now += after;
        self.wall += after;
        self.turn(Cause::Tick)
    }

    fn turn(&mut self, cause: Cause<'_>) -> Outcome {
        let Made {
            journal,
            packet_outs,
            error,
        } = self.engine.turn(cause, self.now, self.wall);
        let mut outcome = Outcome {
            packet_outs,
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
        self.engine.settle(&mut Stale::new());
        let none = RuleSet::new();
        for dpid in self.engine.switches.keys() {
            let wanted = self.engine.wanted().get(dpid).unwrap_or(&none);
            let made = install::all(self.installed.entry(*dpid).or_default(), wanted, 1);
            let mods = made.flow_mods().into_iter().map(|m| (*dpid, m));
            outcome.flow_mods.extend(mods);
        }
        outcome
    }

    /// The rules that are wanted, by switch; also on switches that are not connected.
    pub fn rules(&self) -> &BTreeMap<Dpid, RuleSet> {
        self.engine.wanted()
    }

    /// The view.
    pub fn view(&self) -> View<'_> {
        self.engine.view()
    }

    /// The app itself.
    pub fn app(&mut self) -> &mut A {
        &mut self.engine.app
    }

    /// The bench's time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The app's own rows, as they stand in the store.
    pub fn own_rows(&self) -> Rows {
        let keyspace = self.engine.tables.keyspace(None).into_iter().flatten();
        Rows(
            keyspace
                .flat_map(|(table, rows)| {
                    let id = move |key: &String| (table.clone(), key.clone());
                    rows.iter().map(move |(key, v)| (id(key), v.clone()))
                })
                .collect(),
        )
    }

    /// Puts rows into the store's place before the app starts; for an instance that takes over.
    pub fn load(&mut self, rows: &Rows) {
        self.load_into(None, rows);
    }

    /// Puts another app's rows into the store's place before the app starts.
    pub fn load_of(&mut self, app: &str, rows: &Rows) {
        self.load_into(Some(app), rows);
    }

    fn load_into(&mut self, app: Option<&str>, rows: &Rows) {
        for ((table, key), value) in &rows.0 {
            self.engine.set_row(app, table, key, Some(value.clone()));
        }
        self.engine.settle(&mut Stale::new());
    }
}
