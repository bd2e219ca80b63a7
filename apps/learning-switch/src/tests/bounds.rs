//! Bounds on hosts.

use std::time::Duration;

use morph_sdk::bench::{Bench, Outcome};
use morph_sdk::{Event, PortInfo, PortReason, Switch, Vlan};

use super::ageing::{IDLE, ended};
use super::{A, B, PIPELINE, S, bench, down, installed, known, limit, mac, packet};
use crate::LearningSwitch;
use crate::tables::MACS;

type Switched = Bench<LearningSwitch>;

/// Learns so many hosts at a port, numbered from `from`.
fn flood(bench: &mut Switched, port: u32, from: u32, hosts: u32) {
    for n in from..from + hosts {
        bench.packet_in(S, port, packet(mac(n), A));
    }
}

/// Whether the host with this number is known.
fn knows(bench: &Switched, n: u32) -> bool {
    bench.view().get(&MACS, &(S, mac(n), Vlan::NONE)).is_some()
}

#[test]
fn a_flood_of_addresses_at_one_port_is_bounded_and_costs_no_host_of_another_port() {
    let mut bench = bench();
    flood(&mut bench, 2, 0, 200);
    flood(&mut bench, 3, 200, 200);
    // Addresses without an order: a full period of a linear congruential generator.
    let mut n: u32 = 1;
    for _ in 0..50_000 {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bench.packet_in(S, 1, packet(mac(n | 0x8000_0000), A));
    }
    assert_eq!(known(&bench, 1), 4096);
    assert_eq!((known(&bench, 2), known(&bench, 3)), (200, 200));
    assert!((0..400).all(|host| knows(&bench, host)));
    let hosts = 4096 + 400;
    assert_eq!(installed(&bench), 2 + 2 * hosts);
    assert_eq!(
        bench.own_rows().0.len(),
        2 * hosts + 3 + 1,
        "and the counts"
    );
}

#[test]
fn the_host_learned_first_makes_room() {
    let mut bench = bench();
    limit(&mut bench, "hosts-per-port", 3);
    flood(&mut bench, 1, 0, 3);
    // A host that moves away and comes back is learned anew.
    for port in [2, 1] {
        bench.packet_in(S, port, packet(mac(0), A));
    }
    flood(&mut bench, 1, 3, 1);
    let there: Vec<u32> = (0..4).filter(|n| knows(&bench, *n)).collect();
    assert_eq!(there, [0, 2, 3]);
}

/// Commands that an input led to, rows that it wrote, and rows that the app read for it.
fn cost(bench: &mut Switched, input: impl FnOnce(&mut Switched) -> Outcome) -> [usize; 3] {
    let before = bench.rows_read();
    let outcome = input(bench);
    let written = outcome.puts.len() + outcome.deletes.len();
    let read = usize::try_from(bench.rows_read() - before).unwrap();
    [outcome.flow_mods.len(), written, read]
}

/// Costs of a new host, of one that moves, of one that is silent, and of a port that changes, where so many are known.
fn costs(known: u32, bound: u32) -> [[usize; 3]; 4] {
    let mut bench = bench();
    limit(&mut bench, "hosts-per-port", bound);
    flood(&mut bench, 1, 0, known);
    let new = cost(&mut bench, |bench| bench.packet_in(S, 1, packet(B, A)));
    let moved = cost(&mut bench, |bench| bench.packet_in(S, 2, packet(B, A)));
    let silent = cost(&mut bench, |bench| bench.event(ended(2, B, IDLE)));
    let (dpid, reason, port) = (S, PortReason::Add, PortInfo::new(4));
    let changed = Event::PortStatus { dpid, reason, port };
    let port = cost(&mut bench, |bench| bench.event(changed));
    [new, moved, silent, port]
}

#[test]
fn an_event_costs_as_much_where_few_hosts_are_known_as_where_many_are() {
    let [new, moved, silent, port] = costs(10, 5000);
    assert_eq!(costs(3000, 5000), [new, moved, silent, port]);
    // A host, its place in the order, two counts.
    assert_eq!(new[..2], [2, 4]);
    // Two places, and the counts of two ports.
    assert_eq!(moved[..2], [3, 5]);
    assert_eq!(silent[..2], [2, 4]);
    assert_eq!(port[..2], [0, 0]);
    // Another one makes room besides; the switch has as many as before.
    let [new, ..] = costs(10, 10);
    assert_eq!(costs(3000, 3000)[0], new);
    assert_eq!(new[..2], [4, 5]);
}

#[test]
fn a_full_switch_gives_each_port_its_share() {
    let mut bench = bench();
    limit(&mut bench, "hosts-per-switch", 90);
    limit(&mut bench, "hosts-per-port", 80);
    flood(&mut bench, 1, 0, 80);
    flood(&mut bench, 2, 100, 10);
    flood(&mut bench, 3, 200, 500);
    let all = |bench: &Switched| [1, 2, 3].map(|port| known(bench, port));
    assert_eq!(all(&bench), [50, 10, 30], "30 is the share of each port");
    assert!((100..110).all(|host| knows(&bench, host)));
    assert!((690..700).all(|host| knows(&bench, host)));
    flood(&mut bench, 1, 1000, 500);
    assert_eq!(all(&bench), [50, 10, 30]);
}

#[test]
fn a_bound_that_is_lowered_is_kept_in_the_end() {
    let mut bench = bench();
    flood(&mut bench, 1, 0, 100);
    limit(&mut bench, "hosts-per-port", 20);
    let outcome = bench.packet_in(S, 1, packet(mac(100), A));
    assert_eq!(outcome.deleted(&MACS).len(), 2);
    flood(&mut bench, 1, 101, 100);
    assert_eq!(known(&bench, 1), 20);
}

#[test]
fn another_instance_goes_on_in_the_middle() {
    let run = |restart: bool| {
        let mut first = bench();
        limit(&mut first, "hosts-per-port", 30);
        flood(&mut first, 1, 0, 25);
        let mut second = bench();
        if restart {
            second.load(&first.own_rows());
            second.resume();
        } else {
            second = first;
        }
        flood(&mut second, 1, 25, 50);
        (second.own_rows(), second.rules().clone())
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn a_port_with_more_hosts_than_a_turn_can_forget_is_forgotten_in_several() {
    let mut bench = bench();
    flood(&mut bench, 1, 0, 1200);
    flood(&mut bench, 2, 2000, 1);
    let outcome = bench.event(down(1));
    assert_eq!(outcome.deleted(&MACS).len(), 500);
    // The port is back already: who is learned now stays.
    let (dpid, reason, port) = (S, PortReason::Modify, PortInfo::new(1));
    bench.event(Event::PortStatus { dpid, reason, port });
    bench.packet_in(S, 1, packet(mac(5000), A));
    for _ in 0..3 {
        bench.tick(Duration::from_millis(100));
    }
    assert_eq!((known(&bench, 1), known(&bench, 2)), (1, 1));
    assert!(knows(&bench, 5000));
    assert!(bench.tick(Duration::from_millis(100)).is_empty());
}

#[test]
fn hosts_behind_a_port_that_went_while_nobody_looked_are_forgotten() {
    for resumed in [false, true] {
        let mut first = bench();
        flood(&mut first, 1, 0, 3);
        flood(&mut first, 2, 10, 3);
        let mut second = Bench::new(LearningSwitch::default(), PIPELINE);
        second.load(&first.own_rows());
        let mut switch = Switch::new(S, [2, 3]);
        switch.ports.insert(1, {
            let mut port = PortInfo::new(1);
            port.state = 1;
            port
        });
        second.event(match resumed {
            true => Event::SwitchDown(S),
            false => Event::SwitchUp(switch.clone()),
        });
        if resumed {
            second.event(Event::SwitchUp(switch));
            second.resume();
        }
        second.tick(Duration::from_millis(100));
        assert_eq!((known(&second, 1), known(&second, 2)), (0, 3));
    }
}
