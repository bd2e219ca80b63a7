//! Bonds without LACP: two ports by which one host sends in turn, and neither of which passes on what leaves by the other.
//!
//! 1. A host that is held, as it is seen at two ports in turn ([`moves`](crate::moves)), may be behind a bond. So may it behind a
//!    loop that no probe passes.
//! 2. They are told apart by ARP probes that leave by the host's port, once a second: through a loop or a plain switch they come in by
//!    the other port. That and any other copy of a frame raises the alarm `returning-frames` ([`strays`](crate::strays)).
//! 3. Two ports are a bond once no copy has come for two seconds, while links connect all switches and no host is known at the
//!    other port: a host there would get no broadcast.
//! 4. A row says so for the other port. It goes with the first copy, with either port, with a host there, or once the host is
//!    not held any more.
//!
//! A bond is sent less than other ports: nothing for a group by its other port. So a wrong guess opens no loop.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use morph_sdk::packet::Arp;
use morph_sdk::{Action, MacAddr, RecentFrames, Turn, port};

use crate::host_tables::HOSTS_BY_PORT;
use crate::islands::is_one_island;
use crate::moves::Moves;
use crate::probing::PERIOD;
use crate::strays::Strays;
use crate::tables::{BONDS, End, LinkRow, PORTS, is_host_port};

/// Time without a copy after which two ports are a bond.
const PROVEN: Duration = PERIOD.saturating_mul(2);

/// Pairs of ports that may be bonds, by the port where the host is not held.
#[derive(Debug, Clone, Default)]
pub struct Bonds {
    pairs: BTreeMap<End, Pair>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    /// Port where the host is held.
    home: End,
    since: Instant,
    /// Time of the next ARP probe.
    next: Instant,
}

impl Bonds {
    /// Starts anew, after a resume: what lasts is found again within seconds.
    pub fn restart(&mut self) {
        self.pairs.clear();
    }

    /// Probes pairs of ports that may be bonds, and stores those that are.
    pub fn settle(
        &mut self,
        moves: &Moves,
        strays: &Strays,
        frames: &mut RecentFrames,
        turn: &mut Turn<'_>,
    ) {
        let now = turn.now();
        let held: BTreeMap<End, End> = moves.held().collect();
        if held.is_empty() && turn.view().count(&BONDS) == 0 {
            return;
        }
        let is_whole = is_one_island(&turn.view());
        let may_be = |(other, home): &(&End, &End)| {
            let copies = strays.returns(**other) || strays.returns(**home);
            let are_free = is_host_port(**other, turn) && is_host_port(**home, turn);
            let is_empty = turn.view().count_in(&HOSTS_BY_PORT, other) == 0;
            is_whole && are_free && is_empty && !copies
        };
        let pairs = held.iter().filter(may_be);
        let pairs = pairs.map(|(other, home)| {
            let before = self.pairs.get(other).copied();
            let before = before.filter(|pair| pair.home == *home);
            (*other, before.unwrap_or(Pair::new(*home, now)))
        });
        self.pairs = pairs.collect();
        for pair in self.pairs.values_mut().filter(|pair| pair.next <= now) {
            pair.next = now + PERIOD;
            send_arp_probe(pair.home, frames, turn);
        }
        self.store(turn);
    }

    fn store(&self, turn: &mut Turn<'_>) {
        let now = turn.now();
        let proven = self.pairs.iter();
        let proven = proven.filter(|(_, pair)| now >= pair.since + PROVEN);
        let bonds = proven.map(|(other, pair)| (*other, LinkRow::from(pair.home)));
        let bonds: BTreeMap<End, LinkRow> = bonds.collect();
        let before: BTreeMap<End, LinkRow> = turn.view().iter(&BONDS).collect();
        for other in before.keys().filter(|other| !bonds.contains_key(other)) {
            turn.delete(&BONDS, other);
        }
        let is_new = |(other, home): &(&End, &LinkRow)| before.get(other) != Some(home);
        for (other, home) in bonds.iter().filter(is_new) {
            turn.put(&BONDS, other, home);
        }
    }
}

/// Sends a frame of which nothing but a copy can come in by another port.
fn send_arp_probe(home: End, frames: &mut RecentFrames, turn: &mut Turn<'_>) {
    let Some(row) = turn.get(&PORTS, &home) else {
        return;
    };
    let probe = Arp {
        operation: Arp::REQUEST,
        sender_mac: row.mac,
        sender_ip: Ipv4Addr::UNSPECIFIED,
        target_mac: MacAddr([0; 6]),
        target_ip: Ipv4Addr::UNSPECIFIED,
    };
    let frame = probe.frame(MacAddr::BROADCAST);
    // The frame counts as seen where it leaves.
    frames.has_returned(&frame, home, turn.now());
    let by = vec![Action::output(home.1)];
    turn.packet_out(home.0, port::CONTROLLER, by, frame);
}

impl Pair {
    fn new(home: End, now: Instant) -> Self {
        Pair {
            home,
            since: now,
            next: now,
        }
    }
}
