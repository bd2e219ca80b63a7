//! Hosts: learned from their first packets, forgotten with their port or after five idle minutes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use morph_sdk::{Alarm, FlowRemoved, MacAddr, Turn};

use crate::Topology;
use crate::moves::Place;
use crate::rules::HOST_PRIORITY;
use crate::sender::Sender;
use crate::tables::{End, HOSTS, HostRow, IPS, Kind, PORTS};

/// Most hosts that are learned.
pub const MOST: usize = 10_000;
/// Most addresses kept for one host; with one more, the oldest goes.
pub const MOST_IPS: usize = 16;
/// Alarm that hosts are not learned, because there are too many.
pub const LIMIT_REACHED: &str = "host-limit";
/// Room for hosts at which this alarm ends. One host that goes would end it for the next one only.
const ROOM: usize = MOST / 100;

impl Topology {
    /// Learns the sender of a frame that came in by a host port, and the bearer of the address that it announces.
    pub(crate) fn learn(&mut self, end: End, frame: &[u8], turn: &mut Turn<'_>) {
        let may_learn = is_host_port(end, turn) && !self.leaving.contains(&end);
        let Some(sender) = Sender::of(frame).filter(|_| may_learn) else {
            return;
        };
        if self.frames.seen_elsewhere(frame, end, turn.now()).is_some() {
            // It was flooded, and has come back.
            return;
        }
        self.learn_host(sender.mac, end, None, turn);
        if let Some((ip, bearer)) = sender.binding {
            self.learn_host(bearer, end, Some(ip), turn);
        }
    }

    fn learn_host(&mut self, mac: MacAddr, end: End, ip: Option<IpAddr>, turn: &mut Turn<'_>) {
        let ip = ip.map(|ip| ip.to_string());
        let mut host = match turn.get(&HOSTS, &mac) {
            Some(host) if host.end() != end => {
                let looped = self.strays.is_looped(end) && is_host_port(host.end(), turn);
                if looped || !self.moves_to(mac, &host, end, turn) {
                    return;
                }
                host
            }
            Some(host) => host,
            None if turn.view().count(&HOSTS) >= MOST => {
                if let Some(ip) = ip {
                    // Whoever bore it before does not any more: nobody is to be sent there.
                    unbind(&ip, turn);
                }
                return refuse(turn);
            }
            None => HostRow {
                dpid: end.0,
                port: end.1,
                ips: Vec::new(),
            },
        };
        (host.dpid, host.port) = end;
        if let Some(ip) = ip {
            claim(mac, &mut host, ip, turn);
        }
        turn.put(&HOSTS, &mac, &host);
    }

    /// Whether a host that is seen at another port has moved there. One that moves again and again goes back to where it was.
    fn moves_to(&mut self, mac: MacAddr, host: &HostRow, end: End, turn: &mut Turn<'_>) -> bool {
        if !is_host_port(host.end(), turn) {
            return true;
        }
        match self.moves.seen(mac, host.end(), end, turn.now()) {
            Place::Moved => true,
            Place::Held(home) => {
                let (dpid, port) = home;
                let ips = host.ips.clone();
                turn.put(&HOSTS, &mac, &HostRow { dpid, port, ips });
                false
            }
        }
    }

    /// Forgets the hosts at a port. Those that the turn has no room for follow with the ticks.
    pub(crate) fn forget_at(&mut self, end: End, turn: &mut Turn<'_>) {
        self.leaving.insert(end);
        self.forget_leaving(turn);
    }

    /// Forgets the hosts at the ports that are left, as many as the turn has room for.
    pub(crate) fn forget_leaving(&mut self, turn: &mut Turn<'_>) {
        if self.leaving.is_empty() {
            return;
        }
        let hosts = turn.view().iter(&HOSTS);
        let there = hosts.filter(|(_, host)| self.leaving.contains(&host.end()));
        for (mac, host) in there.collect::<Vec<_>>() {
            if !turn.has_room() {
                return;
            }
            forget(mac, &host, turn);
        }
        self.leaving.clear();
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
    if before.is_some_and(|other| other != mac) {
        unbind(&ip, turn);
    }
    turn.put(&IPS, &ip, &mac);
    host.ips.push(ip);
    if host.ips.len() > MOST_IPS {
        let oldest = host.ips.remove(0);
        turn.delete(&IPS, &oldest);
    }
}

/// Takes an address from the host that bears it.
fn unbind(ip: &String, turn: &mut Turn<'_>) {
    let bearer = turn.get(&IPS, ip);
    if let Some(bearer) = bearer
        && let Some(mut row) = turn.get(&HOSTS, &bearer)
    {
        row.ips.retain(|theirs| theirs != ip);
        turn.put(&HOSTS, &bearer, &row);
    }
    turn.delete(&IPS, ip);
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
