//! Messages of any supported version, chosen by the version field of the header.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::header::Header;
use crate::{v10, v13};

/// Message of OpenFlow 1.0 or 1.3.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum AnyMessage {
    /// Message of OpenFlow 1.0 (wire version 1).
    V10(v10::Message),
    /// Message of OpenFlow 1.3 (wire version 4); hello and error messages of unsupported versions too.
    V13(v13::Message),
}

/// Name of a message type in the version of the header, without `OFPT_`. `None`: the version has no such type.
pub fn type_name(header: &Header) -> Option<&'static str> {
    match header.version {
        v10::VERSION => v10::kind::name(header.kind),
        _ => header.kind.name(),
    }
}

/// Decodes one whole frame of any supported version. Fails on an unsupported version, a wrong length or an invalid
/// field.
pub fn decode(frame: &Bytes) -> Result<(Header, AnyMessage), DecodeError> {
    match frame.first() {
        Some(&v10::VERSION) => v10::decode(frame).map(|(h, m)| (h, AnyMessage::V10(m))),
        Some(_) | None => v13::decode(frame).map(|(h, m)| (h, AnyMessage::V13(m))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: u8, kind: u8) -> Result<Option<&'static str>, String> {
        let frame = Bytes::copy_from_slice(&[version, kind, 0, 8, 0, 0, 0, 1]);
        let read = decode(&frame).map(|(header, _)| type_name(&header));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn message_types_are_numbered_by_version() {
        assert_eq!(read(1, 18), Ok(Some("BARRIER_REQUEST")));
        assert_eq!(read(4, 20), Ok(Some("BARRIER_REQUEST")));
        assert_eq!(read(6, 0), Ok(Some("HELLO")));
        let refused = "header.version at byte 0: version 5 is not supported";
        assert_eq!(read(5, 20), Err(refused.to_owned()));
    }
}
