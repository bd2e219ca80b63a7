//! OpenFlow 1.3.5: one file a message family, one struct a message, its fields in wire order.

pub mod action;
mod config;
pub mod error;
mod features;
pub mod flow_mod;
pub mod flow_removed;
mod hello;
pub mod instruction;
mod match_;
mod message;
mod multipart;
mod oxm;
pub mod packet_in;
mod packet_out;
pub mod peek;
mod port_;
pub mod role;

pub use action::Action;
pub use config::SwitchConfig;
pub use error::ErrorMsg;
pub use features::FeaturesReply;
pub use flow_mod::{FlowMod, FlowModCommand};
pub use flow_removed::FlowRemoved;
pub use hello::Hello;
pub use instruction::Instruction;
pub use match_::Match;
pub use message::{Message, decode};
pub use multipart::{
    AggregateStats, Desc, FlowStats, FlowStatsRequest, MultipartBody, MultipartReply,
    MultipartRequest, PortStats, kind as multipart_kind,
};
pub use oxm::{Oxm, OxmField};
pub use packet_in::PacketIn;
pub use packet_out::PacketOut;
pub use port_::{Port, PortStatus, port, port_config, port_reason, port_state};
pub use role::Role;

/// Of the wire.
pub const VERSION: u8 = 4;

/// `OFP_NO_BUFFER`: the packet is not kept in the switch.
pub const NO_BUFFER: u32 = 0xffff_ffff;

/// `OFPTT_ALL`: all tables, in requests and deletions.
pub const TABLE_ALL: u8 = 0xff;

/// `OFPG_ANY`: rules whatever group they point at.
pub const GROUP_ANY: u32 = 0xffff_ffff;
