//! Values that OpenFlow 1.0 cannot express, and conversion of error messages.

use std::fmt;

use crate::v10::ErrorMsg;
use crate::v10::error::{code as old_code, kind as old_kind};
use crate::v13;
use crate::v13::error::{code, kind};

/// Value of OpenFlow 1.3 that has no counterpart in 1.0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("OpenFlow 1.0 has no {what}")]
pub struct ConversionError {
    /// Feature that OpenFlow 1.0 lacks, as in "OpenFlow 1.0 has no ...".
    pub what: String,
    /// Matching error type, a constant of `v13::error::kind`.
    pub kind: u16,
    /// Matching error code, within that type.
    pub code: u16,
}

impl ConversionError {
    /// Makes an error; type and code are those with which a switch of 1.3 would refuse the value.
    pub fn new((kind, code): (u16, u16), what: impl fmt::Display) -> Self {
        ConversionError {
            what: what.to_string(),
            kind,
            code,
        }
    }
}

/// Error types and codes of OpenFlow 1.3 for values that 1.0 cannot express.
pub(super) mod refusal {
    use crate::v13::error::code::{bad_action, bad_match};
    use crate::v13::error::kind;

    pub(crate) const BAD_OUT_PORT: (u16, u16) = (kind::BAD_ACTION, bad_action::BAD_OUT_PORT);
    pub(crate) const BAD_TYPE: (u16, u16) = (kind::BAD_ACTION, bad_action::BAD_TYPE);
    pub(crate) const BAD_SET_TYPE: (u16, u16) = (kind::BAD_ACTION, bad_action::BAD_SET_TYPE);
    pub(crate) const BAD_SET_ARGUMENT: (u16, u16) =
        (kind::BAD_ACTION, bad_action::BAD_SET_ARGUMENT);
    pub(crate) const BAD_FIELD: (u16, u16) = (kind::BAD_MATCH, bad_match::BAD_FIELD);
    pub(crate) const BAD_VALUE: (u16, u16) = (kind::BAD_MATCH, bad_match::BAD_VALUE);
    pub(crate) const BAD_MASK: (u16, u16) = (kind::BAD_MATCH, bad_match::BAD_MASK);
    pub(crate) const BAD_PREREQ: (u16, u16) = (kind::BAD_MATCH, bad_match::BAD_PREREQ);
}

/// Converts an error message. Types unknown to 1.0 keep their numbers.
pub fn error_to_v13(error: &ErrorMsg) -> v13::ErrorMsg {
    let (kind, code) = match error.kind {
        old_kind::FLOW_MOD_FAILED => (kind::FLOW_MOD_FAILED, flow_mod_failed(error.code)),
        old_kind::PORT_MOD_FAILED => (kind::PORT_MOD_FAILED, error.code),
        old_kind::QUEUE_OP_FAILED => (kind::QUEUE_OP_FAILED, error.code),
        other => (other, error.code),
    };
    v13::ErrorMsg {
        kind,
        code,
        data: error.data.clone(),
    }
}

fn flow_mod_failed(code: u16) -> u16 {
    use code::flow_mod_failed as new;
    use old_code::flow_mod_failed as old;
    match code {
        old::ALL_TABLES_FULL => new::TABLE_FULL,
        old::OVERLAP => new::OVERLAP,
        old::EPERM => new::EPERM,
        old::BAD_EMERG_TIMEOUT => new::BAD_TIMEOUT,
        old::BAD_COMMAND => new::BAD_COMMAND,
        _ => new::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_named_as_in_their_own_version() {
        for (kind, code, old, new) in [
            (
                1,
                8,
                "BAD_REQUEST/BUFFER_UNKNOWN",
                "BAD_REQUEST/BUFFER_UNKNOWN",
            ),
            (2, 4, "BAD_ACTION/BAD_OUT_PORT", "BAD_ACTION/BAD_OUT_PORT"),
            (
                3,
                0,
                "FLOW_MOD_FAILED/ALL_TABLES_FULL",
                "FLOW_MOD_FAILED/TABLE_FULL",
            ),
            (
                3,
                4,
                "FLOW_MOD_FAILED/BAD_COMMAND",
                "FLOW_MOD_FAILED/BAD_COMMAND",
            ),
            (
                4,
                1,
                "PORT_MOD_FAILED/BAD_HW_ADDR",
                "PORT_MOD_FAILED/BAD_HW_ADDR",
            ),
            (
                5,
                1,
                "QUEUE_OP_FAILED/BAD_QUEUE",
                "QUEUE_OP_FAILED/BAD_QUEUE",
            ),
        ] {
            let data = bytes::Bytes::new();
            let error = ErrorMsg { kind, code, data };
            let newer = error_to_v13(&error);
            assert_eq!(
                (error.to_string(), newer.to_string()),
                (old.into(), new.into())
            );
        }
    }
}
