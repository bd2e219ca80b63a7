//! `OFPT_ERROR` (section 7.4.4): something was refused.

use std::fmt;

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

fixed! {
    /// `ofp_error_msg` from its header to its data.
    pub struct ErrorFixed = "error" {
        pub kind: u16,
        pub code: u16,
    }
}

/// What kind of thing was refused: `OFPET_*`.
pub mod kind {
    /// The hello exchange failed.
    pub const HELLO_FAILED: u16 = 0;
    /// A message was not understood.
    pub const BAD_REQUEST: u16 = 1;
    /// A list of actions is wrong.
    pub const BAD_ACTION: u16 = 2;
    /// A list of instructions is wrong.
    pub const BAD_INSTRUCTION: u16 = 3;
    /// A match is wrong.
    pub const BAD_MATCH: u16 = 4;
    /// A flow-mod was not carried out.
    pub const FLOW_MOD_FAILED: u16 = 5;
    /// A group-mod was not carried out.
    pub const GROUP_MOD_FAILED: u16 = 6;
    /// A port-mod was not carried out.
    pub const PORT_MOD_FAILED: u16 = 7;
    /// A table-mod was not carried out.
    pub const TABLE_MOD_FAILED: u16 = 8;
    /// A queue was not there.
    pub const QUEUE_OP_FAILED: u16 = 9;
    /// A set-config was not carried out.
    pub const SWITCH_CONFIG_FAILED: u16 = 10;
    /// A role was not given.
    pub const ROLE_REQUEST_FAILED: u16 = 11;
    /// A meter-mod was not carried out.
    pub const METER_MOD_FAILED: u16 = 12;
    /// Table features were not set.
    pub const TABLE_FEATURES_FAILED: u16 = 13;
    /// An experimenter's own.
    pub const EXPERIMENTER: u16 = 0xffff;
}

/// The specification's names of types, and of the codes of each, without their prefixes; both count from 0.
const NAMES: &[(&str, &[&str])] = &[
    ("HELLO_FAILED", &["INCOMPATIBLE", "EPERM"]),
    (
        "BAD_REQUEST",
        &[
            "BAD_VERSION",
            "BAD_TYPE",
            "BAD_MULTIPART",
            "BAD_EXPERIMENTER",
            "BAD_EXP_TYPE",
            "EPERM",
            "BAD_LEN",
            "BUFFER_EMPTY",
            "BUFFER_UNKNOWN",
            "BAD_TABLE_ID",
            "IS_SLAVE",
            "BAD_PORT",
            "BAD_PACKET",
            "MULTIPART_BUFFER_OVERFLOW",
        ],
    ),
    (
        "BAD_ACTION",
        &[
            "BAD_TYPE",
            "BAD_LEN",
            "BAD_EXPERIMENTER",
            "BAD_EXP_TYPE",
            "BAD_OUT_PORT",
            "BAD_ARGUMENT",
            "EPERM",
            "TOO_MANY",
            "BAD_QUEUE",
            "BAD_OUT_GROUP",
            "MATCH_INCONSISTENT",
            "UNSUPPORTED_ORDER",
            "BAD_TAG",
            "BAD_SET_TYPE",
            "BAD_SET_LEN",
            "BAD_SET_ARGUMENT",
        ],
    ),
    (
        "BAD_INSTRUCTION",
        &[
            "UNKNOWN_INST",
            "UNSUP_INST",
            "BAD_TABLE_ID",
            "UNSUP_METADATA",
            "UNSUP_METADATA_MASK",
            "BAD_EXPERIMENTER",
            "BAD_EXP_TYPE",
            "BAD_LEN",
            "EPERM",
        ],
    ),
    (
        "BAD_MATCH",
        &[
            "BAD_TYPE",
            "BAD_LEN",
            "BAD_TAG",
            "BAD_DL_ADDR_MASK",
            "BAD_NW_ADDR_MASK",
            "BAD_WILDCARDS",
            "BAD_FIELD",
            "BAD_VALUE",
            "BAD_MASK",
            "BAD_PREREQ",
            "DUP_FIELD",
            "EPERM",
        ],
    ),
    (
        "FLOW_MOD_FAILED",
        &[
            "UNKNOWN",
            "TABLE_FULL",
            "BAD_TABLE_ID",
            "OVERLAP",
            "EPERM",
            "BAD_TIMEOUT",
            "BAD_COMMAND",
            "BAD_FLAGS",
        ],
    ),
    (
        "GROUP_MOD_FAILED",
        &[
            "GROUP_EXISTS",
            "INVALID_GROUP",
            "WEIGHT_UNSUPPORTED",
            "OUT_OF_GROUPS",
            "OUT_OF_BUCKETS",
            "CHAINING_UNSUPPORTED",
            "WATCH_UNSUPPORTED",
            "LOOP",
            "UNKNOWN_GROUP",
            "CHAINED_GROUP",
            "BAD_TYPE",
            "BAD_COMMAND",
            "BAD_BUCKET",
            "BAD_WATCH",
            "EPERM",
        ],
    ),
    (
        "PORT_MOD_FAILED",
        &[
            "BAD_PORT",
            "BAD_HW_ADDR",
            "BAD_CONFIG",
            "BAD_ADVERTISE",
            "EPERM",
        ],
    ),
    ("TABLE_MOD_FAILED", &["BAD_TABLE", "BAD_CONFIG", "EPERM"]),
    ("QUEUE_OP_FAILED", &["BAD_PORT", "BAD_QUEUE", "EPERM"]),
    ("SWITCH_CONFIG_FAILED", &["BAD_FLAGS", "BAD_LEN", "EPERM"]),
    ("ROLE_REQUEST_FAILED", &["STALE", "UNSUP", "BAD_ROLE"]),
    (
        "METER_MOD_FAILED",
        &[
            "UNKNOWN",
            "METER_EXISTS",
            "INVALID_METER",
            "UNKNOWN_METER",
            "BAD_COMMAND",
            "BAD_FLAGS",
            "BAD_RATE",
            "BAD_BURST",
            "BAD_BAND",
            "BAD_BAND_DETAIL",
            "OUT_OF_METERS",
            "OUT_OF_BANDS",
        ],
    ),
    (
        "TABLE_FEATURES_FAILED",
        &[
            "BAD_TABLE",
            "BAD_METADATA",
            "BAD_TYPE",
            "BAD_LEN",
            "BAD_ARGUMENT",
            "EPERM",
        ],
    ),
];

/// Something was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorMsg {
    /// `OFPET_*`.
    pub kind: u16,
    /// What it means depends on the type.
    pub code: u16,
    /// At least 64 bytes of what was refused; of a failed hello, text.
    pub data: Bytes,
}

impl ErrorMsg {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<ErrorFixed>()?;
        Ok(ErrorMsg {
            kind: fixed.kind(),
            code: fixed.code(),
            data: reader.rest(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&ErrorFixed {
            kind: self.kind.into(),
            code: self.code.into(),
        });
        w.bytes(&self.data);
    }
}

impl fmt::Display for ErrorMsg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, code) = (self.kind, self.code);
        let Some((name, codes)) = NAMES.get(usize::from(kind)) else {
            return match kind {
                kind::EXPERIMENTER => write!(f, "EXPERIMENTER/{code}"),
                _ => write!(f, "type {kind}/code {code}"),
            };
        };
        match codes.get(usize::from(code)) {
            Some(code) => write!(f, "{name}/{code}"),
            None => write!(f, "{name}/code {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_code_are_named_where_they_have_names() {
        for (kind, code, text) in [
            (kind::BAD_MATCH, 9, "BAD_MATCH/BAD_PREREQ"),
            (kind::METER_MOD_FAILED, 11, "METER_MOD_FAILED/OUT_OF_BANDS"),
            (kind::HELLO_FAILED, 7, "HELLO_FAILED/code 7"),
            (kind::EXPERIMENTER, 3, "EXPERIMENTER/3"),
            (99, 1, "type 99/code 1"),
        ] {
            let data = Bytes::new();
            assert_eq!(ErrorMsg { kind, code, data }.to_string(), text);
        }
    }
}
