//! Sender of a frame, as far as the frame names it.
//!
//! The address that a frame announces may be borne by another hardware address than that of the frame's sender: a virtual router
//! (RFC 5798) announces its own, 00:00:5e:00:01:XX, from whatever address its machine has.

use std::net::IpAddr;

use morph_sdk::packet::{Ethernet, Icmp, Transport, ether_type};
use morph_sdk::{MacAddr, Vlan};

/// ICMPv6 type of a neighbour advertisement (RFC 4861, section 4.4).
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Option that tells the hardware address of the target (RFC 4861, section 4.6.1).
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;

/// Sender of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Hardware address of the sender.
    pub mac: MacAddr,
    /// VLAN of the frame.
    pub vlan: Vlan,
    /// IP address that the frame announces, and the hardware address of its bearer.
    pub binding: Option<(IpAddr, MacAddr)>,
}

impl Sender {
    /// Parses a frame; `None` if it has no sender of its own.
    pub fn of(frame: &[u8]) -> Option<Sender> {
        let ethernet = Ethernet::parse(frame)?;
        let mac = ethernet.src;
        is_of_a_host(mac).then(|| Sender {
            mac,
            vlan: ethernet.vlan,
            binding: binding(&ethernet).filter(|(ip, mac)| is_address(ip) && is_of_a_host(*mac)),
        })
    }
}

fn binding(ethernet: &Ethernet<'_>) -> Option<(IpAddr, MacAddr)> {
    match ethernet.ether_type {
        ether_type::ARP => {
            let arp = ethernet.arp()?;
            Some((arp.sender_ip.into(), arp.sender_mac))
        }
        ether_type::IPV4 => Some((ethernet.ipv4()?.0.into(), ethernet.src)),
        ether_type::IPV6 => {
            let ip = ethernet.ipv6()?;
            let advertised = match ip.content {
                Transport::Icmpv6(icmp) if ip.extensions.is_none() => {
                    advertised(icmp, ethernet.src)
                }
                _ => None,
            };
            advertised.or(Some((ip.src.into(), ethernet.src)))
        }
        _ => None,
    }
}

/// Target of a neighbour advertisement from `src`, and its hardware address.
fn advertised(message: Icmp<'_>, src: MacAddr) -> Option<(IpAddr, MacAddr)> {
    if message.kind != NEIGHBOUR_ADVERTISEMENT {
        return None;
    }
    let (target, mut options) = message.payload.split_first_chunk::<16>()?;
    let target = *target;
    let mut mac = src;
    // An option's length is in units of 8 bytes, with its two first bytes (section 4.6).
    while let [kind, length, ..] = *options
        && length > 0
        && let Some((option, rest)) = options.split_at_checked(8 * usize::from(length))
    {
        if kind == TARGET_LINK_LAYER_ADDRESS
            && let Some(address) = option[2..].first_chunk()
        {
            mac = MacAddr(*address);
        }
        options = rest;
    }
    Some((target.into(), mac))
}

fn is_of_a_host(mac: MacAddr) -> bool {
    !mac.is_multicast() && mac.0 != [0; 6]
}

fn is_address(ip: &IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || broadcast)
}
