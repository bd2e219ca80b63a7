//! `OFPT_QUEUE_GET_CONFIG_REQUEST` and `_REPLY` (sections 7.2.2 and 7.3.6): queues of a port.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Fixed, Padding, Reader, Tlv, Tlvs, Writer, fixed, fixed_only};

/// `OFPQ_ALL`: all queues, in requests.
pub const ALL: u32 = 0xffff_ffff;
/// `OFPQ_MIN_RATE_UNCFG` and `OFPQ_MAX_RATE_UNCFG`: no configured rate, as any value above 1000.
pub const RATE_UNCFG: u16 = 0xffff;

const MIN_RATE: u16 = 1;
const MAX_RATE: u16 = 2;
const EXPERIMENTER: u16 = 0xffff;

fixed_only! {
    /// Request for the queues of a port.
    pub struct QueueGetConfigRequest: QueueRequestFixed = "queue_get_config_request" {
        /// Port number, or `port::ANY`.
        port: u32, pad: 4;
    }
}

fixed! {
    /// `ofp_queue_get_config_reply` from its header to its queues.
    struct QueueReplyFixed = "queue_get_config_reply" {
        port: u32,
        pad: [u8; 4],
    }
}

fixed! {
    /// `ofp_packet_queue` up to its properties.
    struct PacketQueueFixed = "packet_queue" {
        queue_id: u32,
        port: u32,
        len: u16,
        pad: [u8; 6],
    }
}

/// Position of `len` in `ofp_packet_queue`, in bytes.
const LEN_AT: usize = 8;

fixed! {
    /// Body of the rate properties, after the property header.
    struct QueueRateFixed = "queue_prop.rate" {
        pad: [u8; 4],
        rate: u16,
        pad2: [u8; 6],
    }
}

fixed! {
    /// `ofp_queue_prop_experimenter` after the property header.
    struct QueueExperimenterFixed = "queue_prop.experimenter" {
        pad: [u8; 4],
        experimenter: u32,
        pad2: [u8; 4],
    }
}

/// Queues of a port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct QueueGetConfigReply {
    /// Port named in the request.
    pub port: u32,
    /// Queues of that port.
    pub queues: Vec<PacketQueue>,
}

impl QueueGetConfigReply {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port = reader.fixed::<QueueReplyFixed>()?.port();
        let queues = reader.all(PacketQueue::decode)?;
        Ok(QueueGetConfigReply { port, queues })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&QueueReplyFixed {
            port: self.port.into(),
            pad: [0; 4],
        });
        self.queues.iter().for_each(|queue| queue.encode(w));
    }
}

/// Queue of a port, with its properties.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PacketQueue {
    /// Queue id within the port.
    pub queue_id: u32,
    /// Port of the queue.
    pub port: u32,
    /// Configured properties, such as rates.
    pub properties: Vec<QueueProperty>,
}

impl PacketQueue {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = PacketQueueFixed::len;
        let (fixed, properties) = reader.entry("packet_queue.len", LEN_AT, length)?;
        Ok(PacketQueue {
            queue_id: fixed.queue_id(),
            port: fixed.port(),
            properties: Tlvs::packed("queue_prop", properties)
                .map(|tlv| QueueProperty::decode(tlv?))
                .collect::<Result<_, _>>()?,
        })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.fixed(&PacketQueueFixed {
            queue_id: self.queue_id.into(),
            port: self.port.into(),
            len: 0.into(),
            pad: [0; 6],
        });
        for property in &self.properties {
            property.encode(w);
        }
        let length = w.position() - start;
        w.set_length(PacketQueueFixed::NAME, start + LEN_AT, length);
    }
}

/// Property of a queue. Rates are tenths of a percent of the port's rate. Unknown properties are kept as bytes and
/// encoded unchanged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum QueueProperty {
    /// Guaranteed minimum rate, in tenths of a percent.
    MinRate(u16),
    /// Maximum rate, in tenths of a percent.
    MaxRate(u16),
    /// Property defined by an experimenter, kept as bytes.
    Experimenter {
        /// Experimenter id, as in `OFPT_EXPERIMENTER`.
        experimenter: u32,
        /// Bytes after the padding.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
    /// Property of an unknown type, kept as bytes.
    Unknown {
        /// Property type on the wire.
        #[serde(rename = "type")]
        kind: u16,
        /// Bytes after type and length.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl QueueProperty {
    fn decode(tlv: Tlv<'_>) -> Result<Self, DecodeError> {
        let mut body = tlv.body;
        let property = match tlv.kind {
            MIN_RATE => QueueProperty::MinRate(body.fixed::<QueueRateFixed>()?.rate()),
            MAX_RATE => QueueProperty::MaxRate(body.fixed::<QueueRateFixed>()?.rate()),
            EXPERIMENTER => QueueProperty::Experimenter {
                experimenter: body.fixed::<QueueExperimenterFixed>()?.experimenter(),
                body: body.rest(),
            },
            kind => QueueProperty::Unknown {
                kind,
                body: body.rest(),
            },
        };
        body.finish("queue_prop")?;
        Ok(property)
    }

    fn encode(&self, w: &mut Writer<'_>) {
        let tlv = |w: &mut Writer<'_>, kind, body: &dyn Fn(&mut Writer<'_>)| {
            w.tlv_with(Padding::None, "queue_prop", kind, body);
        };
        let rate = |rate: u16| QueueRateFixed {
            pad: [0; 4],
            rate: rate.into(),
            pad2: [0; 6],
        };
        match self {
            QueueProperty::MinRate(least) => tlv(w, MIN_RATE, &|w| w.fixed(&rate(*least))),
            QueueProperty::MaxRate(most) => tlv(w, MAX_RATE, &|w| w.fixed(&rate(*most))),
            QueueProperty::Experimenter { experimenter, body } => tlv(w, EXPERIMENTER, &|w| {
                w.fixed(&QueueExperimenterFixed {
                    pad: [0; 4],
                    experimenter: (*experimenter).into(),
                    pad2: [0; 4],
                });
                w.bytes(body);
            }),
            QueueProperty::Unknown { kind, body } => tlv(w, *kind, &|w| w.bytes(body)),
        }
    }
}
