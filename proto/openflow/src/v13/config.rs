//! `OFPT_SET_CONFIG` and `OFPT_GET_CONFIG_REPLY` (section 7.3.2).

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

fixed! {
    /// `ofp_switch_config` after its header.
    struct ConfigFixed = "switch_config" {
        flags: u16,
        miss_send_len: u16,
    }
}

/// How a switch handles fragments, and how much of a packet it sends to the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct SwitchConfig {
    /// `OFPC_FRAG_*`; 0: as any packet.
    pub flags: u16,
    /// Bytes of a packet sent to the controller where no output action says more.
    pub miss_send_len: u16,
}

impl SwitchConfig {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<ConfigFixed>()?;
        Ok(SwitchConfig {
            flags: fixed.flags(),
            miss_send_len: fixed.miss_send_len(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&ConfigFixed {
            flags: self.flags.into(),
            miss_send_len: self.miss_send_len.into(),
        });
    }
}
