//! Replies, in parts.

use bytes::Bytes;

use super::{
    AggregateStats, Desc, FlowStats, GroupDesc, GroupFeatures, GroupStats, MORE, MeterConfig,
    MeterFeatures, MeterStats, MultipartFixed, PortStats, QueueStats, TableFeatures, TableStats,
    kind,
};
use crate::error::{DecodeError, EncodeError};
use crate::frame;
use crate::header::Header;
use crate::v13::{Experimenter, Port};
use crate::wire::{Reader, Writer};

/// A part of a reply.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MultipartReply {
    /// More parts follow.
    pub more: bool,
    /// What this part says.
    pub body: MultipartBody,
}

/// What a reply, or a part of it, says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
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
    /// Counters of tables.
    Table(Vec<TableStats>),
    /// Counters of queues.
    Queue(Vec<QueueStats>),
    /// Counters of groups.
    Group(Vec<GroupStats>),
    /// Groups.
    GroupDesc(Vec<GroupDesc>),
    /// What groups the switch can have.
    GroupFeatures(GroupFeatures),
    /// Counters of meters.
    Meter(Vec<MeterStats>),
    /// Meters.
    MeterConfig(Vec<MeterConfig>),
    /// What meters the switch can have.
    MeterFeatures(MeterFeatures),
    /// What tables can do.
    TableFeatures(Vec<TableFeatures>),
    /// An experimenter's own.
    Experimenter(Experimenter),
    /// One that this module does not know.
    Unknown {
        /// Its type.
        #[serde(rename = "type")]
        kind: u16,
        /// After `ofp_multipart_reply`.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl MultipartReply {
    /// Flags that have no meaning yet are not kept.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<MultipartFixed>()?;
        let body = MultipartBody::decode(fixed.kind(), reader)?;
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
            MultipartBody::Table(_) => kind::TABLE,
            MultipartBody::PortStats(_) => kind::PORT_STATS,
            MultipartBody::Queue(_) => kind::QUEUE,
            MultipartBody::Group(_) => kind::GROUP,
            MultipartBody::GroupDesc(_) => kind::GROUP_DESC,
            MultipartBody::GroupFeatures(_) => kind::GROUP_FEATURES,
            MultipartBody::Meter(_) => kind::METER,
            MultipartBody::MeterConfig(_) => kind::METER_CONFIG,
            MultipartBody::MeterFeatures(_) => kind::METER_FEATURES,
            MultipartBody::TableFeatures(_) => kind::TABLE_FEATURES,
            MultipartBody::PortDesc(_) => kind::PORT_DESC,
            MultipartBody::Experimenter(_) => kind::EXPERIMENTER,
            MultipartBody::Unknown { kind, .. } => *kind,
        }
    }

    fn decode(kind: u16, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            kind::DESC => MultipartBody::Desc(Desc::decode(reader)?),
            kind::FLOW => MultipartBody::Flow(reader.all(FlowStats::decode)?),
            kind::AGGREGATE => MultipartBody::Aggregate(AggregateStats::decode(reader)?),
            kind::TABLE => MultipartBody::Table(reader.all(TableStats::decode)?),
            kind::PORT_STATS => MultipartBody::PortStats(reader.all(PortStats::decode)?),
            kind::QUEUE => MultipartBody::Queue(reader.all(QueueStats::decode)?),
            kind::GROUP => MultipartBody::Group(reader.all(GroupStats::decode)?),
            kind::GROUP_DESC => MultipartBody::GroupDesc(reader.all(GroupDesc::decode)?),
            kind::GROUP_FEATURES => MultipartBody::GroupFeatures(GroupFeatures::decode(reader)?),
            kind::METER => MultipartBody::Meter(reader.all(MeterStats::decode)?),
            kind::METER_CONFIG => MultipartBody::MeterConfig(reader.all(MeterConfig::decode)?),
            kind::METER_FEATURES => MultipartBody::MeterFeatures(MeterFeatures::decode(reader)?),
            kind::TABLE_FEATURES => {
                MultipartBody::TableFeatures(reader.all(TableFeatures::decode)?)
            }
            kind::PORT_DESC => MultipartBody::PortDesc(reader.all(Port::decode)?),
            kind::EXPERIMENTER => MultipartBody::Experimenter(Experimenter::decode(reader)?),
            kind => MultipartBody::Unknown {
                kind,
                body: reader.rest(),
            },
        })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            MultipartBody::Desc(desc) => desc.encode(w),
            MultipartBody::Flow(rules) => rules.iter().for_each(|rule| rule.encode(w)),
            MultipartBody::Aggregate(sum) => sum.encode(w),
            MultipartBody::Table(tables) => tables.iter().for_each(|table| table.encode(w)),
            MultipartBody::PortStats(ports) => ports.iter().for_each(|port| port.encode(w)),
            MultipartBody::Queue(queues) => queues.iter().for_each(|queue| queue.encode(w)),
            MultipartBody::Group(groups) => groups.iter().for_each(|group| group.encode(w)),
            MultipartBody::GroupDesc(groups) => groups.iter().for_each(|group| group.encode(w)),
            MultipartBody::GroupFeatures(features) => features.encode(w),
            MultipartBody::Meter(meters) => meters.iter().for_each(|meter| meter.encode(w)),
            MultipartBody::MeterConfig(meters) => meters.iter().for_each(|meter| meter.encode(w)),
            MultipartBody::MeterFeatures(features) => features.encode(w),
            MultipartBody::TableFeatures(tables) => tables.iter().for_each(|table| table.encode(w)),
            MultipartBody::PortDesc(ports) => ports.iter().for_each(|port| port.encode(w)),
            MultipartBody::Experimenter(experimenter) => experimenter.encode(w),
            MultipartBody::Unknown { body, .. } => w.bytes(body),
        }
    }

    /// As many parts as it takes for each to fit into a frame; all but the last say that more follow. Only lists can be
    /// cut; an element that fits into no frame is an error.
    pub fn into_parts(self) -> Result<Vec<MultipartReply>, EncodeError> {
        type Body = MultipartBody;
        let bodies = match self {
            Body::Flow(rules) => parts(rules, FlowStats::encode, Body::Flow)?,
            Body::Table(tables) => parts(tables, TableStats::encode, Body::Table)?,
            Body::PortStats(ports) => parts(ports, PortStats::encode, Body::PortStats)?,
            Body::Queue(queues) => parts(queues, QueueStats::encode, Body::Queue)?,
            Body::Group(groups) => parts(groups, GroupStats::encode, Body::Group)?,
            Body::GroupDesc(groups) => parts(groups, GroupDesc::encode, Body::GroupDesc)?,
            Body::Meter(meters) => parts(meters, MeterStats::encode, Body::Meter)?,
            Body::MeterConfig(meters) => parts(meters, MeterConfig::encode, Body::MeterConfig)?,
            Body::TableFeatures(tables) => {
                parts(tables, TableFeatures::encode, Body::TableFeatures)?
            }
            Body::PortDesc(ports) => parts(ports, Port::encode, Body::PortDesc)?,
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
