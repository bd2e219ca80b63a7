//! Turns, as the app sees them: the changes and packets that answer one input.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use morph_store::limits;
use serde_json::Value;

use crate::entries::own_groups;
use crate::table_rows::Row;
use crate::view::Tables;
use crate::{Action, AppError, Dpid, Key, PacketIn, Pipeline, Switch, Table, View, port};

/// Table and key of one of the app's own rows.
pub(crate) type RowId = (String, String);

/// Rows that a turn wrote, each with its value before the turn.
pub(crate) type Journal = BTreeMap<RowId, Option<Value>>;

/// A packet that a switch is to send.
///
/// ```
/// use morph_sdk::bench::Outcome;
/// use morph_sdk::{Action, Dpid};
///
/// /// Whether a switch floods nothing but what the app sent by one port.
/// fn left_by(outcome: &Outcome, dpid: Dpid, port: u32) -> bool {
///     let mut packets = outcome.packet_outs.iter();
///     packets.all(|packet| packet.dpid == dpid && packet.actions == [Action::output(port)])
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PacketOut {
    /// Datapath id of the switch.
    pub dpid: Dpid,
    /// Ingress port to assume for the packet; `port::CONTROLLER` for one of the app's own.
    pub in_port: u32,
    /// Actions to apply to the packet.
    pub actions: Vec<Action>,
    /// The frame, from its Ethernet header on; empty if the switch has it in a buffer.
    pub data: Bytes,
    /// Buffer of the switch that holds the frame.
    pub buffer: Option<u32>,
}

/// Collector of the state changes and packet-outs that answer one input. Reads through it see its own changes.
///
/// ```
/// use morph_sdk::{AppError, Dpid, Table, Turn};
///
/// const COUNTS: Table<Dpid, u64> = Table::new("counts");
///
/// fn count(dpid: Dpid, turn: &mut Turn<'_>) -> Result<(), AppError> {
///     let before = turn.get(&COUNTS, &dpid).unwrap_or(0);
///     turn.put(&COUNTS, &dpid, &(before + 1));
///     // What was written is seen at once.
///     assert_eq!(turn.view().get(&COUNTS, &dpid), Some(before + 1));
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Turn<'a> {
    pub(crate) tables: &'a mut Tables,
    pub(crate) switches: &'a BTreeMap<Dpid, Switch>,
    pub(crate) pipeline: Pipeline,
    /// Kinds of alarms that the app declares.
    pub(crate) alarms: &'static [&'static str],
    pub(crate) now: Instant,
    pub(crate) arrived: Instant,
    pub(crate) wall: SystemTime,
    pub(crate) journal: Journal,
    pub(crate) packet_outs: &'a mut Vec<PacketOut>,
    /// Number of packets that were not sent on because only their beginning came.
    pub(crate) cut: u64,
    /// Rows that gave way to others of a table with a bound, and that the app was not told of.
    pub(crate) evicted: Vec<(RowId, Value)>,
    /// Misuse of the turn, which makes it fail.
    pub(crate) defect: Option<AppError>,
}

impl Turn<'_> {
    /// View that includes the changes of this turn so far.
    pub fn view(&self) -> View<'_> {
        View {
            tables: self.tables,
            switches: self.switches,
            pipeline: self.pipeline,
        }
    }

    /// Shorthand for [`View::get`] on [`Turn::view`].
    pub fn get<K: Key, V: Row>(&self, table: &Table<K, V>, key: &K) -> Option<V> {
        self.view().get(table, key)
    }

    /// All rows of a table, collected so that the turn can be written to meanwhile.
    pub fn rows<K: Key, V: Row>(&self, table: &Table<K, V>) -> Vec<(K, V)> {
        self.view().iter(table).collect()
    }

    /// Sets a row. A value equal to the present one is no change. A new row of a table with a bound may evict another row, or be
    /// left out ([`TableShape::bounded`](crate::TableShape::bounded)).
    pub fn put<K: Key, V: Row>(&mut self, table: &Table<K, V>, key: &K, value: &V) {
        if self.may_write(table) {
            self.set(table, key, value);
        }
    }

    /// Deletes a row, if it is there.
    pub fn delete<K: Key, V>(&mut self, table: &Table<K, V>, key: &K) {
        if self.may_write(table) {
            self.unset(table, key);
        }
    }

    pub(crate) fn set<K: Key, V: Row>(&mut self, table: &Table<K, V>, key: &K, value: &V) {
        let rows = self.tables.rows(None, table.name());
        let typed = rows.and_then(|rows| rows.of::<K, V>());
        if typed.is_some_and(|typed| typed.rows().get(key) == Some(value) && !typed.is_odd(key)) {
            return;
        }
        let is_new = typed.is_some_and(|typed| typed.is_bounded_without(key));
        if is_new && !self.make_room(table) {
            return;
        }
        let text = key.text();
        let json = match serde_json::to_value(value) {
            Ok(json) => json,
            Err(error) => {
                self.defect = Some(AppError::new(format!(
                    "row {table:?}.{text} cannot be written: {error}"
                )));
                return;
            }
        };
        let rows = self.tables.rows_mut(None, table.name());
        let before = if let Some(typed) = rows.of_mut::<K, V>() {
            typed.put(key, value)
        } else if rows.get(&text).as_ref() == Some(&json) {
            return;
        } else {
            rows.set(&text, Some(json))
        };
        self.note(table.name(), text, before);
    }

    /// Deletes a row. True if it was there.
    pub(crate) fn unset<K: Key, V>(&mut self, table: &Table<K, V>, key: &K) -> bool {
        let text = key.text();
        let before = self.tables.set(None, table.name(), &text, None);
        let was_there = before.is_some();
        if was_there {
            self.note(table.name(), text, before);
        }
        was_there
    }

    fn may_write<K, V>(&mut self, table: &Table<K, V>) -> bool {
        let reason = match table.app() {
            Some(_) => "is another app's and cannot be written",
            None if table.name() == morph_api::alarm::TABLE => {
                "is written by `raise`, `end_alarm` and `set_alarms`"
            }
            None if table.name() == morph_api::timer::TABLE => {
                "is written by `set_timer` and `cancel_timer`"
            }
            None => return true,
        };
        self.defect = Some(AppError::new(format!("table {table:?} {reason}")));
        false
    }

    /// Notes the value of a row before its first change.
    fn note(&mut self, table: &str, key: String, before: Option<Value>) {
        self.journal
            .entry((table.to_owned(), key))
            .or_insert(before);
    }

    /// Has a switch send a packet, after the rules that this turn changes.
    pub fn packet_out(&mut self, dpid: Dpid, in_port: u32, actions: Vec<Action>, data: Bytes) {
        self.push(PacketOut {
            dpid,
            in_port,
            actions,
            data,
            buffer: None,
        });
    }

    fn push(&mut self, mut packet: PacketOut) {
        match own_groups(self.pipeline.app, packet.actions) {
            Ok(actions) => {
                packet.actions = actions;
                self.packet_outs.push(packet);
            }
            Err(why) => self.defect = Some(AppError::new(why)),
        }
    }

    /// Has a switch send the packet of a packet-in on, after the rules that this turn changes; `in_port` is as for
    /// [`Turn::packet_out`]. A packet of which only the beginning came is sent by the switch that keeps it in a buffer. Any other
    /// switch does not have it: it is dropped, and the log counts it.
    pub fn forward(&mut self, packet: &PacketIn, dpid: Dpid, in_port: u32, actions: Vec<Action>) {
        if packet.is_whole() {
            return self.packet_out(dpid, in_port, actions, packet.data.clone());
        }
        match packet.buffer.filter(|_| dpid == packet.dpid) {
            Some(_) => self.push(PacketOut {
                dpid,
                in_port,
                actions,
                data: Bytes::new(),
                buffer: packet.buffer,
            }),
            None => self.cut += 1,
        }
    }

    /// Sends a frame back out of the port by which a packet came in, as the answer to it.
    ///
    /// ```
    /// use morph_sdk::packet::Packet;
    /// use morph_sdk::{MacAddr, PacketIn, Turn};
    ///
    /// /// Answers ping, ARP and neighbour solicitations for all addresses.
    /// fn answer(packet_in: &PacketIn, turn: &mut Turn<'_>) {
    ///     let Some(packet) = Packet::parse(&packet_in.data) else {
    ///         return;
    ///     };
    ///     let reply = packet.echo_reply().or_else(|| packet.address_reply(MacAddr([2; 6])));
    ///     if let Some(reply) = reply {
    ///         turn.reply(packet_in, reply);
    ///     }
    /// }
    /// ```
    pub fn reply(&mut self, packet: &PacketIn, frame: impl Into<Bytes>) {
        let back = vec![Action::output(packet.in_port)];
        self.packet_out(packet.dpid, port::CONTROLLER, back, frame.into());
    }

    /// Whether the turn has changed fewer rows than a quarter of what a transaction takes. Work without a bound, such as the
    /// hosts behind all ports of a switch, stops where this is false and goes on with the next tick: a turn that is too large
    /// for a transaction is refused whole.
    pub fn has_room(&self) -> bool {
        self.journal.len() < limits::OPS / 4
    }

    /// Monotonic time of this turn, for timers within this process.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Time at which the event of this turn reached the proxy, on the clock of [`Turn::now`]; the same as that for other
    /// turns. Events of one switch come in the order of their arrival. Those of several switches may not: where one has
    /// many events waiting, the others' are delivered in between.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Time of day of this turn, for what is stored.
    pub fn wall(&self) -> SystemTime {
        self.wall
    }
}
