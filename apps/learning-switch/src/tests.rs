//! Tests of the app on the bench.

mod ageing;
mod bounds;
mod migration;
mod one_table;
mod vlans;

use std::collections::BTreeMap;

use morph_sdk::bench::Bench;
use morph_sdk::packet::{ether_type, frame};
use morph_sdk::{
    Action, Bytes, Dpid, Event, FlowModCommand, Instruction, MacAddr, Match, Pipeline, PortInfo,
    PortReason, RuleSet, Switch, Vlan, port,
};

use crate::LearningSwitch;
use crate::tables::{Host, LIMITS, MACS, Number, ORDER, PORTS};

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
    let mut bench = Bench::new(LearningSwitch::default(), PIPELINE);
    bench.switch(S, [1, 2, 3]);
    bench
}

/// Address of a host by its number.
fn mac(n: u32) -> MacAddr {
    let [a, b, c, d] = n.to_be_bytes();
    MacAddr([2, 1, a, b, c, d])
}

/// Sets a setting as a person does.
fn limit(bench: &mut Bench<LearningSwitch>, name: &str, value: u32) {
    bench.row(&LIMITS, &name.to_owned(), &value);
}

/// Event of a port that lost its link.
fn down(number: u32) -> Event {
    let mut port = PortInfo::new(number);
    port.state = 1;
    let (dpid, reason) = (S, PortReason::Modify);
    Event::PortStatus { dpid, reason, port }
}

/// Number of hosts that are known at a port, by three tables that have to agree.
fn known(bench: &Bench<LearningSwitch>, port: u32) -> usize {
    let hosts = bench.view().iter(&MACS);
    let hosts = hosts.filter(|(_, host)| host.port() == port).count();
    let order = bench.view().iter(&ORDER);
    assert_eq!(order.filter(|((_, p, _), _)| *p == port).count(), hosts);
    let counts = bench.view().get(&PORTS, &(S, port));
    assert_eq!(counts.map_or(0, |counts| counts.0) as usize, hosts);
    hosts
}

fn packet(src: MacAddr, dst: MacAddr) -> Bytes {
    frame(dst, src, ether_type::IPV4, &[])
}

/// Actions that the rules apply to a packet: by the rule of the highest priority, table by table.
fn walk(rules: &BTreeMap<Dpid, RuleSet>, in_port: u32, src: MacAddr, dst: MacAddr) -> Vec<Action> {
    walk_on(Vlan::NONE, rules, in_port, src, dst)
}

/// Actions that the rules apply to a packet on a VLAN.
fn walk_on(
    vlan: Vlan,
    rules: &BTreeMap<Dpid, RuleSet>,
    in_port: u32,
    src: MacAddr,
    dst: MacAddr,
) -> Vec<Action> {
    let mut table = PIPELINE.first;
    loop {
        let fits = |matching: &Match| {
            matching.get_in_port().is_none_or(|p| p == in_port)
                && matching.get_eth_src().is_none_or(|m| m == src)
                && matching.get_eth_dst().is_none_or(|m| m == dst)
                && matching.get_vlan().is_none_or(|of| of == vlan)
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
    assert_eq!(
        outcome.put(&MACS),
        [((S, A, Vlan::NONE), Host(1, Number::FIRST))]
    );
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
fn with_one_table() -> Bench<LearningSwitch> {
    let mut bench = Bench::new(LearningSwitch::default(), PIPELINE);
    let mut switch = Switch::new(S, [1, 2, 3]);
    switch.tables = 1;
    bench.event(Event::SwitchUp(switch));
    bench
}

fn installed(bench: &Bench<LearningSwitch>) -> usize {
    bench.rules()[&S].len()
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
    let outcome = bench.event(down(1));
    assert_eq!(outcome.deleted(&MACS), [(S, A, Vlan::NONE)]);
    assert_eq!(walk(bench.rules(), 2, B, A), [Action::output(port::FLOOD)]);
}

#[test]
fn a_forgotten_switch_leaves_nothing_behind() {
    let mut bench = bench();
    bench.switch(Dpid(9), [1, 2]);
    for dpid in [S, Dpid(9)] {
        bench.packet_in(dpid, 1, packet(A, B));
        bench.packet_in(dpid, 2, packet(B, A));
    }
    bench.event(Event::SwitchDown(S));
    bench.event(Event::SwitchForgotten(S));
    for _ in 0..2 {
        bench.tick(std::time::Duration::from_millis(100));
    }
    let left = format!("{:?}", bench.own_rows());
    assert!(!left.contains(&S.to_string()), "{left}");
    assert!(left.contains(&Dpid(9).to_string()), "{left}");
}

#[test]
fn a_host_behind_the_bridges_own_port_is_learned_like_any_other() {
    let mut bench = bench();
    bench.switch(S, [1, 2, port::LOCAL]);
    bench.packet_in(S, port::LOCAL, packet(A, B));
    bench.packet_in(S, 1, packet(B, A));
    assert_eq!(walk(bench.rules(), 1, B, A), [Action::output(port::LOCAL)]);
    assert_eq!(walk(bench.rules(), port::LOCAL, A, B), [Action::output(1)]);
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
    let mut second = Bench::new(LearningSwitch::default(), PIPELINE);
    second.load(&first.own_rows());
    second.switch(S, [1, 2, 3]);
    assert_eq!(second.rules(), first.rules());
}
