//! What the app did in a turn, while the turn is open.

use std::fmt::Display;
use std::time::{Duration, Instant};

use morph_api::store::Seq;
use morph_store::limits;
use serde_json::Value;

use super::delivery::Delivery;
use crate::PacketOut;
use crate::engine::Effects;
use crate::turn::Journal;
use crate::view::Tables;

/// Time after which a turn takes no further event: others wait for the answers.
const LENGTH: Duration = Duration::from_millis(5);
/// Most events of a turn.
const EVENTS: usize = 1024;
/// Changed rows, their bytes and those of packets after which a turn takes no further event: half of the limits of the store,
/// and a quarter of the proxy's. A turn of several events that is too large all the same is made again, event by event.
const ROWS: usize = limits::OPS / 2;
const ROW_BYTES: usize = limits::TRANSACTION / 2;
const PACKET_BYTES: usize = 4 << 20;

/// The events of a turn and what the app did with them.
#[derive(Debug)]
pub(super) struct Batch {
    clock: Option<fn() -> Instant>,
    /// Events up to this one are turns of their own.
    singly_to: Seq,
    began: Option<Instant>,
    pub(super) deliveries: Vec<Delivery>,
    /// Rows that the turn wrote, each with its value before.
    pub(super) journal: Journal,
    pub(super) packet_outs: Vec<PacketOut>,
    row_bytes: usize,
    /// Bytes of the first packets, and how many these are.
    packet_bytes: usize,
    packets_counted: usize,
}

impl Batch {
    /// Makes an empty turn with room for so many events.
    pub(super) fn new(clock: Option<fn() -> Instant>, singly_to: Seq, room: usize) -> Self {
        let room = room.min(EVENTS);
        Batch {
            clock,
            singly_to,
            began: clock.map(|clock| clock()),
            deliveries: Vec::with_capacity(room),
            journal: Journal::new(),
            packet_outs: Vec::with_capacity(room),
            row_bytes: 0,
            packet_bytes: 0,
            packets_counted: 0,
        }
    }

    /// Adds what the app did with an input, of which `what` is the name. Its packets are there.
    pub(super) fn add(&mut self, what: impl Display, effects: Effects, tables: &Tables) {
        if let Some(error) = effects.error {
            tracing::error!("the app failed on {what}, and its changes are dropped: {error}");
        }
        for ((table, key), before) in effects.journal {
            let now = tables.get(None, &table, &key);
            self.row_bytes += table.len() + key.len() + now.as_ref().map_or(0, size);
            self.journal.entry((table, key)).or_insert(before);
        }
        let packets = self.packet_outs.iter().skip(self.packets_counted);
        self.packet_bytes += packets.map(|packet| packet.data.len()).sum::<usize>();
        self.packets_counted = self.packet_outs.len();
    }

    /// Keeps the rows that have another value than before the turn.
    pub(super) fn keep_changes(&mut self, tables: &Tables) {
        self.journal
            .retain(|(table, key), before| tables.get(None, table, key) != *before);
    }

    /// Whether this event may be handled in the same turn.
    pub(super) fn takes(&self, next: &Delivery) -> bool {
        let fits = |first: &Delivery| {
            first.is_plain()
                && next.is_plain()
                && first.repeated == next.repeated
                && first.place.seq > self.singly_to
        };
        self.deliveries.len() < EVENTS
            && self.deliveries.first().is_none_or(fits)
            && self.has_room()
    }

    /// Whether a further input may be handled in the same turn.
    pub(super) fn has_room(&self) -> bool {
        let is_late = || {
            let lasts = self.clock.zip(self.began);
            lasts.is_some_and(|(clock, began)| clock() >= began + LENGTH)
        };
        self.journal.len() < ROWS
            && self.row_bytes < ROW_BYTES
            && self.packet_bytes < PACKET_BYTES
            && !is_late()
    }
}

/// Approximate size of a value's text in bytes.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 12,
        Value::String(text) => text.len() + 2,
        Value::Array(values) => values.iter().map(|value| size(value) + 1).sum::<usize>() + 2,
        Value::Object(members) => {
            let sizes = members
                .iter()
                .map(|(name, value)| name.len() + size(value) + 4);
            sizes.sum::<usize>() + 2
        }
    }
}
