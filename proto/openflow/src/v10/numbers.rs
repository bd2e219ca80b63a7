//! Reserved numbers of OpenFlow 1.0 that several messages use.

/// Wire version of OpenFlow 1.0.
pub const VERSION: u8 = 1;

/// Buffer id of a packet that the switch has not buffered.
pub const NO_BUFFER: u32 = 0xffff_ffff;

/// Table number for all tables, in requests.
pub const TABLE_ALL: u8 = 0xff;

/// `OFP_VLAN_NONE`: the packet has no VLAN tag.
pub const VLAN_NONE: u16 = 0xffff;
