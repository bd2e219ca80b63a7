//! OpenFlow 1.3.5. Each file holds one family of messages; a message is a struct with its fields in wire order.

pub mod action;
mod async_config;
pub mod bundle;
mod consistency;
pub mod error;
pub mod experimenter;
mod features;
pub mod flow_mod;
pub mod flow_removed;
pub mod group;
mod hello;
pub mod instruction;
mod match_;
mod message;
pub mod meter;
mod multipart;
pub mod nicira;
mod numbers;
mod oxm;
pub mod packet_in;
mod packet_out;
pub mod peek;
mod port_mod;
mod ports;
pub mod queue;
pub mod role;
mod table_mod;
mod validation;

pub use crate::shared::config::SwitchConfig;
pub use action::Action;
pub use async_config::AsyncConfig;
pub use bundle::{BundleAdd, BundleControl, BundleProperty};
pub use consistency::{ActionProblem, RuleProblem, check_bucket, check_rule};
pub use error::ErrorMsg;
pub use experimenter::Experimenter;
pub use features::FeaturesReply;
pub use flow_mod::{FlowMod, FlowModCommand};
pub use flow_removed::FlowRemoved;
pub use group::{Bucket, GroupMod};
pub use hello::Hello;
pub use instruction::Instruction;
pub use match_::Match;
pub(crate) use match_::VLAN_PRESENT;
pub use message::{Message, decode, decode_lenient};
pub use meter::{MeterBand, MeterMod};
pub use multipart::{
    AggregateStats, BucketCounter, Desc, ExperimenterFeature, FeatureId, FlowStats,
    FlowStatsRequest, GroupDesc, GroupFeatures, GroupStats, MeterBandStats, MeterConfig,
    MeterFeatures, MeterStats, MultipartBody, MultipartReply, MultipartRequest, OxmId, PortStats,
    QueueStats, QueueStatsRequest, TableFeature, TableFeatures, TableStats, group_capability,
    kind as multipart_kind,
};
pub use numbers::{GROUP_ANY, NO_BUFFER, TABLE_ALL, VERSION};
pub use oxm::{Oxm, OxmField, OxmValue, OxmView, Oxms};
pub use packet_in::{PacketIn, PacketInView};
pub use packet_out::PacketOut;
pub use port_mod::{PortMod, port_feature};
pub use ports::{Port, PortStatus, port, port_config, port_reason, port_state};
pub use queue::{PacketQueue, QueueGetConfigReply, QueueGetConfigRequest, QueueProperty};
pub use role::Role;
pub use table_mod::TableMod;
pub use validation::MatchProblem;
