//! Neighbour discovery of IPv6 (RFC 4861), which is there what ARP is for IPv4.

use std::net::Ipv6Addr;

use super::ip::Ipv6;
use super::transport::{Icmp, Transport};
use crate::MacAddr;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Option with the hardware address of the sender.
const SOURCE_ADDRESS: u8 = 1;
/// Option with the hardware address of the target.
const TARGET_ADDRESS: u8 = 2;

/// A neighbour solicitation or advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbor {
    /// Question for the hardware address of `target`.
    Solicitation {
        /// Address that is asked for.
        target: Ipv6Addr,
        /// Hardware address of who asks; none in a probe for duplicate addresses.
        source_mac: Option<MacAddr>,
    },
    /// Answer, or announcement without a question.
    Advertisement {
        /// Address that is announced.
        target: Ipv6Addr,
        /// Hardware address of its bearer.
        target_mac: Option<MacAddr>,
        /// Whether the bearer is a router.
        router: bool,
        /// Whether this answers a question.
        solicited: bool,
        /// Whether it replaces what receivers know.
        replaces: bool,
    },
}

impl Neighbor {
    /// Hop limit of all messages: a router in between would have lowered it, so none can come from outside.
    pub const HOP_LIMIT: u8 = 255;

    /// Neighbour message of a packet, if it is one that receivers may believe.
    pub fn of(ip: &Ipv6<'_>) -> Option<Neighbor> {
        match ip.content {
            Transport::Icmpv6(icmp) if ip.hop_limit == Self::HOP_LIMIT && icmp.code == 0 => {
                Neighbor::parse(icmp)
            }
            _ => None,
        }
    }

    /// Makes the announcement that `mac` bears an address.
    pub fn advertisement(target: Ipv6Addr, mac: MacAddr, solicited: bool) -> Neighbor {
        Neighbor::Advertisement {
            target,
            target_mac: Some(mac),
            router: false,
            solicited,
            replaces: true,
        }
    }

    fn parse(icmp: Icmp<'_>) -> Option<Neighbor> {
        let (target, options) = icmp.payload.split_first_chunk::<16>()?;
        let target = Ipv6Addr::from(*target);
        let [flags, ..] = icmp.rest;
        match icmp.kind {
            SOLICITATION => Some(Neighbor::Solicitation {
                target,
                source_mac: address(options, SOURCE_ADDRESS),
            }),
            ADVERTISEMENT => Some(Neighbor::Advertisement {
                target,
                target_mac: address(options, TARGET_ADDRESS),
                router: flags & 0x80 != 0,
                solicited: flags & 0x40 != 0,
                replaces: flags & 0x20 != 0,
            }),
            _ => None,
        }
    }

    /// Content of the message behind its ICMPv6 header.
    pub fn payload(&self) -> Vec<u8> {
        let (target, option, mac) = match *self {
            Neighbor::Solicitation { target, source_mac } => (target, SOURCE_ADDRESS, source_mac),
            Neighbor::Advertisement {
                target, target_mac, ..
            } => (target, TARGET_ADDRESS, target_mac),
        };
        let mut payload = target.octets().to_vec();
        if let Some(mac) = mac {
            payload.extend([option, 1]);
            payload.extend(mac.0);
        }
        payload
    }

    /// Message with the content that [`Neighbor::payload`] made.
    pub fn icmp<'a>(&self, payload: &'a [u8]) -> Icmp<'a> {
        let (kind, flags) = match *self {
            Neighbor::Solicitation { .. } => (SOLICITATION, 0),
            Neighbor::Advertisement {
                router,
                solicited,
                replaces,
                ..
            } => {
                let flags = u8::from(router) << 7 | u8::from(solicited) << 6;
                (ADVERTISEMENT, flags | u8::from(replaces) << 5)
            }
        };
        Icmp {
            kind,
            code: 0,
            rest: [flags, 0, 0, 0],
            payload,
        }
    }
}

/// Hardware address in the first option of some kind. Lengths of options count eight bytes.
fn address(mut options: &[u8], wanted: u8) -> Option<MacAddr> {
    while let [kind, length, ..] = *options
        && length > 0
    {
        let (option, rest) = options.split_at_checked(usize::from(length) * 8)?;
        if kind == wanted {
            return Some(MacAddr(*option.get(2..)?.first_chunk()?));
        }
        options = rest;
    }
    None
}
