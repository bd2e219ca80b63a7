//! Messages of OpenFlow 1.0, by type.

use bytes::Bytes;

use super::queue::{QueueConfig, QueueConfigRequestFixed};
use super::{
    ErrorMsg, FeaturesReply, FlowMod, FlowRemoved, PacketIn, PacketOut, PortMod, PortStatus,
    StatsReply, StatsRequest, SwitchConfig, VERSION, Vendor, kind,
};
use crate::error::{DecodeError, SkippedRule};
use crate::header::{Header, MessageType};
use crate::shared::message::{message_encoders, read};
use crate::wire::{Reader, Writer};

/// Message of OpenFlow 1.0. Unknown types are kept as bytes and encoded unchanged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Message {
    /// `OFPT_HELLO`: first message of each side; bytes after the header have no meaning.
    Hello(#[serde(serialize_with = "crate::serial::hex")] Bytes),
    /// `OFPT_ERROR`: a request was refused.
    Error(ErrorMsg),
    /// `OFPT_ECHO_REQUEST`: asks for an echo of these bytes.
    EchoRequest(#[serde(serialize_with = "crate::serial::hex")] Bytes),
    /// `OFPT_ECHO_REPLY`: bytes of the echo request.
    EchoReply(#[serde(serialize_with = "crate::serial::hex")] Bytes),
    /// `OFPT_VENDOR`: message defined by a vendor.
    Vendor(Vendor),
    /// `OFPT_FEATURES_REQUEST`: asks for datapath id, capabilities and ports.
    FeaturesRequest,
    /// `OFPT_FEATURES_REPLY`: datapath id, capabilities and ports.
    FeaturesReply(FeaturesReply),
    /// `OFPT_GET_CONFIG_REQUEST`: asks for the switch configuration.
    GetConfigRequest,
    /// `OFPT_GET_CONFIG_REPLY`: current switch configuration.
    GetConfigReply(SwitchConfig),
    /// `OFPT_SET_CONFIG`: sets the switch configuration.
    SetConfig(SwitchConfig),
    /// `OFPT_PACKET_IN`: a packet sent to the controller.
    PacketIn(PacketIn),
    /// `OFPT_FLOW_REMOVED`: a rule was removed.
    FlowRemoved(FlowRemoved),
    /// `OFPT_PORT_STATUS`: a port was added, removed or changed.
    PortStatus(PortStatus),
    /// `OFPT_PACKET_OUT`: a packet sent by the controller.
    PacketOut(PacketOut),
    /// `OFPT_FLOW_MOD`: adds, changes or deletes rules.
    FlowMod(FlowMod),
    /// `OFPT_PORT_MOD`: changes the configuration of a port.
    PortMod(PortMod),
    /// `OFPT_STATS_REQUEST`: asks for statistics.
    StatsRequest(StatsRequest),
    /// `OFPT_STATS_REPLY`: statistics, or one part of them.
    StatsReply(StatsReply),
    /// `OFPT_BARRIER_REQUEST`: asks for a reply once all earlier messages are processed.
    BarrierRequest,
    /// `OFPT_BARRIER_REPLY`: all messages before the request are processed.
    BarrierReply,
    /// `OFPT_QUEUE_GET_CONFIG_REQUEST`: asks for the queues of a port.
    QueueGetConfigRequest {
        /// Port number within the switch.
        port: u16,
    },
    /// `OFPT_QUEUE_GET_CONFIG_REPLY`: queues of a port.
    QueueGetConfigReply(QueueConfig),
    /// Message of an unknown type, kept as bytes.
    Unknown {
        /// Message type of the header.
        #[serde(rename = "type")]
        kind: MessageType,
        /// Bytes after the header.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

/// Decodes one whole frame. Fails on another version, a wrong length or an invalid field.
pub fn decode(frame: &Bytes) -> Result<(Header, Message), DecodeError> {
    let known = |header: Header| header.version == VERSION;
    read(frame, known, |header, reader| {
        Message::decode(header.kind, reader)
    })
}

/// Decodes one whole frame as [`decode`] does, but leaves out the rules of a reply that cannot be decoded.
pub fn decode_lenient(frame: &Bytes) -> Result<(Header, Message, Vec<SkippedRule>), DecodeError> {
    let mut skipped = Vec::new();
    let known = |header: Header| header.version == VERSION;
    let (header, message) = read(frame, known, |header, reader| match header.kind {
        kind::STATS_REPLY => {
            let reply = StatsReply::decode_lenient(reader, &mut skipped)?;
            Ok(Message::StatsReply(reply))
        }
        kind => Message::decode(kind, reader),
    })?;
    Ok((header, message, skipped))
}

message_encoders!(Message);

impl Message {
    fn decode(kind: MessageType, reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
        Ok(match kind {
            kind::HELLO => Message::Hello(reader.rest()),
            kind::ERROR => Message::Error(ErrorMsg::decode(reader)?),
            kind::ECHO_REQUEST => Message::EchoRequest(reader.rest()),
            kind::ECHO_REPLY => Message::EchoReply(reader.rest()),
            kind::VENDOR => Message::Vendor(Vendor::decode(reader)?),
            kind::FEATURES_REQUEST => Message::FeaturesRequest,
            kind::FEATURES_REPLY => Message::FeaturesReply(FeaturesReply::decode(reader)?),
            kind::GET_CONFIG_REQUEST => Message::GetConfigRequest,
            kind::GET_CONFIG_REPLY => Message::GetConfigReply(SwitchConfig::decode(reader)?),
            kind::SET_CONFIG => Message::SetConfig(SwitchConfig::decode(reader)?),
            kind::PACKET_IN => Message::PacketIn(PacketIn::decode(reader)?),
            kind::FLOW_REMOVED => Message::FlowRemoved(FlowRemoved::decode(reader)?),
            kind::PORT_STATUS => Message::PortStatus(PortStatus::decode(reader)?),
            kind::PACKET_OUT => Message::PacketOut(PacketOut::decode(reader)?),
            kind::FLOW_MOD => Message::FlowMod(FlowMod::decode(reader)?),
            kind::PORT_MOD => Message::PortMod(PortMod::decode(reader)?),
            kind::STATS_REQUEST => Message::StatsRequest(StatsRequest::decode(reader)?),
            kind::STATS_REPLY => Message::StatsReply(StatsReply::decode(reader)?),
            kind::BARRIER_REQUEST => Message::BarrierRequest,
            kind::BARRIER_REPLY => Message::BarrierReply,
            kind::QUEUE_GET_CONFIG_REQUEST => Message::QueueGetConfigRequest {
                port: reader.fixed::<QueueConfigRequestFixed>()?.port(),
            },
            kind::QUEUE_GET_CONFIG_REPLY => {
                Message::QueueGetConfigReply(QueueConfig::decode(reader)?)
            }
            kind => Message::Unknown {
                kind,
                body: reader.rest(),
            },
        })
    }

    /// Message type for the header.
    pub fn kind(&self) -> MessageType {
        match self {
            Message::Hello(_) => kind::HELLO,
            Message::Error(_) => kind::ERROR,
            Message::EchoRequest(_) => kind::ECHO_REQUEST,
            Message::EchoReply(_) => kind::ECHO_REPLY,
            Message::Vendor(_) => kind::VENDOR,
            Message::FeaturesRequest => kind::FEATURES_REQUEST,
            Message::FeaturesReply(_) => kind::FEATURES_REPLY,
            Message::GetConfigRequest => kind::GET_CONFIG_REQUEST,
            Message::GetConfigReply(_) => kind::GET_CONFIG_REPLY,
            Message::SetConfig(_) => kind::SET_CONFIG,
            Message::PacketIn(_) => kind::PACKET_IN,
            Message::FlowRemoved(_) => kind::FLOW_REMOVED,
            Message::PortStatus(_) => kind::PORT_STATUS,
            Message::PacketOut(_) => kind::PACKET_OUT,
            Message::FlowMod(_) => kind::FLOW_MOD,
            Message::PortMod(_) => kind::PORT_MOD,
            Message::StatsRequest(_) => kind::STATS_REQUEST,
            Message::StatsReply(_) => kind::STATS_REPLY,
            Message::BarrierRequest => kind::BARRIER_REQUEST,
            Message::BarrierReply => kind::BARRIER_REPLY,
            Message::QueueGetConfigRequest { .. } => kind::QUEUE_GET_CONFIG_REQUEST,
            Message::QueueGetConfigReply(_) => kind::QUEUE_GET_CONFIG_REPLY,
            Message::Unknown { kind, .. } => *kind,
        }
    }

    fn encode_body(&self, w: &mut Writer<'_>) {
        match self {
            Message::Hello(data) | Message::EchoRequest(data) | Message::EchoReply(data) => {
                w.bytes(data);
            }
            Message::Error(error) => error.encode(w),
            Message::Vendor(vendor) => vendor.encode(w),
            Message::FeaturesRequest
            | Message::GetConfigRequest
            | Message::BarrierRequest
            | Message::BarrierReply => (),
            Message::FeaturesReply(features) => features.encode(w),
            Message::GetConfigReply(config) | Message::SetConfig(config) => config.encode(w),
            Message::PacketIn(packet_in) => packet_in.encode(w),
            Message::FlowRemoved(removed) => removed.encode(w),
            Message::PortStatus(status) => status.encode(w),
            Message::PacketOut(packet_out) => packet_out.encode(w),
            Message::FlowMod(flow_mod) => flow_mod.encode(w),
            Message::PortMod(port_mod) => port_mod.encode(w),
            Message::StatsRequest(request) => request.encode(w),
            Message::StatsReply(reply) => reply.encode(w),
            Message::QueueGetConfigRequest { port } => w.fixed(&QueueConfigRequestFixed {
                port: (*port).into(),
                pad: [0; 2],
            }),
            Message::QueueGetConfigReply(config) => config.encode(w),
            Message::Unknown { body, .. } => w.bytes(body),
        }
    }
}
