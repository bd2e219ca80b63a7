//! Multipart messages (section 7.3.5): requests, and replies in parts.

mod desc;
mod flow;
mod port_stats;

pub use desc::Desc;
pub use flow::{AggregateStats, FlowStats, FlowStatsRequest};
pub use port_stats::PortStats;

use bytes::Bytes;

use super::Port;
use crate::error::{DecodeError, EncodeError};
use crate::frame;
use crate::header::Header;
use crate::wire::{Reader, Writer, fixed};

/// Which statistics or description: `OFPMP_*`.
pub mod kind {
    /// Of the switch.
    pub const DESC: u16 = 0;
    /// Rules, one by one.
    pub const FLOW: u16 = 1;
    /// Rules, summed up.
    pub const AGGREGATE: u16 = 2;
    /// Counters of ports.
    pub const PORT_STATS: u16 = 4;
    /// Ports.
    pub const PORT_DESC: u16 = 13;
}

/// `OFPMPF_REPLY_MORE`: more parts follow.
const MORE: u16 = 1;

fixed! {
    /// `ofp_multipart_request` and `ofp_multipart_reply` from their header to their body.
    pub struct MultipartFixed = "multipart" {
        pub kind: u16,
        pub flags: u16,
        pad: [u8; 4],
    }
}

fixed! {
    /// `ofp_port_stats_request`.
    struct PortStatsRequestFixed = "multipart.port_stats_request" {
        port_no: u32,
        pad: [u8; 4],
    }
}

/// Asks for something that may not fit into one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultipartRequest {
    /// The description of the switch.
    Desc,
    /// Rules, one by one.
    Flow(FlowStatsRequest),
    /// Rules, summed up.
    Aggregate(FlowStatsRequest),
    /// Counters of ports.
    PortStats {
        /// Which, or `port::ANY`.
        port_no: u32,
    },
    /// Ports.
    PortDesc,
    /// One that this module does not know.
    Unknown {
        /// Its type.
        kind: u16,
        /// Its flags.
        flags: u16,
        /// After `ofp_multipart_request`.
        body: Bytes,
    },
}

impl MultipartRequest {
    /// Its type, a constant of [`kind`].
    pub fn kind(&self) -> u16 {
        match self {
            MultipartRequest::Desc => kind::DESC,
            MultipartRequest::Flow(_) => kind::FLOW,
            MultipartRequest::Aggregate(_) => kind::AGGREGATE,
            MultipartRequest::PortStats { .. } => kind::PORT_STATS,
            MultipartRequest::PortDesc => kind::PORT_DESC,
            MultipartRequest::Unknown { kind, .. } => *kind,
        }
    }

    /// None of the known requests comes in parts: with flags they are kept as they are.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<MultipartFixed>()?;
        let flags = fixed.flags();
        Ok(match fixed.kind() {
            kind::DESC if flags == 0 => MultipartRequest::Desc,
            kind::FLOW if flags == 0 => MultipartRequest::Flow(FlowStatsRequest::decode(reader)?),
            kind::AGGREGATE if flags == 0 => {
                MultipartRequest::Aggregate(FlowStatsRequest::decode(reader)?)
            }
            kind::PORT_STATS if flags == 0 => MultipartRequest::PortStats {
                port_no: reader.fixed::<PortStatsRequestFixed>()?.port_no(),
            },
            kind::PORT_DESC if flags == 0 => MultipartRequest::PortDesc,
            kind => MultipartRequest::Unknown {
                kind,
                flags,
                body: reader.rest(),
            },
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        let flags = match self {
            MultipartRequest::Unknown { flags, .. } => *flags,
            _ => 0,
        };
        w.fixed(&MultipartFixed {
            kind: self.kind().into(),
            flags: flags.into(),
            pad: [0; 4],
        });
        match self {
            MultipartRequest::Desc | MultipartRequest::PortDesc => (),
            MultipartRequest::Flow(request) | MultipartRequest::Aggregate(request) => {
                request.encode(w);
            }
            MultipartRequest::PortStats { port_no } => w.fixed(&PortStatsRequestFixed {
                port_no: (*port_no).into(),
                pad: [0; 4],
            }),
            MultipartRequest::Unknown { body, .. } => w.bytes(body),
        }
    }
}

/// A part of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipartReply {
    /// More parts follow.
    pub more: bool,
    /// What this part says.
    pub body: MultipartBody,
}

/// What a reply, or a part of it, says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultipartBody {
    /// The description of the switch.
    Desc(Desc),
    /// Rules, one by one.
    Flow(Vec<FlowStats>),
    /// Rules, summed up.
    Aggregate(AggregateStats),
    /// Counters of ports.
    PortStats(Vec<PortStats>),
    /// Ports.
    PortDesc(Vec<Port>),
    /// One that this module does not know.
    Unknown {
        /// Its type.
        kind: u16,
        /// After `ofp_multipart_reply`.
        body: Bytes,
    },
}

impl MultipartReply {
    /// Flags that have no meaning yet are not kept.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<MultipartFixed>()?;
        let body = match fixed.kind() {
            kind::DESC => MultipartBody::Desc(Desc::decode(reader)?),
            kind::FLOW => MultipartBody::Flow(all(reader, FlowStats::decode)?),
            kind::AGGREGATE => MultipartBody::Aggregate(AggregateStats::decode(reader)?),
            kind::PORT_STATS => MultipartBody::PortStats(all(reader, PortStats::decode)?),
            kind::PORT_DESC => MultipartBody::PortDesc(all(reader, Port::decode)?),
            kind => MultipartBody::Unknown {
                kind,
                body: reader.rest(),
            },
        };
        Ok(MultipartReply {
            more: fixed.flags() & MORE != 0,
            body,
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&MultipartFixed {
            kind: self.body.kind().into(),
            flags: u16::from(self.more).into(),
            pad: [0; 4],
        });
        self.body.encode(w);
    }
}

impl MultipartBody {
    /// Its type, a constant of [`kind`].
    pub fn kind(&self) -> u16 {
        match self {
            MultipartBody::Desc(_) => kind::DESC,
            MultipartBody::Flow(_) => kind::FLOW,
            MultipartBody::Aggregate(_) => kind::AGGREGATE,
            MultipartBody::PortStats(_) => kind::PORT_STATS,
            MultipartBody::PortDesc(_) => kind::PORT_DESC,
            MultipartBody::Unknown { kind, .. } => *kind,
        }
    }

    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            MultipartBody::Desc(desc) => desc.encode(w),
            MultipartBody::Flow(rules) => rules.iter().for_each(|rule| rule.encode(w)),
            MultipartBody::Aggregate(sum) => sum.encode(w),
            MultipartBody::PortStats(ports) => ports.iter().for_each(|port| port.encode(w)),
            MultipartBody::PortDesc(ports) => ports.iter().for_each(|port| port.encode(w)),
            MultipartBody::Unknown { body, .. } => w.bytes(body),
        }
    }

    /// As many parts as it takes for each to fit into a frame; all but the last say that more follow. Only lists can be
    /// cut; an element that fits into no frame is an error.
    pub fn into_parts(self) -> Result<Vec<MultipartReply>, EncodeError> {
        let bodies = match self {
            MultipartBody::Flow(rules) => parts(rules, FlowStats::encode, MultipartBody::Flow)?,
            MultipartBody::PortStats(ports) => {
                parts(ports, PortStats::encode, MultipartBody::PortStats)?
            }
            MultipartBody::PortDesc(ports) => parts(ports, Port::encode, MultipartBody::PortDesc)?,
            whole => vec![whole],
        };
        let last = bodies.len() - 1;
        Ok(bodies
            .into_iter()
            .enumerate()
            .map(|(i, body)| MultipartReply {
                more: i < last,
                body,
            })
            .collect())
    }
}

/// Elements of a list, up to the end of the message. Each takes at least a byte, so it ends.
fn all<T>(
    reader: &mut Reader<'_>,
    decode: fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut elements = Vec::new();
    while !reader.is_empty() {
        elements.push(decode(reader)?);
    }
    Ok(elements)
}

/// Lists that fit into a frame each: at least one, and it may be empty.
fn parts<T>(
    elements: Vec<T>,
    encode: fn(&T, &mut Writer<'_>),
    body: fn(Vec<T>) -> MultipartBody,
) -> Result<Vec<MultipartBody>, EncodeError> {
    let room = frame::MAX - Header::LEN - size_of::<MultipartFixed>();
    let (mut bodies, mut part, mut taken) = (Vec::new(), Vec::new(), 0);
    let mut scratch = bytes::BytesMut::new();
    for element in elements {
        scratch.clear();
        let mut w = Writer::new(&mut scratch);
        encode(&element, &mut w);
        w.end()?;
        let length = scratch.len();
        if length > room {
            let (what, most) = ("multipart", room);
            return Err(EncodeError { what, length, most });
        }
        if taken + length > room {
            bodies.push(body(std::mem::take(&mut part)));
            taken = 0;
        }
        taken += length;
        part.push(element);
    }
    bodies.push(body(part));
    Ok(bodies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v13::{Message, decode};

    #[test]
    fn a_long_list_is_cut_into_parts_that_fit() {
        let port = PortStats::default();
        let parts = MultipartBody::PortStats(vec![port; 1200]).into_parts();
        let parts = parts.unwrap();
        let more: Vec<bool> = parts.iter().map(|part| part.more).collect();
        assert_eq!(more, [true, true, false]);
        let mut read = Vec::new();
        for part in parts {
            let frame = Message::MultipartReply(part).try_encode(1).unwrap();
            match decode(&frame).unwrap().1 {
                Message::MultipartReply(MultipartReply {
                    body: MultipartBody::PortStats(ports),
                    ..
                }) => read.extend(ports),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(read, vec![port; 1200]);
    }

    #[test]
    fn an_empty_list_is_one_part() {
        let parts = MultipartBody::Flow(vec![]).into_parts().unwrap();
        assert!(matches!(&parts[..], [part] if !part.more));
    }
}
