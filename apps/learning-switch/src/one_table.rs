//! Switches with one table (OpenFlow 1.0): a rule for each pair of addresses that talk.
//!
//! 1. All packets are punted that no rule matches. The source is learned as on other switches.
//! 2. When a packet to a known host, or to a group address, was punted, its pair of addresses gets a row in `pairs`, and the
//!    row gets a rule.
//! 3. A rule that forwarded nothing for a minute ends, and its row is deleted. The hosts stay known, so that a move is noticed.
//! 4. There are no more pairs than a port and a switch may have; the packets of others go through the app.
//! 5. A pair goes with its hosts. To find the pairs to a host as well, each has a row in the opposite direction too, empty as
//!    long as only one of them sends.
//!
//! Frames whose tag carries a priority alone have no VLAN, but no rule of OpenFlow 1.0 matches both them and frames without a
//! tag: they go through the app.
//!
//! So rules and rows grow with the pairs that talk, not with the square of the hosts, and up to a bound.

use crate::counts::Tally;
use crate::limits::{PAIRS_PER_PORT, PAIRS_PER_SWITCH};
use crate::tables::{HostId, ONE_TABLE, PAIRS, Pair, PairKey};
use morph_sdk::{
    Action, Dpid, FlowRemoved, MacAddr, Match, PacketIn, Rules, Switch, Turn, View, Vlan,
    packet::Ethernet, port,
};

/// Seconds without a packet after which a pair is forgotten.
const IDLE: u16 = 60;
const PRIORITY: u16 = 1;

/// Notes whether a connected switch has only one table.
pub(crate) fn note(switch: &Switch, turn: &mut Turn<'_>) {
    if switch.tables == 1 {
        turn.put(&ONE_TABLE, &switch.dpid, &true);
    } else {
        turn.delete(&ONE_TABLE, &switch.dpid);
    }
}

/// Whether a switch had only one table when it connected last.
pub(crate) fn has_one_table(dpid: Dpid, view: &View<'_>) -> bool {
    view.get(&ONE_TABLE, &dpid).unwrap_or(false)
}

/// Stores the pair of a packet that leaves by `out`.
pub(crate) fn learn(packet: &PacketIn, frame: &Ethernet<'_>, out: u32, turn: &mut Turn<'_>) {
    let (dpid, in_port) = (packet.dpid, packet.in_port);
    let known = out != port::FLOOD || frame.dst.is_multicast();
    if !known || !has_one_table(dpid, &turn.view()) {
        return;
    }
    let key = (dpid, frame.src, (frame.dst, frame.vlan));
    let pair = Pair { in_port, out };
    if get(&key, turn) == Some(pair) {
        return;
    }
    forget(key, turn);
    let mut tally = Tally::of(dpid, in_port, turn);
    if tally.port.1 >= PAIRS_PER_PORT || tally.switch.1 >= PAIRS_PER_SWITCH {
        return; // 4
    }
    tally.add_pair();
    tally.store(turn);
    turn.put(&PAIRS, &key, &Some(pair));
    if let Some(opposite) = opposite(key)
        && get(&opposite, turn).is_none()
    {
        turn.put(&PAIRS, &opposite, &None); // 5
    }
}

/// Pair of a key, if its source sends.
fn get(key: &PairKey, turn: &Turn<'_>) -> Option<Pair> {
    turn.get(&PAIRS, key).flatten()
}

/// Key of the opposite direction; `None` if nothing comes back: from a group, or from the source to itself.
pub(crate) fn opposite((dpid, src, (dst, vlan)): PairKey) -> Option<PairKey> {
    (!dst.is_multicast() && src != dst).then_some((dpid, dst, (src, vlan)))
}

/// Forgets the pairs from and to a host.
pub(crate) fn forget_host(dpid: Dpid, (mac, vlan): HostId, turn: &mut Turn<'_>) {
    let keys = turn.view().prefix(&PAIRS, &(dpid, mac)).map(|(key, _)| key);
    let keys: Vec<PairKey> = keys.filter(|(_, _, dst)| dst.1 == vlan).collect();
    for key in keys {
        forget(key, turn);
        if let Some(opposite) = opposite(key) {
            forget(opposite, turn);
        }
    }
}

/// Forgets a pair. Its row stays, empty, while the opposite pair talks.
fn forget(key: PairKey, turn: &mut Turn<'_>) {
    let Some(pair) = get(&key, turn) else {
        return;
    };
    let opposite = opposite(key);
    if opposite.is_some_and(|opposite| get(&opposite, turn).is_some()) {
        turn.put(&PAIRS, &key, &None);
    } else {
        turn.delete(&PAIRS, &key);
        if let Some(opposite) = opposite {
            turn.delete(&PAIRS, &opposite);
        }
    }
    let mut tally = Tally::of(key.0, pair.in_port, turn);
    tally.remove_pair();
    tally.store(turn);
}

/// Forgets a pair whose rule ended because no packet of it came for long.
pub(crate) fn expire(
    removed: &FlowRemoved,
    in_port: u32,
    (src, vlan): HostId,
    dst: MacAddr,
    turn: &mut Turn<'_>,
) {
    let key = (removed.dpid, src, (dst, vlan));
    // A host that has moved has another rule there.
    if get(&key, turn).is_some_and(|pair| pair.in_port == in_port) {
        forget(key, turn);
    }
}

/// Rule of a pair.
pub(crate) fn rule(key: PairKey, view: &View<'_>, rules: &mut Rules) {
    let (dpid, src, (dst, vlan)) = key;
    let Some(pair) = view.get(&PAIRS, &key).flatten() else {
        return;
    };
    if has_one_table(dpid, view) {
        let matching = Match::new().in_port(pair.in_port).eth_src(src).eth_dst(dst);
        // OpenFlow 1.0 has no masks of VLANs.
        let matching = match vlan {
            Vlan::NONE => matching.vlan_none(),
            _ => matching.vlan(vlan),
        };
        let rule = rules.on(dpid).priority(PRIORITY).matching(matching);
        rule.idle_timeout(IDLE)
            .actions(vec![Action::output(pair.out)]);
    }
}
