//! `OFPMP_TABLE` (section 7.3.5.4): counters of tables.

use crate::wire::plain;

plain! {
    /// Counters of a table.
    pub struct TableStats: TableStatsFixed = "multipart.table" {
        /// Which table.
        table_id: u8, pad: 3;
        /// Rules in it.
        active_count: u32;
        /// Packets that were looked up in it.
        lookup_count: u64;
        /// Packets that matched one of its rules.
        matched_count: u64;
    }
}
