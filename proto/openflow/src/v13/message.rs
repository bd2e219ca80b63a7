//! A message: its header and one of the structs of this module.

use bytes::{Bytes, BytesMut};

use super::bundle::{self, BundleAdd, BundleControl};
use super::experimenter::{ExperimenterFixed, ONF};
use super::{
    AsyncConfig, ErrorMsg, Experimenter, FeaturesReply, FlowMod, FlowRemoved, GroupMod, Hello,
    MeterMod, MultipartReply, MultipartRequest, PacketIn, PacketOut, PortMod, PortStatus,
    QueueGetConfigReply, QueueGetConfigRequest, Role, SwitchConfig, TableMod, VERSION,
};
use crate::alike;
use crate::alike::message::{read, written};
use crate::error::{DecodeError, EncodeError};
use crate::header::{Header, MessageType};
use crate::wire::{Reader, Writer};

/// One message of OpenFlow 1.3. Those that are not known are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Message {
    /// The first message of each side.
    Hello(Hello),
    /// Something was refused.
    Error(ErrorMsg),
    /// Asks for the same bytes back.
    EchoRequest(#[serde(serialize_with = "crate::serial::hex")] Bytes),
    /// The same bytes back.
    EchoReply(#[serde(serialize_with = "crate::serial::hex")] Bytes),
    /// Asks who the switch is.
    FeaturesRequest,
    /// Who the switch is.
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
    /// Asks to be told when all before it is done.
    BarrierRequest,
    /// All before it is done.
    BarrierReply,
    /// Asks for a role.
    RoleRequest(Role),
    /// The role that the controller has.
    RoleReply(Role),
    /// Asks for something that may not fit into one message.
    MultipartRequest(MultipartRequest),
    /// A part of what was asked for.
    MultipartReply(MultipartReply),
    /// Adds, changes or deletes a group.
    GroupMod(GroupMod),
    /// Changes how a port behaves.
    PortMod(PortMod),
    /// Configures a table.
    TableMod(TableMod),
    /// Adds, changes or deletes a meter.
    MeterMod(MeterMod),
    /// Asks for the queues of a port.
    QueueGetConfigRequest(QueueGetConfigRequest),
    /// The queues of a port.
    QueueGetConfigReply(QueueGetConfigReply),
    /// Asks which messages the switch sends unasked.
    GetAsyncRequest,
    /// Which messages the switch sends unasked.
    GetAsyncReply(AsyncConfig),
    /// Sets which messages the switch sends unasked.
    SetAsync(AsyncConfig),
    /// Opens, closes, carries out or forgets a bundle.
    BundleControl(BundleControl),
    /// Adds a message to a bundle.
    BundleAdd(BundleAdd),
    /// An experimenter's own.
    Experimenter(Experimenter),
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

/// Reads one whole frame. Hello and error, which must be understood before there is an agreed version, are read whatever
/// version their header says; all others only of this one.
pub fn decode(frame: &Bytes) -> Result<(Header, Message), DecodeError> {
    let any_version =
        |header: Header| matches!(header.kind, MessageType::HELLO | MessageType::ERROR);
    let known = |header: Header| header.version == VERSION || any_version(header);
    read(frame, known, Message::decode)
}

/// Appends a frame with this body to a buffer, or leaves the buffer as it was.
#[inline]
pub(super) fn write(
    kind: MessageType,
    xid: u32,
    out: &mut BytesMut,
    body: impl FnOnce(&mut Writer<'_>),
) -> Result<(), EncodeError> {
    alike::message::write((VERSION, kind), xid, out, body)
}

written!(Message);

impl Message {
    fn decode(header: Header, reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
        Ok(match header.kind {
            MessageType::HELLO => Message::Hello(Hello::decode(header.version, reader)?),
            MessageType::ERROR => Message::Error(ErrorMsg::decode(reader)?),
            MessageType::ECHO_REQUEST => Message::EchoRequest(reader.rest()),
            MessageType::ECHO_REPLY => Message::EchoReply(reader.rest()),
            MessageType::FEATURES_REQUEST => Message::FeaturesRequest,
            MessageType::FEATURES_REPLY => Message::FeaturesReply(FeaturesReply::decode(reader)?),
            MessageType::GET_CONFIG_REQUEST => Message::GetConfigRequest,
            MessageType::GET_CONFIG_REPLY => Message::GetConfigReply(SwitchConfig::decode(reader)?),
            MessageType::SET_CONFIG => Message::SetConfig(SwitchConfig::decode(reader)?),
            MessageType::PACKET_IN => Message::PacketIn(PacketIn::decode(reader)?),
            MessageType::FLOW_REMOVED => Message::FlowRemoved(FlowRemoved::decode(reader)?),
            MessageType::PORT_STATUS => Message::PortStatus(PortStatus::decode(reader)?),
            MessageType::PACKET_OUT => Message::PacketOut(PacketOut::decode(reader)?),
            MessageType::FLOW_MOD => Message::FlowMod(FlowMod::decode(reader)?),
            MessageType::BARRIER_REQUEST => Message::BarrierRequest,
            MessageType::BARRIER_REPLY => Message::BarrierReply,
            MessageType::ROLE_REQUEST => Message::RoleRequest(Role::decode(reader)?),
            MessageType::ROLE_REPLY => Message::RoleReply(Role::decode(reader)?),
            MessageType::MULTIPART_REQUEST => {
                Message::MultipartRequest(MultipartRequest::decode(reader)?)
            }
            MessageType::MULTIPART_REPLY => {
                Message::MultipartReply(MultipartReply::decode(reader)?)
            }
            MessageType::GROUP_MOD => Message::GroupMod(GroupMod::decode(reader)?),
            MessageType::PORT_MOD => Message::PortMod(PortMod::decode(reader)?),
            MessageType::TABLE_MOD => Message::TableMod(TableMod::decode(reader)?),
            MessageType::METER_MOD => Message::MeterMod(MeterMod::decode(reader)?),
            MessageType::QUEUE_GET_CONFIG_REQUEST => {
                Message::QueueGetConfigRequest(QueueGetConfigRequest::decode(reader)?)
            }
            MessageType::QUEUE_GET_CONFIG_REPLY => {
                Message::QueueGetConfigReply(QueueGetConfigReply::decode(reader)?)
            }
            MessageType::GET_ASYNC_REQUEST => Message::GetAsyncRequest,
            MessageType::GET_ASYNC_REPLY => Message::GetAsyncReply(AsyncConfig::decode(reader)?),
            MessageType::SET_ASYNC => Message::SetAsync(AsyncConfig::decode(reader)?),
            MessageType::EXPERIMENTER => Message::experimenter(reader)?,
            kind => Message::Unknown {
                kind,
                body: reader.rest(),
            },
        })
    }

    /// A bundle's, or as it is.
    fn experimenter(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
        let mut inside = *reader;
        let Ok(fixed) = inside.fixed::<ExperimenterFixed>() else {
            // Without a type it is a message of before 1.3.
            let (kind, body) = (MessageType::EXPERIMENTER, reader.rest());
            return Ok(Message::Unknown { kind, body });
        };
        match (fixed.experimenter(), fixed.exp_type()) {
            (ONF, bundle::CONTROL) => {
                *reader = inside;
                Ok(Message::BundleControl(BundleControl::decode(reader)?))
            }
            (ONF, bundle::ADD_MESSAGE) => {
                *reader = inside;
                Ok(Message::BundleAdd(BundleAdd::decode(reader)?))
            }
            _ => Ok(Message::Experimenter(Experimenter::decode(reader)?)),
        }
    }

    /// Which message it is.
    pub fn kind(&self) -> MessageType {
        match self {
            Message::Hello(_) => MessageType::HELLO,
            Message::Error(_) => MessageType::ERROR,
            Message::EchoRequest(_) => MessageType::ECHO_REQUEST,
            Message::EchoReply(_) => MessageType::ECHO_REPLY,
            Message::FeaturesRequest => MessageType::FEATURES_REQUEST,
            Message::FeaturesReply(_) => MessageType::FEATURES_REPLY,
            Message::GetConfigRequest => MessageType::GET_CONFIG_REQUEST,
            Message::GetConfigReply(_) => MessageType::GET_CONFIG_REPLY,
            Message::SetConfig(_) => MessageType::SET_CONFIG,
            Message::PacketIn(_) => MessageType::PACKET_IN,
            Message::FlowRemoved(_) => MessageType::FLOW_REMOVED,
            Message::PortStatus(_) => MessageType::PORT_STATUS,
            Message::PacketOut(_) => MessageType::PACKET_OUT,
            Message::FlowMod(_) => MessageType::FLOW_MOD,
            Message::BarrierRequest => MessageType::BARRIER_REQUEST,
            Message::BarrierReply => MessageType::BARRIER_REPLY,
            Message::RoleRequest(_) => MessageType::ROLE_REQUEST,
            Message::RoleReply(_) => MessageType::ROLE_REPLY,
            Message::MultipartRequest(_) => MessageType::MULTIPART_REQUEST,
            Message::MultipartReply(_) => MessageType::MULTIPART_REPLY,
            Message::GroupMod(_) => MessageType::GROUP_MOD,
            Message::PortMod(_) => MessageType::PORT_MOD,
            Message::TableMod(_) => MessageType::TABLE_MOD,
            Message::MeterMod(_) => MessageType::METER_MOD,
            Message::QueueGetConfigRequest(_) => MessageType::QUEUE_GET_CONFIG_REQUEST,
            Message::QueueGetConfigReply(_) => MessageType::QUEUE_GET_CONFIG_REPLY,
            Message::GetAsyncRequest => MessageType::GET_ASYNC_REQUEST,
            Message::GetAsyncReply(_) => MessageType::GET_ASYNC_REPLY,
            Message::SetAsync(_) => MessageType::SET_ASYNC,
            Message::BundleControl(_) | Message::BundleAdd(_) | Message::Experimenter(_) => {
                MessageType::EXPERIMENTER
            }
            Message::Unknown { kind, .. } => *kind,
        }
    }

    fn encode_body(&self, w: &mut Writer<'_>) {
        match self {
            Message::Hello(hello) => hello.encode(w),
            Message::Error(error) => error.encode(w),
            Message::EchoRequest(data) | Message::EchoReply(data) => w.bytes(data),
            Message::FeaturesRequest
            | Message::GetConfigRequest
            | Message::BarrierRequest
            | Message::BarrierReply
            | Message::GetAsyncRequest => (),
            Message::FeaturesReply(features) => features.encode(w),
            Message::GetConfigReply(config) | Message::SetConfig(config) => config.encode(w),
            Message::PacketIn(packet_in) => packet_in.encode(w),
            Message::FlowRemoved(removed) => removed.encode(w),
            Message::PortStatus(status) => status.encode(w),
            Message::PacketOut(packet_out) => packet_out.encode(w),
            Message::FlowMod(flow_mod) => flow_mod.encode(w),
            Message::RoleRequest(role) | Message::RoleReply(role) => role.encode(w),
            Message::MultipartRequest(request) => request.encode(w),
            Message::MultipartReply(reply) => reply.encode(w),
            Message::GroupMod(group_mod) => group_mod.encode(w),
            Message::PortMod(port_mod) => port_mod.encode(w),
            Message::TableMod(table_mod) => table_mod.encode(w),
            Message::MeterMod(meter_mod) => meter_mod.encode(w),
            Message::QueueGetConfigRequest(request) => request.encode(w),
            Message::QueueGetConfigReply(reply) => reply.encode(w),
            Message::GetAsyncReply(config) | Message::SetAsync(config) => config.encode(w),
            Message::BundleControl(control) => control.encode(w),
            Message::BundleAdd(add) => add.encode(w),
            Message::Experimenter(experimenter) => experimenter.encode(w),
            Message::Unknown { body, .. } => w.bytes(body),
        }
    }
}
