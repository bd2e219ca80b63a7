//! `OFPT_PACKET_OUT` (section 7.3.7): a packet sent by the controller.

use bytes::{Bytes, BytesMut};

use super::action::{self, Action};
use super::{NO_BUFFER, VERSION};
use crate::error::{DecodeError, EncodeError};
use crate::header::MessageType;
use crate::shared::message;
use crate::wire::{Reader, Writer, fixed};

fixed! {
    /// `ofp_packet_out` from its header to its actions.
    struct PacketOutFixed = "packet_out" {
        buffer_id: u32,
        in_port: u32,
        actions_len: u16,
        pad: [u8; 6],
    }
}

/// Position of `actions_len` in the message, in bytes.
const ACTIONS_LEN_AT: usize = 16;

/// Packet sent by the controller.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PacketOut {
    /// Buffer id of the packet in the switch, or `NO_BUFFER`.
    pub buffer_id: u32,
    /// Ingress port that the packet is processed with.
    pub in_port: u32,
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
        encode(self.buffer_id, self.in_port, &self.actions, &self.data, w);
    }

    /// Appends a frame with an unbuffered packet. Allocates nothing if the buffer has room.
    pub fn write(
        xid: u32,
        in_port: u32,
        actions: &[Action],
        data: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        Self::write_any(xid, in_port, actions, (NO_BUFFER, data), out)
    }

    /// Appends a frame for a packet that the switch holds in this buffer. Allocates nothing if `out` has room.
    pub fn write_buffered(
        xid: u32,
        in_port: u32,
        actions: &[Action],
        buffer_id: u32,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        Self::write_any(xid, in_port, actions, (buffer_id, &[]), out)
    }

    fn write_any(
        xid: u32,
        in_port: u32,
        actions: &[Action],
        (buffer_id, data): (u32, &[u8]),
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        message::write((VERSION, MessageType::PACKET_OUT), xid, out, |w| {
            encode(buffer_id, in_port, actions, data, w);
        })
    }
}

fn encode(buffer_id: u32, in_port: u32, actions: &[Action], data: &[u8], w: &mut Writer<'_>) {
    w.fixed(&PacketOutFixed {
        buffer_id: buffer_id.into(),
        in_port: in_port.into(),
        actions_len: 0.into(),
        pad: [0; 6],
    });
    let start = w.position();
    action::encode_all(actions, w);
    w.set_length("packet_out.actions", ACTIONS_LEN_AT, w.position() - start);
    w.bytes(data);
}
