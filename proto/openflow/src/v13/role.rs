//! `OFPT_ROLE_REQUEST` and `OFPT_ROLE_REPLY` (section 7.3.9): role of a controller.

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// `OFPCR_ROLE_NOCHANGE`: asks for the current role.
pub const NOCHANGE: u32 = 0;
/// `OFPCR_ROLE_EQUAL`: full access, the default.
pub const EQUAL: u32 = 1;
/// `OFPCR_ROLE_MASTER`: full access; the previous master becomes a slave.
pub const MASTER: u32 = 2;
/// `OFPCR_ROLE_SLAVE`: read-only access.
pub const SLAVE: u32 = 3;

fixed! {
    /// `ofp_role_request` after its header.
    struct RoleFixed = "role" {
        role: u32,
        pad: [u8; 4],
        generation_id: u64,
    }
}

/// Role of a controller towards a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Role {
    /// Role, a constant of this module.
    pub role: u32,
    /// Number of the master election. The switch refuses a generation older than the latest it has seen.
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
