//! `OFPT_PORT_STATUS` up to its port, and what all ports have.

use crate::wire::fixed;

/// `OFP_MAX_PORT_NAME_LEN`.
pub(crate) const NAME_LEN: usize = 16;

/// Why a port status is sent: `OFPPR_*`.
pub mod port_reason {
    /// The port is new.
    pub const ADD: u8 = 0;
    /// The port has gone.
    pub const DELETE: u8 = 1;
    /// The port has changed.
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
