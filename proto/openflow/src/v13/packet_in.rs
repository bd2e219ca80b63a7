//! `OFPT_PACKET_IN` (section 7.4.1): a packet for the controller.

use bytes::Bytes;

use super::Match;
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// Why a packet was sent: `OFPR_*`.
pub mod reason {
    /// No rule matched.
    pub const NO_MATCH: u8 = 0;
    /// An action of a rule.
    pub const ACTION: u8 = 1;
    /// Its TTL is not valid.
    pub const INVALID_TTL: u8 = 2;
}

/// Between the match and the packet, so that the packet's IP header is aligned.
const PAD: usize = 2;

fixed! {
    /// `ofp_packet_in` from its header to its match.
    pub struct PacketInFixed = "packet_in" {
        pub buffer_id: u32,
        pub total_len: u16,
        pub reason: u8,
        pub table_id: u8,
        pub cookie: u64,
    }
}

/// A packet for the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketIn {
    /// Where the switch keeps it, or `NO_BUFFER`.
    pub buffer_id: u32,
    /// Of the whole packet, also if only its beginning was sent.
    pub total_len: u16,
    /// Why it was sent.
    pub reason: u8,
    /// The table in which it was decided.
    pub table_id: u8,
    /// Of the rule that sent it.
    pub cookie: u64,
    /// The packet's metadata: its port in any case.
    pub match_: Match,
    /// The packet, or its beginning.
    pub data: Bytes,
}

impl PacketIn {
    /// The port it came in by.
    pub fn in_port(&self) -> Option<u32> {
        self.match_.get_in_port()
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<PacketInFixed>()?;
        let match_ = Match::decode(reader)?;
        reader.skip("packet_in.pad", PAD)?;
        Ok(PacketIn {
            buffer_id: fixed.buffer_id(),
            total_len: fixed.total_len(),
            reason: fixed.reason(),
            table_id: fixed.table_id(),
            cookie: fixed.cookie(),
            match_,
            data: reader.rest(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&PacketInFixed {
            buffer_id: self.buffer_id.into(),
            total_len: self.total_len.into(),
            reason: self.reason,
            table_id: self.table_id,
            cookie: self.cookie.into(),
        });
        self.match_.encode(w);
        w.zeros(PAD);
        w.bytes(&self.data);
    }
}
