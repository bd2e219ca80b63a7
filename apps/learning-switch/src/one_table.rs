//! Switches with one table (OpenFlow 1.0): a rule for each pair of addresses that talk.
//!
//! 1. All packets are punted that no rule matches. The source is learned as on other switches.
//! 2. When a packet to a known host, or to a group address, was punted, its pair of addresses gets a row in `pairs`, and the
//!    row gets a rule.
//! 3. A rule that forwarded nothing for a minute ends, and its row is deleted. The hosts stay known, so that a move is noticed.
//!
//! So rules and rows grow with the pairs that talk, not with the square of the hosts.

use crate::tables::{PAIRS, Pair};
use morph_sdk::{
    Action, Dpid, FlowRemoved, MacAddr, Match, PacketIn, Rules, Turn, View, packet::Ethernet, port,
};

/// Seconds without a packet after which a pair is forgotten.
const IDLE: u16 = 60;
const PRIORITY: u16 = 1;

/// Whether a connected switch has only one table. A switch that is not connected counts as having more.
pub(crate) fn has_one_table(dpid: Dpid, view: &View<'_>) -> bool {
    view.switch(dpid).is_some_and(|switch| switch.tables == 1)
}

/// Stores the pair of a packet that leaves by `out`.
pub(crate) fn learn(packet: &PacketIn, frame: &Ethernet<'_>, out: u32, turn: &mut Turn<'_>) {
    let known = out != port::FLOOD || frame.dst.is_multicast();
    if known && has_one_table(packet.dpid, &turn.view()) {
        let in_port = packet.in_port;
        let pair = (packet.dpid, frame.src, frame.dst);
        turn.put(&PAIRS, &pair, &Pair { in_port, out });
    }
}

/// Forgets the pairs of a host that has moved. A move is rare, so it may look at all pairs of the switch.
pub(crate) fn forget_host(dpid: Dpid, mac: MacAddr, turn: &mut Turn<'_>) {
    forget(dpid, turn, |(_, src, dst), _| *src == mac || *dst == mac);
}

/// Forgets the pairs of a port that is gone.
pub(crate) fn forget_port(dpid: Dpid, number: u32, turn: &mut Turn<'_>) {
    forget(dpid, turn, |_, pair| {
        pair.in_port == number || pair.out == number
    });
}

fn forget(
    dpid: Dpid,
    turn: &mut Turn<'_>,
    is_past: impl Fn(&(Dpid, MacAddr, MacAddr), &Pair) -> bool,
) {
    let past: Vec<_> = pairs(dpid, &turn.view())
        .filter(|(key, pair)| is_past(key, pair))
        .map(|(key, _)| key)
        .collect();
    for key in past {
        turn.delete(&PAIRS, &key);
    }
}

/// Forgets a pair whose rule ended because no packet of it came for long.
pub(crate) fn expire(removed: &FlowRemoved, turn: &mut Turn<'_>) {
    let matching = &removed.matching;
    let (Some(in_port), Some(src), Some(dst)) = (
        matching.get_in_port(),
        matching.get_eth_src(),
        matching.get_eth_dst(),
    ) else {
        return;
    };
    let key = (removed.dpid, src, dst);
    // A host that has moved has another rule there.
    let pair = turn.get(&PAIRS, &key);
    if removed.is_idle() && pair.is_some_and(|pair| pair.in_port == in_port) {
        turn.delete(&PAIRS, &key);
    }
}

/// Pairs of a switch.
pub(crate) fn pairs<'a>(
    dpid: Dpid,
    view: &View<'a>,
) -> impl Iterator<Item = ((Dpid, MacAddr, MacAddr), Pair)> + use<'a> {
    view.prefix(&PAIRS, &dpid)
}

/// Rule of a pair.
pub(crate) fn rule((dpid, src, dst): (Dpid, MacAddr, MacAddr), view: &View<'_>, rules: &mut Rules) {
    let Some(pair) = view.get(&PAIRS, &(dpid, src, dst)) else {
        return;
    };
    if has_one_table(dpid, view) {
        let matching = Match::new().in_port(pair.in_port).eth_src(src).eth_dst(dst);
        let rule = rules.on(dpid).priority(PRIORITY).matching(matching);
        rule.idle_timeout(IDLE)
            .actions(vec![Action::output(pair.out)]);
    }
}
