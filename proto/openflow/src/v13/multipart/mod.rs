//! Multipart messages (section 7.3.5): requests, and replies in one or more parts.

mod flow;
mod group;
mod header;
mod meter;
mod port_stats;
mod queue;
mod reply;
mod request;
mod table;
mod table_features;

pub use crate::shared::counters::AggregateStats;
pub use crate::shared::desc::Desc;
pub(super) use flow::FlowStatsFixed;
pub use flow::{FlowStats, FlowStatsRequest};
pub use group::{
    BucketCounter, GroupDesc, GroupFeatures, GroupStats, capability as group_capability,
};
pub use header::MultipartFixed;
pub use header::kind;
pub use meter::{MeterBandStats, MeterConfig, MeterFeatures, MeterStats};
pub use port_stats::PortStats;
pub use queue::{QueueStats, QueueStatsRequest};
pub use reply::{MultipartBody, MultipartReply};
pub use request::MultipartRequest;
pub use table::TableStats;
pub use table_features::{ExperimenterFeature, FeatureId, OxmId, TableFeature, TableFeatures};
