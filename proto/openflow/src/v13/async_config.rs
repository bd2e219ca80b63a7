//! `OFPT_GET_ASYNC_REPLY` and `OFPT_SET_ASYNC` (section 7.3.10): selection of asynchronous messages.

use crate::wire::fixed_only;

fixed_only! {
    /// Asynchronous messages that a switch sends. Bit n of a mask enables reason n. The first mask of a pair is for
    /// the role of master or equal, the second for that of slave.
    pub struct AsyncConfig: AsyncConfigFixed = "async_config" {
        /// Bits by `packet_in::reason`.
        packet_in_mask: [u32; 2];
        /// Bits by `port_reason` constant.
        port_status_mask: [u32; 2];
        /// Bits by `flow_removed::reason`.
        flow_removed_mask: [u32; 2];
    }
}
