//! Match fields in the syntax of `ovs-ofctl`.

use std::fmt::{self, Formatter};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::port_name::PortName;
use crate::MacAddr;
use crate::v13::{Match, Oxm, OxmField};

/// Ethertypes that `ovs-ofctl` writes as a keyword.
const ETHERTYPES: [(u16, &str); 6] = [
    (0x0800, "ip"),
    (0x0806, "arp"),
    (0x8035, "rarp"),
    (0x86dd, "ipv6"),
    (0x8847, "mpls"),
    (0x8848, "mplsm"),
];
const PROTOCOLS: [(u16, u8, &str); 8] = [
    (0x0800, 1, "icmp"),
    (0x0800, 6, "tcp"),
    (0x0800, 17, "udp"),
    (0x0800, 132, "sctp"),
    (0x86dd, 58, "icmp6"),
    (0x86dd, 6, "tcp6"),
    (0x86dd, 17, "udp6"),
    (0x86dd, 132, "sctp6"),
];

/// Writes the protocol keyword first, then the remaining fields.
pub(super) fn write(match_: &Match, f: &mut Formatter<'_>) -> fmt::Result {
    let (name, implied) = protocol(match_);
    f.write_str(name)?;
    let mut separator = if name.is_empty() { "" } else { "," };
    for oxm in &match_.fields {
        if implied.contains(&oxm.field) {
            continue;
        }
        f.write_str(separator)?;
        field(oxm, f)?;
        separator = ",";
    }
    Ok(())
}

/// Finds the protocol keyword, and the fields that it stands for.
fn protocol(match_: &Match) -> (&'static str, &'static [OxmField]) {
    let exact = |field| match_.get(field).is_some_and(|oxm| oxm.mask.is_none());
    let ethertype = match_.get_eth_type().filter(|_| exact(OxmField::ETH_TYPE));
    let protocol = match_.get_ip_proto().filter(|_| exact(OxmField::IP_PROTO));
    let both = |(e, p, _): &&(u16, u8, _)| Some(*e) == ethertype && Some(*p) == protocol;
    if let Some((_, _, name)) = PROTOCOLS.iter().find(both) {
        return (name, &[OxmField::ETH_TYPE, OxmField::IP_PROTO]);
    }
    match ETHERTYPES.iter().find(|(e, _)| Some(*e) == ethertype) {
        Some((_, name)) => (name, &[OxmField::ETH_TYPE]),
        None => ("", &[]),
    }
}

/// Name of a field in `ovs-ofctl`, where it differs from the specification's.
fn name(field: OxmField) -> Option<&'static str> {
    Some(match field {
        OxmField::ETH_DST => "dl_dst",
        OxmField::ETH_SRC => "dl_src",
        OxmField::ETH_TYPE => "dl_type",
        OxmField::VLAN_PCP => "dl_vlan_pcp",
        OxmField::IP_ECN => "nw_ecn",
        OxmField::IP_PROTO => "nw_proto",
        OxmField::IPV4_SRC => "nw_src",
        OxmField::IPV4_DST => "nw_dst",
        OxmField::TCP_SRC | OxmField::UDP_SRC | OxmField::SCTP_SRC => "tp_src",
        OxmField::TCP_DST | OxmField::UDP_DST | OxmField::SCTP_DST => "tp_dst",
        OxmField::ICMPV4_TYPE | OxmField::ICMPV6_TYPE => "icmp_type",
        OxmField::ICMPV4_CODE | OxmField::ICMPV6_CODE => "icmp_code",
        OxmField::IPV6_FLABEL => "ipv6_label",
        OxmField::IPV6_ND_TARGET => "nd_target",
        OxmField::IPV6_ND_SLL => "nd_sll",
        OxmField::IPV6_ND_TLL => "nd_tll",
        OxmField::TUNNEL_ID => "tun_id",
        _ => return None,
    })
}

fn field(oxm: &Oxm, f: &mut Formatter<'_>) -> fmt::Result {
    if oxm.field == OxmField::VLAN_VID && oxm.value.len() == 2 {
        return vlan(oxm, f);
    }
    match name(oxm.field) {
        Some(name) => write!(f, "{name}=")?,
        None => write!(f, "{}=", oxm.field)?,
    }
    value_and_mask(oxm, f)
}

/// Writes the VLAN id, or the tag bits where the id is not matched exactly.
fn vlan(oxm: &Oxm, f: &mut Formatter<'_>) -> fmt::Result {
    let value = number(&oxm.value);
    let mask = oxm.mask.as_deref().map_or(0x1fff, number);
    match value & 0x1000 != 0 && mask & 0x1fff == 0x1fff {
        true => write!(f, "dl_vlan={}", value & 0xfff),
        false => write!(f, "vlan_tci=0x{value:04x}/0x{mask:04x}"),
    }
}

/// Writes the value, with its mask after a slash.
pub(super) fn value_and_mask(oxm: &Oxm, f: &mut Formatter<'_>) -> fmt::Result {
    let Some(mask) = oxm.mask.as_deref() else {
        return value(oxm.field, &oxm.value, f);
    };
    if is_plain_number(oxm.field) {
        return write!(f, "{:#x}/{:#x}", number(&oxm.value), number(mask));
    }
    value(oxm.field, &oxm.value, f)?;
    f.write_str("/")?;
    match prefix_length(oxm.field, mask) {
        Some(length) => write!(f, "{length}"),
        None => value(oxm.field, mask, f),
    }
}

/// Tells whether a masked field is written as a number, because it is no address.
fn is_plain_number(field: OxmField) -> bool {
    let address = matches!(
        field,
        OxmField::IPV4_SRC | OxmField::IPV4_DST | OxmField::ARP_SPA | OxmField::ARP_TPA
    );
    !address
        && field
            .kind()
            .is_some_and(|kind| [1, 2, 4, 8].contains(&kind.bytes))
}

/// Length of a prefix mask of an IP address; `None` for other fields and masks.
fn prefix_length(field: OxmField, mask: &[u8]) -> Option<u32> {
    let bits = match field {
        OxmField::IPV4_SRC | OxmField::IPV4_DST | OxmField::ARP_SPA | OxmField::ARP_TPA => 32,
        OxmField::IPV6_SRC | OxmField::IPV6_DST | OxmField::IPV6_ND_TARGET => 128,
        _ => return None,
    };
    if mask.len() * 8 != bits {
        return None;
    }
    let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let leading = match mask.iter().position(|byte| *byte != 0xff) {
        Some(at) => at as u32 * 8 + mask[at].leading_ones(),
        None => ones,
    };
    (leading == ones).then_some(ones)
}

/// Writes the value by the type of the field; as hexadecimal digits if the field is unknown or its length is wrong.
fn value(field: OxmField, bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    if field.kind().is_none_or(|kind| kind.bytes != bytes.len()) {
        return hex(f, bytes);
    }
    if let Ok(mac) = <[u8; 6]>::try_from(bytes) {
        return write!(f, "{}", MacAddr(mac));
    }
    if let Ok(address) = <[u8; 16]>::try_from(bytes) {
        return write!(f, "{}", Ipv6Addr::from(address));
    }
    let number = number(bytes);
    match field {
        OxmField::IN_PORT | OxmField::IN_PHY_PORT => write!(f, "{}", PortName(number as u32)),
        OxmField::IPV4_SRC | OxmField::IPV4_DST | OxmField::ARP_SPA | OxmField::ARP_TPA => {
            write!(f, "{}", Ipv4Addr::from(number as u32))
        }
        OxmField::ETH_TYPE => write!(f, "0x{number:04x}"),
        OxmField::IPV6_FLABEL => write!(f, "0x{number:05x}"),
        OxmField::METADATA | OxmField::TUNNEL_ID => write!(f, "{number:#x}"),
        OxmField(OxmField::NXM_1, _) => write!(f, "{number:#x}"),
        _ => write!(f, "{number}"),
    }
}

/// Writes `0x` and two hexadecimal digits a byte.
pub(super) fn hex(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str("0x")?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Decodes a big-endian number of at most 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
