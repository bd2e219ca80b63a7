//! `OFPMP_TABLE` (section 7.3.5.4): counters of tables.

use crate::wire::fixed_only;

fixed_only! {
    /// Counters of a table.
    pub struct TableStats: TableStatsFixed = "multipart.table" {
        /// Table number in the pipeline.
        table_id: u8, pad: 3;
        /// Number of rules in the table.
        active_count: u32;
        /// Packets looked up in the table.
        lookup_count: u64;
        /// Packets that matched a rule of the table.
        matched_count: u64;
    }
}
