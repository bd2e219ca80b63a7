//! `OFPT_VENDOR` (section 5.5.4): a vendor's own; of Nicira's, the role messages, which OpenFlow 1.0 lacks.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// `NX_VENDOR_ID`: Nicira.
pub const NICIRA: u32 = 0x2320;

/// `NXT_ROLE_REQUEST`.
const ROLE_REQUEST: u32 = 10;
/// `NXT_ROLE_REPLY`.
const ROLE_REPLY: u32 = 11;

/// What a controller is to the switch: `NX_ROLE_*`.
pub mod role {
    /// The default: all rights, as the others have.
    pub const OTHER: u32 = 0;
    /// One at most; the former becomes a slave.
    pub const MASTER: u32 = 1;
    /// Reads only.
    pub const SLAVE: u32 = 2;
}

fixed! {
    /// `ofp_vendor_header` after its header.
    struct VendorFixed = "vendor" {
        vendor: u32,
    }
}

fixed! {
    /// `nx_role_request` after the vendor.
    struct RoleFixed = "vendor.nx_role" {
        subtype: u32,
        role: u32,
    }
}

/// A vendor's own. Those that are not known are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Vendor {
    /// `NXT_ROLE_REQUEST`: asks for a role, of `role::*`.
    NxRoleRequest(u32),
    /// `NXT_ROLE_REPLY`: the role that the controller has, of `role::*`.
    NxRoleReply(u32),
    /// One that this module does not know.
    Unknown {
        /// Whose.
        vendor: u32,
        /// After the vendor's id.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl Vendor {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let vendor = reader.fixed::<VendorFixed>()?.vendor();
        let mut ahead = *reader;
        let subtype = ahead.slice("vendor.subtype", 4).ok();
        let subtype = subtype.and_then(|bytes| bytes.try_into().ok());
        let roles = vendor == NICIRA;
        Ok(match subtype.map(u32::from_be_bytes) {
            Some(ROLE_REQUEST) if roles => {
                Vendor::NxRoleRequest(reader.fixed::<RoleFixed>()?.role())
            }
            Some(ROLE_REPLY) if roles => Vendor::NxRoleReply(reader.fixed::<RoleFixed>()?.role()),
            _ => Vendor::Unknown {
                vendor,
                body: reader.rest(),
            },
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Vendor::NxRoleRequest(role) => nx_role(w, ROLE_REQUEST, *role),
            Vendor::NxRoleReply(role) => nx_role(w, ROLE_REPLY, *role),
            Vendor::Unknown { vendor, body } => {
                w.fixed(&VendorFixed {
                    vendor: (*vendor).into(),
                });
                w.bytes(body);
            }
        }
    }
}

fn nx_role(w: &mut Writer<'_>, subtype: u32, role: u32) {
    w.fixed(&VendorFixed {
        vendor: NICIRA.into(),
    });
    w.fixed(&RoleFixed {
        subtype: subtype.into(),
        role: role.into(),
    });
}
