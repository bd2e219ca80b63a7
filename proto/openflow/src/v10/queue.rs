//! `OFPT_QUEUE_GET_CONFIG_REPLY` (sections 5.2.2 and 5.3.4): the queues of a port.

use bytes::Bytes;

use crate::error::{DecodeError, Problem};
use crate::wire::{Fixed, Reader, Tlv, Tlvs, Writer, fixed};

/// `OFPQT_NONE`.
const NONE: u16 = 0;
/// `OFPQT_MIN_RATE`.
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

fixed! {
    /// Of `ofp_queue_prop_min_rate`, what follows type and length.
    struct MinRateFixed = "queue_prop.min_rate" {
        pad: [u8; 4],
        rate: u16,
        pad2: [u8; 6],
    }
}

/// The queues of a port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct QueueConfig {
    /// Which port.
    pub port: u16,
    /// Its queues.
    pub queues: Vec<PacketQueue>,
}

/// A queue of a port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PacketQueue {
    /// Its id.
    pub queue_id: u32,
    /// What is known of it.
    pub properties: Vec<QueueProperty>,
}

/// What is known of a queue. Properties that are not known are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum QueueProperty {
    /// Nothing.
    None,
    /// At least this rate, in tenths of a percent; above 1000: none.
    MinRate(u16),
    /// One that this module does not know.
    Unknown {
        /// Its type.
        #[serde(rename = "type")]
        kind: u16,
        /// After its type and length, padding included.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl QueueConfig {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port = reader.fixed::<QueueConfigFixed>()?.port();
        let mut queues = Vec::new();
        while !reader.is_empty() {
            queues.push(PacketQueue::decode(reader)?);
        }
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
        let offset = reader.offset();
        let mut ahead = *reader;
        let fixed = ahead.fixed::<PacketQueueFixed>()?;
        let (found, least) = (usize::from(fixed.len()), size_of::<PacketQueueFixed>());
        if found < least {
            let small = Problem::TooSmall { found, least };
            return Err(DecodeError::new("packet_queue.len", offset + 4, small));
        }
        let mut queue = reader.sub("packet_queue.len", found)?;
        queue.skip(PacketQueueFixed::NAME, least)?;
        let properties = Tlvs::aligned("queue_prop", queue)
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
        w.set_length(PacketQueueFixed::NAME, start + 4, w.position() - start);
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
