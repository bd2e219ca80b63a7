//! DHCP for IPv4 (RFC 2131, options of RFC 2132).

use std::net::Ipv4Addr;

use crate::MacAddr;

/// Bytes in front of the options (RFC 2131, section 2).
const FIXED: usize = 236;
/// Bytes behind those, which say that options follow.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Most bytes of one option; a longer one stands in several pieces (RFC 3396).
const OPTION: usize = 255;
/// Operation codes of clients and of servers.
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// Codes of options.
pub mod option {
    /// Mask of the network.
    pub const SUBNET_MASK: u8 = 1;
    /// Routers of the network.
    pub const ROUTERS: u8 = 3;
    /// Addresses of name servers (option 6 of RFC 2132), the preferred one first.
    pub const NAME_SERVERS: u8 = 6;
    /// Name of the client.
    pub const HOST_NAME: u8 = 12;
    /// Address that a client asks for.
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// Time for which an address is given, in seconds.
    pub const LEASE_TIME: u8 = 51;
    /// Kind of the message, one of [`Dhcp`](super::Dhcp)'s constants.
    pub const MESSAGE_TYPE: u8 = 53;
    /// Address of the server that a message is of or for.
    pub const SERVER: u8 = 54;
    pub(super) const PAD: u8 = 0;
    pub(super) const END: u8 = 255;
}

/// A DHCP message: the payload of a UDP datagram between the ports [`Dhcp::CLIENT_PORT`] and [`Dhcp::SERVER_PORT`].
///
/// ```
/// use morph_sdk::MacAddr;
/// use morph_sdk::packet::{Dhcp, dhcp::option};
///
/// let discover = Dhcp::request(Dhcp::DISCOVER, MacAddr([2; 6]), 7);
/// let (server, address) = ([10, 0, 0, 1].into(), [10, 0, 0, 9].into());
/// let offer = discover.reply(Dhcp::OFFER, server, address).with(option::LEASE_TIME, 3600_u32.to_be_bytes());
/// let offer = Dhcp::parse(&offer.to_bytes()).ok_or("no DHCP")?;
/// assert_eq!((offer.kind(), offer.your_ip, offer.server()), (Some(Dhcp::OFFER), address, Some(server)));
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dhcp {
    /// Whether a client sent it, or a relay for one.
    pub is_request: bool,
    /// Number of the transaction, which the client chose.
    pub transaction: u32,
    /// Seconds since the client began.
    pub seconds: u16,
    /// Whether the client wants its answer as a broadcast.
    pub broadcast: bool,
    /// Relays that the message has passed.
    pub hops: u8,
    /// Address that the client has already.
    pub client_ip: Ipv4Addr,
    /// Address that the server gives to the client.
    pub your_ip: Ipv4Addr,
    /// Address of the server to boot from.
    pub next_server: Ipv4Addr,
    /// Address of the first relay.
    pub relay_ip: Ipv4Addr,
    /// Hardware address of the client.
    pub client_mac: MacAddr,
    /// Options by code, in their order, each once.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Dhcp {
    /// UDP port of clients.
    pub const CLIENT_PORT: u16 = 68;
    /// UDP port of servers.
    pub const SERVER_PORT: u16 = 67;

    /// Kind: a client looks for servers.
    pub const DISCOVER: u8 = 1;
    /// Kind: a server offers an address.
    pub const OFFER: u8 = 2;
    /// Kind: a client takes an offer, or keeps its address.
    pub const REQUEST: u8 = 3;
    /// Kind: a client found its address in use.
    pub const DECLINE: u8 = 4;
    /// Kind: a server gives the address.
    pub const ACK: u8 = 5;
    /// Kind: a server refuses.
    pub const NAK: u8 = 6;
    /// Kind: a client gives its address back.
    pub const RELEASE: u8 = 7;
    /// Kind: a client that has an address asks for the rest.
    pub const INFORM: u8 = 8;

    /// Makes a client's message of some kind.
    pub fn request(kind: u8, client_mac: MacAddr, transaction: u32) -> Dhcp {
        Dhcp {
            is_request: true,
            transaction,
            seconds: 0,
            broadcast: false,
            hops: 0,
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            next_server: Ipv4Addr::UNSPECIFIED,
            relay_ip: Ipv4Addr::UNSPECIFIED,
            client_mac,
            options: vec![(option::MESSAGE_TYPE, vec![kind])],
        }
    }

    /// Makes a server's answer to this message.
    pub fn reply(&self, kind: u8, server: Ipv4Addr, your_ip: Ipv4Addr) -> Dhcp {
        Dhcp {
            is_request: false,
            transaction: self.transaction,
            broadcast: self.broadcast,
            client_ip: self.client_ip,
            your_ip,
            relay_ip: self.relay_ip,
            ..Dhcp::request(kind, self.client_mac, self.transaction)
        }
        .with(option::SERVER, server.octets())
    }

    /// The message, with an option, in place of one with this code.
    #[must_use]
    pub fn with(mut self, code: u8, value: impl Into<Vec<u8>>) -> Dhcp {
        self.options.retain(|(other, _)| *other != code);
        self.options.push((code, value.into()));
        self
    }

    /// Value of an option.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        let mut options = self.options.iter();
        options.find_map(|(other, value)| (*other == code).then_some(&**value))
    }

    /// Kind of the message; `None` for BOOTP.
    pub fn kind(&self) -> Option<u8> {
        self.option(option::MESSAGE_TYPE)?.first().copied()
    }

    /// Server that the message is of or for.
    pub fn server(&self) -> Option<Ipv4Addr> {
        self.address(option::SERVER)
    }

    /// Address that a client asks for.
    pub fn requested_address(&self) -> Option<Ipv4Addr> {
        self.address(option::REQUESTED_ADDRESS)
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.option(code)?.try_into().ok()?;
        Some(octets.into())
    }

    /// Parses a message of clients on Ethernet; `None` if it is none.
    pub fn parse(message: &[u8]) -> Option<Dhcp> {
        let (fixed, rest) = message.split_at_checked(FIXED)?;
        let options = rest.strip_prefix(&COOKIE)?;
        let is_request = match fixed {
            // Ethernet, with hardware addresses of six bytes.
            [REQUEST, 1, 6, ..] => true,
            [REPLY, 1, 6, ..] => false,
            _ => return None,
        };
        let ip = |at: usize| Some(Ipv4Addr::from(*fixed.get(at..)?.first_chunk::<4>()?));
        Some(Dhcp {
            is_request,
            hops: fixed[3],
            transaction: u32::from_be_bytes(*fixed.get(4..)?.first_chunk()?),
            seconds: u16::from_be_bytes(*fixed.get(8..)?.first_chunk()?),
            broadcast: fixed[10] & 0x80 != 0,
            client_ip: ip(12)?,
            your_ip: ip(16)?,
            next_server: ip(20)?,
            relay_ip: ip(24)?,
            client_mac: MacAddr(*fixed.get(28..)?.first_chunk()?),
            options: parse_options(options)?,
        })
    }

    /// Builds the message. Options with the codes 0 and 255, which stand for no option and for their end, are left out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let op = match self.is_request {
            true => REQUEST,
            false => REPLY,
        };
        let mut out = vec![op, 1, 6, self.hops];
        out.extend(self.transaction.to_be_bytes());
        out.extend(self.seconds.to_be_bytes());
        out.extend([u8::from(self.broadcast) << 7, 0]);
        for ip in [
            self.client_ip,
            self.your_ip,
            self.next_server,
            self.relay_ip,
        ] {
            out.extend(ip.octets());
        }
        out.extend(self.client_mac.0);
        out.resize(FIXED, 0);
        out.extend(COOKIE);
        let is_real = |code: u8| code != option::PAD && code != option::END;
        for (code, value) in self.options.iter().filter(|(code, _)| is_real(*code)) {
            let mut rest = &**value;
            loop {
                let (piece, more) = rest.split_at(rest.len().min(OPTION));
                out.extend([*code, piece.len() as u8]);
                out.extend_from_slice(piece);
                if more.is_empty() {
                    break;
                }
                rest = more;
            }
        }
        out.push(option::END);
        out
    }
}

/// Options by code. Several pieces of one are joined.
fn parse_options(mut rest: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
    loop {
        match *rest {
            [] | [option::END, ..] => return Some(options),
            [option::PAD, ..] => rest = &rest[1..],
            [_] => return None,
            [code, length, ..] => {
                let (value, behind) = rest[2..].split_at_checked(length.into())?;
                match options.iter_mut().find(|(other, _)| *other == code) {
                    Some((_, pieces)) => pieces.extend_from_slice(value),
                    None => options.push((code, value.to_vec())),
                }
                rest = behind;
            }
        }
    }
}
