//! Body of `OFPT_SET_CONFIG` and `OFPT_GET_CONFIG_REPLY` (section 7.3.2).

use crate::wire::fixed_only;

fixed_only! {
    /// Switch configuration: handling of IP fragments, and size of packet-ins.
    pub struct SwitchConfig: ConfigFixed = "switch_config" {
        /// `OFPC_FRAG_*`: handling of IP fragments; 0 for no special handling.
        flags: u16;
        /// Maximum bytes of a packet in a packet-in that no output action asked for.
        miss_send_len: u16;
    }
}
