//! Messages of whatever version.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::header::Header;
use crate::{v10, v13};

/// A message of one of the versions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum AnyMessage {
    /// Of OpenFlow 1.0.
    V10(v10::Message),
    /// Of OpenFlow 1.3; hello and error also of versions that are not known here.
    V13(v13::Message),
}

/// The specification's name of a message's type without `OFPT_`, where it has one in its version.
pub fn type_name(header: &Header) -> Option<&'static str> {
    match header.version {
        v10::VERSION => v10::kind::name(header.kind),
        _ => header.kind.name(),
    }
}

/// Reads one whole frame of any version that is known here.
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
    fn the_same_number_is_another_message_in_another_version() {
        assert_eq!(read(1, 18), Ok(Some("BARRIER_REQUEST")));
        assert_eq!(read(4, 20), Ok(Some("BARRIER_REQUEST")));
        assert_eq!(read(6, 0), Ok(Some("HELLO")));
        let refused = "header.version at byte 0: version 5 is not supported";
        assert_eq!(read(5, 20), Err(refused.to_owned()));
    }
}
