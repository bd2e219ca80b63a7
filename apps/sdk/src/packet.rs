//! Packets, as far as most apps look at them. For all else there is [`etherparse`].

use std::net::Ipv4Addr;

use bytes::Bytes;
pub use etherparse;
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, ArpPacketSlice, Ethernet2HeaderSlice, Ipv4HeaderSlice,
    SingleVlanHeaderSlice,
};

use crate::MacAddr;

/// Types of an Ethernet frame's payload.
pub mod ether_type {
    /// Internet Protocol version 4.
    pub const IPV4: u16 = 0x0800;
    /// Address Resolution Protocol.
    pub const ARP: u16 = 0x0806;
    /// VLAN tag (802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// Internet Protocol version 6.
    pub const IPV6: u16 = 0x86dd;
    /// Link Layer Discovery Protocol.
    pub const LLDP: u16 = crate::lldp::ETHER_TYPE;
}

/// Header and payload of an Ethernet frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ethernet<'a> {
    /// Address of the receiver.
    pub dst: MacAddr,
    /// Address of the sender.
    pub src: MacAddr,
    /// VLAN id of the outermost tag, if there is one.
    pub vlan: Option<u16>,
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
            vlan: None,
            ether_type: header.ether_type().0,
            payload,
        };
        if ethernet.ether_type != ether_type::VLAN {
            return Some(ethernet);
        }
        let tag = SingleVlanHeaderSlice::from_slice(payload).ok()?;
        Some(Ethernet {
            vlan: Some(tag.vlan_identifier().value()),
            ether_type: tag.ether_type().0,
            payload: payload.get(tag.slice().len()..)?,
            ..ethernet
        })
    }

    /// ARP packet of the frame, if it is one for IPv4 over Ethernet.
    pub fn arp(&self) -> Option<Arp> {
        if self.ether_type != ether_type::ARP {
            return None;
        }
        let arp = ArpPacketSlice::from_slice(self.payload).ok()?.to_packet();
        let arp = arp.try_eth_ipv4().ok()?;
        Some(Arp {
            operation: arp.operation.0,
            sender_mac: MacAddr(arp.sender_mac),
            sender_ip: arp.sender_ipv4_addr(),
            target_mac: MacAddr(arp.target_mac),
            target_ip: arp.target_ipv4_addr(),
        })
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

    /// Makes the frame that answers this request: `mac` has the address asked for.
    pub fn reply(&self, mac: MacAddr) -> Bytes {
        Arp {
            operation: Arp::REPLY,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
        .frame(self.sender_mac)
    }

    /// Makes the frame that carries this packet to `dst`.
    pub fn frame(&self, dst: MacAddr) -> Bytes {
        let packet = ArpEthIpv4Packet {
            operation: ArpOperation(self.operation),
            sender_mac: self.sender_mac.0,
            sender_ipv4: self.sender_ip.octets(),
            target_mac: self.target_mac.0,
            target_ipv4: self.target_ip.octets(),
        };
        frame(dst, self.sender_mac, ether_type::ARP, &packet.to_bytes())
    }
}

/// Makes a frame of this payload, padded to the least length.
pub fn frame(dst: MacAddr, src: MacAddr, ether_type: u16, payload: &[u8]) -> Bytes {
    /// Least length of an Ethernet frame without its checksum (IEEE 802.3, 3.2.8).
    const LEAST: usize = 60;
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
        assert_eq!((tagged.vlan, tagged.ether_type), (Some(7), ether_type::ARP));
        assert_eq!(tagged.arp(), None);
    }
}
