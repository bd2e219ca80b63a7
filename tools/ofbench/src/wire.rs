//! The few OpenFlow 1.0 and 1.3 messages a fake switch needs, written and read by hand.

mod description;
mod frame;
mod message;
mod packet_in;
mod reply;

pub(crate) use description::{features_reply, multipart_reply};
pub(crate) use frame::{MIN_FRAME, arp, frame};
pub(crate) use message::*;
pub(crate) use packet_in::{PacketIns, packet_in};
pub(crate) use reply::{Reply, flow_mod_buffer, parse_flow_mod, parse_packet_out, to_controller};
