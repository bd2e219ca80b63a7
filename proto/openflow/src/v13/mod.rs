//! OpenFlow 1.3.5: one file a message family, one struct a message, its fields in wire order.

pub mod action;
mod async_config;
pub mod bundle;
mod conformity;
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
mod oxm;
pub mod packet_in;
mod packet_out;
pub mod peek;
mod port_;
mod port_mod;
pub mod queue;
pub mod role;
mod table_mod;

pub use crate::alike::config::SwitchConfig;
pub use action::Action;
pub use async_config::AsyncConfig;
pub use bundle::{BundleAdd, BundleControl, BundleProperty};
pub use conformity::MatchProblem;
pub use error::ErrorMsg;
pub use experimenter::Experimenter;
pub use features::FeaturesReply;
pub use flow_mod::{FlowMod, FlowModCommand};
pub use flow_removed::FlowRemoved;
pub use group::{Bucket, GroupMod};
pub use hello::Hello;
pub use instruction::Instruction;
pub use match_::Match;
pub use message::{Message, decode};
pub use meter::{MeterBand, MeterMod};
pub use multipart::{
    AggregateStats, BucketCounter, Desc, ExperimenterFeature, FeatureId, FlowStats,
    FlowStatsRequest, GroupDesc, GroupFeatures, GroupStats, MeterBandStats, MeterConfig,
    MeterFeatures, MeterStats, MultipartBody, MultipartReply, MultipartRequest, OxmId, PortStats,
    QueueStats, QueueStatsRequest, TableFeature, TableFeatures, TableStats, group_capability,
    kind as multipart_kind,
};
pub use oxm::{Oxm, OxmField, OxmView, Oxms};
pub use packet_in::{PacketIn, PacketInView};
pub use packet_out::PacketOut;
pub use port_::{Port, PortStatus, port, port_config, port_reason, port_state};
pub use port_mod::{PortMod, port_feature};
pub use queue::{PacketQueue, QueueGetConfigReply, QueueGetConfigRequest, QueueProperty};
pub use role::Role;
pub use table_mod::TableMod;

/// Of the wire.
pub const VERSION: u8 = 4;

/// `OFP_NO_BUFFER`: the packet is not kept in the switch.
pub const NO_BUFFER: u32 = 0xffff_ffff;

/// `OFPTT_ALL`: all tables, in requests and deletions.
pub const TABLE_ALL: u8 = 0xff;

/// `OFPG_ANY`: rules whatever group they point at.
pub const GROUP_ANY: u32 = 0xffff_ffff;
