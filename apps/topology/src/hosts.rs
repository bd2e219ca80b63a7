//! Hosts: learned from their first packets, forgotten with their port or after five idle minutes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use morph_sdk::packet::etherparse::Ipv6HeaderSlice;
use morph_sdk::packet::{Ethernet, ether_type};
use morph_sdk::{Alarm, FlowRemoved, MacAddr, Turn};

use crate::Topology;
use crate::rules::HOST_PRIORITY;
use crate::tables::{End, HOSTS, HostRow, IPS, Kind, PORTS};

/// Most hosts that are learned.
pub const MOST: usize = 10_000;
/// Most addresses kept for one host; with one more, the oldest goes.
pub const MOST_IPS: usize = 16;
/// Most hosts that one turn forgets: with all their addresses, they fit into one transaction.
const MOST_FORGOTTEN: usize = 500;
/// Alarm that hosts are not learned, because there are too many.
pub const LIMIT_REACHED: &str = "host-limit";
/// Room for hosts at which this alarm ends. One host that goes would end it for the next one only.
const ROOM: usize = MOST / 100;

/// Sender of a frame, as the frame names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Hardware address of the sender.
    pub mac: MacAddr,
    /// IP address of the sender, if the frame has one.
    pub ip: Option<IpAddr>,
}

impl Sender {
    /// Parses a frame; `None` if it has no sender of its own.
    pub fn of(frame: &[u8]) -> Option<Sender> {
        let ethernet = Ethernet::parse(frame)?;
        let mac = ethernet.src;
        if mac.is_multicast() || mac.0 == [0; 6] {
            return None;
        }
        Some(Sender {
            mac,
            ip: sender_ip(&ethernet).filter(is_of_a_host),
        })
    }
}

fn sender_ip(ethernet: &Ethernet<'_>) -> Option<IpAddr> {
    match ethernet.ether_type {
        ether_type::ARP => Some(ethernet.arp()?.sender_ip.into()),
        ether_type::IPV4 => Some(ethernet.ipv4()?.0.into()),
        ether_type::IPV6 => {
            let header = Ipv6HeaderSlice::from_slice(ethernet.payload).ok()?;
            Some(header.source_addr().into())
        }
        _ => None,
    }
}

fn is_of_a_host(ip: &IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || broadcast)
}

impl Topology {
    /// Learns the sender of a frame that came in by a host port.
    pub(crate) fn learn(&mut self, end: End, frame: &[u8], turn: &mut Turn<'_>) {
        let may_learn = is_host_port(end, turn) && !self.leaving.contains(&end);
        let Some(sender) = Sender::of(frame).filter(|_| may_learn) else {
            return;
        };
        let mut host = match turn.get(&HOSTS, &sender.mac) {
            Some(host) => host,
            None if turn.view().count(&HOSTS) >= MOST => return refuse(turn),
            None => HostRow {
                dpid: end.0,
                port: end.1,
                ips: Vec::new(),
            },
        };
        (host.dpid, host.port) = end;
        if let Some(ip) = sender.ip {
            claim(sender.mac, &mut host, ip.to_string(), turn);
        }
        turn.put(&HOSTS, &sender.mac, &host);
    }

    /// Forgets the hosts at a port. There may be more of them than fit into one turn.
    pub(crate) fn forget_at(&mut self, end: End, turn: &mut Turn<'_>) {
        let mut there: Vec<_> = turn
            .view()
            .iter(&HOSTS)
            .filter(|(_, host)| host.end() == end)
            .collect();
        if there.len() > MOST_FORGOTTEN {
            there.truncate(MOST_FORGOTTEN);
            self.leaving.insert(end);
        } else {
            self.leaving.remove(&end);
        }
        for (mac, host) in there {
            forget(mac, &host, turn);
        }
    }

    /// Continues with a port that has more hosts than one turn can forget.
    pub(crate) fn forget_leaving(&mut self, turn: &mut Turn<'_>) {
        if let Some(&end) = self.leaving.first() {
            self.forget_at(end, turn);
        }
    }

    /// Finds ports whose hosts an earlier instance has not finished forgetting.
    pub(crate) fn find_leaving(&mut self, turn: &Turn<'_>) {
        let ends: BTreeSet<End> = turn
            .view()
            .iter(&HOSTS)
            .map(|(_, host)| host.end())
            .collect();
        self.leaving = ends
            .into_iter()
            .filter(|end| !is_host_port(*end, turn))
            .collect();
    }
}

fn refuse(turn: &mut Turn<'_>) {
    let text = format!("{MOST} hosts are known, which is the limit: further ones are not learned");
    let mend = "find the port with too many of them in `morphctl hosts`, and take it out of service; \
                idle hosts are forgotten after five minutes";
    turn.raise(&Alarm::new(LIMIT_REACHED, "", text, mend));
}

/// Ends the alarm of refused hosts once there is room again.
pub(crate) fn end_refusal(turn: &mut Turn<'_>) {
    if turn.view().count(&HOSTS) <= MOST - ROOM {
        turn.end_alarm(LIMIT_REACHED, "");
    }
}

fn is_host_port(end: End, turn: &Turn<'_>) -> bool {
    turn.get(&PORTS, &end)
        .is_some_and(|port| port.up && port.kind == Kind::Host)
}

/// Gives an address to a host; it belongs to the host that used it last.
fn claim(mac: MacAddr, host: &mut HostRow, ip: String, turn: &mut Turn<'_>) {
    let before = turn.get(&IPS, &ip);
    if before == Some(mac) && host.ips.contains(&ip) {
        return;
    }
    if let Some(other) = before.filter(|other| *other != mac)
        && let Some(mut row) = turn.get(&HOSTS, &other)
    {
        row.ips.retain(|theirs| *theirs != ip);
        turn.put(&HOSTS, &other, &row);
    }
    turn.put(&IPS, &ip, &mac);
    host.ips.push(ip);
    if host.ips.len() > MOST_IPS {
        let oldest = host.ips.remove(0);
        turn.delete(&IPS, &oldest);
    }
}

/// Forgets a host whose rule ended because no packet of it came for long.
pub(crate) fn expire(removed: &FlowRemoved, turn: &mut Turn<'_>) {
    if !removed.is_idle() || removed.priority != HOST_PRIORITY {
        return;
    }
    let (Some(port), Some(mac)) = (
        removed.matching.get_in_port(),
        removed.matching.get_eth_src(),
    ) else {
        return;
    };
    // A host that has moved has another rule there.
    if let Some(host) = turn.get(&HOSTS, &mac)
        && host.end() == (removed.dpid, port)
    {
        forget(mac, &host, turn);
    }
}

fn forget(mac: MacAddr, host: &HostRow, turn: &mut Turn<'_>) {
    turn.delete(&HOSTS, &mac);
    for ip in &host.ips {
        turn.delete(&IPS, ip);
    }
}
