//! Hosts: learned from their first packets, forgotten with their port or after five idle minutes.

use std::net::IpAddr;

use morph_sdk::{FlowRemoved, Turn};

use crate::Topology;
use crate::bounds::Bound;
use crate::host_tables::{
    HOSTS, HOSTS_BY_PORT, HostId, IPS, IpKey, beside, host_id, host_of, ip_key, mac_of,
};
use crate::islands::is_one_island;
use crate::moves::Place;
use crate::rules::HOST_PRIORITY;
use crate::sender::Sender;
use crate::tables::{End, HostRow, is_host_port};

/// Most addresses kept for one host; with one more, the oldest goes.
pub const MOST_IPS: usize = 16;

impl Topology {
    /// Learns the sender of a frame that came in by a host port, and the bearer of the address that it announces.
    pub(crate) fn learn(&mut self, end: End, frame: &[u8], turn: &mut Turn<'_>) {
        let may_learn = is_host_port(end, turn) && !self.leaving.contains(&end);
        let Some(sender) = Sender::of(frame).filter(|_| may_learn) else {
            return;
        };
        if self.frames.has_returned(frame, end, turn.now()) {
            // Where links connect all switches, a network that passes no probes connects the port with another one. Switches flood
            // what known hosts send, so none may be known there: its frames would go round.
            if is_one_island(&turn.view()) && self.strays.returned(end, turn.now()) {
                self.forget_at(end, turn);
                self.bonds
                    .settle(&self.moves, &self.strays, &mut self.frames, turn);
            }
            return;
        }
        let id = host_id(sender.mac, sender.vlan);
        if self.strays.returns(end) || may_have_returned(frame, &sender, id, end, turn) {
            return;
        }
        self.learn_host(id, end, None, turn);
        if let Some((ip, bearer)) = sender.binding {
            self.learn_host(host_id(bearer, sender.vlan), end, Some(ip), turn);
        }
    }

    fn learn_host(&mut self, id: HostId, end: End, ip: Option<IpAddr>, turn: &mut Turn<'_>) {
        let ip = ip.map(|ip| ip.to_string());
        let known = turn.get(&HOSTS, &id);
        let place = match &known {
            Some(host) if host.end() != end => {
                if self.strays.is_looped(end) && is_host_port(host.end(), turn) {
                    return;
                }
                self.place_of(id, host.end(), end, turn)
            }
            Some(_) | None => end,
        };
        let ip = ip.filter(|_| place == end);
        let from = known.as_ref().map(HostRow::end);
        if let Some(bound) = Bound::reached(from, place, &turn.view()) {
            if let Some(ip) = ip {
                // Another host bears the address now, so nobody is sent to the one before.
                unbind(&ip_key(ip, id), id, turn);
            }
            // Its row may have lost the address just now, so it is read again.
            if let Some(host) = turn.get(&HOSTS, &id) {
                // The host has left its port. To follow it would be a way around the bound: somebody with two ports would
                // invent addresses at the first and move them to the second.
                forget(id, &host, turn);
            }
            return bound.refuse(turn);
        }
        let mut host = known.unwrap_or_else(|| HostRow {
            dpid: place.0,
            port: place.1,
            ips: Vec::new(),
        });
        (host.dpid, host.port) = place;
        if let Some(ip) = ip {
            claim(id, &mut host, ip, turn);
        }
        turn.put(&HOSTS, &id, &host);
    }

    /// Place of a host that is seen at another port than its own. One that moves again and again goes back to where it was.
    fn place_of(&mut self, id: HostId, from: End, seen: End, turn: &Turn<'_>) -> End {
        if !is_host_port(from, turn) {
            return seen;
        }
        match self.moves.seen(id, from, seen, turn.now()) {
            Place::Moved => seen,
            Place::Held(home) => home,
        }
    }

    /// Forgets the hosts at a port. Those that the turn has no room for follow with the ticks.
    pub(crate) fn forget_at(&mut self, end: End, turn: &mut Turn<'_>) {
        self.leaving.insert(end);
        self.forget_leaving(turn);
    }

    /// Forgets the hosts at the ports that are left, as many as the turn has room for.
    pub(crate) fn forget_leaving(&mut self, turn: &mut Turn<'_>) {
        while let Some(end) = self.leaving.first().copied() {
            let there: Vec<HostId> = turn.view().keys_in(&HOSTS_BY_PORT, &end).collect();
            for id in there {
                if !turn.has_room() {
                    return;
                }
                if let Some(host) = turn.get(&HOSTS, &id) {
                    forget(id, &host, turn);
                }
            }
            self.leaving.remove(&end);
        }
    }

    /// Finds ports whose hosts an earlier instance has not finished forgetting.
    pub(crate) fn find_leaving(&mut self, turn: &Turn<'_>) {
        let ends = turn.view().groups_of(&HOSTS_BY_PORT).into_iter();
        self.leaving = ends.filter(|end| !is_host_port(*end, turn)).collect();
    }
}

/// Whether a frame to a group, of which the first copy was not seen, may have come from another part of the network through a network
/// of others. Packets that announce addresses are seen where they come in.
fn may_have_returned(frame: &[u8], sender: &Sender, id: HostId, end: End, turn: &Turn<'_>) -> bool {
    let is_to_group = frame.first().is_some_and(|first| first & 1 == 1);
    let is_vague = is_to_group && sender.binding.is_none();
    let home = turn.get(&HOSTS, &id).filter(|_| is_vague);
    home.is_some_and(|home| home.end() != end && is_host_port(home.end(), turn))
        && !is_one_island(&turn.view())
}

/// Gives an address to a host; it belongs to the host that used it last.
fn claim(id: HostId, host: &mut HostRow, ip: String, turn: &mut Turn<'_>) {
    let key = ip_key(ip.clone(), id);
    let before = turn.get(&IPS, &key);
    if before == Some(mac_of(id)) && host.ips.contains(&ip) {
        return;
    }
    if before.is_some_and(|other| other != mac_of(id)) {
        unbind(&key, id, turn);
    }
    turn.put(&IPS, &key, &mac_of(id));
    host.ips.push(ip);
    if host.ips.len() > MOST_IPS {
        let oldest = host.ips.remove(0);
        turn.delete(&IPS, &ip_key(oldest, id));
    }
}

/// Takes an address from the host that bears it, on the VLAN of host `on`.
fn unbind(key: &IpKey, on: HostId, turn: &mut Turn<'_>) {
    if let Some(mac) = turn.get(&IPS, key) {
        let bearer = beside(on, mac);
        if let Some(mut row) = turn.get(&HOSTS, &bearer) {
            row.ips.retain(|ip| ip_key(ip.clone(), bearer) != *key);
            turn.put(&HOSTS, &bearer, &row);
        }
    }
    turn.delete(&IPS, key);
}

/// Forgets a host whose rule ended because no packet of it came for long.
pub(crate) fn expire(removed: &FlowRemoved, turn: &mut Turn<'_>) {
    if !removed.is_idle() || removed.priority != HOST_PRIORITY {
        return;
    }
    let (Some(port), Some(id)) = (removed.matching.get_in_port(), host_of(&removed.matching))
    else {
        return;
    };
    // A host that has moved has another rule there.
    if let Some(host) = turn.get(&HOSTS, &id)
        && host.end() == (removed.dpid, port)
    {
        forget(id, &host, turn);
    }
}

fn forget(id: HostId, host: &HostRow, turn: &mut Turn<'_>) {
    turn.delete(&HOSTS, &id);
    for ip in &host.ips {
        turn.delete(&IPS, &ip_key(ip.clone(), id));
    }
}
