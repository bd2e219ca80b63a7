//! OpenFlow 1.0.1: one file a message family, one struct a message, its fields in wire order.
//!
//! Section numbers in the documentation of this module are those of the OpenFlow Switch Specification 1.0.1.

pub mod action;
pub mod convert;

pub mod error;
mod features;
pub mod flow_mod;
pub mod flow_removed;
pub mod kind;
mod match_;
mod message;
pub mod packet_in;
mod packet_out;
mod port_;
pub mod queue;
mod stats;
pub mod vendor;

pub use crate::alike::config::SwitchConfig;
pub use crate::alike::desc::Desc;
pub use action::Action;
pub use error::ErrorMsg;
pub use features::{FeaturesReply, capability};
pub use flow_mod::{FlowMod, FlowModCommand};
pub use flow_removed::FlowRemoved;
pub use match_::{Match, wildcard};
pub use message::{Message, decode};
pub use packet_in::PacketIn;
pub use packet_out::PacketOut;
pub use port_::{PhyPort, PortMod, PortStatus, port, port_config, port_reason, port_state};
pub use queue::{PacketQueue, QueueConfig, QueueProperty};
pub use stats::{
    AggregateStats, FlowStats, FlowStatsRequest, PortStats, QueueStats, StatsBody, StatsReply,
    StatsRequest, TableStats, kind as stats_kind,
};
pub use vendor::Vendor;

/// Of the wire.
pub const VERSION: u8 = 1;

/// The packet is not kept in the switch.
pub const NO_BUFFER: u32 = 0xffff_ffff;

/// All tables, in requests.
pub const TABLE_ALL: u8 = 0xff;

/// `OFP_VLAN_NONE`: the packet has no VLAN tag.
pub const VLAN_NONE: u16 = 0xffff;
