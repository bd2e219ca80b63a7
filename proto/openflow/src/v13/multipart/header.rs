//! Start of multipart requests and replies: type and flags.

use crate::wire::fixed;

/// Types of multipart messages: `OFPMP_*`.
pub mod kind {
    /// Description of the switch.
    pub const DESC: u16 = 0;
    /// Individual rules with their counters.
    pub const FLOW: u16 = 1;
    /// Sums over rules.
    pub const AGGREGATE: u16 = 2;
    /// Counters of tables.
    pub const TABLE: u16 = 3;
    /// Counters of ports.
    pub const PORT_STATS: u16 = 4;
    /// Counters of queues.
    pub const QUEUE: u16 = 5;
    /// Counters of groups.
    pub const GROUP: u16 = 6;
    /// Descriptions of groups.
    pub const GROUP_DESC: u16 = 7;
    /// Group capabilities of the switch.
    pub const GROUP_FEATURES: u16 = 8;
    /// Counters of meters.
    pub const METER: u16 = 9;
    /// Configurations of meters.
    pub const METER_CONFIG: u16 = 10;
    /// Meter capabilities of the switch.
    pub const METER_FEATURES: u16 = 11;
    /// Capabilities of tables.
    pub const TABLE_FEATURES: u16 = 12;
    /// Descriptions of ports.
    pub const PORT_DESC: u16 = 13;
    /// Type defined by an experimenter.
    pub const EXPERIMENTER: u16 = 0xffff;
}

/// `OFPMPF_REQ_MORE` and `OFPMPF_REPLY_MORE`: more parts follow.
pub(super) const MORE: u16 = 1;

fixed! {
    /// `ofp_multipart_request` and `ofp_multipart_reply` from their header to their body.
    pub struct MultipartFixed = "multipart" {
        pub kind: u16,
        pub flags: u16,
        pad: [u8; 4],
    }
}
