//! Whole packets, from the Ethernet header to the payload of the transport protocol.

use bytes::Bytes;

use super::ether_type;
use super::ethernet::{Arp, Ethernet, LEAST};
use super::flow::FiveTuple;
use super::ip::{Ipv4, Ipv6};
use super::neighbor::Neighbor;
use super::transport::{Icmp, Transport};
use crate::{MacAddr, Vlan};

/// Most VLAN tags that are read. Further ones are content.
const MOST_TAGS: usize = 2;

/// A frame with its headers, parsed or to be built.
///
/// ```
/// use morph_sdk::packet::{Content, Ipv4, Packet, Transport, Udp};
/// use morph_sdk::MacAddr;
///
/// let udp = Udp { src: 5000, dst: 53, payload: b"hello" };
/// let ip = Ipv4::new("10.0.0.1".parse()?, "10.0.0.2".parse()?, Transport::Udp(udp));
/// let packet = Packet::new(MacAddr([2; 6]), MacAddr([4; 6]), Content::Ipv4(ip));
/// let frame = packet.to_bytes();
///
/// let parsed = Packet::parse(&frame).ok_or("no frame")?;
/// assert_eq!(parsed, packet);
/// let flow = parsed.flow().ok_or("no flow")?;
/// assert_eq!((flow.src.to_string(), flow.dst_port), ("10.0.0.1".to_owned(), 53));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Checksums are written but not verified, as virtual hosts leave them to hardware. Of a packet whose beginning only came, as much
/// is parsed as there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Address of the receiver.
    pub dst: MacAddr,
    /// Address of the sender.
    pub src: MacAddr,
    /// VLAN tags, the outer one first.
    pub tags: Vec<Tag>,
    /// Content behind the Ethernet header.
    pub content: Content<'a>,
}

/// A VLAN tag (IEEE 802.1Q, 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Type of the tag: [`ether_type::VLAN`] or [`ether_type::SERVICE_VLAN`].
    pub kind: u16,
    /// Priority code point, 0 to 7.
    pub priority: u8,
    /// Whether the frame may be dropped first.
    pub drop_eligible: bool,
    /// VLAN id, 0 for a priority alone.
    pub id: u16,
}

/// Content of a frame behind its Ethernet header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are named as their types")]
pub enum Content<'a> {
    Arp(Arp),
    Ipv4(Ipv4<'a>),
    Ipv6(Ipv6<'a>),
    /// Content of another type, or one that is not as its type says.
    Other {
        /// Type of the content.
        ether_type: u16,
        /// The content, with what pads the frame.
        payload: &'a [u8],
    },
}

impl<'a> Packet<'a> {
    /// Makes a packet without VLAN tags.
    pub fn new(dst: MacAddr, src: MacAddr, content: Content<'a>) -> Self {
        Packet {
            dst,
            src,
            tags: Vec::new(),
            content,
        }
    }

    /// Parses a frame; `None` if it is too short to be one.
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (dst, rest) = frame.split_first_chunk()?;
        let (src, mut rest) = rest.split_first_chunk()?;
        let mut tags = Vec::new();
        let ether_type = loop {
            let (kind, behind) = rest.split_first_chunk()?;
            let kind = u16::from_be_bytes(*kind);
            let is_tag = [ether_type::VLAN, ether_type::SERVICE_VLAN].contains(&kind);
            rest = behind;
            if !is_tag || tags.len() == MOST_TAGS {
                break kind;
            }
            let (control, behind) = rest.split_first_chunk()?;
            tags.push(Tag::new(kind, u16::from_be_bytes(*control)));
            rest = behind;
        };
        Some(Packet {
            dst: MacAddr(*dst),
            src: MacAddr(*src),
            tags,
            content: Content::parse(ether_type, rest),
        })
    }

    /// VLAN by the outer tag, as switches and [`Ethernet`] see it.
    pub fn vlan(&self) -> Vlan {
        self.tags
            .first()
            .map_or(Vlan::NONE, |tag| Vlan::new(tag.id))
    }

    /// Builds the frame, with right lengths and checksums, and padded to the least length of a frame.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&self.dst.0);
        out.extend_from_slice(&self.src.0);
        for tag in &self.tags {
            out.extend_from_slice(&tag.kind.to_be_bytes());
            out.extend_from_slice(&tag.control().to_be_bytes());
        }
        out.extend_from_slice(&self.content.ether_type().to_be_bytes());
        self.content.write(&mut out);
        out.resize(out.len().max(LEAST), 0);
        out.into()
    }

    /// Addresses and ports of a TCP, UDP or SCTP packet; `None` for others, and for fragments.
    pub fn flow(&self) -> Option<FiveTuple> {
        match &self.content {
            Content::Ipv4(ip) => FiveTuple::of(ip.src.into(), ip.dst.into(), &ip.content),
            Content::Ipv6(ip) => FiveTuple::of(ip.src.into(), ip.dst.into(), &ip.content),
            Content::Arp(_) | Content::Other { .. } => None,
        }
    }

    /// Frame that answers an ARP request or a neighbour solicitation: `mac` bears the address asked for. `None` for other packets.
    pub fn address_reply(&self, mac: MacAddr) -> Option<Bytes> {
        match &self.content {
            Content::Arp(arp) if arp.operation == Arp::REQUEST => {
                let reply = arp.answer(mac);
                let to = reply.target_mac;
                Some(self.answer(to, mac, Content::Arp(reply)).to_bytes())
            }
            Content::Ipv6(ip) => {
                let Neighbor::Solicitation { target, .. } = Neighbor::of(ip)? else {
                    return None;
                };
                let message = Neighbor::advertisement(target, mac, !ip.src.is_unspecified());
                let dst = match ip.src.is_unspecified() {
                    true => std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
                    false => ip.src,
                };
                let to = match ip.src.is_unspecified() {
                    true => MacAddr([0x33, 0x33, 0, 0, 0, 1]),
                    false => self.src,
                };
                let payload = message.payload();
                let icmp = message.icmp(&payload);
                let reply = Ipv6 {
                    hop_limit: Neighbor::HOP_LIMIT,
                    ..Ipv6::new(target, dst, Transport::Icmpv6(icmp))
                };
                Some(self.answer(to, mac, Content::Ipv6(reply)).to_bytes())
            }
            Content::Arp(_) | Content::Ipv4(_) | Content::Other { .. } => None,
        }
    }

    /// Frame that answers an ICMP or ICMPv6 echo request (ping) in the place of its receiver. `None` for other packets.
    pub fn echo_reply(&self) -> Option<Bytes> {
        let content = match &self.content {
            Content::Ipv4(ip) => {
                let Transport::Icmp(icmp) = ip.content else {
                    return None;
                };
                let reply = icmp.answer(Icmp::ECHO_REQUEST, Icmp::ECHO_REPLY)?;
                Content::Ipv4(Ipv4::new(ip.dst, ip.src, Transport::Icmp(reply)))
            }
            Content::Ipv6(ip) => {
                let Transport::Icmpv6(icmp) = ip.content else {
                    return None;
                };
                let reply = icmp.answer(Icmp::V6_ECHO_REQUEST, Icmp::V6_ECHO_REPLY)?;
                Content::Ipv6(Ipv6::new(ip.dst, ip.src, Transport::Icmpv6(reply)))
            }
            Content::Arp(_) | Content::Other { .. } => return None,
        };
        Some(self.answer(self.src, self.dst, content).to_bytes())
    }

    /// Packet on the same VLANs.
    fn answer<'b>(&self, dst: MacAddr, src: MacAddr, content: Content<'b>) -> Packet<'b> {
        Packet {
            dst,
            src,
            tags: self.tags.clone(),
            content,
        }
    }
}

impl<'a> Ethernet<'a> {
    /// IPv6 packet of the frame, if it is one.
    pub fn ipv6(&self) -> Option<Ipv6<'a>> {
        let is_ipv6 = self.ether_type == ether_type::IPV6;
        is_ipv6.then(|| Ipv6::parse(self.payload)).flatten()
    }
}

impl Tag {
    fn new(kind: u16, control: u16) -> Self {
        Tag {
            kind,
            priority: (control >> 13) as u8,
            drop_eligible: control & 0x1000 != 0,
            id: control & 0xfff,
        }
    }

    fn control(self) -> u16 {
        u16::from(self.priority) << 13 | u16::from(self.drop_eligible) << 12 | self.id & 0xfff
    }
}

impl<'a> Content<'a> {
    fn parse(ether_type: u16, payload: &'a [u8]) -> Self {
        let known = match ether_type {
            ether_type::ARP => Arp::parse(payload).map(Content::Arp),
            ether_type::IPV4 => Ipv4::parse(payload).map(Content::Ipv4),
            ether_type::IPV6 => Ipv6::parse(payload).map(Content::Ipv6),
            _ => None,
        };
        known.unwrap_or(Content::Other {
            ether_type,
            payload,
        })
    }

    fn ether_type(&self) -> u16 {
        match self {
            Content::Arp(_) => ether_type::ARP,
            Content::Ipv4(_) => ether_type::IPV4,
            Content::Ipv6(_) => ether_type::IPV6,
            Content::Other { ether_type, .. } => *ether_type,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Content::Arp(arp) => arp.write(out),
            Content::Ipv4(ip) => ip.write(out),
            Content::Ipv6(ip) => ip.write(out),
            Content::Other { payload, .. } => out.extend_from_slice(payload),
        }
    }
}
