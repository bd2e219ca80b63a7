//! Tests of the app on the bench.

use std::collections::BTreeMap;
use std::time::Duration;

use morph_sdk::bench::Bench;
use morph_sdk::packet::{ether_type, frame};
use morph_sdk::{
    Action, Bytes, Dpid, Event, FlowModCommand, FlowRemoved, Instruction, MacAddr, Match, Pipeline,
    PortInfo, PortReason, RuleSet, Switch, port,
};

use crate::LearningSwitch;
use crate::tables::{MACS, PAIRS};

const S: Dpid = Dpid(1);
const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const C: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);
const PIPELINE: Pipeline = Pipeline {
    app: 1,
    first: 10,
    exit: 19,
};

fn bench() -> Bench<LearningSwitch> {
    let mut bench = Bench::new(LearningSwitch, PIPELINE);
    bench.switch(S, [1, 2, 3]);
    bench
}

fn packet(src: MacAddr, dst: MacAddr) -> Bytes {
    frame(dst, src, ether_type::IPV4, &[])
}

/// Actions that the rules apply to a packet: by the rule of the highest priority, table by table.
fn walk(rules: &BTreeMap<Dpid, RuleSet>, in_port: u32, src: MacAddr, dst: MacAddr) -> Vec<Action> {
    let mut table = PIPELINE.first;
    loop {
        let fits = |matching: &Match| {
            matching.get_in_port().is_none_or(|p| p == in_port)
                && matching.get_eth_src().is_none_or(|m| m == src)
                && matching.get_eth_dst().is_none_or(|m| m == dst)
        };
        let rules = rules[&S].iter();
        let rules = rules.filter(|(key, _)| key.table == table && fits(&key.match_));
        let (_, best) = rules.max_by_key(|(key, _)| key.priority).unwrap();
        match &best.instructions[..] {
            [Instruction::GotoTable(next)] => table = *next,
            [Instruction::ApplyActions(actions)] => return actions.clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_unknown_source_is_punted_learned_and_its_packet_sent_on() {
    let mut bench = bench();
    assert_eq!(walk(bench.rules(), 1, A, B), [Action::to_controller()]);

    let outcome = bench.packet_in(S, 1, packet(A, B));
    assert_eq!(outcome.put(&MACS), [((S, A), 1)]);
    assert_eq!(
        outcome.packet_outs[0].actions,
        [Action::output(port::FLOOD)]
    );
    assert_eq!(walk(bench.rules(), 1, A, B), [Action::output(port::FLOOD)]);

    let outcome = bench.packet_in(S, 2, packet(B, A));
    assert_eq!(outcome.packet_outs[0].actions, [Action::output(1)]);
    assert_eq!(walk(bench.rules(), 1, A, B), [Action::output(2)]);
    assert_eq!(walk(bench.rules(), 2, B, A), [Action::output(1)]);
}

/// A switch that speaks OpenFlow 1.0.
fn one_table() -> Bench<LearningSwitch> {
    let mut bench = Bench::new(LearningSwitch, PIPELINE);
    let mut switch = Switch::new(S, [1, 2, 3]);
    switch.tables = 1;
    bench.event(Event::SwitchUp(switch));
    bench
}

fn installed(bench: &Bench<LearningSwitch>) -> usize {
    bench.rules()[&S].len()
}

#[test]
fn one_table_is_enough() {
    let mut bench = one_table();
    assert_eq!(walk(bench.rules(), 1, A, B), [Action::to_controller()]);
    let outcome = bench.packet_in(S, 1, packet(A, B));
    assert_eq!(
        outcome.packet_outs[0].actions,
        [Action::output(port::FLOOD)]
    );
    assert_eq!(
        walk(bench.rules(), 1, A, B),
        [Action::to_controller()],
        "B is not known yet"
    );
    let outcome = bench.packet_in(S, 2, packet(B, A));
    assert_eq!(outcome.packet_outs[0].actions, [Action::output(1)]);
    bench.packet_in(S, 1, packet(A, B));
    bench.packet_in(S, 1, packet(A, MacAddr::BROADCAST));
    for (in_port, src, dst, out) in [
        (1, A, B, 2),
        (2, B, A, 1),
        (1, A, MacAddr::BROADCAST, port::FLOOD),
    ] {
        assert_eq!(
            walk(bench.rules(), in_port, src, dst),
            [Action::output(out)]
        );
    }
    assert_eq!(
        walk(bench.rules(), 2, A, B),
        [Action::to_controller()],
        "it moved"
    );
    assert_eq!(walk(bench.rules(), 1, A, C), [Action::to_controller()]);
    let first = PIPELINE.first;
    assert!(bench.rules()[&S].keys().all(|key| key.table == first));
    assert_eq!(installed(&bench), 1 + 3);
}

#[test]
fn one_table_forgets_and_moves() {
    let mut bench = one_table();
    for (port, src, dst) in [
        (1, A, B),
        (2, B, A),
        (1, C, B),
        (2, B, C),
        (1, A, B),
        (1, A, C),
    ] {
        bench.packet_in(S, port, packet(src, dst));
    }
    assert_eq!(installed(&bench), 1 + 5, "A and C are behind one port");
    bench.packet_in(S, 3, packet(B, A));
    assert_eq!(
        installed(&bench),
        1 + 2,
        "pairs of B at its old port are gone"
    );
    assert_eq!(walk(bench.rules(), 3, B, A), [Action::output(1)]);
    assert_eq!(walk(bench.rules(), 1, A, B), [Action::to_controller()]);
    let mut port = PortInfo::new(1);
    port.state = 1;
    let reason = PortReason::Modify;
    let outcome = bench.event(Event::PortStatus {
        dpid: S,
        reason,
        port,
    });
    assert_eq!(outcome.deleted(&MACS), [(S, A), (S, C)]);
    assert_eq!(installed(&bench), 1);
}

/// Event of a pair's rule that ended after its idle timeout.
fn idle(in_port: u32, src: MacAddr, dst: MacAddr) -> Event {
    Event::FlowRemoved(FlowRemoved {
        dpid: S,
        table: PIPELINE.first,
        matching: Match::new().in_port(in_port).eth_src(src).eth_dst(dst),
        cookie_own: 0,
        priority: 1,
        reason: 0,
        duration: Duration::from_secs(60),
        packets: 1,
        bytes: 60,
    })
}

#[test]
fn a_pair_that_is_silent_is_forgotten_and_a_host_that_moves_afterwards_is_noticed() {
    let mut bench = one_table();
    for (port, src, dst) in [(1, A, B), (2, B, A), (1, A, B), (1, A, MacAddr::BROADCAST)] {
        bench.packet_in(S, port, packet(src, dst));
    }
    let outcome = bench.event(idle(2, A, B));
    assert!(outcome.deletes.is_empty(), "of its old port");
    let outcome = bench.event(idle(1, A, B));
    assert_eq!(outcome.deleted(&PAIRS), [(S, A, B)]);
    assert!(outcome.deleted(&MACS).is_empty());
    bench.event(idle(1, A, MacAddr::BROADCAST));
    // B still sends to A, which was silent and now speaks at another port.
    assert_eq!(walk(bench.rules(), 2, B, A), [Action::output(1)]);
    bench.packet_in(S, 3, packet(A, MacAddr::BROADCAST));
    assert_eq!(walk(bench.rules(), 2, B, A), [Action::to_controller()]);
}

/// Number of commands that a switch with one table gets while so many hosts talk to one, and it to them.
fn commands(hosts: u16) -> usize {
    let mut bench = one_table();
    let mac = |n: u16| MacAddr([2, 0, 0, 1, (n >> 8) as u8, n as u8]);
    let mut commands = 0;
    for n in 0..hosts {
        for (port, src, dst) in [(2, mac(n), A), (1, A, mac(n)), (2, mac(n), A)] {
            commands += bench.packet_in(S, port, packet(src, dst)).flow_mods.len();
        }
    }
    commands
}

#[test]
fn commands_grow_with_the_pairs_that_talk_and_not_with_the_square_of_the_hosts() {
    let (few, many) = (commands(50), commands(200));
    assert_eq!((few, many), (2 * 50, 2 * 200));
}

#[test]
fn a_packet_on_its_way_when_its_source_was_learned_changes_nothing() {
    let mut bench = bench();
    bench.packet_in(S, 1, packet(A, B));
    let again = bench.packet_in(S, 1, packet(A, B));
    assert!(again.puts.is_empty() && again.flow_mods.is_empty());
    assert_eq!(again.packet_outs.len(), 1);
}

#[test]
fn a_host_that_moves_is_learned_again() {
    let mut bench = bench();
    bench.packet_in(S, 1, packet(A, B));
    bench.packet_in(S, 2, packet(B, A));
    assert_eq!(walk(bench.rules(), 3, A, B), [Action::to_controller()]);
    let outcome = bench.packet_in(S, 3, packet(A, B));
    let commands: Vec<_> = outcome.flow_mods.iter().map(|(_, m)| m.command).collect();
    assert_eq!(
        commands,
        [
            FlowModCommand::Add,
            FlowModCommand::Add,
            FlowModCommand::DeleteStrict
        ],
    );
    assert_eq!(walk(bench.rules(), 2, B, A), [Action::output(3)]);
}

#[test]
fn hosts_behind_a_port_that_goes_down_are_forgotten() {
    let mut bench = bench();
    bench.packet_in(S, 1, packet(A, B));
    bench.packet_in(S, 2, packet(B, A));
    let mut port = PortInfo::new(1);
    port.state = 1;
    let reason = PortReason::Modify;
    let outcome = bench.event(Event::PortStatus {
        dpid: S,
        reason,
        port,
    });
    assert_eq!(outcome.deleted(&MACS), [(S, A)]);
    assert_eq!(walk(bench.rules(), 2, B, A), [Action::output(port::FLOOD)]);
}

#[test]
fn a_group_address_is_no_source_and_a_short_frame_no_packet() {
    let mut bench = bench();
    assert!(
        bench
            .packet_in(S, 1, packet(MacAddr::BROADCAST, B))
            .is_empty()
    );
    assert!(bench.packet_in(S, 1, packet(A, B).slice(..13)).is_empty());
}

#[test]
fn another_instance_wants_the_same_rules_of_the_same_rows() {
    let mut first = bench();
    first.packet_in(S, 1, packet(A, B));
    first.packet_in(S, 2, packet(B, A));
    let mut second = Bench::new(LearningSwitch, PIPELINE);
    second.load(&first.own_rows());
    second.switch(S, [1, 2, 3]);
    assert_eq!(second.rules(), first.rules());
}
