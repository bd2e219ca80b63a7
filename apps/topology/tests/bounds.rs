//! Floods of addresses: what is learned of them, whom they take a place from, and what they cost.

#![allow(clippy::unwrap_used, clippy::panic)]

mod lab;

use std::time::Duration;

use lab::{Lab, at, mac};
use morph_sdk::bench::Outcome;
use morph_sdk::packet::frame;
use morph_sdk::{
    AlarmRow, Dpid, Event, MacAddr, PortInfo, PortReason, Rows, Setting, Switch, Vlan,
};
use topology::bounds::{HOSTS_IN_ALL, HOSTS_PER_PORT, HOSTS_PER_SWITCH, LIMIT_REACHED};
use topology::host_tables::{HOSTS, HOSTS_BY_PORT, HOSTS_BY_SWITCH, IPS};
use topology::tables::{End, HostRow, LIMITS};

/// Half of the operations that a transaction of the store takes.
const HALF_A_TRANSACTION: usize = 5000;
/// Reason of a rule's end.
const IDLE_TIMEOUT: u8 = 0;

/// Address of a host by its number.
fn nth(n: usize) -> MacAddr {
    let [.., a, b] = n.to_be_bytes();
    MacAddr([2, 1, 0, 0, a, b])
}

/// Rows of so many hosts with so many addresses each, in turn at ports 2 to 4 of switch 1.
fn many(hosts: usize, ips: usize) -> Rows {
    let mut rows = Rows::new();
    for n in 0..hosts {
        let (dpid, port) = at(1, 2 + n as u32 % 3);
        let ips = (0..ips).map(|ip| format!("10.{ip}.{}.{}", n >> 8, n & 255));
        let ips: Vec<String> = ips.collect();
        for ip in &ips {
            let key = (ip.clone(), Vlan::NONE);
            rows.put(&IPS, &key, &nth(n)).unwrap();
        }
        rows.put(&HOSTS, &(nth(n), Vlan::NONE), &HostRow { dpid, port, ips })
            .unwrap();
    }
    rows
}

/// Rows of so many hosts without an address at one port.
fn all_at((dpid, port): End, hosts: usize) -> Rows {
    let mut rows = Rows::new();
    for n in 0..hosts {
        let ips = Vec::new();
        let row = HostRow { dpid, port, ips };
        rows.put(&HOSTS, &(nth(n), Vlan::NONE), &row).unwrap();
    }
    rows
}

/// Has a host send a frame that differs from those that it sends at other ports, so none is taken for a copy that comes back.
fn speaks(lab: &mut Lab, end: End, host: MacAddr) -> Outcome {
    let data = frame(mac(9), host, 0x1234, &[end.0.0 as u8, end.1 as u8]);
    lab.punt(end, data)
}

fn set(lab: &mut Lab, setting: Setting, value: u32) {
    lab.bench.row(&LIMITS, &setting.name().to_owned(), &value);
}

fn default_of(setting: Setting) -> usize {
    setting.get(&Lab::pair().bench.view()) as usize
}

fn at_port(lab: &Lab, end: End) -> usize {
    lab.bench.view().count_in(&HOSTS_BY_PORT, &end)
}

fn alarm(lab: &Lab, subject: &str) -> Option<AlarmRow> {
    let key = (LIMIT_REACHED.to_owned(), subject.to_owned());
    lab.bench.alarms().get(&key).cloned()
}

const PORT: &str = "0000000000000001/2";
const SWITCH: &str = "0000000000000001";

#[test]
fn a_flood_at_one_port_takes_the_places_of_that_port_only() {
    let mut lab = Lab::pair();
    let most = default_of(HOSTS_PER_PORT);
    for n in 0..most {
        speaks(&mut lab, at(1, 2), nth(n));
    }
    assert_eq!(
        (at_port(&lab, at(1, 2)), lab.alarms(LIMIT_REACHED).len()),
        (most, 0)
    );
    let refused = speaks(&mut lab, at(1, 2), nth(most));
    assert_eq!(lab.host(nth(most)), None);
    assert!(refused.flow_mods.is_empty(), "{refused:?}");
    let raised = alarm(&lab, PORT).unwrap();
    assert_eq!(
        (raised.switch.as_deref(), raised.port),
        (Some(SWITCH), Some(2))
    );
    // The alarm is written once, and its frames go on as those of an unknown host.
    for n in most..3 * most {
        let refused = speaks(&mut lab, at(1, 2), nth(n));
        assert!(refused.is_empty(), "{refused:?}");
    }
    assert_eq!(lab.treats(at(1, 2), nth(most), 0x1234), (true, true));
    assert_eq!(lab.alarms(LIMIT_REACHED), [PORT]);
    for end in [at(1, 3), at(2, 2)] {
        speaks(&mut lab, end, mac(end.0.0 as u8));
        assert_eq!(lab.host(mac(end.0.0 as u8)).unwrap().end(), end);
    }
    // A single free place ends no alarm, but is taken.
    lab.rule_ends(at(1, 2), nth(0), IDLE_TIMEOUT);
    lab.run(100);
    assert_eq!(lab.alarms(LIMIT_REACHED), [PORT]);
    speaks(&mut lab, at(1, 2), nth(most));
    assert_eq!(lab.host(nth(most)).unwrap().end(), at(1, 2));
    for n in 1..=most / 100 {
        lab.rule_ends(at(1, 2), nth(n), IDLE_TIMEOUT);
    }
    lab.run(100);
    assert!(lab.alarms(LIMIT_REACHED).is_empty());
}

#[test]
fn the_hosts_of_a_switch_are_bounded_and_others_learn_theirs() {
    let mut lab = Lab::pair();
    set(&mut lab, HOSTS_PER_SWITCH, 6);
    for n in 0..8 {
        speaks(&mut lab, at(1, 2 + n as u32 % 3), nth(n));
    }
    let view = lab.bench.view();
    assert_eq!(view.count_in(&HOSTS_BY_SWITCH, &Dpid(1)), 6);
    assert_eq!(lab.alarms(LIMIT_REACHED), [SWITCH]);
    let raised = alarm(&lab, SWITCH).unwrap();
    assert_eq!(
        (raised.switch.as_deref(), raised.port),
        (Some(SWITCH), None)
    );
    speaks(&mut lab, at(2, 2), mac(1));
    assert!(lab.host(mac(1)).is_some());
    // Within the switch a host may move, and onto it none.
    speaks(&mut lab, at(1, 3), nth(0));
    assert_eq!(lab.host(nth(0)).unwrap().end(), at(1, 3));
    speaks(&mut lab, at(1, 2), mac(1));
    assert_eq!(lab.host(mac(1)), None);
}

#[test]
fn the_hosts_of_the_network_are_bounded() {
    let mut lab = Lab::pair();
    let most = default_of(HOSTS_IN_ALL);
    // More than the bounds of ports and switches allow, as an earlier release leaves them.
    lab.bench.load(&all_at(at(1, 2), most));
    assert!(lab.bench.alarms().is_empty());
    let refused = speaks(&mut lab, at(2, 2), nth(most));
    assert!(refused.put(&HOSTS).is_empty());
    assert_eq!(lab.alarms(LIMIT_REACHED), [""]);
    let refused = speaks(&mut lab, at(2, 3), nth(most + 1));
    assert!(refused.is_empty(), "{refused:?}");
    // Known hosts are still followed.
    speaks(&mut lab, at(2, 2), nth(0));
    assert_eq!(lab.host(nth(0)).unwrap().end(), at(2, 2));
    lab.rule_ends(at(2, 2), nth(0), IDLE_TIMEOUT);
    speaks(&mut lab, at(2, 2), nth(most));
    assert!(lab.host(nth(most)).is_some());
    lab.run(100);
    assert_eq!(lab.alarms(LIMIT_REACHED), [""], "there is room for one");
    // More hosts are at this port than one turn can forget.
    lab.port_is(at(1, 2), false);
    lab.port_is(at(1, 2), true);
    assert!(lab.bench.view().count(&HOSTS) > 1);
    let outcome = lab.bench.resume();
    lab.carry(outcome);
    lab.run(3000);
    assert_eq!(lab.bench.view().count(&HOSTS), 1);
    assert!(lab.bench.alarms().is_empty());
}

#[test]
fn where_no_host_can_be_learned_an_address_that_moves_has_no_bearer() {
    let mut lab = Lab::pair();
    lab.bench.load(&many(default_of(HOSTS_IN_ALL), 1));
    assert_eq!(lab.bearer("10.0.0.7"), Some(nth(7)));
    lab.arp(at(2, 2), mac(1), [10, 0, 0, 7]);
    assert_eq!((lab.bearer("10.0.0.7"), lab.host(mac(1))), (None, None));
    assert!(lab.host(nth(7)).unwrap().ips.is_empty());
    // A known host takes it.
    lab.arp(at(1, 2), nth(3), [10, 0, 0, 7]);
    assert_eq!(lab.bearer("10.0.0.7"), Some(nth(3)));
}

#[test]
fn a_known_host_that_moves_to_a_full_port_is_forgotten_and_comes_back_elsewhere() {
    let mut lab = Lab::pair();
    set(&mut lab, HOSTS_PER_PORT, 2);
    lab.arp(at(1, 3), mac(1), [10, 0, 0, 1]);
    speaks(&mut lab, at(1, 2), nth(1));
    speaks(&mut lab, at(1, 2), nth(2));
    lab.run(1000);
    let moved = lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    assert_eq!((lab.host(mac(1)), lab.bearer("10.0.0.1")), (None, None));
    assert_eq!(moved.flow_mods.len(), 1, "its rule goes: {moved:?}");
    assert_eq!(lab.alarms(LIMIT_REACHED), [PORT]);
    lab.run(1000);
    lab.arp(at(2, 2), mac(1), [10, 0, 0, 1]);
    assert_eq!(lab.host(mac(1)).unwrap().end(), at(2, 2));
    assert_eq!(lab.bearer("10.0.0.1"), Some(mac(1)));
}

/// An attacker with two ports invents addresses at one, moves some to the other, and invents more.
#[test]
fn no_port_gets_more_hosts_by_moves() {
    let mut lab = Lab::pair();
    set(&mut lab, HOSTS_PER_PORT, 10);
    let paths: [&[u32]; 3] = [&[2, 3], &[2], &[2, 3, 2, 3, 3, 2]];
    for n in 0..100 {
        for port in paths[n % 3] {
            speaks(&mut lab, at(1, *port), nth(n));
            for port in [2, 3] {
                assert!(at_port(&lab, at(1, port)) <= 10);
            }
        }
        lab.run(100);
    }
    assert_eq!(lab.bench.view().count(&HOSTS), 20);
}

#[test]
fn a_bound_that_changes_holds_at_once_and_takes_nobody_s_place() {
    let mut lab = Lab::pair();
    for n in 0..20 {
        speaks(&mut lab, at(1, 2), nth(n));
    }
    set(&mut lab, HOSTS_PER_PORT, 5);
    speaks(&mut lab, at(1, 2), nth(20));
    assert_eq!(at_port(&lab, at(1, 2)), 20);
    assert_eq!(lab.alarms(LIMIT_REACHED), [PORT]);
    assert!(alarm(&lab, PORT).unwrap().text.starts_with("5 hosts"));
    set(&mut lab, HOSTS_PER_PORT, 21);
    lab.run(100);
    assert!(lab.alarms(LIMIT_REACHED).is_empty());
    speaks(&mut lab, at(1, 2), nth(20));
    assert_eq!(at_port(&lab, at(1, 2)), 21);
    lab.bench.no_row(&LIMITS, &HOSTS_PER_PORT.name().to_owned());
    speaks(&mut lab, at(1, 2), nth(21));
    assert_eq!(at_port(&lab, at(1, 2)), 22);
}

/// The instance that raised the alarm is gone when its port is.
#[test]
fn an_alarm_ends_with_its_port_also_after_a_resume() {
    let mut lab = Lab::pair();
    set(&mut lab, HOSTS_PER_PORT, 1);
    speaks(&mut lab, at(1, 2), nth(1));
    speaks(&mut lab, at(1, 2), nth(2));
    assert_eq!(lab.alarms(LIMIT_REACHED), [PORT]);
    lab.port_status(Dpid(1), PortReason::Delete, PortInfo::new(2));
    let outcome = lab.bench.resume();
    lab.carry(outcome);
    lab.run(100);
    assert!(lab.bench.alarms().is_empty());
}

/// Rows that topology reads to learn, refuse and move a host, with so many others at the port.
fn reads(others: u32) -> u64 {
    let mut lab = Lab::pair();
    set(&mut lab, HOSTS_PER_PORT, others + 1);
    lab.bench.load(&all_at(at(1, 2), others as usize));
    let before = lab.bench.rows_read();
    speaks(&mut lab, at(1, 2), mac(1));
    speaks(&mut lab, at(1, 2), mac(2));
    speaks(&mut lab, at(1, 3), mac(1));
    assert_eq!(lab.host(mac(2)), None);
    lab.bench.rows_read() - before
}

#[test]
fn what_a_host_costs_does_not_grow_with_the_number_of_hosts() {
    assert_eq!(reads(10), reads(4000));
}

#[test]
fn hosts_that_are_too_many_for_a_turn_are_forgotten_in_several() {
    for (hosts, ips) in [(5400, 1), (630, 16)] {
        let mut lab = Lab::pair();
        lab.bench.load(&many(hosts, ips));
        let one = Switch::new(Dpid(1), [1]);
        let outcome = lab.bench.event(Event::SwitchUp(one));
        let changes = outcome.deletes.len() + outcome.puts.len();
        assert!(changes <= HALF_A_TRANSACTION, "{changes}");
        lab.carry(outcome);
        for _ in 0..50 {
            let outcome = lab.bench.tick(Duration::from_millis(100));
            let changes = outcome.deletes.len() + outcome.puts.len();
            assert!(changes <= HALF_A_TRANSACTION, "{changes}");
            lab.carry(outcome);
        }
        let view = lab.bench.view();
        assert_eq!((view.count(&HOSTS), view.count(&IPS)), (0, 0));
    }
}
