//! Tables of hosts in schema 1: a hardware address is one host, whatever the VLAN.

use morph_sdk::{Dpid, Index, MacAddr, Match, Table, Vlan};

use crate::tables::{End, HostRow};

pub type HostId = MacAddr;
pub type IpKey = String;

pub const HOSTS: Table<HostId, HostRow> = Table::new("hosts");
pub const IPS: Table<IpKey, MacAddr> = Table::new("ips");
pub const HOSTS_BY_PORT: Index<HostId, HostRow, End> = Index::new("port", HOSTS, HostRow::end);
pub const HOSTS_BY_SWITCH: Index<HostId, HostRow, Dpid> =
    Index::new("switch", HOSTS, |host| host.dpid);

pub fn host_id(mac: MacAddr, _: Vlan) -> HostId {
    mac
}

pub fn beside(_: HostId, mac: MacAddr) -> HostId {
    mac
}

pub fn mac_of(host: HostId) -> MacAddr {
    host
}

pub fn name_of(host: HostId) -> String {
    host.to_string()
}

pub fn ip_key(ip: String, _: HostId) -> IpKey {
    ip
}

pub fn from_host(matching: Match, host: HostId) -> Match {
    matching.eth_src(host)
}

pub fn host_of(matching: &Match) -> Option<HostId> {
    matching.get_eth_src()
}
