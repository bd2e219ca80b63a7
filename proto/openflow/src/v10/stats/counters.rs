//! `OFPST_TABLE`, `OFPST_PORT` and `OFPST_QUEUE`: counters of tables, ports and queues.

use crate::error::DecodeError;
use crate::shared::counters::port_stats;
use crate::wire::{Reader, Writer, fixed, fixed_only, read_text, write_text};

/// `OFP_MAX_TABLE_NAME_LEN`: field length in bytes.
const NAME_LEN: usize = 32;

fixed! {
    /// `ofp_table_stats`: description and counters of a table.
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

/// Description and counters of a table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TableStats {
    /// Table number in the switch.
    pub table_id: u8,
    /// Name of the table, at most 31 bytes.
    pub name: String,
    /// Fields that rules may leave out, bits of `wildcard`.
    pub wildcards: u32,
    /// Maximum number of rules.
    pub max_entries: u32,
    /// Number of rules in the table.
    pub active_count: u32,
    /// Packets looked up in the table.
    pub lookup_count: u64,
    /// Packets that matched a rule of the table.
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

fixed_only! {
    /// Counters of a queue.
    pub struct QueueStats: QueueStatsFixed = "stats.queue" {
        /// Port of the queue.
        port_no: u16, pad: 2;
        /// Queue id within the port.
        queue_id: u32;
        /// Bytes transmitted by the queue.
        tx_bytes: u64;
        /// Packets transmitted by the queue.
        tx_packets: u64;
        /// Packets dropped because the queue was full.
        tx_errors: u64;
    }
}
