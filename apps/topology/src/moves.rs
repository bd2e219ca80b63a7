//! Hosts that move between ports again and again: two members of a bond without LACP, one address twice, or a loop that no probe
//! passes. Such a host is held where it was before, and an alarm names both ports.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use morph_sdk::{Alarm, Key, Turn};

use crate::host_tables::{HostId, mac_of, name_of};
use crate::tables::End;

/// Alarm of a host that moves again and again.
pub const FLAPPING: &str = "flapping-host";

/// Moves within [`WINDOW`] that a host may make.
const MOVES: u32 = 3;
/// Time in which moves are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// Time for which a host is held after it was seen elsewhere.
const HOLD: Duration = Duration::from_secs(10);

/// Hosts that moved lately.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    hosts: BTreeMap<HostId, Mover>,
    /// Whether alarms may have to change.
    changed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Mover {
    /// Port of the host before its first move.
    home: End,
    /// Last other port.
    other: End,
    /// Time of the first move.
    since: Instant,
    count: u32,
    /// End of the hold, once there is one.
    held_until: Option<Instant>,
}

/// Decision about a host that is seen at another port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The host has moved to the other port.
    Moved,
    /// The host stays at this port.
    Held(End),
}

impl Moves {
    /// Decides where a host is that was at `home` and is seen at `other`.
    pub fn seen(&mut self, host: HostId, home: End, other: End, now: Instant) -> Place {
        let new = Mover {
            home,
            other,
            since: now,
            count: 0,
            held_until: None,
        };
        let mover = self.hosts.entry(host).or_insert(new);
        if mover.held_until.is_none() && now.saturating_duration_since(mover.since) >= WINDOW {
            *mover = new;
        }
        mover.count += 1;
        if other != mover.home {
            mover.other = other;
        }
        if mover.count > MOVES {
            self.changed |= mover.held_until.is_none();
            mover.held_until = Some(now + HOLD);
            return Place::Held(mover.home);
        }
        Place::Moved
    }

    /// Other ports of the hosts that are held, each with the port where it is held.
    pub fn held(&self) -> impl Iterator<Item = (End, End)> {
        let held = self
            .hosts
            .values()
            .filter(|mover| mover.held_until.is_some());
        held.map(|mover| (mover.other, mover.home))
    }

    /// Raises and ends alarms.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        let (count, now) = (self.hosts.len(), turn.now());
        self.hosts.retain(|_, mover| match mover.held_until {
            Some(until) => now < until,
            None => now.saturating_duration_since(mover.since) < WINDOW,
        });
        self.changed |= self.hosts.len() != count;
        if std::mem::take(&mut self.changed) {
            let held = self.hosts.iter();
            let held = held.filter(|(_, mover)| mover.held_until.is_some());
            turn.set_alarms(FLAPPING, held.map(|(host, mover)| flapping(*host, mover)));
        }
    }

    /// Starts anew, after a resume: alarms of an earlier instance end, and what lasts is found again within a second.
    pub fn restart(&mut self) {
        self.hosts.clear();
        self.changed = true;
    }
}

fn flapping(host: HostId, mover: &Mover) -> Alarm {
    let ((dpid, port), (other, by)) = (mover.home, mover.other);
    Alarm::new(
        FLAPPING,
        host.text(),
        format!("{} is seen at port {port} of {dpid} and at port {by} of {other} in turn, and is held at the first", name_of(host)),
        "bond the two ports by LACP, give each host its own address, or take away the loop behind the ports",
    )
    .on_port(dpid, port)
    .of_host(mac_of(host))
}

#[cfg(test)]
mod tests {
    use morph_sdk::{Dpid, MacAddr, Vlan};

    use super::*;

    const HOST: HostId = (MacAddr([2, 0, 0, 0, 0, 1]), Vlan::NONE);
    const A: End = (Dpid(1), 1);
    const B: End = (Dpid(1), 2);

    #[test]
    fn a_host_that_moves_now_and_then_is_followed() {
        let mut moves = Moves::default();
        let mut now = Instant::now();
        for n in 0..20 {
            let (from, to) = if n % 2 == 0 { (A, B) } else { (B, A) };
            assert_eq!(moves.seen(HOST, from, to, now), Place::Moved);
            now += Duration::from_millis(400);
        }
    }

    #[test]
    fn a_host_that_flaps_is_held_where_it_was_until_it_stops() {
        let mut moves = Moves::default();
        let mut now = Instant::now();
        let mut at = A;
        let mut moved = 0;
        for n in 1..2000 {
            let seen = if n % 2 == 0 { A } else { B };
            if seen != at {
                at = match moves.seen(HOST, at, seen, now) {
                    Place::Moved => {
                        moved += 1;
                        seen
                    }
                    Place::Held(home) => home,
                };
            }
            now += Duration::from_millis(10);
        }
        assert_eq!((at, moved), (A, 3));
        now += HOLD;
        moves
            .hosts
            .retain(|_, mover| mover.held_until.is_some_and(|until| now < until));
        assert_eq!(moves.seen(HOST, A, B, now), Place::Moved);
    }
}
