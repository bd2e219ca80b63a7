//! Headers behind the IP header: TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792) and ICMPv6 (RFC 4443).

use etherparse::{TcpHeaderSlice, UdpHeaderSlice};

use super::checksum::Sum;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Length of a TCP header without options.
const TCP_HEADER: usize = 20;
/// Most bytes of TCP options: the header's length counts up to 60.
const TCP_OPTIONS: usize = 40;
/// Length of a UDP header.
const UDP_HEADER: usize = 8;

/// Content of an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are named as their types")]
pub enum Transport<'a> {
    Tcp(Tcp<'a>),
    Udp(Udp<'a>),
    /// ICMP of IPv4.
    Icmp(Icmp<'a>),
    Icmpv6(Icmp<'a>),
    /// Fragment of an IPv4 packet. An IPv6 fragment is `Other`, and its packet's extensions say that it is one.
    Fragment {
        /// Protocol number of the whole packet.
        protocol: u8,
        /// Place in the whole packet, in units of eight bytes.
        offset: u16,
        /// Whether other fragments follow.
        more: bool,
        /// Part of the whole packet's content.
        payload: &'a [u8],
    },
    /// Content of another protocol, or one that is not as its protocol says.
    Other {
        /// Number of the protocol, as in the IPv4 header.
        protocol: u8,
        /// Bytes behind the IP header.
        payload: &'a [u8],
    },
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// Port of the sender.
    pub src: u16,
    /// Port of the receiver.
    pub dst: u16,
    /// Sequence number of the first byte.
    pub sequence: u32,
    /// Next sequence number that the sender expects, where [`Tcp::ACK`] is set.
    pub acknowledgment: u32,
    /// Flags: [`Tcp::SYN`] and others.
    pub flags: u8,
    /// Bytes that the sender is ready to take.
    pub window: u16,
    /// End of urgent data, where [`Tcp::URG`] is set.
    pub urgent: u16,
    /// Options, as a multiple of four bytes.
    pub options: &'a [u8],
    /// Data of the stream.
    pub payload: &'a [u8],
}

impl Tcp<'_> {
    /// Flag: the sender has no more data.
    pub const FIN: u8 = 1;
    /// Flag: begins a connection.
    pub const SYN: u8 = 2;
    /// Flag: ends a connection at once.
    pub const RST: u8 = 4;
    /// Flag: the receiver should have the data at once.
    pub const PSH: u8 = 8;
    /// Flag: `acknowledgment` counts.
    pub const ACK: u8 = 16;
    /// Flag: `urgent` counts.
    pub const URG: u8 = 32;
}

/// A UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Port of the sender.
    pub src: u16,
    /// Port of the receiver.
    pub dst: u16,
    /// Data of the datagram.
    pub payload: &'a [u8],
}

/// A message of ICMP or ICMPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp<'a> {
    /// Type of the message.
    pub kind: u8,
    /// Code, which says more than the type.
    pub code: u8,
    /// The four bytes behind the checksum: identifier and sequence number of an echo.
    pub rest: [u8; 4],
    /// Content behind the header.
    pub payload: &'a [u8],
}

impl Icmp<'_> {
    /// Type of an ICMP echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Type of an ICMP echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Type of an ICMPv6 echo request.
    pub const V6_ECHO_REQUEST: u8 = 128;
    /// Type of an ICMPv6 echo reply.
    pub const V6_ECHO_REPLY: u8 = 129;

    /// Message of another type with the same content, if this one is of type `request`.
    pub(super) fn answer(self, request: u8, reply: u8) -> Option<Self> {
        (self.kind == request).then_some(Icmp {
            kind: reply,
            code: 0,
            ..self
        })
    }
}

impl<'a> Transport<'a> {
    pub(super) fn parse_v4(protocol: u8, payload: &'a [u8]) -> Self {
        match protocol {
            ICMP => Icmp::parse(payload).map(Transport::Icmp),
            protocol => Self::parse_common(protocol, payload),
        }
        .unwrap_or(Transport::Other { protocol, payload })
    }

    pub(super) fn parse_v6(protocol: u8, payload: &'a [u8]) -> Self {
        match protocol {
            ICMPV6 => Icmp::parse(payload).map(Transport::Icmpv6),
            protocol => Self::parse_common(protocol, payload),
        }
        .unwrap_or(Transport::Other { protocol, payload })
    }

    fn parse_common(protocol: u8, payload: &'a [u8]) -> Option<Self> {
        match protocol {
            TCP => Tcp::parse(payload).map(Transport::Tcp),
            UDP => Udp::parse(payload).map(Transport::Udp),
            _ => None,
        }
    }

    /// Number of the protocol, as in the IPv4 header.
    pub fn protocol(&self) -> u8 {
        match self {
            Transport::Tcp(_) => TCP,
            Transport::Udp(_) => UDP,
            Transport::Icmp(_) => ICMP,
            Transport::Icmpv6(_) => ICMPV6,
            Transport::Fragment { protocol, .. } | Transport::Other { protocol, .. } => *protocol,
        }
    }

    /// Appends the content. `pseudo` is the sum of the IP header's addresses, which checksums cover.
    pub(super) fn write(&self, out: &mut Vec<u8>, pseudo: Sum) {
        let start = out.len();
        let checksum = match self {
            Transport::Tcp(tcp) => {
                tcp.write(out);
                Some((16, pseudo))
            }
            Transport::Udp(udp) => {
                udp.write(out);
                Some((6, pseudo))
            }
            Transport::Icmp(icmp) => {
                icmp.write(out);
                Some((2, Sum::default()))
            }
            Transport::Icmpv6(icmp) => {
                icmp.write(out);
                Some((2, pseudo))
            }
            Transport::Fragment { payload, .. } | Transport::Other { payload, .. } => {
                out.extend_from_slice(payload);
                None
            }
        };
        let Some((at, mut sum)) = checksum else {
            return;
        };
        if !matches!(self, Transport::Icmp(_)) {
            let length = (out.len() - start) as u32;
            sum.add(&length.to_be_bytes());
            sum.add(&[0, self.protocol()]);
        }
        sum.add(&out[start..]);
        // Zero would say that a UDP datagram has no checksum.
        let checksum = match (self, sum.checksum()) {
            (Transport::Udp(_), 0) => u16::MAX,
            (_, checksum) => checksum,
        };
        out[start + at..start + at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

impl<'a> Tcp<'a> {
    fn parse(segment: &'a [u8]) -> Option<Self> {
        let header = TcpHeaderSlice::from_slice(segment).ok()?;
        let length = header.slice().len();
        Some(Tcp {
            src: header.source_port(),
            dst: header.destination_port(),
            sequence: header.sequence_number(),
            acknowledgment: header.acknowledgment_number(),
            flags: *segment.get(13)?,
            window: header.window_size(),
            urgent: header.urgent_pointer(),
            options: segment.get(TCP_HEADER..length)?,
            payload: segment.get(length..)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let options = self.options.get(..TCP_OPTIONS).unwrap_or(self.options);
        let header = TCP_HEADER + options.len().next_multiple_of(4);
        out.extend(self.src.to_be_bytes());
        out.extend(self.dst.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.acknowledgment.to_be_bytes());
        out.extend([((header / 4) << 4) as u8, self.flags]);
        out.extend(self.window.to_be_bytes());
        out.extend([0, 0]);
        out.extend(self.urgent.to_be_bytes());
        out.extend_from_slice(options);
        out.resize(start + header, 0);
        out.extend_from_slice(self.payload);
    }
}

impl<'a> Udp<'a> {
    fn parse(datagram: &'a [u8]) -> Option<Self> {
        let header = UdpHeaderSlice::from_slice(datagram).ok()?;
        let payload = &datagram[UDP_HEADER..];
        let length = usize::from(header.length()).checked_sub(UDP_HEADER)?;
        Some(Udp {
            src: header.source_port(),
            dst: header.destination_port(),
            payload: payload.get(..length).unwrap_or(payload),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let length = UDP_HEADER + self.payload.len();
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        out.extend(self.src.to_be_bytes());
        out.extend(self.dst.to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend([0, 0]);
        out.extend_from_slice(self.payload);
    }
}

impl<'a> Icmp<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        let ([kind, code, _, _], rest) = message.split_first_chunk()?;
        let (rest, payload) = rest.split_first_chunk()?;
        Some(Icmp {
            kind: *kind,
            code: *code,
            rest: *rest,
            payload,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend([self.kind, self.code, 0, 0]);
        out.extend(self.rest);
        out.extend_from_slice(self.payload);
    }
}
