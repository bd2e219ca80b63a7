//! `OFPT_TABLE_MOD` (section 7.3.3): configures a table. Nothing of it is in use since 1.3.

use crate::wire::plain;

plain! {
    /// Configures a table.
    pub struct TableMod: TableModFixed = "table_mod" {
        /// Which, or `TABLE_ALL`.
        table_id: u8, pad: 3;
        /// `OFPTC_*`: only deprecated bits.
        config: u32;
    }
}
