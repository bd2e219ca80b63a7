//! Types of an Ethernet frame's payload.

/// Internet Protocol version 4.
pub const IPV4: u16 = 0x0800;
/// Address Resolution Protocol.
pub const ARP: u16 = 0x0806;
/// VLAN tag (802.1Q).
pub const VLAN: u16 = 0x8100;
/// Service VLAN tag (802.1ad), the outer one of two.
pub const SERVICE_VLAN: u16 = 0x88a8;
/// Internet Protocol version 6.
pub const IPV6: u16 = 0x86dd;
/// Link Layer Discovery Protocol.
pub const LLDP: u16 = crate::lldp::ETHER_TYPE;
