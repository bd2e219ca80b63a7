//! `OFPST_TABLE`, `OFPST_PORT` and `OFPST_QUEUE`: counters of tables, ports and queues.

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed, read_text, write_text};

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

/// Declares `ofp_port_stats`: the port, then counters in wire order.
macro_rules! port_stats {
    ($($(#[$meta:meta])* $counter:ident),* $(,)?) => {
        fixed! {
            /// `ofp_port_stats`.
            struct PortStatsFixed = "stats.port" {
                port_no: u16,
                pad: [u8; 6],
                $($counter: u64,)*
            }
        }

        /// Counters of a port; all ones where the switch does not count.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
        pub struct PortStats {
            /// Which port.
            pub port_no: u16,
            $($(#[$meta])* pub $counter: u64,)*
        }

        impl PortStats {
            pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let fixed = reader.fixed::<PortStatsFixed>()?;
                Ok(PortStats {
                    port_no: fixed.port_no(),
                    $($counter: fixed.$counter(),)*
                })
            }

            pub(super) fn encode(&self, w: &mut Writer<'_>) {
                w.fixed(&PortStatsFixed {
                    port_no: self.port_no.into(),
                    pad: [0; 6],
                    $($counter: self.$counter.into(),)*
                });
            }
        }
    };
}

port_stats! {
    /// Packets that came in.
    rx_packets,
    /// Packets that went out.
    tx_packets,
    /// Bytes that came in.
    rx_bytes,
    /// Bytes that went out.
    tx_bytes,
    /// Dropped on the way in.
    rx_dropped,
    /// Dropped on the way out.
    tx_dropped,
    /// All errors on the way in, of which
    rx_errors,
    /// All errors on the way out.
    tx_errors,
    /// frame alignment errors,
    rx_frame_err,
    /// overruns,
    rx_over_err,
    /// and checksum errors.
    rx_crc_err,
    /// Collisions.
    collisions,
}

fixed! {
    /// `ofp_queue_stats`.
    struct QueueStatsFixed = "stats.queue" {
        port_no: u16,
        pad: [u8; 2],
        queue_id: u32,
        tx_bytes: u64,
        tx_packets: u64,
        tx_errors: u64,
    }
}

/// Counters of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct QueueStats {
    /// Of which port.
    pub port_no: u16,
    /// Which queue.
    pub queue_id: u32,
    /// Bytes that went out.
    pub tx_bytes: u64,
    /// Packets that went out.
    pub tx_packets: u64,
    /// Packets dropped because the queue was full.
    pub tx_errors: u64,
}

impl QueueStats {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<QueueStatsFixed>()?;
        Ok(QueueStats {
            port_no: fixed.port_no(),
            queue_id: fixed.queue_id(),
            tx_bytes: fixed.tx_bytes(),
            tx_packets: fixed.tx_packets(),
            tx_errors: fixed.tx_errors(),
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&QueueStatsFixed {
            port_no: self.port_no.into(),
            pad: [0; 2],
            queue_id: self.queue_id.into(),
            tx_bytes: self.tx_bytes.into(),
            tx_packets: self.tx_packets.into(),
            tx_errors: self.tx_errors.into(),
        });
    }
}
