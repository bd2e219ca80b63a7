//! Zero-copy views of the fixed part of a frame, for frames that are only forwarded. Nothing after the fixed part
//! is checked.

use zerocopy::FromBytes;

use crate::error::{DecodeError, Problem};
use crate::header::{Header, MessageType};
use crate::wire::Fixed;

pub use super::flow_mod::FlowModFixed;
pub use super::flow_removed::FlowRemovedFixed;
pub use super::group::GroupModFixed;
pub use super::meter::MeterModFixed;
use super::multipart::FlowStatsFixed;
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

/// Rule in a part of an answer to `OFPMP_FLOW`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowStatsView<'a> {
    /// Table that holds the rule.
    pub table_id: u8,
    /// Cookie of the rule.
    pub cookie: u64,
    /// Whole encoded rule.
    pub bytes: &'a [u8],
}

/// Bytes of a multipart message before its body.
pub const MULTIPART_BODY: usize = Header::LEN + size_of::<MultipartFixed>();

/// Returns the rules of a multipart reply of type `OFPMP_FLOW`, up to the first one that is malformed.
pub fn flow_stats(frame: &[u8]) -> impl Iterator<Item = Result<FlowStatsView<'_>, DecodeError>> {
    let mut rest = frame.get(MULTIPART_BODY..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = frame.len() - rest.len();
        let (view, left) = match flow_stats_view(rest, at) {
            Ok(read) => read,
            Err(error) => {
                rest = &[];
                return Some(Err(error));
            }
        };
        rest = left;
        Some(Ok(view))
    })
}

/// Splits the first rule off. It begins at this byte of the frame.
fn flow_stats_view(rules: &[u8], at: usize) -> Result<(FlowStatsView<'_>, &[u8]), DecodeError> {
    let short = |needed| {
        let left = rules.len();
        DecodeError::new(FlowStatsFixed::NAME, at, Problem::Short { needed, left })
    };
    let least = size_of::<FlowStatsFixed>();
    let Ok((fixed, _)) = <FlowStatsFixed as FromBytes>::ref_from_prefix(rules) else {
        return Err(short(least));
    };
    let length = usize::from(fixed.length());
    if length < least {
        let found = fixed.length().into();
        return Err(DecodeError::value("multipart.flow.length", at, found));
    }
    let (bytes, rest) = rules
        .split_at_checked(length)
        .ok_or_else(|| short(length))?;
    let view = FlowStatsView {
        table_id: fixed.table_id(),
        cookie: fixed.cookie(),
        bytes,
    };
    Ok((view, rest))
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
