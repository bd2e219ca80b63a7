//! Start of `OFPT_PORT_STATUS`, and properties common to the ports of all versions.

use crate::wire::fixed;

/// `OFP_MAX_PORT_NAME_LEN`: field length in bytes.
pub(crate) const NAME_LEN: usize = 16;

/// Reasons of a port status: `OFPPR_*`.
pub mod port_reason {
    /// Port was added.
    pub const ADD: u8 = 0;
    /// Port was removed.
    pub const DELETE: u8 = 1;
    /// Attribute of the port has changed.
    pub const MODIFY: u8 = 2;
}

fixed! {
    /// `ofp_port_status` from its header to its port.
    pub(crate) struct PortStatusFixed = "port_status" {
        pub(crate) reason: u8,
        pad: [u8; 7],
    }
}

impl PortStatusFixed {
    pub(crate) fn of(reason: u8) -> Self {
        let pad = [0; 7];
        PortStatusFixed { reason, pad }
    }
}
