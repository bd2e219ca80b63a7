//! Tables of hosts, and how rules match a host. A host is known by its hardware address and its VLAN: one address on two VLANs is
//! two hosts, and one without a VLAN is a third.

use morph_sdk::{Dpid, Index, MacAddr, Match, Table, Vlan};

use crate::tables::{End, HostRow};

/// Key of a host.
pub type HostId = (MacAddr, Vlan);
/// Key of an IP address, which each VLAN has for itself.
pub type IpKey = (String, Vlan);

/// Hosts, each where it was last seen.
pub const HOSTS: Table<HostId, HostRow> = Table::new("hosts");
/// Bearer of each IP address, on its VLAN.
pub const IPS: Table<IpKey, MacAddr> = Table::new("ips");
/// Hosts of each port.
pub const HOSTS_BY_PORT: Index<HostId, HostRow, End> = Index::new("port", HOSTS, HostRow::end);
/// Hosts of each switch.
pub const HOSTS_BY_SWITCH: Index<HostId, HostRow, Dpid> =
    Index::new("switch", HOSTS, |host| host.dpid);

/// Host with this hardware address on a VLAN.
pub fn host_id(mac: MacAddr, vlan: Vlan) -> HostId {
    (mac, vlan)
}

/// Host with another hardware address on the VLAN of `host`.
pub fn beside(host: HostId, mac: MacAddr) -> HostId {
    (mac, host.1)
}

/// Hardware address of a host.
pub fn mac_of(host: HostId) -> MacAddr {
    host.0
}

/// Name of a host for people.
pub fn name_of((mac, vlan): HostId) -> String {
    match vlan {
        Vlan::NONE => mac.to_string(),
        _ => format!("{mac} on VLAN {vlan}"),
    }
}

/// Key of an IP address of a host.
pub fn ip_key(ip: String, host: HostId) -> IpKey {
    (ip, host.1)
}

/// Adds the frames that a host sends to a match.
pub fn from_host(matching: Match, (mac, vlan): HostId) -> Match {
    matching.vlan(vlan).eth_src(mac)
}

/// Host of a rule that was made with [`from_host`]. Rules of releases before 2.0.0 match no VLAN, and are of no host.
pub fn host_of(matching: &Match) -> Option<HostId> {
    Some((matching.get_eth_src()?, matching.get_vlan()?))
}
