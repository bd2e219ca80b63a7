//! `ofp_match`: selection of packets by their fields (section 7.2.3).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::oxm::{self, Oxm, OxmField, Oxms};
use crate::addr::{MacAddr, Vlan};
use crate::error::{DecodeError, Problem};
use crate::wire::{Fixed, Reader, Writer, fixed, padding};

/// Match type `OFPMT_OXM`, the only one in use.
const TYPE_OXM: u16 = 1;
/// `OFPVID_PRESENT`: the packet has a VLAN tag.
pub(crate) const VLAN_PRESENT: u16 = 0x1000;

fixed! {
    /// Start of `ofp_match`; `length` includes these bytes but not the padding.
    pub(crate) struct MatchHeader = "match" {
        pub(crate) kind: u16,
        pub(crate) length: u16,
    }
}

/// Selection of packets: those that match all fields. Decoded matches keep the order of the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Match {
    /// Fields that must all match; none match every packet.
    pub fields: Vec<Oxm>,
}

impl Match {
    /// Match for all packets.
    pub fn new() -> Match {
        Match::default()
    }

    /// Returns the field, with value and mask, if the match contains it.
    pub fn get(&self, field: OxmField) -> Option<&Oxm> {
        self.fields.iter().find(|oxm| oxm.field == field)
    }

    /// Adds a field at its place in the normal form; replaces the field if present.
    pub fn with(mut self, oxm: Oxm) -> Match {
        self.fields.retain(|other| other.field != oxm.field);
        let rank = oxm.field.rank();
        let place = self
            .fields
            .iter()
            .position(|other| other.field.rank() > rank);
        self.fields.insert(place.unwrap_or(self.fields.len()), oxm);
        self
    }

    /// Removes a field, if present.
    pub fn without(mut self, field: OxmField) -> Match {
        self.fields.retain(|oxm| oxm.field != field);
        self
    }

    /// Returns the normal form, in which matches that select the same packets by the same fields are equal. Fields
    /// are sorted, basic ones first; values are masked; masks of all ones and fields with masks of all zeros are
    /// left out.
    pub fn normal(&self) -> Match {
        if self.is_normal() {
            return self.clone();
        }
        let mut fields: Vec<Oxm> = self.fields.iter().filter_map(Oxm::normal).collect();
        fields.sort_by(|a, b| (a.field.rank(), a).cmp(&(b.field.rank(), b)));
        fields.dedup();
        Match { fields }
    }

    /// Tells whether the match is in normal form.
    pub fn is_normal(&self) -> bool {
        let sorted = |pair: &[Oxm]| {
            let [a, b] = pair else { return true };
            (a.field.rank(), a) < (b.field.rank(), b)
        };
        self.fields.windows(2).all(sorted) && self.fields.iter().all(Oxm::is_normal)
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Match, DecodeError> {
        let fields = view(reader)?.map(|oxm| oxm.map(Oxm::from));
        let fields = fields.collect::<Result<_, _>>()?;
        Ok(Match { fields })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.fixed(&MatchHeader {
            kind: TYPE_OXM.into(),
            length: 0.into(),
        });
        for oxm in &self.fields {
            oxm.encode(w);
        }
        w.set_length(MatchHeader::NAME, start + 2, w.position() - start);
        w.pad_from(start);
    }
}

/// Returns an iterator over the fields within the frame; advances the reader beyond the match and its padding.
pub(crate) fn view<'a>(reader: &mut Reader<'a>) -> Result<Oxms<'a>, DecodeError> {
    let offset = reader.offset();
    let header = reader.fixed::<MatchHeader>()?;
    if header.kind() != TYPE_OXM {
        let found = header.kind().into();
        return Err(DecodeError::value("match.type", offset, found));
    }
    let (length, least) = (usize::from(header.length()), size_of::<MatchHeader>());
    let Some(inside) = length.checked_sub(least) else {
        let found = length;
        let small = Problem::TooSmall { found, least };
        return Err(DecodeError::new("match.length", offset + 2, small));
    };
    let fields = reader.sub("match.length", inside)?;
    reader.skip("match.pad", padding(length))?;
    Ok(Oxms(fields))
}

/// Encodes a match of fields with exactly these values.
#[inline]
pub(crate) fn write_exact(fields: &[(OxmField, &[u8])], w: &mut Writer<'_>) {
    let start = w.position();
    w.fixed(&MatchHeader {
        kind: TYPE_OXM.into(),
        length: 0.into(),
    });
    for (field, value) in fields {
        oxm::write_exact(*field, value, w);
    }
    w.set_length(MatchHeader::NAME, start + 2, w.position() - start);
    w.pad_from(start);
}

/// Declares the builders of a field: an exact one and, under another name, a masked one.
macro_rules! builders {
    ($($name:ident $(/ $masked:ident)?: $type:ty, $field:ident, $bytes:expr;)*) => {
        impl Oxm {$(
            #[doc = concat!("Field `OFPXMT_OFB_", stringify!($field), "` with this value, for a match or a set-field action.")]
            pub fn $name(value: $type) -> Oxm {
                Oxm::exact(OxmField::$field, &$bytes(value))
            }
        )*}

        impl Match {$(
            #[doc = concat!("Matches packets whose `", stringify!($name), "` equals the value.")]
            pub fn $name(self, value: $type) -> Match {
                self.with(Oxm::$name(value))
            }

            $(
                #[doc = concat!("Matches packets whose `", stringify!($name), "` equals the value in the bits of the mask.")]
                pub fn $masked(self, value: $type, mask: $type) -> Match {
                    let oxm = Oxm::masked(OxmField::$field, &$bytes(value), &$bytes(mask));
                    match oxm.normal() {
                        Some(oxm) => self.with(oxm),
                        None => self.without(oxm.field),
                    }
                }
            )?
        )*}
    };
}

fn mac(addr: MacAddr) -> [u8; 6] {
    addr.0
}

fn v4(addr: Ipv4Addr) -> [u8; 4] {
    addr.octets()
}

fn v6(addr: Ipv6Addr) -> [u8; 16] {
    addr.octets()
}

/// Lower three bytes of a number.
fn low_24(value: u32) -> [u8; 3] {
    let [_, a, b, c] = value.to_be_bytes();
    [a, b, c]
}

builders! {
    in_port: u32, IN_PORT, u32::to_be_bytes;
    in_phy_port: u32, IN_PHY_PORT, u32::to_be_bytes;
    metadata / metadata_masked: u64, METADATA, u64::to_be_bytes;
    eth_dst / eth_dst_masked: MacAddr, ETH_DST, mac;
    eth_src / eth_src_masked: MacAddr, ETH_SRC, mac;
    eth_type: u16, ETH_TYPE, u16::to_be_bytes;
    vlan_pcp: u8, VLAN_PCP, u8::to_be_bytes;
    ip_dscp: u8, IP_DSCP, u8::to_be_bytes;
    ip_ecn: u8, IP_ECN, u8::to_be_bytes;
    ip_proto: u8, IP_PROTO, u8::to_be_bytes;
    ipv4_src / ipv4_src_masked: Ipv4Addr, IPV4_SRC, v4;
    ipv4_dst / ipv4_dst_masked: Ipv4Addr, IPV4_DST, v4;
    tcp_src: u16, TCP_SRC, u16::to_be_bytes;
    tcp_dst: u16, TCP_DST, u16::to_be_bytes;
    udp_src: u16, UDP_SRC, u16::to_be_bytes;
    udp_dst: u16, UDP_DST, u16::to_be_bytes;
    sctp_src: u16, SCTP_SRC, u16::to_be_bytes;
    sctp_dst: u16, SCTP_DST, u16::to_be_bytes;
    icmpv4_type: u8, ICMPV4_TYPE, u8::to_be_bytes;
    icmpv4_code: u8, ICMPV4_CODE, u8::to_be_bytes;
    arp_op: u16, ARP_OP, u16::to_be_bytes;
    arp_spa / arp_spa_masked: Ipv4Addr, ARP_SPA, v4;
    arp_tpa / arp_tpa_masked: Ipv4Addr, ARP_TPA, v4;
    arp_sha / arp_sha_masked: MacAddr, ARP_SHA, mac;
    arp_tha / arp_tha_masked: MacAddr, ARP_THA, mac;
    ipv6_src / ipv6_src_masked: Ipv6Addr, IPV6_SRC, v6;
    ipv6_dst / ipv6_dst_masked: Ipv6Addr, IPV6_DST, v6;
    ipv6_flabel: u32, IPV6_FLABEL, u32::to_be_bytes;
    icmpv6_type: u8, ICMPV6_TYPE, u8::to_be_bytes;
    icmpv6_code: u8, ICMPV6_CODE, u8::to_be_bytes;
    ipv6_nd_target: Ipv6Addr, IPV6_ND_TARGET, v6;
    ipv6_nd_sll: MacAddr, IPV6_ND_SLL, mac;
    ipv6_nd_tll: MacAddr, IPV6_ND_TLL, mac;
    mpls_label: u32, MPLS_LABEL, u32::to_be_bytes;
    mpls_tc: u8, MPLS_TC, u8::to_be_bytes;
    mpls_bos: u8, MPLS_BOS, u8::to_be_bytes;
    pbb_isid / pbb_isid_masked: u32, PBB_ISID, low_24;
    tunnel_id / tunnel_id_masked: u64, TUNNEL_ID, u64::to_be_bytes;
    ipv6_exthdr / ipv6_exthdr_masked: u16, IPV6_EXTHDR, u16::to_be_bytes;
}

impl Oxm {
    /// Field `OFPXMT_OFB_VLAN_VID` of a tagged packet with this VLAN id, for a match or a set-field action.
    pub fn vlan_vid(vid: u16) -> Oxm {
        Oxm::exact(OxmField::VLAN_VID, &(VLAN_PRESENT | vid).to_be_bytes())
    }
}

impl Match {
    /// Matches packets with this VLAN id.
    pub fn vlan_vid(self, vid: u16) -> Match {
        self.with(Oxm::vlan_vid(vid))
    }

    /// Matches packets with a VLAN tag of any id.
    pub fn vlan_any(self) -> Match {
        let present = VLAN_PRESENT.to_be_bytes();
        self.with(Oxm::masked(OxmField::VLAN_VID, &present, &present))
    }

    /// Matches packets without a VLAN tag.
    pub fn vlan_none(self) -> Match {
        self.with(Oxm::exact(OxmField::VLAN_VID, &[0, 0]))
    }

    /// Matches packets of this VLAN. Those of none are matched with and without a tag, by a mask that leaves out
    /// `OFPVID_PRESENT`.
    pub fn vlan(self, vlan: Vlan) -> Match {
        match vlan {
            Vlan::NONE => self.with(Oxm::masked(
                OxmField::VLAN_VID,
                &[0, 0],
                &Vlan::MAX.vid().to_be_bytes(),
            )),
            _ => self.vlan_vid(vlan.vid()),
        }
    }

    /// VLAN that a match with a VLAN field is for, whichever builder made it.
    pub fn get_vlan(&self) -> Option<Vlan> {
        self.get_vlan_vid().map(Vlan::new)
    }

    /// Value of a field of `N` bytes, regardless of its mask.
    fn value<const N: usize>(&self, field: OxmField) -> Option<[u8; N]> {
        self.get(field)?.value.as_ref().try_into().ok()
    }
}

/// Declares getters of field values, which ignore masks.
macro_rules! getters {
    ($($name:ident: $type:ty, $field:ident, $from:expr;)*) => {
        impl Match {$(
            #[doc = concat!("Value of `OFPXMT_OFB_", stringify!($field), "`, regardless of its mask.")]
            pub fn $name(&self) -> Option<$type> {
                self.value(OxmField::$field).map($from)
            }
        )*}
    };
}

getters! {
    get_in_port: u32, IN_PORT, u32::from_be_bytes;
    get_metadata: u64, METADATA, u64::from_be_bytes;
    get_eth_dst: MacAddr, ETH_DST, MacAddr;
    get_eth_src: MacAddr, ETH_SRC, MacAddr;
    get_eth_type: u16, ETH_TYPE, u16::from_be_bytes;
    get_vlan_vid: u16, VLAN_VID, |v| u16::from_be_bytes(v) & !VLAN_PRESENT;
    get_ip_proto: u8, IP_PROTO, u8::from_be_bytes;
    get_ipv4_src: Ipv4Addr, IPV4_SRC, Ipv4Addr::from;
    get_ipv4_dst: Ipv4Addr, IPV4_DST, Ipv4Addr::from;
    get_ipv6_src: Ipv6Addr, IPV6_SRC, Ipv6Addr::from;
    get_ipv6_dst: Ipv6Addr, IPV6_DST, Ipv6Addr::from;
    get_arp_op: u16, ARP_OP, u16::from_be_bytes;
    get_arp_spa: Ipv4Addr, ARP_SPA, Ipv4Addr::from;
    get_arp_tpa: Ipv4Addr, ARP_TPA, Ipv4Addr::from;
    get_tcp_src: u16, TCP_SRC, u16::from_be_bytes;
    get_tcp_dst: u16, TCP_DST, u16::from_be_bytes;
    get_udp_src: u16, UDP_SRC, u16::from_be_bytes;
    get_udp_dst: u16, UDP_DST, u16::from_be_bytes;
    get_tunnel_id: u64, TUNNEL_ID, u64::from_be_bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builders_keep_the_order_that_switches_require_and_fields_once() {
        let any = MacAddr([0; 6]);
        let match_ = Match::new()
            .ipv4_dst([10, 0, 0, 1].into())
            .eth_type(0x806)
            .eth_type(0x800)
            .ipv4_src_masked([10, 1, 2, 3].into(), [255, 255, 0, 0].into())
            .in_port(1)
            .eth_dst_masked(any, any);
        let fields: Vec<OxmField> = match_.fields.iter().map(|oxm| oxm.field).collect();
        assert_eq!(
            fields,
            [
                OxmField::IN_PORT,
                OxmField::ETH_TYPE,
                OxmField::IPV4_SRC,
                OxmField::IPV4_DST
            ]
        );
        assert!(match_.is_normal());
        assert_eq!(match_.get_eth_type(), Some(0x800));
        assert_eq!(match_.get_ipv4_src(), Some([10, 1, 0, 0].into()));
        assert_eq!(
            (match_.get_in_port(), match_.get_tcp_dst()),
            (Some(1), None)
        );
    }

    #[test]
    fn vlan_vid_hides_the_present_bit() {
        let match_ = Match::new().vlan_vid(7);
        assert_eq!(match_.get_vlan_vid(), Some(7));
        assert_eq!(match_.fields[0].value[..], [0x10, 7]);
    }

    #[test]
    fn frames_of_no_vlan_are_matched_with_and_without_a_tag() {
        let none = Match::new().vlan(Vlan::NONE);
        assert_eq!(none.fields[0].value[..], [0, 0]);
        assert_eq!(none.fields[0].mask.as_deref(), Some(&[0x0f, 0xff][..]));
        assert!(none.is_normal());
        let some = Match::new().vlan(Vlan::new(7));
        assert_eq!(some, Match::new().vlan_vid(7));
        assert_eq!(
            [none.get_vlan(), some.get_vlan(), Match::new().get_vlan()],
            [Some(Vlan::NONE), Some(Vlan::new(7)), None]
        );
    }

    #[test]
    fn a_value_of_the_wrong_length_is_no_value() {
        let match_ = Match::new().with(Oxm::exact(OxmField::IN_PORT, &[1]));
        assert_eq!(match_.get_in_port(), None);
    }
}
