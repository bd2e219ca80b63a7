//! A message: its header and one of the structs of this module.

use bytes::Bytes;

use super::queue::{QueueConfig, QueueConfigRequestFixed};
use super::{
    ErrorMsg, FeaturesReply, FlowMod, FlowRemoved, PacketIn, PacketOut, PortMod, PortStatus,
    StatsReply, StatsRequest, SwitchConfig, VERSION, Vendor, kind,
};
use crate::alike::message::{read, written};
use crate::error::DecodeError;
use crate::header::{Header, MessageType};
use crate::wire::{Reader, Writer};

/// One message of OpenFlow 1.0. Those that are not known are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Message {
    /// The first message of each side; what follows its header has no meaning.
    Hello(#[serde(serialize_with = "crate::serial::hex")] Bytes),
    /// Something was refused.
    Error(ErrorMsg),
    /// Asks for the same bytes back.
    EchoRequest(#[serde(serialize_with = "crate::serial::hex")] Bytes),
    /// The same bytes back.
    EchoReply(#[serde(serialize_with = "crate::serial::hex")] Bytes),
    /// A vendor's own.
    Vendor(Vendor),
    /// Asks who the switch is.
    FeaturesRequest,
    /// Who the switch is, and its ports.
    FeaturesReply(FeaturesReply),
    /// Asks for the configuration.
    GetConfigRequest,
    /// The configuration.
    GetConfigReply(SwitchConfig),
    /// Sets the configuration.
    SetConfig(SwitchConfig),
    /// A packet for the controller.
    PacketIn(PacketIn),
    /// A rule has gone.
    FlowRemoved(FlowRemoved),
    /// A port has come, gone or changed.
    PortStatus(PortStatus),
    /// A packet from the controller.
    PacketOut(PacketOut),
    /// Adds, changes or deletes rules.
    FlowMod(FlowMod),
    /// Changes a port.
    PortMod(PortMod),
    /// Asks for statistics.
    StatsRequest(StatsRequest),
    /// Statistics, or a part of them.
    StatsReply(StatsReply),
    /// Asks to be told when all before it is done.
    BarrierRequest,
    /// All before it is done.
    BarrierReply,
    /// Asks for the queues of a port.
    QueueGetConfigRequest {
        /// Which.
        port: u16,
    },
    /// The queues of a port.
    QueueGetConfigReply(QueueConfig),
    /// One that this module does not know.
    Unknown {
        /// Which.
        #[serde(rename = "type")]
        kind: MessageType,
        /// After the header.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

/// Reads one whole frame.
pub fn decode(frame: &Bytes) -> Result<(Header, Message), DecodeError> {
    let known = |header: Header| header.version == VERSION;
    read(frame, known, |header, reader| {
        Message::decode(header.kind, reader)
    })
}

written!(Message);

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

    /// Which message it is.
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
