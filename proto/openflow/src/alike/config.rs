//! `OFPT_SET_CONFIG` and `OFPT_GET_CONFIG_REPLY`.

use crate::wire::plain;

plain! {
    /// How a switch handles fragments, and how much of a packet it sends to the controller.
    pub struct SwitchConfig: ConfigFixed = "switch_config" {
        /// `OFPC_FRAG_*`; 0: as any packet.
        flags: u16;
        /// Bytes of a packet sent to the controller where no output action says more.
        miss_send_len: u16;
    }
}
