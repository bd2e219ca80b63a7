//! Packets: parsing them, building them, and answering some.
//!
//! [`Ethernet`] parses what most apps look at, and costs least; [`Packet`] parses and builds all headers. [`Dhcp`] is the payload of
//! a UDP datagram.

mod checksum;
pub mod dhcp;
pub mod ether_type;
mod ethernet;
mod flow;
mod ip;
mod neighbor;
#[cfg(test)]
mod tests;
mod transport;
mod whole;

pub use dhcp::Dhcp;
pub use ethernet::{Arp, Ethernet, frame};
pub use flow::FiveTuple;
pub use ip::{Ipv4, Ipv6};
pub use neighbor::Neighbor;
pub use transport::{Icmp, Tcp, Transport, Udp};
pub use whole::{Content, Packet, Tag};
