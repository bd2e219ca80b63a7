//! `ofp_match`: selection of packets by a fixed set of fields (section 5.2.3).

use std::net::Ipv4Addr;

use crate::addr::MacAddr;
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// Wildcard bits, which exclude fields from a match: `OFPFW_*`.
pub mod wildcard {
    /// Ingress port of the packet.
    pub const IN_PORT: u32 = 1;
    /// VLAN id of the tag.
    pub const DL_VLAN: u32 = 1 << 1;
    /// Ethernet source address.
    pub const DL_SRC: u32 = 1 << 2;
    /// Ethernet destination address.
    pub const DL_DST: u32 = 1 << 3;
    /// Ethertype of the packet.
    pub const DL_TYPE: u32 = 1 << 4;
    /// IP protocol, or the lower 8 bits of the ARP opcode.
    pub const NW_PROTO: u32 = 1 << 5;
    /// TCP or UDP source port, or the ICMP type.
    pub const TP_SRC: u32 = 1 << 6;
    /// TCP or UDP destination port, or the ICMP code.
    pub const TP_DST: u32 = 1 << 7;
    /// Position of the six bits with the number of IP source address bits to ignore, counted from the lowest; 32
    /// and more ignore the whole address.
    pub const NW_SRC_SHIFT: u32 = 8;
    /// Position of the six bits with the number of IP destination address bits to ignore, as for the source.
    pub const NW_DST_SHIFT: u32 = 14;
    /// VLAN priority of the tag.
    pub const DL_VLAN_PCP: u32 = 1 << 20;
    /// DSCP of the IP header.
    pub const NW_TOS: u32 = 1 << 21;
    /// Wildcards for all fields.
    pub const ALL: u32 = (1 << 22) - 1;
    /// Mask of six bits, before the shift.
    pub const NW_BITS: u32 = 0x3f;
}

fixed! {
    /// `ofp_match`: fixed set of fields.
    struct MatchFixed = "match" {
        wildcards: u32,
        in_port: u16,
        dl_src: MacAddr,
        dl_dst: MacAddr,
        dl_vlan: u16,
        dl_vlan_pcp: u8,
        pad1: u8,
        dl_type: u16,
        nw_tos: u8,
        nw_proto: u8,
        pad2: [u8; 2],
        nw_src: [u8; 4],
        nw_dst: [u8; 4],
        tp_src: u16,
        tp_dst: u16,
    }
}

/// Selection of packets: those that match all fields without a wildcard. Wildcarded fields keep their value from
/// the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Match {
    /// Fields that are ignored, bits of [`wildcard`].
    pub wildcards: u32,
    /// Ingress port of the packet.
    pub in_port: u16,
    /// Ethernet source address.
    pub dl_src: MacAddr,
    /// Ethernet destination address.
    pub dl_dst: MacAddr,
    /// VLAN id, or `VLAN_NONE`.
    pub dl_vlan: u16,
    /// VLAN priority of the tag.
    pub dl_vlan_pcp: u8,
    /// Ethertype of the packet.
    pub dl_type: u16,
    /// IP DSCP, in the upper six bits.
    pub nw_tos: u8,
    /// IP protocol, or the lower 8 bits of the ARP opcode.
    pub nw_proto: u8,
    /// IP source address, also of ARP packets.
    pub nw_src: Ipv4Addr,
    /// IP destination address, also of ARP packets.
    pub nw_dst: Ipv4Addr,
    /// TCP or UDP source port, or the ICMP type.
    pub tp_src: u16,
    /// TCP or UDP destination port, or the ICMP code.
    pub tp_dst: u16,
}

impl Default for Match {
    /// Match for all packets.
    fn default() -> Self {
        Match {
            wildcards: wildcard::ALL,
            in_port: 0,
            dl_src: MacAddr::default(),
            dl_dst: MacAddr::default(),
            dl_vlan: 0,
            dl_vlan_pcp: 0,
            dl_type: 0,
            nw_tos: 0,
            nw_proto: 0,
            nw_src: Ipv4Addr::UNSPECIFIED,
            nw_dst: Ipv4Addr::UNSPECIFIED,
            tp_src: 0,
            tp_dst: 0,
        }
    }
}

impl Match {
    /// Tells whether a field is matched. Not for the two IP addresses, which have a number of bits instead.
    pub const fn has(&self, field: u32) -> bool {
        self.wildcards & field == 0
    }

    /// Number of matched bits of the IP source address, counted from the highest.
    pub const fn nw_src_bits(&self) -> u32 {
        self.nw_bits(wildcard::NW_SRC_SHIFT)
    }

    /// Number of matched bits of the IP destination address, counted from the highest.
    pub const fn nw_dst_bits(&self) -> u32 {
        self.nw_bits(wildcard::NW_DST_SHIFT)
    }

    const fn nw_bits(&self, shift: u32) -> u32 {
        32_u32.saturating_sub(self.wildcards >> shift & wildcard::NW_BITS)
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<MatchFixed>()?;
        Ok(Match {
            wildcards: fixed.wildcards(),
            in_port: fixed.in_port(),
            dl_src: fixed.dl_src(),
            dl_dst: fixed.dl_dst(),
            dl_vlan: fixed.dl_vlan(),
            dl_vlan_pcp: fixed.dl_vlan_pcp(),
            dl_type: fixed.dl_type(),
            nw_tos: fixed.nw_tos(),
            nw_proto: fixed.nw_proto(),
            nw_src: fixed.nw_src().into(),
            nw_dst: fixed.nw_dst().into(),
            tp_src: fixed.tp_src(),
            tp_dst: fixed.tp_dst(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&MatchFixed {
            wildcards: self.wildcards.into(),
            in_port: self.in_port.into(),
            dl_src: self.dl_src,
            dl_dst: self.dl_dst,
            dl_vlan: self.dl_vlan.into(),
            dl_vlan_pcp: self.dl_vlan_pcp,
            pad1: 0,
            dl_type: self.dl_type.into(),
            nw_tos: self.nw_tos,
            nw_proto: self.nw_proto,
            pad2: [0; 2],
            nw_src: self.nw_src.octets(),
            nw_dst: self.nw_dst.octets(),
            tp_src: self.tp_src.into(),
            tp_dst: self.tp_dst.into(),
        });
    }
}
