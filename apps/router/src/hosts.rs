//! Hosts as the router knows them: by topology's schema 1, which knows no VLANs, or by its schema 2.

use std::fmt;

use morph_sdk::{Changes, Key, MacAddr, Match, Table, View, Vlan};

use crate::tables::{EndRow, TOPOLOGY};

/// A host that frames are for. Releases that know no VLANs call all of them [`Vlan::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    pub mac: MacAddr,
    pub vlan: Vlan,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mac, self.vlan)
    }
}

/// Topology's tables of hosts, in one schema.
pub trait Hosts: Send + 'static {
    /// Key of a host in the table `hosts`.
    type Host: Key;
    /// Key of an IP address in the table `ips`.
    type Ip: Key + fmt::Debug;
    /// Whether hosts are told apart by VLAN.
    const VLANS: bool;

    fn destination(host: Self::Host) -> Destination;
    fn host(destination: Destination) -> Self::Host;
    fn ip(ip: String, vlan: Vlan) -> Self::Ip;
    /// Frames for a destination.
    fn matching(destination: Destination) -> Match;
    /// Frames of a host.
    fn sent_by(host: Destination) -> Match;
}

/// Places of the hosts.
pub const fn hosts<H: Hosts>() -> Table<H::Host, EndRow> {
    Table::of(TOPOLOGY, "hosts")
}

/// Bearer of each IP address.
pub const fn ips<H: Hosts>() -> Table<H::Ip, MacAddr> {
    Table::of(TOPOLOGY, "ips")
}

/// Place of a host.
pub fn place<H: Hosts>(view: &View<'_>, destination: Destination) -> Option<EndRow> {
    view.get(&hosts::<H>(), &H::host(destination))
}

/// All known hosts.
pub fn all<'a, H: Hosts>(view: &View<'a>) -> impl Iterator<Item = Destination> + use<'a, H> {
    view.iter(&hosts::<H>())
        .map(|(host, _)| H::destination(host))
}

/// Hosts whose rows have changed.
pub fn changed<H: Hosts>(changes: &Changes) -> impl Iterator<Item = Destination> + use<'_, H> {
    changes.keys(&hosts::<H>()).map(H::destination)
}

/// Hosts by hardware address alone.
#[derive(Debug)]
pub struct WithoutVlans;

impl Hosts for WithoutVlans {
    type Host = MacAddr;
    type Ip = String;
    const VLANS: bool = false;

    fn destination(mac: MacAddr) -> Destination {
        let vlan = Vlan::NONE;
        Destination { mac, vlan }
    }

    fn host(destination: Destination) -> MacAddr {
        destination.mac
    }

    fn ip(ip: String, _: Vlan) -> String {
        ip
    }

    fn matching(destination: Destination) -> Match {
        Match::new().eth_dst(destination.mac)
    }

    fn sent_by(host: Destination) -> Match {
        Match::new().eth_src(host.mac)
    }
}

/// Hosts by hardware address and VLAN.
#[derive(Debug)]
pub struct ByVlan;

impl Hosts for ByVlan {
    type Host = (MacAddr, Vlan);
    type Ip = (String, Vlan);
    const VLANS: bool = true;

    fn destination((mac, vlan): (MacAddr, Vlan)) -> Destination {
        Destination { mac, vlan }
    }

    fn host(destination: Destination) -> (MacAddr, Vlan) {
        (destination.mac, destination.vlan)
    }

    fn ip(ip: String, vlan: Vlan) -> (String, Vlan) {
        (ip, vlan)
    }

    fn matching(destination: Destination) -> Match {
        Match::new().vlan(destination.vlan).eth_dst(destination.mac)
    }

    fn sent_by(host: Destination) -> Match {
        Match::new().vlan(host.vlan).eth_src(host.mac)
    }
}
