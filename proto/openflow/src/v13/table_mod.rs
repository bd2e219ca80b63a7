//! `OFPT_TABLE_MOD` (section 7.3.3): changes the configuration of a table. OpenFlow 1.3 defines no setting.

use crate::wire::fixed_only;

fixed_only! {
    /// Change of the configuration of a table.
    pub struct TableMod: TableModFixed = "table_mod" {
        /// Table number, or `TABLE_ALL`.
        table_id: u8, pad: 3;
        /// Bits of `OFPTC_*`, all deprecated.
        config: u32;
    }
}
