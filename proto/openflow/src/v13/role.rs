//! `OFPT_ROLE_REQUEST` and `OFPT_ROLE_REPLY` (section 7.3.9).

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// `OFPCR_ROLE_NOCHANGE`: asks for the present role.
pub const NOCHANGE: u32 = 0;
/// `OFPCR_ROLE_EQUAL`: the default.
pub const EQUAL: u32 = 1;
/// `OFPCR_ROLE_MASTER`: one at most; the former becomes a slave.
pub const MASTER: u32 = 2;
/// `OFPCR_ROLE_SLAVE`: reads only.
pub const SLAVE: u32 = 3;

fixed! {
    /// `ofp_role_request` after its header.
    struct RoleFixed = "role" {
        role: u32,
        pad: [u8; 4],
        generation_id: u64,
    }
}

/// What a controller is to the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Role {
    /// One of this module's constants.
    pub role: u32,
    /// Which election of a master; an older one is refused.
    pub generation_id: u64,
}

impl Role {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<RoleFixed>()?;
        Ok(Role {
            role: fixed.role(),
            generation_id: fixed.generation_id(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&RoleFixed {
            role: self.role.into(),
            pad: [0; 4],
            generation_id: self.generation_id.into(),
        });
    }
}
