//! `OFPT_ERROR` (section 5.4.4): something was refused.

use std::fmt;

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

fixed! {
    /// `ofp_error_msg` from its header to its data.
    struct ErrorFixed = "error" {
        kind: u16,
        code: u16,
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
    /// A flow-mod was not carried out.
    pub const FLOW_MOD_FAILED: u16 = 3;
    /// A port-mod was not carried out.
    pub const PORT_MOD_FAILED: u16 = 4;
    /// A queue was not there.
    pub const QUEUE_OP_FAILED: u16 = 5;
}

/// The specification's names of types, and of the codes of each, without their prefixes; both count from 0.
const NAMES: &[(&str, &[&str])] = &[
    ("HELLO_FAILED", &["INCOMPATIBLE", "EPERM"]),
    (
        "BAD_REQUEST",
        &[
            "BAD_VERSION",
            "BAD_TYPE",
            "BAD_STAT",
            "BAD_VENDOR",
            "BAD_SUBTYPE",
            "EPERM",
            "BAD_LEN",
            "BUFFER_EMPTY",
            "BUFFER_UNKNOWN",
        ],
    ),
    (
        "BAD_ACTION",
        &[
            "BAD_TYPE",
            "BAD_LEN",
            "BAD_VENDOR",
            "BAD_VENDOR_TYPE",
            "BAD_OUT_PORT",
            "BAD_ARGUMENT",
            "EPERM",
            "TOO_MANY",
            "BAD_QUEUE",
        ],
    ),
    (
        "FLOW_MOD_FAILED",
        &[
            "ALL_TABLES_FULL",
            "OVERLAP",
            "EPERM",
            "BAD_EMERG_TIMEOUT",
            "BAD_COMMAND",
            "UNSUPPORTED",
        ],
    ),
    ("PORT_MOD_FAILED", &["BAD_PORT", "BAD_HW_ADDR"]),
    ("QUEUE_OP_FAILED", &["BAD_PORT", "BAD_QUEUE", "EPERM"]),
];

/// Something was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorMsg {
    /// `kind::*`.
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
            return write!(f, "type {kind}/code {code}");
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
            (kind::FLOW_MOD_FAILED, 5, "FLOW_MOD_FAILED/UNSUPPORTED"),
            (kind::QUEUE_OP_FAILED, 2, "QUEUE_OP_FAILED/EPERM"),
            (kind::HELLO_FAILED, 7, "HELLO_FAILED/code 7"),
            (99, 1, "type 99/code 1"),
        ] {
            let data = Bytes::new();
            assert_eq!(ErrorMsg { kind, code, data }.to_string(), text);
        }
    }
}
