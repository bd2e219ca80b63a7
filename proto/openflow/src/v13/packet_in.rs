//! `OFPT_PACKET_IN` (section 7.4.1): a packet sent to the controller.

use bytes::Bytes;

use super::VERSION;
use super::match_::{self, Match};
use super::oxm::{Oxm, OxmField, Oxms};
use crate::error::DecodeError;
use crate::header::{Header, MessageType};
use crate::wire::{Reader, Writer, fixed};

/// Reasons of a packet-in: `OFPR_*`.
pub mod reason {
    /// No rule matched the packet.
    pub const NO_MATCH: u8 = 0;
    /// Action of a rule sent the packet.
    pub const ACTION: u8 = 1;
    /// Packet had an invalid TTL.
    pub const INVALID_TTL: u8 = 2;
}

/// Padding between match and packet, which aligns the packet's IP header.
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

/// Packet sent to the controller.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PacketIn {
    /// Buffer id of the packet in the switch, or `NO_BUFFER`.
    pub buffer_id: u32,
    /// Length of the whole packet, even if only its beginning was sent.
    pub total_len: u16,
    /// Cause, a constant of [`reason`].
    pub reason: u8,
    /// Table whose lookup sent the packet.
    pub table_id: u8,
    /// Cookie of the rule that sent the packet.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// Pipeline fields of the packet, at least the ingress port.
    #[serde(rename = "match")]
    pub match_: Match,
    /// Packet, or its beginning.
    #[serde(serialize_with = "crate::serial::hex")]
    pub data: Bytes,
}

impl PacketIn {
    /// Ingress port of the packet, if the match names it.
    pub fn in_port(&self) -> Option<u32> {
        self.match_.get_in_port()
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut view = PacketInView::read(reader)?;
        let fields = view.fields.map(|oxm| oxm.map(Oxm::from));
        Ok(PacketIn {
            buffer_id: view.fixed.buffer_id(),
            total_len: view.fixed.total_len(),
            reason: view.fixed.reason(),
            table_id: view.fixed.table_id(),
            cookie: view.fixed.cookie(),
            match_: Match {
                fields: fields.collect::<Result<_, _>>()?,
            },
            data: view.data.rest(),
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

/// Zero-copy view of a packet-in within a frame. Fields are decoded when asked for.
#[derive(Debug, Clone, Copy)]
pub struct PacketInView<'a> {
    fixed: &'a PacketInFixed,
    fields: Oxms<'a>,
    data: Reader<'a>,
}

impl<'a> PacketInView<'a> {
    /// Makes a view of a frame, which must be a packet-in of version 4.
    pub fn new(frame: &'a Bytes) -> Result<Self, DecodeError> {
        let header = Header::read(frame)?;
        if header.version != VERSION {
            return Err(DecodeError::version(header.version));
        }
        if header.kind != MessageType::PACKET_IN {
            let found = header.kind.0.into();
            return Err(DecodeError::value("header.type", 1, found));
        }
        let mut reader = Reader::new(frame);
        reader.skip("header", Header::LEN)?;
        Self::read(&mut reader)
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<PacketInFixed>()?;
        let fields = match_::view(reader)?;
        reader.skip("packet_in.pad", PAD)?;
        let data = reader.sub("packet_in.data", reader.left())?;
        Ok(PacketInView {
            fixed,
            fields,
            data,
        })
    }

    /// Fixed part of the message, before the match.
    pub fn fixed(&self) -> &'a PacketInFixed {
        self.fixed
    }

    /// Pipeline fields of the packet.
    pub fn fields(&self) -> Oxms<'a> {
        self.fields
    }

    /// Ingress port of the packet, if the match names it.
    pub fn in_port(&self) -> Option<u32> {
        let mut fields = self.fields.map_while(Result::ok);
        let field = fields.find(|oxm| oxm.field() == OxmField::IN_PORT)?;
        field.value().try_into().ok().map(u32::from_be_bytes)
    }

    /// Packet, or its beginning.
    pub fn data(&self) -> &'a [u8] {
        self.data.as_slice()
    }
}
