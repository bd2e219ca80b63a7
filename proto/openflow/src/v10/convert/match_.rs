//! Conversion of matches: OpenFlow 1.0 has a fixed set of fields, 1.3 a list.

use std::net::Ipv4Addr;

use super::error::{ConversionError, refusal};
use super::port::{port_from_v13, port_to_v13};
use crate::addr::MacAddr;
use crate::v10::{Match, VLAN_NONE, wildcard};
use crate::v13::{self, Oxm, OxmField, VLAN_PRESENT};

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Converts a match, into normal form. Fields without their prerequisites are ignored, as the specification
/// demands.
pub fn match_to_v13(old: &Match) -> v13::Match {
    let mut new = link_layer(old);
    if !old.has(wildcard::DL_TYPE) {
        return new;
    }
    new = new.eth_type(old.dl_type);
    match old.dl_type {
        IPV4 => ip(old, new),
        ARP => arp(old, new),
        _ => new,
    }
}

fn link_layer(old: &Match) -> v13::Match {
    let mut new = v13::Match::new();
    if old.has(wildcard::IN_PORT) {
        new = new.in_port(port_to_v13(old.in_port));
    }
    if old.has(wildcard::DL_DST) {
        new = new.eth_dst(old.dl_dst);
    }
    if old.has(wildcard::DL_SRC) {
        new = new.eth_src(old.dl_src);
    }
    let tagged = !old.has(wildcard::DL_VLAN) || old.dl_vlan != VLAN_NONE;
    match old.has(wildcard::DL_VLAN) {
        true if tagged => new = new.vlan_vid(old.dl_vlan & (VLAN_PRESENT - 1)),
        true => new = new.vlan_none(),
        false if old.has(wildcard::DL_VLAN_PCP) => new = new.vlan_any(),
        false => {}
    }
    match old.has(wildcard::DL_VLAN_PCP) && tagged {
        true => new.vlan_pcp(old.dl_vlan_pcp),
        false => new,
    }
}

fn mask(bits: u32) -> Ipv4Addr {
    u32::MAX.checked_shl(32 - bits).unwrap_or(0).into()
}

fn arp(old: &Match, mut new: v13::Match) -> v13::Match {
    if old.has(wildcard::NW_PROTO) {
        new = new.arp_op(old.nw_proto.into());
    }
    new = new.arp_spa_masked(old.nw_src, mask(old.nw_src_bits()));
    new.arp_tpa_masked(old.nw_dst, mask(old.nw_dst_bits()))
}

fn ip(old: &Match, mut new: v13::Match) -> v13::Match {
    if old.has(wildcard::NW_TOS) {
        new = new.ip_dscp(old.nw_tos >> 2);
    }
    new = new.ipv4_src_masked(old.nw_src, mask(old.nw_src_bits()));
    new = new.ipv4_dst_masked(old.nw_dst, mask(old.nw_dst_bits()));
    if !old.has(wildcard::NW_PROTO) {
        return new;
    }
    new = new.ip_proto(old.nw_proto);
    let src = old.has(wildcard::TP_SRC).then_some(old.tp_src);
    let dst = old.has(wildcard::TP_DST).then_some(old.tp_dst);
    match old.nw_proto {
        TCP => {
            new = src.into_iter().fold(new, v13::Match::tcp_src);
            dst.into_iter().fold(new, v13::Match::tcp_dst)
        }
        UDP => {
            new = src.into_iter().fold(new, v13::Match::udp_src);
            dst.into_iter().fold(new, v13::Match::udp_dst)
        }
        ICMP => {
            let (kind, code) = (src.map(|v| v as u8), dst.map(|v| v as u8));
            new = kind.into_iter().fold(new, v13::Match::icmpv4_type);
            code.into_iter().fold(new, v13::Match::icmpv4_code)
        }
        _ => new,
    }
}

/// Converts a match to 1.0. Fails on fields and masks that 1.0 lacks.
pub fn match_from_v13(new: &v13::Match) -> Result<Match, ConversionError> {
    let mut old = Match::default();
    // Every field follows its prerequisites in the normal form.
    for oxm in &new.normal().fields {
        set(&mut old, oxm)?;
    }
    Ok(old)
}

fn set(old: &mut Match, oxm: &Oxm) -> Result<(), ConversionError> {
    let counts = match oxm.field {
        OxmField::IN_PORT => {
            old.in_port = port_from_v13(u32::from_be_bytes(exact(oxm)?))?;
            wildcard::IN_PORT
        }
        OxmField::ETH_DST => {
            old.dl_dst = MacAddr(exact(oxm)?);
            wildcard::DL_DST
        }
        OxmField::ETH_SRC => {
            old.dl_src = MacAddr(exact(oxm)?);
            wildcard::DL_SRC
        }
        OxmField::ETH_TYPE => {
            old.dl_type = u16::from_be_bytes(exact(oxm)?);
            wildcard::DL_TYPE
        }
        OxmField::VLAN_VID => {
            old.dl_vlan = vlan(oxm)?;
            wildcard::DL_VLAN
        }
        OxmField::VLAN_PCP => {
            old.dl_vlan_pcp = u8::from_be_bytes(exact(oxm)?);
            wildcard::DL_VLAN_PCP
        }
        _ => return network(old, oxm),
    };
    old.wildcards &= !counts;
    Ok(())
}

/// Sets a field of the network layer, or of the layer above.
fn network(old: &mut Match, oxm: &Oxm) -> Result<(), ConversionError> {
    let dl_type = old.has(wildcard::DL_TYPE).then_some(old.dl_type);
    let needs = match oxm.field {
        OxmField::IP_DSCP | OxmField::IP_PROTO | OxmField::IPV4_SRC | OxmField::IPV4_DST => IPV4,
        OxmField::ARP_OP | OxmField::ARP_SPA | OxmField::ARP_TPA => ARP,
        _ => return transport(old, oxm),
    };
    require(oxm, dl_type == Some(needs))?;
    let counts = match oxm.field {
        OxmField::IP_DSCP => {
            old.nw_tos = u8::from_be_bytes(exact(oxm)?) << 2;
            wildcard::NW_TOS
        }
        OxmField::IP_PROTO => {
            old.nw_proto = u8::from_be_bytes(exact(oxm)?);
            wildcard::NW_PROTO
        }
        OxmField::ARP_OP => {
            let op = u16::from_be_bytes(exact(oxm)?);
            old.nw_proto = u8::try_from(op).map_err(|_| unsupported(refusal::BAD_VALUE, oxm))?;
            wildcard::NW_PROTO
        }
        OxmField::IPV4_SRC | OxmField::ARP_SPA => {
            old.nw_src = address(oxm, &mut old.wildcards, wildcard::NW_SRC_SHIFT)?;
            0
        }
        _ => {
            old.nw_dst = address(oxm, &mut old.wildcards, wildcard::NW_DST_SHIFT)?;
            0
        }
    };
    old.wildcards &= !counts;
    Ok(())
}

/// Sets a port of TCP or UDP, or the type or code of ICMP.
fn transport(old: &mut Match, oxm: &Oxm) -> Result<(), ConversionError> {
    let (proto, is_src) = match oxm.field {
        OxmField::TCP_SRC => (TCP, true),
        OxmField::TCP_DST => (TCP, false),
        OxmField::UDP_SRC => (UDP, true),
        OxmField::UDP_DST => (UDP, false),
        OxmField::ICMPV4_TYPE => (ICMP, true),
        OxmField::ICMPV4_CODE => (ICMP, false),
        _ => return Err(unsupported(refusal::BAD_FIELD, oxm)),
    };
    let is_ip = old.has(wildcard::DL_TYPE) && old.dl_type == IPV4;
    let known = old.has(wildcard::NW_PROTO) && old.nw_proto == proto;
    require(oxm, is_ip && known)?;
    let value = match proto {
        ICMP => u8::from_be_bytes(exact(oxm)?).into(),
        _ => u16::from_be_bytes(exact(oxm)?),
    };
    if is_src {
        old.tp_src = value;
        old.wildcards &= !wildcard::TP_SRC;
    } else {
        old.tp_dst = value;
        old.wildcards &= !wildcard::TP_DST;
    }
    Ok(())
}

fn unsupported(refusal: (u16, u16), oxm: &Oxm) -> ConversionError {
    let what = match refusal {
        refusal::BAD_MASK => format!("match on {} with this mask", oxm.field),
        refusal::BAD_VALUE => format!("match on {} with this value", oxm.field),
        refusal::BAD_PREREQ => format!("match on {} without its prerequisites", oxm.field),
        _ => format!("match on {}", oxm.field),
    };
    ConversionError::new(refusal, what)
}

fn require(oxm: &Oxm, there: bool) -> Result<(), ConversionError> {
    there
        .then_some(())
        .ok_or_else(|| unsupported(refusal::BAD_PREREQ, oxm))
}

fn exact<const N: usize>(oxm: &Oxm) -> Result<[u8; N], ConversionError> {
    if oxm.mask.is_some() {
        return Err(unsupported(refusal::BAD_MASK, oxm));
    }
    let value = oxm.value.as_ref().try_into();
    value.map_err(|_| unsupported(refusal::BAD_VALUE, oxm))
}

fn vlan(oxm: &Oxm) -> Result<u16, ConversionError> {
    match u16::from_be_bytes(exact(oxm)?) {
        0 => Ok(VLAN_NONE),
        vid if vid & !(VLAN_PRESENT - 1) == VLAN_PRESENT => Ok(vid & (VLAN_PRESENT - 1)),
        _ => Err(unsupported(refusal::BAD_VALUE, oxm)),
    }
}

/// Converts an address with a prefix mask. Fails on other masks.
fn address(oxm: &Oxm, wildcards: &mut u32, shift: u32) -> Result<Ipv4Addr, ConversionError> {
    let wide =
        |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map_err(|_| unsupported(refusal::BAD_VALUE, oxm));
    let mask = oxm.mask.as_deref().map_or(Ok([0xff; 4]), wide)?;
    let mask = u32::from_be_bytes(mask);
    if mask.leading_ones() + mask.trailing_zeros() != 32 {
        return Err(unsupported(refusal::BAD_MASK, oxm));
    }
    *wildcards &= !(wildcard::NW_BITS << shift);
    *wildcards |= mask.trailing_zeros() << shift;
    Ok(wide(&oxm.value)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn m() -> v13::Match {
        v13::Match::new()
    }

    #[test]
    fn a_round_trip_gives_the_same_match() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let ip = m().eth_type(IPV4);
        let net: Ipv4Addr = [10, 0, 0, 0].into();
        for new in [
            m(),
            m().in_port(7).eth_src(mac).eth_dst(MacAddr::BROADCAST),
            m().in_port(v13::port::LOCAL),
            m().vlan_none(),
            m().vlan_vid(5).vlan_pcp(3),
            m().vlan_vid(0),
            m().eth_type(0x88cc),
            ip.clone().ip_dscp(46).ip_proto(TCP).tcp_src(1).tcp_dst(80),
            ip.clone().ip_proto(UDP).udp_src(67).udp_dst(68),
            ip.clone().ip_proto(ICMP).icmpv4_type(8).icmpv4_code(0),
            ip.clone().ip_proto(132),
            ip.clone()
                .ipv4_src(net)
                .ipv4_dst_masked(net, [255, 0, 0, 0].into()),
            ip.clone()
                .ipv4_dst_masked([128, 0, 0, 0].into(), [128, 0, 0, 0].into()),
            m().eth_type(ARP)
                .arp_op(2)
                .arp_spa(net)
                .arp_tpa_masked(net, [255, 255, 0, 0].into()),
        ] {
            let old = match_from_v13(&new).unwrap();
            assert_eq!(match_to_v13(&old), new, "{old:?}");
        }
    }

    #[test]
    fn fields_and_masks_that_1_0_lacks_are_named() {
        let mac = MacAddr([1, 0, 0, 0, 0, 0]);
        let hole = m()
            .eth_type(IPV4)
            .ipv4_src_masked([10, 0, 0, 1].into(), [255, 0, 0, 255].into());
        for (new, wanted) in [
            (m().metadata(1), "match on metadata"),
            (
                m().eth_type(0x86dd).ip_proto(6),
                "match on ip_proto without its prerequisites",
            ),
            (m().eth_dst_masked(mac, mac), "eth_dst with this mask"),
            (m().vlan_any(), "vlan_vid with this mask"),
            (hole, "ipv4_src with this mask"),
            (m().eth_type(ARP).arp_op(256), "arp_op with this value"),
            (m().eth_type(ARP).arp_sha(mac), "match on arp_sha"),
            (m().in_port(0x1_0000), "port 65536"),
            (m().ipv4_src([1, 2, 3, 4].into()), "ipv4_src without"),
        ] {
            let error = match_from_v13(&new).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn fields_without_their_prerequisites_do_not_count() {
        let old = Match {
            wildcards: wildcard::DL_TYPE,
            dl_vlan: VLAN_NONE,
            dl_vlan_pcp: 7,
            nw_proto: TCP,
            ..Match::default()
        };
        let new = match_to_v13(&old);
        let fields: Vec<_> = new.fields.iter().map(|oxm| oxm.field).collect();
        use OxmField as F;
        assert_eq!(fields, [F::IN_PORT, F::ETH_DST, F::ETH_SRC, F::VLAN_VID]);
    }
}
