//! Hosts that send nothing.

use std::time::Duration;

use morph_sdk::{Action, Event, FlowModCommand, FlowRemoved, MacAddr, Match, Vlan, port};

use super::{A, B, PIPELINE, S, bench, known, limit, packet, walk};
use crate::tables::MACS;

/// Event of the end of a host's source rule.
pub(super) fn ended(in_port: u32, src: MacAddr, reason: u8) -> Event {
    Event::FlowRemoved(FlowRemoved {
        dpid: S,
        table: PIPELINE.first,
        matching: Match::new().in_port(in_port).vlan(Vlan::NONE).eth_src(src),
        cookie_own: 0,
        priority: 1,
        reason,
        duration: Duration::from_secs(900),
        packets: 10,
        bytes: 600,
    })
}

pub(super) const IDLE: u8 = 0;
const DELETED: u8 = 2;

#[test]
fn a_host_that_sends_nothing_is_forgotten() {
    let mut bench = bench();
    let outcome = bench.packet_in(S, 1, packet(A, B));
    let source = &outcome.flow_mods[0].1;
    assert_eq!(
        (source.table_id, source.idle_timeout),
        (PIPELINE.first, 300)
    );
    assert_eq!(outcome.flow_mods[1].1.idle_timeout, 0, "to it");
    bench.packet_in(S, 2, packet(B, A));

    let outcome = bench.event(ended(1, A, IDLE));
    assert_eq!(outcome.deleted(&MACS), [(S, A, Vlan::NONE)]);
    assert_eq!((known(&bench, 1), known(&bench, 2)), (0, 1));
    assert_eq!(walk(bench.rules(), 2, B, A), [Action::output(port::FLOOD)]);
    assert_eq!(walk(bench.rules(), 1, A, B), [Action::to_controller()]);
    bench.packet_in(S, 1, packet(A, B));
    assert_eq!(walk(bench.rules(), 2, B, A), [Action::output(1)]);
}

#[test]
fn the_end_of_a_rule_of_another_place_or_for_another_reason_is_none_of_a_host() {
    let mut bench = bench();
    bench.packet_in(S, 1, packet(A, B));
    assert!(bench.event(ended(1, A, DELETED)).is_empty());
    bench.packet_in(S, 3, packet(A, B));
    let outcome = bench.event(ended(1, A, IDLE));
    assert!(outcome.is_empty(), "it has moved: {outcome:?}");
    assert_eq!(known(&bench, 3), 1);
}

#[test]
fn the_time_is_a_setting() {
    let mut bench = bench();
    bench.packet_in(S, 1, packet(A, B));
    limit(&mut bench, "idle-seconds", 20);
    let times: Vec<u16> = bench.rules()[&S]
        .values()
        .map(|rule| rule.idle_timeout)
        .collect();
    assert_eq!(
        times.iter().filter(|time| **time == 20).count(),
        1,
        "{times:?}"
    );
    // More than a rule can say.
    limit(&mut bench, "idle-seconds", 100_000);
    let outcome = bench.packet_in(S, 2, packet(B, A));
    assert_eq!(outcome.flow_mods[0].1.command, FlowModCommand::Add);
    assert_eq!(outcome.flow_mods[0].1.idle_timeout, u16::MAX);
}
