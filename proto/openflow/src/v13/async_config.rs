//! `OFPT_GET_ASYNC_REPLY` and `OFPT_SET_ASYNC` (section 7.3.10): which messages a switch sends unasked.

use crate::wire::plain;

plain! {
    /// Which messages a switch sends unasked. Bit n of a mask is for reason n; first the mask of a master or equal, then
    /// that of a slave.
    pub struct AsyncConfig: AsyncConfigFixed = "async_config" {
        /// Bits of `packet_in::reason::*`.
        packet_in_mask: [u32; 2];
        /// Bits of `port_reason::*`.
        port_status_mask: [u32; 2];
        /// Bits of `flow_removed::reason::*`.
        flow_removed_mask: [u32; 2];
    }
}
