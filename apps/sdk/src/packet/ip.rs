//! Headers of IPv4 (RFC 791) and IPv6 (RFC 8200).

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice};

use super::checksum::Sum;
use super::transport::Transport;

/// Length of an IPv4 header without options.
const V4_HEADER: usize = 20;
/// Most bytes of options: the header's length counts up to 60.
const V4_OPTIONS: usize = 40;
/// Hops that a packet of an app may take.
const HOPS: u8 = 64;

/// An IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4<'a> {
    /// Address of the sender.
    pub src: Ipv4Addr,
    /// Address of the receiver.
    pub dst: Ipv4Addr,
    /// Hops that the packet may still take.
    pub ttl: u8,
    /// DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// Identification, which the fragments of a packet share.
    pub id: u16,
    /// Whether routers must not make fragments of it.
    pub dont_fragment: bool,
    /// Options, as a multiple of four bytes.
    pub options: &'a [u8],
    /// Content behind the header.
    pub content: Transport<'a>,
}

impl<'a> Ipv4<'a> {
    /// Makes a packet without options, with 64 hops to go.
    pub fn new(src: Ipv4Addr, dst: Ipv4Addr, content: Transport<'a>) -> Self {
        Ipv4 {
            src,
            dst,
            ttl: HOPS,
            traffic_class: 0,
            id: 0,
            dont_fragment: false,
            options: &[],
            content,
        }
    }

    /// Parses a packet; `None` if it is none.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
        let length = header.slice().len();
        // Beyond the packet the frame is padded; of a packet that was cut there is less.
        let end = usize::from(header.total_len()).clamp(length, packet.len().max(length));
        let payload = packet.get(length..end)?;
        let (offset, more) = (header.fragments_offset().value(), header.more_fragments());
        let protocol = header.protocol().0;
        let content = match (offset, more) {
            (0, false) => Transport::parse_v4(protocol, payload),
            _ => Transport::Fragment {
                protocol,
                offset,
                more,
                payload,
            },
        };
        Some(Ipv4 {
            src: header.source_addr(),
            dst: header.destination_addr(),
            ttl: header.ttl(),
            traffic_class: header.dcp().value() << 2 | header.ecn().value(),
            id: header.identification(),
            dont_fragment: header.dont_fragment(),
            options: packet.get(V4_HEADER..length)?,
            content,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let options = self.options.get(..V4_OPTIONS).unwrap_or(self.options);
        let header = V4_HEADER + options.len().next_multiple_of(4);
        let (offset, more) = match self.content {
            Transport::Fragment { offset, more, .. } => (offset & 0x1fff, more),
            Transport::Tcp(_)
            | Transport::Udp(_)
            | Transport::Icmp(_)
            | Transport::Icmpv6(_)
            | Transport::Other { .. } => (0, false),
        };
        let fragment = u16::from(self.dont_fragment) << 14 | u16::from(more) << 13 | offset;
        out.extend([0x40 | (header / 4) as u8, self.traffic_class, 0, 0]);
        out.extend(self.id.to_be_bytes());
        out.extend(fragment.to_be_bytes());
        out.extend([self.ttl, self.content.protocol(), 0, 0]);
        out.extend(self.src.octets());
        out.extend(self.dst.octets());
        out.extend_from_slice(options);
        out.resize(start + header, 0);
        let mut pseudo = Sum::default();
        pseudo.add(&self.src.octets());
        pseudo.add(&self.dst.octets());
        self.content.write(out, pseudo);
        let length = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
        out[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
        let checksum = Sum::of(&out[start..start + header]);
        out[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// An IPv6 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6<'a> {
    /// Address of the sender.
    pub src: Ipv6Addr,
    /// Address of the receiver.
    pub dst: Ipv6Addr,
    /// Hops that the packet may still take.
    pub hop_limit: u8,
    /// DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// Flow label, of 20 bits.
    pub flow_label: u32,
    /// Extension headers as they stand, with the type of the first one.
    pub extensions: Option<(u8, &'a [u8])>,
    /// Content behind the headers.
    pub content: Transport<'a>,
}

impl<'a> Ipv6<'a> {
    /// Makes a packet without extension headers, with 64 hops to go.
    pub fn new(src: Ipv6Addr, dst: Ipv6Addr, content: Transport<'a>) -> Self {
        Ipv6 {
            src,
            dst,
            hop_limit: HOPS,
            traffic_class: 0,
            flow_label: 0,
            extensions: None,
            content,
        }
    }

    /// Parses a packet; `None` if it is none.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let header = Ipv6HeaderSlice::from_slice(packet).ok()?;
        let rest = packet.get(header.slice().len()..)?;
        let first = header.next_header();
        // Beyond the packet the frame is padded; of a packet that was cut there is less. The length of a jumbogram stands in its
        // hop-by-hop options (RFC 2675).
        let payload = match usize::from(header.payload_length()) {
            0 if first == IpNumber::IPV6_HEADER_HOP_BY_HOP => rest,
            length => rest.get(..length).unwrap_or(rest),
        };
        let (headers, protocol, content, _) = Ipv6ExtensionsSlice::from_slice_lax(first, payload);
        let extensions = &payload[..payload.len() - content.len()];
        let content = match headers.is_fragmenting_payload() {
            true => Transport::Other {
                protocol: protocol.0,
                payload: content,
            },
            false => Transport::parse_v6(protocol.0, content),
        };
        Some(Ipv6 {
            src: header.source_addr(),
            dst: header.destination_addr(),
            hop_limit: header.hop_limit(),
            traffic_class: header.traffic_class(),
            flow_label: header.flow_label().value(),
            extensions: (!extensions.is_empty()).then_some((first.0, extensions)),
            content,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let label = self.flow_label & 0xf_ffff;
        let word = 0x6000_0000 | u32::from(self.traffic_class) << 20 | label;
        let first = self
            .extensions
            .map_or(self.content.protocol(), |(first, _)| first);
        out.extend(word.to_be_bytes());
        out.extend([0, 0, first, self.hop_limit]);
        out.extend(self.src.octets());
        out.extend(self.dst.octets());
        let behind = out.len();
        out.extend_from_slice(self.extensions.map_or(&[], |(_, headers)| headers));
        let mut pseudo = Sum::default();
        pseudo.add(&self.src.octets());
        pseudo.add(&self.dst.octets());
        self.content.write(out, pseudo);
        let length = u16::try_from(out.len() - behind).unwrap_or(u16::MAX);
        out[start + 4..start + 6].copy_from_slice(&length.to_be_bytes());
    }
}
