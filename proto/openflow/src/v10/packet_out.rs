//! `OFPT_PACKET_OUT` (section 5.3.6): a packet sent by the controller.

use bytes::Bytes;

use super::action::{self, Action};
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

fixed! {
    /// `ofp_packet_out` from its header to its actions.
    struct PacketOutFixed = "packet_out" {
        buffer_id: u32,
        in_port: u16,
        actions_len: u16,
    }
}

/// Position of `actions_len` in the message, in bytes.
const ACTIONS_LEN_AT: usize = 14;

/// Packet sent by the controller.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PacketOut {
    /// Buffer id of the packet in the switch, or `NO_BUFFER`.
    pub buffer_id: u32,
    /// Ingress port that the packet is processed with, or `port::NONE`.
    pub in_port: u16,
    /// Actions to execute on the packet.
    pub actions: Vec<Action>,
    /// Packet; empty if the switch has it buffered.
    #[serde(serialize_with = "crate::serial::hex")]
    pub data: Bytes,
}

impl PacketOut {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<PacketOutFixed>()?;
        let length = usize::from(fixed.actions_len());
        let actions = action::decode_all(reader.sub("packet_out.actions_len", length)?)?;
        Ok(PacketOut {
            buffer_id: fixed.buffer_id(),
            in_port: fixed.in_port(),
            actions,
            data: reader.rest(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&PacketOutFixed {
            buffer_id: self.buffer_id.into(),
            in_port: self.in_port.into(),
            actions_len: 0.into(),
        });
        let start = w.position();
        action::encode_all(&self.actions, w);
        w.set_length("packet_out.actions", ACTIONS_LEN_AT, w.position() - start);
        w.bytes(&self.data);
    }
}
