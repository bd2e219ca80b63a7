//! OpenFlow 1.0.1. Each file holds one family of messages; a message is a struct with its fields in wire order.
//!
//! Section numbers in this module are those of the OpenFlow Switch Specification 1.0.1.

pub mod action;
pub mod convert;
pub mod error;
mod features;
pub mod flow_mod;
pub mod flow_removed;
pub mod kind;
mod match_;
mod message;
mod numbers;
pub mod packet_in;
mod packet_out;
mod ports;
pub mod queue;
mod stats;
pub mod vendor;

pub use crate::shared::config::SwitchConfig;
pub use crate::shared::desc::Desc;
pub use action::Action;
pub use error::ErrorMsg;
pub use features::{FeaturesReply, capability};
pub use flow_mod::{FlowMod, FlowModCommand};
pub use flow_removed::FlowRemoved;
pub use match_::{Match, wildcard};
pub use message::{Message, decode, decode_lenient};
pub use numbers::{NO_BUFFER, TABLE_ALL, VERSION, VLAN_NONE};
pub use packet_in::PacketIn;
pub use packet_out::PacketOut;
pub use ports::{PhyPort, PortMod, PortStatus, port, port_config, port_reason, port_state};
pub use queue::{PacketQueue, QueueConfig, QueueProperty};
pub use stats::{
    AggregateStats, FlowStats, FlowStatsRequest, PortStats, QueueStats, StatsBody, StatsReply,
    StatsRequest, TableStats, kind as stats_kind,
};
pub use vendor::Vendor;
