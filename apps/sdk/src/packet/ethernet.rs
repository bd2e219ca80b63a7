//! Ethernet frames and ARP, as far as most apps look at packets.

use std::net::Ipv4Addr;

use bytes::Bytes;
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, ArpPacketSlice, Ethernet2HeaderSlice, Ipv4HeaderSlice,
    SingleVlanHeaderSlice,
};

use super::ether_type;
use crate::{MacAddr, Vlan};

/// Least length of an Ethernet frame without its checksum (IEEE 802.3, 3.2.8).
pub(super) const LEAST: usize = 60;
/// Length of the two addresses in front of a frame.
const ADDRESSES: usize = 12;
/// Length of a VLAN tag with its type.
const TAG: usize = 4;

/// Header and payload of an Ethernet frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ethernet<'a> {
    /// Address of the receiver.
    pub dst: MacAddr,
    /// Address of the sender.
    pub src: MacAddr,
    /// VLAN, by the outer tag where there are two.
    pub vlan: Vlan,
    /// Outer VLAN tag, with its type, or nothing.
    pub tag: &'a [u8],
    /// Type of the payload, behind one VLAN tag at most.
    pub ether_type: u16,
    /// Content behind the header and the tag.
    pub payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    /// Parses a frame; `None` if it is too short to be one.
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let header = Ethernet2HeaderSlice::from_slice(frame).ok()?;
        let payload = frame.get(header.slice().len()..)?;
        let ethernet = Ethernet {
            dst: MacAddr(header.destination()),
            src: MacAddr(header.source()),
            vlan: Vlan::NONE,
            tag: &[],
            ether_type: header.ether_type().0,
            payload,
        };
        if ![ether_type::VLAN, ether_type::SERVICE_VLAN].contains(&ethernet.ether_type) {
            return Some(ethernet);
        }
        let tag = SingleVlanHeaderSlice::from_slice(payload).ok()?;
        Some(Ethernet {
            vlan: Vlan::new(tag.vlan_identifier().value()),
            tag: frame.get(ADDRESSES..ADDRESSES + TAG)?,
            ether_type: tag.ether_type().0,
            payload: payload.get(tag.slice().len()..)?,
            ..ethernet
        })
    }

    /// Puts the outer tag of this frame into another one, which has none.
    pub fn tagged(&self, frame: &Bytes) -> Bytes {
        match frame.split_at_checked(ADDRESSES) {
            Some((addresses, rest)) if !self.tag.is_empty() => {
                [addresses, self.tag, rest].concat().into()
            }
            Some(_) | None => frame.clone(),
        }
    }

    /// ARP packet of the frame, if it is one for IPv4 over Ethernet.
    pub fn arp(&self) -> Option<Arp> {
        if self.ether_type != ether_type::ARP {
            return None;
        }
        Arp::parse(self.payload)
    }

    /// Source and destination of the frame's IPv4 packet, if it is one.
    pub fn ipv4(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        if self.ether_type != ether_type::IPV4 {
            return None;
        }
        let header = Ipv4HeaderSlice::from_slice(self.payload).ok()?;
        Some((header.source_addr(), header.destination_addr()))
    }
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Operation code, [`Arp::REQUEST`] or [`Arp::REPLY`].
    pub operation: u16,
    /// Hardware address of the sender.
    pub sender_mac: MacAddr,
    /// IP address of the sender; 0.0.0.0 in a probe.
    pub sender_ip: Ipv4Addr,
    /// Hardware address of the target; zero in a request.
    pub target_mac: MacAddr,
    /// IP address of the target, whose hardware address a request asks for.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Operation of a packet that asks who has `target_ip`.
    pub const REQUEST: u16 = 1;
    /// Operation of a packet that tells that `sender_mac` has `sender_ip`.
    pub const REPLY: u16 = 2;

    /// Parses the payload of a frame; `None` if it is not ARP for IPv4 over Ethernet.
    pub(super) fn parse(payload: &[u8]) -> Option<Arp> {
        let arp = ArpPacketSlice::from_slice(payload).ok()?.to_packet();
        let arp = arp.try_eth_ipv4().ok()?;
        Some(Arp {
            operation: arp.operation.0,
            sender_mac: MacAddr(arp.sender_mac),
            sender_ip: arp.sender_ipv4_addr(),
            target_mac: MacAddr(arp.target_mac),
            target_ip: arp.target_ipv4_addr(),
        })
    }

    /// Makes the frame that answers this request: `mac` has the address asked for.
    pub fn reply(&self, mac: MacAddr) -> Bytes {
        self.answer(mac).frame(self.sender_mac)
    }

    pub(super) fn answer(&self, mac: MacAddr) -> Arp {
        Arp {
            operation: Arp::REPLY,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Makes the frame that carries this packet to `dst`.
    pub fn frame(&self, dst: MacAddr) -> Bytes {
        let mut payload = Vec::new();
        self.write(&mut payload);
        frame(dst, self.sender_mac, ether_type::ARP, &payload)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let packet = ArpEthIpv4Packet {
            operation: ArpOperation(self.operation),
            sender_mac: self.sender_mac.0,
            sender_ipv4: self.sender_ip.octets(),
            target_mac: self.target_mac.0,
            target_ipv4: self.target_ip.octets(),
        };
        out.extend_from_slice(&packet.to_bytes());
    }
}

/// Makes a frame of this payload, padded to the least length.
pub fn frame(dst: MacAddr, src: MacAddr, ether_type: u16, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(LEAST.max(14 + payload.len()));
    frame.extend_from_slice(&dst.0);
    frame.extend_from_slice(&src.0);
    frame.extend_from_slice(&ether_type.to_be_bytes());
    frame.extend_from_slice(payload);
    frame.resize(frame.len().max(LEAST), 0);
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    #[test]
    fn an_arp_request_is_read_and_answered() {
        let asked = Arp {
            operation: Arp::REQUEST,
            sender_mac: A,
            sender_ip: Ipv4Addr::new(10, 0, 0, 1),
            target_mac: MacAddr([0; 6]),
            target_ip: Ipv4Addr::new(10, 0, 0, 2),
        };
        let frame = asked.frame(MacAddr::BROADCAST);
        let ethernet = Ethernet::parse(&frame).unwrap();
        assert_eq!((ethernet.src, ethernet.arp()), (A, Some(asked)));
        let reply = asked.reply(B);
        let reply = Ethernet::parse(&reply).unwrap();
        let arp = reply.arp().unwrap();
        assert_eq!((reply.dst, reply.src), (A, B));
        assert_eq!(
            (arp.operation, arp.sender_ip),
            (Arp::REPLY, asked.target_ip)
        );
    }

    #[test]
    fn short_and_tagged_frames() {
        let plain = frame(A, B, ether_type::IPV4, &[0x45; 20]);
        for length in 0..14 {
            assert_eq!(Ethernet::parse(&plain[..length]), None);
        }
        let tagged = frame(A, B, ether_type::VLAN, &[0x20, 7, 0x08, 0x06]);
        let tagged = Ethernet::parse(&tagged).unwrap();
        let vlan = Vlan::new(7);
        assert_eq!((tagged.vlan, tagged.ether_type), (vlan, ether_type::ARP));
        assert_eq!((tagged.tag, tagged.arp()), (&[0x81, 0, 0x20, 7][..], None));
        let answer = tagged.tagged(&plain);
        let answer = Ethernet::parse(&answer).unwrap();
        assert_eq!((answer.dst, answer.src, answer.vlan), (A, B, vlan));
        assert_eq!(answer.ether_type, ether_type::IPV4);
        let untagged = Ethernet::parse(&plain).unwrap();
        assert_eq!(
            (untagged.vlan, untagged.tagged(&plain)),
            (Vlan::NONE, plain.clone())
        );
    }

    #[test]
    fn a_priority_alone_makes_no_vlan_and_the_outer_tag_of_two_counts() {
        let priority = frame(A, B, ether_type::VLAN, &[0xa0, 0, 0x08, 0x00, 0x45]);
        let priority = Ethernet::parse(&priority).unwrap();
        assert_eq!((priority.vlan, priority.tag.len()), (Vlan::NONE, TAG));
        for outer in [ether_type::VLAN, ether_type::SERVICE_VLAN] {
            let double = frame(A, B, outer, &[0, 100, 0x81, 0, 0, 10, 0x08, 0x00]);
            let double = Ethernet::parse(&double).unwrap();
            assert_eq!(
                (double.vlan, double.ether_type),
                (Vlan::new(100), ether_type::VLAN)
            );
        }
        let cut = frame(A, B, ether_type::VLAN, &[]);
        assert_eq!(Ethernet::parse(&cut[..15]), None);
    }
}
