//! `OFPT_VENDOR` (section 5.5.4), with Nicira's role messages, which OpenFlow 1.0 itself lacks.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// `NX_VENDOR_ID`: vendor id of Nicira.
pub const NICIRA: u32 = 0x2320;

/// `NXT_ROLE_REQUEST`: subtype number.
const ROLE_REQUEST: u32 = 10;
/// `NXT_ROLE_REPLY`: subtype number.
const ROLE_REPLY: u32 = 11;

/// Roles of a controller: `NX_ROLE_*`.
pub mod role {
    /// Full access, the default.
    pub const OTHER: u32 = 0;
    /// Full access; the previous master becomes a slave.
    pub const MASTER: u32 = 1;
    /// Read-only access to the switch.
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
    struct NxRoleFixed = "vendor.nx_role" {
        subtype: u32,
        role: u32,
    }
}

/// Vendor message. Unknown messages are kept as bytes and encoded unchanged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Vendor {
    /// `NXT_ROLE_REQUEST`: asks for a role, a constant of [`role`].
    NxRoleRequest(u32),
    /// `NXT_ROLE_REPLY`: role that the controller has, a constant of [`role`].
    NxRoleReply(u32),
    /// Message of an unknown vendor or subtype, kept as bytes.
    Unknown {
        /// Vendor id, such as [`NICIRA`].
        vendor: u32,
        /// Bytes after the vendor id.
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
                Vendor::NxRoleRequest(reader.fixed::<NxRoleFixed>()?.role())
            }
            Some(ROLE_REPLY) if roles => Vendor::NxRoleReply(reader.fixed::<NxRoleFixed>()?.role()),
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
    w.fixed(&NxRoleFixed {
        subtype: subtype.into(),
        role: role.into(),
    });
}
