//! Zero-copy views of the fixed part of a frame, for frames that are only forwarded. Nothing after the fixed part
//! is checked.

use crate::error::{DecodeError, Problem};
use crate::header::{Header, MessageType};
use crate::wire::Fixed;

pub use super::flow_mod::FlowModFixed;
pub use super::flow_removed::FlowRemovedFixed;
pub use super::group::GroupModFixed;
pub use super::meter::MeterModFixed;
pub use super::multipart::MultipartFixed;
pub use super::packet_in::PacketInFixed;
pub use crate::shared::error::ErrorFixed;

/// Returns the fixed part. Fails if the frame is of another type or too short.
fn view<'a, T: Fixed>(frame: &'a [u8], kinds: &[MessageType]) -> Result<&'a T, DecodeError> {
    let header = Header::read(frame)?;
    if !kinds.contains(&header.kind) {
        let found = header.kind.0.into();
        return Err(DecodeError::value("header.type", 1, found));
    }
    let body = &frame[Header::LEN..];
    match T::ref_from_prefix(body) {
        Ok((view, _)) => Ok(view),
        Err(_) => {
            let (needed, left) = (size_of::<T>(), body.len());
            let short = Problem::Short { needed, left };
            Err(DecodeError::new(T::NAME, Header::LEN, short))
        }
    }
}

/// Returns the fixed part of a flow-mod.
pub fn flow_mod(frame: &[u8]) -> Result<&FlowModFixed, DecodeError> {
    view(frame, &[MessageType::FLOW_MOD])
}

/// Returns the fixed part of a packet-in.
pub fn packet_in(frame: &[u8]) -> Result<&PacketInFixed, DecodeError> {
    view(frame, &[MessageType::PACKET_IN])
}

/// Returns the fixed part of a flow-removed.
pub fn flow_removed(frame: &[u8]) -> Result<&FlowRemovedFixed, DecodeError> {
    view(frame, &[MessageType::FLOW_REMOVED])
}

/// Returns the fixed part of a multipart request or reply. Bit 0 of its flags is set if more parts follow.
pub fn multipart(frame: &[u8]) -> Result<&MultipartFixed, DecodeError> {
    view(
        frame,
        &[MessageType::MULTIPART_REQUEST, MessageType::MULTIPART_REPLY],
    )
}

/// Returns the fixed part of an error message.
pub fn error(frame: &[u8]) -> Result<&ErrorFixed, DecodeError> {
    view(frame, &[MessageType::ERROR])
}

/// Returns the fixed part of a group-mod.
pub fn group_mod(frame: &[u8]) -> Result<&GroupModFixed, DecodeError> {
    view(frame, &[MessageType::GROUP_MOD])
}

/// Returns the fixed part of a meter-mod.
pub fn meter_mod(frame: &[u8]) -> Result<&MeterModFixed, DecodeError> {
    view(frame, &[MessageType::METER_MOD])
}
