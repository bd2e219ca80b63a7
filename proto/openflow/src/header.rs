//! Header common to all messages of all versions (section 7.1).

use std::fmt;

use serde::{Serialize, Serializer};
use zerocopy::FromBytes;

use crate::error::{DecodeError, Problem};
use crate::wire::fixed;

fixed! {
    /// `ofp_header`: the eight bytes before every body.
    pub(crate) struct HeaderFixed = "header" {
        pub(crate) version: u8,
        pub(crate) kind: u8,
        pub(crate) length: u16,
        pub(crate) xid: u32,
    }
}

/// Decoded header of a message of any version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Wire version: 1 for OpenFlow 1.0, 4 for OpenFlow 1.3.
    pub version: u8,
    /// Message type, numbered as in that version.
    pub kind: MessageType,
    /// Length of the whole message in bytes, header included.
    pub length: u16,
    /// Transaction id: chosen by the requester, repeated in the reply.
    pub xid: u32,
}

impl Header {
    /// Length of a header in bytes.
    pub const LEN: usize = 8;

    /// Decodes the header of a frame. Refuses a length below 8; does not compare it with the length of `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Header, DecodeError> {
        let Ok((fixed, _)) = HeaderFixed::ref_from_prefix(bytes) else {
            let short = Problem::Short {
                needed: Self::LEN,
                left: bytes.len(),
            };
            return Err(DecodeError::new("header", 0, short));
        };
        let length = fixed.length();
        if usize::from(length) < Self::LEN {
            let small = Problem::TooSmall {
                found: length.into(),
                least: Self::LEN,
            };
            return Err(DecodeError::new("header.length", 2, small));
        }
        Ok(Header {
            version: fixed.version(),
            kind: MessageType(fixed.kind()),
            length,
            xid: fixed.xid(),
        })
    }
}

/// Message type of a frame. The constants are those of OpenFlow 1.3; types 0 to 3 and 5 to 14 are the same in 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageType(pub u8);

macro_rules! message_types {
    ($($name:ident = $number:literal),* $(,)?) => {
        impl MessageType {
            $(
                #[doc = concat!("Message type `OFPT_", stringify!($name), "`.")]
                pub const $name: MessageType = MessageType($number);
            )*

            /// Name in OpenFlow 1.3 without `OFPT_`. `None`: 1.3 has no such type.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

message_types! {
    HELLO = 0,
    ERROR = 1,
    ECHO_REQUEST = 2,
    ECHO_REPLY = 3,
    EXPERIMENTER = 4,
    FEATURES_REQUEST = 5,
    FEATURES_REPLY = 6,
    GET_CONFIG_REQUEST = 7,
    GET_CONFIG_REPLY = 8,
    SET_CONFIG = 9,
    PACKET_IN = 10,
    FLOW_REMOVED = 11,
    PORT_STATUS = 12,
    PACKET_OUT = 13,
    FLOW_MOD = 14,
    GROUP_MOD = 15,
    PORT_MOD = 16,
    TABLE_MOD = 17,
    MULTIPART_REQUEST = 18,
    MULTIPART_REPLY = 19,
    BARRIER_REQUEST = 20,
    BARRIER_REPLY = 21,
    QUEUE_GET_CONFIG_REQUEST = 22,
    QUEUE_GET_CONFIG_REPLY = 23,
    ROLE_REQUEST = 24,
    ROLE_REPLY = 25,
    GET_ASYNC_REQUEST = 26,
    GET_ASYNC_REPLY = 27,
    SET_ASYNC = 28,
    METER_MOD = 29,
}

/// Serializes the number, because its name depends on the version.
impl Serialize for MessageType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "TYPE_{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_whatever_follows() {
        let header = Header::read(&[6, 0, 0, 16, 0, 0, 1, 2, 9]).unwrap();
        assert_eq!(
            (header.version, header.kind, header.length, header.xid),
            (6, MessageType::HELLO, 16, 0x102)
        );
    }

    #[test]
    fn a_short_header_or_a_length_below_8_is_refused() {
        let short = Header::read(&[4, 0, 0]).unwrap_err();
        assert_eq!(
            short.to_string(),
            "header at byte 0: needs 8 bytes, 3 are left"
        );
        let small = Header::read(&[4, 0, 0, 7, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(
            small.to_string(),
            "header.length at byte 2: length 7 is less than 8"
        );
    }

    #[test]
    fn types_have_names() {
        assert_eq!(MessageType::FLOW_MOD.to_string(), "FLOW_MOD");
        assert_eq!(MessageType(200).to_string(), "TYPE_200");
    }
}
