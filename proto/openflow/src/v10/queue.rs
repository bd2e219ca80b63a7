//! `OFPT_QUEUE_GET_CONFIG_REPLY` (sections 5.2.2 and 5.3.4): queues of a port.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Fixed, Reader, Tlv, Tlvs, Writer, fixed};

/// `OFPQT_NONE`: property type.
const NONE: u16 = 0;
/// `OFPQT_MIN_RATE`: property type.
const MIN_RATE: u16 = 1;

fixed! {
    /// `ofp_queue_get_config_request` after its header.
    pub(crate) struct QueueConfigRequestFixed = "queue_get_config_request" {
        pub(crate) port: u16,
        pub(crate) pad: [u8; 2],
    }
}

fixed! {
    /// `ofp_queue_get_config_reply` from its header to its queues.
    struct QueueConfigFixed = "queue_get_config_reply" {
        port: u16,
        pad: [u8; 6],
    }
}

fixed! {
    /// `ofp_packet_queue` up to its properties.
    struct PacketQueueFixed = "packet_queue" {
        queue_id: u32,
        len: u16,
        pad: [u8; 2],
    }
}

/// Position of `len` in `ofp_packet_queue`, in bytes.
const LEN_AT: usize = 4;

fixed! {
    /// Body of `ofp_queue_prop_min_rate` after type and length.
    struct MinRateFixed = "queue_prop.min_rate" {
        pad: [u8; 4],
        rate: u16,
        pad2: [u8; 6],
    }
}

/// Queues of a port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct QueueConfig {
    /// Port number within the switch.
    pub port: u16,
    /// Queues of that port.
    pub queues: Vec<PacketQueue>,
}

/// Queue of a port, with its properties.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PacketQueue {
    /// Queue id within the port.
    pub queue_id: u32,
    /// Configured properties, such as a minimum rate.
    pub properties: Vec<QueueProperty>,
}

/// Property of a queue. Unknown properties are kept as bytes and encoded unchanged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum QueueProperty {
    /// Empty property without a meaning.
    None,
    /// Guaranteed minimum rate, in tenths of a percent; above 1000 for none.
    MinRate(u16),
    /// Property of an unknown type, kept as bytes.
    Unknown {
        /// Property type on the wire.
        #[serde(rename = "type")]
        kind: u16,
        /// Bytes after type and length, padding included.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl QueueConfig {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port = reader.fixed::<QueueConfigFixed>()?.port();
        let queues = reader.all(PacketQueue::decode)?;
        Ok(QueueConfig { port, queues })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&QueueConfigFixed {
            port: self.port.into(),
            pad: [0; 6],
        });
        for queue in &self.queues {
            queue.encode(w);
        }
    }
}

impl PacketQueue {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = PacketQueueFixed::len;
        let (fixed, properties) = reader.entry("packet_queue.len", LEN_AT, length)?;
        let properties = Tlvs::aligned("queue_prop", properties)
            .map(|tlv| QueueProperty::decode(tlv?))
            .collect::<Result<_, _>>()?;
        Ok(PacketQueue {
            queue_id: fixed.queue_id(),
            properties,
        })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.fixed(&PacketQueueFixed {
            queue_id: self.queue_id.into(),
            len: 0.into(),
            pad: [0; 2],
        });
        for property in &self.properties {
            property.encode(w);
        }
        w.set_length(PacketQueueFixed::NAME, start + LEN_AT, w.position() - start);
    }
}

impl QueueProperty {
    fn decode(tlv: Tlv<'_>) -> Result<Self, DecodeError> {
        let mut body = tlv.body;
        let property = match tlv.kind {
            NONE => {
                body.skip("queue_prop.pad", 4)?;
                QueueProperty::None
            }
            MIN_RATE => QueueProperty::MinRate(body.fixed::<MinRateFixed>()?.rate()),
            kind => QueueProperty::Unknown {
                kind,
                body: body.rest(),
            },
        };
        body.finish("queue_prop")?;
        Ok(property)
    }

    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            QueueProperty::None => w.tlv("queue_prop", NONE, |w| w.zeros(4)),
            QueueProperty::MinRate(rate) => w.tlv("queue_prop", MIN_RATE, |w| {
                w.fixed(&MinRateFixed {
                    pad: [0; 4],
                    rate: (*rate).into(),
                    pad2: [0; 6],
                });
            }),
            QueueProperty::Unknown { kind, body } => w.tlv("queue_prop", *kind, |w| w.bytes(body)),
        }
    }
}
