//! `OFPST_TABLE`, `OFPST_PORT` and `OFPST_QUEUE`: counters of tables, ports and queues.

use crate::alike::counters::port_stats;
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed, plain, read_text, write_text};

/// `OFP_MAX_TABLE_NAME_LEN`.
const NAME_LEN: usize = 32;

fixed! {
    /// `ofp_table_stats`.
    struct TableStatsFixed = "stats.table" {
        table_id: u8,
        pad: [u8; 3],
        name: [u8; NAME_LEN],
        wildcards: u32,
        max_entries: u32,
        active_count: u32,
        lookup_count: u64,
        matched_count: u64,
    }
}

/// What a table is and has done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TableStats {
    /// Which.
    pub table_id: u8,
    /// Its name, at most 31 bytes.
    pub name: String,
    /// Which fields its rules may leave out: `wildcard::*`.
    pub wildcards: u32,
    /// How many rules there is room for.
    pub max_entries: u32,
    /// How many rules it has.
    pub active_count: u32,
    /// Packets that were looked up.
    pub lookup_count: u64,
    /// Packets that a rule was found for.
    pub matched_count: u64,
}

impl TableStats {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<TableStatsFixed>()?;
        Ok(TableStats {
            table_id: fixed.table_id(),
            name: read_text(&fixed.name),
            wildcards: fixed.wildcards(),
            max_entries: fixed.max_entries(),
            active_count: fixed.active_count(),
            lookup_count: fixed.lookup_count(),
            matched_count: fixed.matched_count(),
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&TableStatsFixed {
            table_id: self.table_id,
            pad: [0; 3],
            name: write_text(&self.name),
            wildcards: self.wildcards.into(),
            max_entries: self.max_entries.into(),
            active_count: self.active_count.into(),
            lookup_count: self.lookup_count.into(),
            matched_count: self.matched_count.into(),
        });
    }
}

port_stats! { "stats.port", u16, 6, {} }

plain! {
    /// Counters of a queue.
    pub struct QueueStats: QueueStatsFixed = "stats.queue" {
        /// Of which port.
        port_no: u16, pad: 2;
        /// Which queue.
        queue_id: u32;
        /// Bytes that went out.
        tx_bytes: u64;
        /// Packets that went out.
        tx_packets: u64;
        /// Packets dropped because the queue was full.
        tx_errors: u64;
    }
}
