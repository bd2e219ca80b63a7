//! Hosts: learned, bounded, forgotten.
//!
//! 1. A host learned at a port that has as many as it may have takes the place of the one learned first there.
//! 2. Where the switch has as many as it may have, a port that has its share (the switch's hosts divided by its ports) or
//!    more gives the place itself. For a port with fewer the port with most hosts gives it, and that has more than its share.
//!
//! So addresses without end at one port cost no host of a port that keeps within its share, and each port gets its share. A
//! host costs the same rows whatever the number of hosts: its own, its place in the order, and the two counts.

use morph_sdk::{Dpid, Turn, View};

use crate::counts::{Tally, recount};
use crate::limits;
use crate::one_table;
use crate::tables::{Host, HostId, MACS, Number, ORDER, PORTS};

/// Most hosts that one new host drops. Two, so that there are fewer in the end where a bound was lowered.
const MOST_DROPPED: usize = 2;
/// Most hosts of a port that one turn forgets. With all pairs of the switch they fit into one transaction.
const MOST_FORGOTTEN: usize = 500;

/// Learns a host at a port, where it is not known yet.
pub(crate) fn learn(dpid: Dpid, id: HostId, port: u32, turn: &mut Turn<'_>) {
    let mut tally = Tally::of(dpid, port, turn);
    for _ in 0..MOST_DROPPED {
        let Some(full) = crowded(dpid, port, tally, &turn.view()) else {
            break;
        };
        match first(dpid, full, turn) {
            Some(first) => forget_first(dpid, full, first, turn),
            None => drop(recount(dpid, turn)),
        }
        tally = Tally::of(dpid, port, turn);
    }
    let number = tally.add_host();
    tally.store(turn);
    turn.put(&MACS, &(dpid, id.0, id.1), &Host(port, number));
    turn.put(&ORDER, &(dpid, port, (number, id)), &true);
}

/// Port that has to give a place before a host is learned at `port`.
fn crowded(dpid: Dpid, port: u32, tally: Tally, view: &View<'_>) -> Option<u32> {
    let (here, all) = (tally.port.0, tally.switch.0);
    if here >= limits::HOSTS_PER_PORT.get(view) {
        return Some(port); // 1
    }
    let most = limits::HOSTS_PER_SWITCH.get(view);
    if all < most {
        return None;
    }
    let ports = view.switch(dpid).map_or(1, |switch| switch.ports.len());
    let share = most / u32::try_from(ports).unwrap_or(u32::MAX).max(1);
    if here >= share.max(1) {
        return Some(port); // 2
    }
    let ports = view.prefix(&PORTS, &dpid);
    let fullest = ports.max_by_key(|(_, counts)| counts.0);
    fullest.map(|((_, fullest), _)| fullest)
}

/// Host of a port that was learned first.
fn first(dpid: Dpid, port: u32, turn: &Turn<'_>) -> Option<(Number, HostId)> {
    let ((_, _, first), _) = turn.view().prefix(&ORDER, &(dpid, port)).next()?;
    Some(first)
}

/// Forgets a host and its pairs.
pub(crate) fn forget(dpid: Dpid, id: HostId, turn: &mut Turn<'_>) {
    let key = (dpid, id.0, id.1);
    if let Some(Host(port, number)) = turn.get(&MACS, &key) {
        one_table::forget_host(dpid, id, turn);
        turn.delete(&MACS, &key);
        leave_order((dpid, port, (number, id)), turn);
    }
}

/// Forgets the host of this place in the order of a port. A place of no host goes as well.
fn forget_first(dpid: Dpid, port: u32, (number, id): (Number, HostId), turn: &mut Turn<'_>) {
    if turn.get(&MACS, &(dpid, id.0, id.1)) == Some(Host(port, number)) {
        forget(dpid, id, turn);
    } else {
        leave_order((dpid, port, (number, id)), turn);
    }
}

fn leave_order(place: (Dpid, u32, (Number, HostId)), turn: &mut Turn<'_>) {
    turn.delete(&ORDER, &place);
    let mut tally = Tally::of(place.0, place.1, turn);
    tally.remove_host();
    tally.store(turn);
}

/// Number that the next host of a port gets; `None` if the port has no hosts.
pub(crate) fn next_number(dpid: Dpid, port: u32, turn: &mut Turn<'_>) -> Option<Number> {
    let counts = Tally::of(dpid, port, turn).port;
    (counts.0 > 0).then_some(counts.2)
}

/// Forgets the hosts of a port with numbers below `until`, as many as one turn may. True if there are none left.
pub(crate) fn forget_port(dpid: Dpid, port: u32, until: Number, turn: &mut Turn<'_>) -> bool {
    for _ in 0..MOST_FORGOTTEN {
        match first(dpid, port, turn) {
            Some(first) if first.0 < until => forget_first(dpid, port, first, turn),
            Some(_) | None => return true,
        }
    }
    false
}
