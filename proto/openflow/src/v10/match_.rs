//! `ofp_match`: which packets (section 5.2.3).

use std::net::Ipv4Addr;

use crate::addr::MacAddr;
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// Which fields do not count: `OFPFW_*`.
pub mod wildcard {
    /// The port it came in by.
    pub const IN_PORT: u32 = 1;
    /// The VLAN id.
    pub const DL_VLAN: u32 = 1 << 1;
    /// The Ethernet source.
    pub const DL_SRC: u32 = 1 << 2;
    /// The Ethernet destination.
    pub const DL_DST: u32 = 1 << 3;
    /// The Ethernet type.
    pub const DL_TYPE: u32 = 1 << 4;
    /// The IP protocol, or the lower 8 bits of the ARP opcode.
    pub const NW_PROTO: u32 = 1 << 5;
    /// The TCP or UDP source port, or the ICMP type.
    pub const TP_SRC: u32 = 1 << 6;
    /// The TCP or UDP destination port, or the ICMP code.
    pub const TP_DST: u32 = 1 << 7;
    /// Where the six bits are that say how many bits of the IP source, from the lowest, do not count; 32 and more: none does.
    pub const NW_SRC_SHIFT: u32 = 8;
    /// The same of the IP destination.
    pub const NW_DST_SHIFT: u32 = 14;
    /// The VLAN priority.
    pub const DL_VLAN_PCP: u32 = 1 << 20;
    /// The IP DSCP.
    pub const NW_TOS: u32 = 1 << 21;
    /// All fields.
    pub const ALL: u32 = (1 << 22) - 1;
    /// The six bits, where they are no longer shifted.
    pub const NW_BITS: u32 = 0x3f;
}

fixed! {
    /// `ofp_match`.
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

/// Which packets: those that have all the fields that are not wildcarded. As on the wire, also where a field does not
/// count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Match {
    /// Which fields do not count: `wildcard::*`.
    pub wildcards: u32,
    /// The port it came in by.
    pub in_port: u16,
    /// The Ethernet source.
    pub dl_src: MacAddr,
    /// The Ethernet destination.
    pub dl_dst: MacAddr,
    /// The VLAN id, or `VLAN_NONE`.
    pub dl_vlan: u16,
    /// The VLAN priority.
    pub dl_vlan_pcp: u8,
    /// The Ethernet type.
    pub dl_type: u16,
    /// The IP DSCP, in the upper six bits.
    pub nw_tos: u8,
    /// The IP protocol, or the lower 8 bits of the ARP opcode.
    pub nw_proto: u8,
    /// The IP source, also in ARP.
    pub nw_src: Ipv4Addr,
    /// The IP destination, also in ARP.
    pub nw_dst: Ipv4Addr,
    /// The TCP or UDP source port, or the ICMP type.
    pub tp_src: u16,
    /// The TCP or UDP destination port, or the ICMP code.
    pub tp_dst: u16,
}

impl Default for Match {
    /// All packets.
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
    /// Whether a field counts; not of the two IP addresses.
    pub const fn has(&self, field: u32) -> bool {
        self.wildcards & field == 0
    }

    /// How many bits of the IP source count, from the highest.
    pub const fn nw_src_bits(&self) -> u32 {
        self.nw_bits(wildcard::NW_SRC_SHIFT)
    }

    /// How many bits of the IP destination count, from the highest.
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
