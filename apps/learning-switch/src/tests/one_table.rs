//! Switches with one table.

use std::time::Duration;

use morph_sdk::{Action, Event, FlowRemoved, MacAddr, Match, Vlan, port};

use super::{
    A, B, C, PIPELINE, S, down, installed, known, limit, mac, packet, walk, with_one_table,
};
use crate::limits::{PAIRS_PER_PORT, PAIRS_PER_SWITCH};
use crate::tables::{Counts, MACS, PAIRS, SWITCHES};

#[test]
fn one_table_is_enough() {
    let mut bench = with_one_table();
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
    let mut bench = with_one_table();
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
    let outcome = bench.event(down(1));
    assert_eq!(
        outcome.deleted(&MACS),
        [(S, A, Vlan::NONE), (S, C, Vlan::NONE)]
    );
    assert_eq!(installed(&bench), 1);
}

/// Event of a pair's rule that ended after its idle timeout.
fn idle(in_port: u32, src: MacAddr, dst: MacAddr) -> Event {
    Event::FlowRemoved(FlowRemoved {
        dpid: S,
        table: PIPELINE.first,
        matching: Match::new()
            .vlan_none()
            .in_port(in_port)
            .eth_src(src)
            .eth_dst(dst),
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
    let mut bench = with_one_table();
    for (port, src, dst) in [(1, A, B), (2, B, A), (1, A, B), (1, A, MacAddr::BROADCAST)] {
        bench.packet_in(S, port, packet(src, dst));
    }
    let outcome = bench.event(idle(2, A, B));
    assert!(outcome.deletes.is_empty(), "of its old port");
    let outcome = bench.event(idle(1, A, B));
    assert_eq!(
        outcome.put(&PAIRS),
        [((S, A, (B, Vlan::NONE)), None)],
        "B still sends to A"
    );
    assert_eq!(walk(bench.rules(), 1, A, B), [Action::to_controller()]);
    assert!(outcome.deleted(&MACS).is_empty());
    bench.event(idle(1, A, MacAddr::BROADCAST));
    // B still sends to A, which was silent and now speaks at another port.
    assert_eq!(walk(bench.rules(), 2, B, A), [Action::output(1)]);
    bench.packet_in(S, 3, packet(A, MacAddr::BROADCAST));
    assert_eq!(walk(bench.rules(), 2, B, A), [Action::to_controller()]);
}

/// Number of commands that a switch with one table gets while so many hosts talk to one, and it to them.
fn commands(hosts: u16) -> usize {
    let mut bench = with_one_table();
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

/// Pairs that talk, which rules and counts have to agree with.
fn pairs(bench: &super::Bench<super::LearningSwitch>) -> usize {
    let rows = bench.view().iter(&PAIRS);
    let pairs = rows.filter(|(_, pair)| pair.is_some()).count();
    assert_eq!(installed(bench), 1 + pairs);
    let counts = bench.view().get(&SWITCHES, &S).unwrap_or_default();
    assert_eq!(counts.1 as usize, pairs);
    pairs
}

#[test]
fn addresses_without_end_at_one_port_are_bounded_and_so_are_their_pairs() {
    let mut bench = with_one_table();
    limit(&mut bench, "hosts-per-port", 2000);
    bench.packet_in(S, 2, packet(B, MacAddr::BROADCAST));
    bench.packet_in(S, 3, packet(C, B));
    for n in 0..5000 {
        bench.packet_in(S, 1, packet(mac(n), B));
    }
    assert_eq!((known(&bench, 1), known(&bench, 2)), (2000, 1));
    // Those of the first hosts went with them, which made room.
    assert!(pairs(&bench) <= PAIRS_PER_PORT as usize + 2);
    assert_eq!(walk(bench.rules(), 3, C, B), [Action::output(2)]);
    let outcome = bench.packet_in(S, 3, packet(C, MacAddr::BROADCAST));
    assert_eq!(outcome.flow_mods.len(), 1, "other ports still get rules");
    // All goes with the port.
    bench.event(down(1));
    for _ in 0..4 {
        bench.tick(Duration::from_millis(100));
    }
    assert_eq!((known(&bench, 1), pairs(&bench)), (0, 3));
    assert_eq!(
        bench.view().count(&PAIRS),
        4,
        "C to B, B to C empty, and two to groups"
    );
}

#[test]
fn a_pair_above_the_bound_goes_through_the_app_until_others_end() {
    let mut bench = with_one_table();
    bench.packet_in(S, 2, packet(B, MacAddr::BROADCAST));
    for n in 0..PAIRS_PER_PORT {
        bench.packet_in(S, 1, packet(mac(n), B));
    }
    let outcome = bench.packet_in(S, 1, packet(A, B));
    assert_eq!(outcome.packet_outs[0].actions, [Action::output(2)]);
    assert!(outcome.flow_mods.is_empty() && outcome.put(&PAIRS).is_empty());
    bench.event(idle(1, mac(7), B));
    assert_eq!(bench.packet_in(S, 1, packet(A, B)).flow_mods.len(), 1);
    // The switch's bound holds for a port with none of its own, too.
    bench.row(&SWITCHES, &S, &Counts(1030, PAIRS_PER_SWITCH));
    assert!(bench.packet_in(S, 3, packet(C, B)).flow_mods.is_empty());
}

/// Rows that a host which moves writes and reads, with one pair of its own beside many other ones.
fn rows_of_a_move(others: u32) -> [u64; 2] {
    let mut bench = with_one_table();
    bench.packet_in(S, 2, packet(B, MacAddr::BROADCAST));
    for n in 0..others {
        bench.packet_in(S, 1, packet(mac(n), B));
    }
    let before = bench.rows_read();
    let outcome = bench.packet_in(S, 3, packet(mac(1), B));
    assert_eq!(outcome.flow_mods.len(), 2, "one pair less, one more");
    let written = outcome.puts.len() + outcome.deletes.len();
    [written as u64, bench.rows_read() - before]
}

#[test]
fn a_host_goes_with_its_own_pairs_whatever_others_there_are() {
    assert_eq!(rows_of_a_move(10), rows_of_a_move(1000));
}
