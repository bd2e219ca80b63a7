//! Reserved numbers of OpenFlow 1.3 that several messages use.

/// Wire version of OpenFlow 1.3.
pub const VERSION: u8 = 4;

/// `OFP_NO_BUFFER`: the switch has not buffered the packet.
pub const NO_BUFFER: u32 = 0xffff_ffff;

/// `OFPTT_ALL`: all tables, in requests and deletions.
pub const TABLE_ALL: u8 = 0xff;

/// `OFPG_ANY`: rules regardless of their groups.
pub const GROUP_ANY: u32 = 0xffff_ffff;
