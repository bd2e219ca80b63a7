//! `OFPT_PACKET_IN` (section 5.4.1): a packet sent to the controller.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// Reasons of a packet-in: `OFPR_*`.
pub mod reason {
    /// No rule matched the packet.
    pub const NO_MATCH: u8 = 0;
    /// Action of a rule sent the packet.
    pub const ACTION: u8 = 1;
}

fixed! {
    /// `ofp_packet_in` from its header to its data.
    struct PacketInFixed = "packet_in" {
        buffer_id: u32,
        total_len: u16,
        in_port: u16,
        reason: u8,
        pad: u8,
    }
}

/// Packet sent to the controller.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PacketIn {
    /// Buffer id of the packet in the switch, or `NO_BUFFER`.
    pub buffer_id: u32,
    /// Length of the whole packet, even if only its beginning was sent.
    pub total_len: u16,
    /// Ingress port of the packet.
    pub in_port: u16,
    /// Cause, a constant of [`reason`].
    pub reason: u8,
    /// Packet, or its beginning.
    #[serde(serialize_with = "crate::serial::hex")]
    pub data: Bytes,
}

impl PacketIn {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<PacketInFixed>()?;
        Ok(PacketIn {
            buffer_id: fixed.buffer_id(),
            total_len: fixed.total_len(),
            in_port: fixed.in_port(),
            reason: fixed.reason(),
            data: reader.rest(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&PacketInFixed {
            buffer_id: self.buffer_id.into(),
            total_len: self.total_len.into(),
            in_port: self.in_port.into(),
            reason: self.reason,
            pad: 0,
        });
        w.bytes(&self.data);
    }
}
