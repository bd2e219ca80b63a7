//! Multipart messages (section 7.3.5): requests, and replies in parts.

mod flow;
mod group;
mod meter;
mod port_stats;
mod queue;
mod reply;
mod request;
mod table;
mod table_features;

pub use crate::alike::counters::AggregateStats;
pub use crate::alike::desc::Desc;
pub use flow::{FlowStats, FlowStatsRequest};
pub use group::{
    BucketCounter, GroupDesc, GroupFeatures, GroupStats, capability as group_capability,
};
pub use meter::{MeterBandStats, MeterConfig, MeterFeatures, MeterStats};
pub use port_stats::PortStats;
pub use queue::{QueueStats, QueueStatsRequest};
pub use reply::{MultipartBody, MultipartReply};
pub use request::MultipartRequest;
pub use table::TableStats;
pub use table_features::{ExperimenterFeature, FeatureId, OxmId, TableFeature, TableFeatures};

use crate::wire::fixed;

/// Which statistics or description: `OFPMP_*`.
pub mod kind {
    /// Of the switch.
    pub const DESC: u16 = 0;
    /// Rules, one by one.
    pub const FLOW: u16 = 1;
    /// Rules, summed up.
    pub const AGGREGATE: u16 = 2;
    /// Counters of tables.
    pub const TABLE: u16 = 3;
    /// Counters of ports.
    pub const PORT_STATS: u16 = 4;
    /// Counters of queues.
    pub const QUEUE: u16 = 5;
    /// Counters of groups.
    pub const GROUP: u16 = 6;
    /// Groups.
    pub const GROUP_DESC: u16 = 7;
    /// What groups the switch can have.
    pub const GROUP_FEATURES: u16 = 8;
    /// Counters of meters.
    pub const METER: u16 = 9;
    /// Meters.
    pub const METER_CONFIG: u16 = 10;
    /// What meters the switch can have.
    pub const METER_FEATURES: u16 = 11;
    /// What tables can do.
    pub const TABLE_FEATURES: u16 = 12;
    /// Ports.
    pub const PORT_DESC: u16 = 13;
    /// An experimenter's own.
    pub const EXPERIMENTER: u16 = 0xffff;
}

/// `OFPMPF_REQ_MORE`, `OFPMPF_REPLY_MORE`: more parts follow.
const MORE: u16 = 1;

fixed! {
    /// `ofp_multipart_request` and `ofp_multipart_reply` from their header to their body.
    pub struct MultipartFixed = "multipart" {
        pub kind: u16,
        pub flags: u16,
        pad: [u8; 4],
    }
}
