//! `OFPT_ERROR` (section 7.4.4): something was refused.

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
