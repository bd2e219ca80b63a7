//! Flows: what tells the packets of one connection from others.

use std::net::IpAddr;

use super::transport::Transport;
use crate::Key;

/// Addresses, protocol and ports of a packet; also a key of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Key)]
pub struct FiveTuple {
    /// Address of the sender.
    pub src: IpAddr,
    /// Address of the receiver.
    pub dst: IpAddr,
    /// Protocol number: 6 for TCP, 17 for UDP, 132 for SCTP.
    pub protocol: u8,
    /// Port of the sender.
    pub src_port: u16,
    /// Port of the receiver.
    pub dst_port: u16,
}

/// Protocol number of SCTP, whose ports are where those of TCP and UDP are (RFC 9260, section 3.1).
const SCTP: u8 = 132;

impl FiveTuple {
    /// Flow of the answers.
    #[must_use]
    pub fn reversed(self) -> Self {
        FiveTuple {
            src: self.dst,
            dst: self.src,
            protocol: self.protocol,
            src_port: self.dst_port,
            dst_port: self.src_port,
        }
    }

    pub(super) fn of(src: IpAddr, dst: IpAddr, content: &Transport<'_>) -> Option<Self> {
        let (src_port, dst_port) = match content {
            Transport::Tcp(tcp) => (tcp.src, tcp.dst),
            Transport::Udp(udp) => (udp.src, udp.dst),
            Transport::Other {
                protocol: SCTP,
                payload,
            } => {
                let (src, rest) = payload.split_first_chunk()?;
                let (dst, _) = rest.split_first_chunk()?;
                (u16::from_be_bytes(*src), u16::from_be_bytes(*dst))
            }
            Transport::Icmp(_)
            | Transport::Icmpv6(_)
            | Transport::Fragment { .. }
            | Transport::Other { .. } => return None,
        };
        Some(FiveTuple {
            src,
            dst,
            protocol: content.protocol(),
            src_port,
            dst_port,
        })
    }
}
