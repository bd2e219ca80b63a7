//! Messages of OpenFlow 1.3, by type.

use bytes::Bytes;

use super::bundle::{self, BundleAdd, BundleControl};
use super::experimenter::{ExperimenterFixed, ONF};
use super::{
    AsyncConfig, ErrorMsg, Experimenter, FeaturesReply, FlowMod, FlowRemoved, GroupMod, Hello,
    MeterMod, MultipartReply, MultipartRequest, PacketIn, PacketOut, PortMod, PortStatus,
    QueueGetConfigReply, QueueGetConfigRequest, Role, SwitchConfig, TableMod, VERSION,
};
use crate::error::{DecodeError, SkippedRule};
use crate::header::{Header, MessageType};
use crate::shared::message::{message_encoders, read};
use crate::wire::{Reader, Writer};

/// Message of OpenFlow 1.3. Unknown types are kept as bytes and encoded unchanged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Message {
    /// `OFPT_HELLO`: first message of each side.
    Hello(Hello),
    /// `OFPT_ERROR`: a request was refused.
    Error(ErrorMsg),
    /// `OFPT_ECHO_REQUEST`: asks for an echo of these bytes.
    EchoRequest(#[serde(serialize_with = "crate::serial::hex")] Bytes),
    /// `OFPT_ECHO_REPLY`: bytes of the echo request.
    EchoReply(#[serde(serialize_with = "crate::serial::hex")] Bytes),
    /// `OFPT_FEATURES_REQUEST`: asks for the datapath id and capabilities.
    FeaturesRequest,
    /// `OFPT_FEATURES_REPLY`: datapath id and capabilities.
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
    /// `OFPT_BARRIER_REQUEST`: asks for a reply once all earlier messages are processed.
    BarrierRequest,
    /// `OFPT_BARRIER_REPLY`: all messages before the request are processed.
    BarrierReply,
    /// `OFPT_ROLE_REQUEST`: asks for a controller role.
    RoleRequest(Role),
    /// `OFPT_ROLE_REPLY`: role that the controller has.
    RoleReply(Role),
    /// `OFPT_MULTIPART_REQUEST`: asks for data that may need several replies.
    MultipartRequest(MultipartRequest),
    /// `OFPT_MULTIPART_REPLY`: one part of the requested data.
    MultipartReply(MultipartReply),
    /// `OFPT_GROUP_MOD`: adds, changes or deletes a group.
    GroupMod(GroupMod),
    /// `OFPT_PORT_MOD`: changes the configuration of a port.
    PortMod(PortMod),
    /// `OFPT_TABLE_MOD`: changes the configuration of a table.
    TableMod(TableMod),
    /// `OFPT_METER_MOD`: adds, changes or deletes a meter.
    MeterMod(MeterMod),
    /// `OFPT_QUEUE_GET_CONFIG_REQUEST`: asks for the queues of a port.
    QueueGetConfigRequest(QueueGetConfigRequest),
    /// `OFPT_QUEUE_GET_CONFIG_REPLY`: queues of a port.
    QueueGetConfigReply(QueueGetConfigReply),
    /// `OFPT_GET_ASYNC_REQUEST`: asks which asynchronous messages the switch sends.
    GetAsyncRequest,
    /// `OFPT_GET_ASYNC_REPLY`: asynchronous messages that the switch sends.
    GetAsyncReply(AsyncConfig),
    /// `OFPT_SET_ASYNC`: selects the asynchronous messages that the switch sends.
    SetAsync(AsyncConfig),
    /// `ONF_ET_BUNDLE_CONTROL`: opens, closes, commits or discards a bundle.
    BundleControl(BundleControl),
    /// `ONF_ET_BUNDLE_ADD_MESSAGE`: adds a message to a bundle.
    BundleAdd(BundleAdd),
    /// `OFPT_EXPERIMENTER`: message defined by an experimenter, kept as bytes.
    Experimenter(Experimenter),
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

/// Decodes one whole frame. Hello and error messages are decoded for any version in their header, because they
/// precede the agreement on a version; all others must be of version 4.
pub fn decode(frame: &Bytes) -> Result<(Header, Message), DecodeError> {
    read(frame, is_known, Message::decode)
}

/// Decodes one whole frame as [`decode`] does, but leaves out the rules of a reply that cannot be decoded.
pub fn decode_lenient(frame: &Bytes) -> Result<(Header, Message, Vec<SkippedRule>), DecodeError> {
    let mut skipped = Vec::new();
    let (header, message) = read(frame, is_known, |header, reader| match header.kind {
        MessageType::MULTIPART_REPLY => {
            let reply = MultipartReply::decode_lenient(reader, &mut skipped)?;
            Ok(Message::MultipartReply(reply))
        }
        _ => Message::decode(header, reader),
    })?;
    Ok((header, message, skipped))
}

fn is_known(header: Header) -> bool {
    let any_version = matches!(header.kind, MessageType::HELLO | MessageType::ERROR);
    header.version == VERSION || any_version
}

message_encoders!(Message);

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

    /// Decodes a bundle message of the ONF; other experimenter messages are kept as bytes.
    fn experimenter(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
        let mut inside = *reader;
        let Ok(fixed) = inside.fixed::<ExperimenterFixed>() else {
            // Versions before 1.3 have no experimenter type: keep the bytes.
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

    /// Message type for the header.
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
