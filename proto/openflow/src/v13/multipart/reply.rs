//! Multipart replies, and the splitting of long lists into parts.

use bytes::Bytes;

use super::header::MORE;
use super::{
    AggregateStats, Desc, FlowStats, GroupDesc, GroupFeatures, GroupStats, MeterConfig,
    MeterFeatures, MeterStats, MultipartFixed, PortStats, QueueStats, TableFeatures, TableStats,
    kind,
};
use crate::error::{DecodeError, EncodeError, SkippedRule, strictly};
use crate::frame;
use crate::header::Header;
use crate::v13::{Experimenter, Port};
use crate::wire::{Reader, Writer};

/// Part of a multipart reply.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MultipartReply {
    /// Tells whether more parts follow.
    pub more: bool,
    /// Contents of this part.
    pub body: MultipartBody,
}

/// Contents of a multipart reply, or of one part.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum MultipartBody {
    /// Description of the switch.
    Desc(Desc),
    /// Individual rules with their counters.
    Flow(Vec<FlowStats>),
    /// Sums over the selected rules.
    Aggregate(AggregateStats),
    /// Counters of ports.
    PortStats(Vec<PortStats>),
    /// Descriptions of ports.
    PortDesc(Vec<Port>),
    /// Counters of tables.
    Table(Vec<TableStats>),
    /// Counters of queues.
    Queue(Vec<QueueStats>),
    /// Counters of groups.
    Group(Vec<GroupStats>),
    /// Descriptions of groups.
    GroupDesc(Vec<GroupDesc>),
    /// Group capabilities of the switch.
    GroupFeatures(GroupFeatures),
    /// Counters of meters.
    Meter(Vec<MeterStats>),
    /// Configurations of meters.
    MeterConfig(Vec<MeterConfig>),
    /// Meter capabilities of the switch.
    MeterFeatures(MeterFeatures),
    /// Capabilities of tables.
    TableFeatures(Vec<TableFeatures>),
    /// Body defined by an experimenter.
    Experimenter(Experimenter),
    /// Body of an unknown type, kept as bytes.
    Unknown {
        /// Multipart type on the wire.
        #[serde(rename = "type")]
        kind: u16,
        /// Bytes after `ofp_multipart_reply`.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl MultipartReply {
    /// Undefined flags are dropped.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        strictly(|skipped| Self::decode_lenient(reader, skipped))
    }

    /// Decodes a reply, without the rules that cannot be decoded.
    pub(crate) fn decode_lenient(
        reader: &mut Reader<'_>,
        skipped: &mut Vec<SkippedRule>,
    ) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<MultipartFixed>()?;
        let body = MultipartBody::decode(fixed.kind(), reader, skipped)?;
        let more = fixed.flags() & MORE != 0;
        Ok(MultipartReply { more, body })
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
    /// Multipart type, a constant of [`kind`].
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

    fn decode(
        kind: u16,
        reader: &mut Reader<'_>,
        skipped: &mut Vec<SkippedRule>,
    ) -> Result<Self, DecodeError> {
        Ok(match kind {
            kind::DESC => MultipartBody::Desc(Desc::decode(reader)?),
            kind::FLOW => MultipartBody::Flow(reader.rules(FlowStats::decode, skipped)),
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

    /// Splits the body into parts that each fit into a frame; all but the last have `more` set. Only lists can be
    /// split. Fails on an element that does not fit into a frame by itself.
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

/// Splits a list into parts that each fit into a frame. An empty list gives one empty part.
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
    fn rules_that_cannot_be_decoded_are_left_out_with_a_reason() {
        let rule = |table_id| FlowStats {
            table_id,
            duration_sec: 1,
            duration_nsec: 0,
            priority: 1,
            idle_timeout: 0,
            hard_timeout: 0,
            flags: 0,
            cookie: 7,
            packet_count: 0,
            byte_count: 0,
            match_: crate::v13::Match::new().in_port(1),
            instructions: vec![crate::v13::Instruction::GotoTable(9)],
        };
        let (start, length) = (16, 48 + 16 + 8);
        let frame = |change: &dyn Fn(&mut [u8])| {
            let body = MultipartBody::Flow(vec![rule(1), rule(2), rule(3)]);
            let reply = MultipartReply { more: true, body };
            let mut frame = Message::MultipartReply(reply).encode(1).to_vec();
            assert_eq!(frame.len(), start + 3 * length);
            change(&mut frame[start + length..start + 2 * length]);
            Bytes::from(frame)
        };
        let wrong_match: &dyn Fn(&mut [u8]) = &|rule| rule[49] = 9;
        let wrong_instruction: &dyn Fn(&mut [u8]) = &|rule| rule[48 + 16 + 3] = 7;
        let too_short: &dyn Fn(&mut [u8]) = &|rule| rule[1] = 3;
        let too_long: &dyn Fn(&mut [u8]) = &|rule| rule[0] = 0xff;
        for (change, left) in [
            (wrong_match, &[1, 3][..]),
            (wrong_instruction, &[1, 3]),
            // Where the next rule begins is unknown.
            (too_short, &[1]),
            (too_long, &[1]),
        ] {
            let frame = frame(change);
            let (_, message, skipped) = crate::v13::decode_lenient(&frame).unwrap();
            let Message::MultipartReply(reply) = message else {
                panic!("{message:?}")
            };
            let MultipartBody::Flow(rules) = &reply.body else {
                panic!("{reply:?}")
            };
            assert!(reply.more);
            assert_eq!(rules.iter().map(|r| r.table_id).collect::<Vec<_>>(), left);
            assert_eq!(skipped.iter().map(|s| s.table_id).collect::<Vec<_>>(), [2]);
            assert_eq!(decode(&frame), Err(skipped[0].error));
        }
        let whole = frame(&|_| {});
        let (header, message, skipped) = crate::v13::decode_lenient(&whole).unwrap();
        assert_eq!((Ok((header, message)), skipped), (decode(&whole), vec![]));
    }

    #[test]
    fn an_empty_list_is_one_part() {
        let parts = MultipartBody::Flow(vec![]).into_parts().unwrap();
        assert!(matches!(&parts[..], [part] if !part.more));
    }
}
