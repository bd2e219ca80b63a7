//! Switches, ports and links: how they come and go, and what silence means.

#![allow(clippy::unwrap_used, clippy::panic)]

mod lab;

use lab::{Lab, at, mac};
use morph_sdk::packet::ether_type::{ARP, IPV4};
use morph_sdk::{Dpid, Event, PortInfo, PortReason, Switch, port};
use proptest::prelude::*;
use topology::strays::LOOPED;
use topology::tables::{EDGES, End, Kind, PORTS};

const DROP: (bool, bool) = (false, false);
const PASS: (bool, bool) = (false, true);
const PUNT_AND_PASS: (bool, bool) = (true, true);

fn both_ways(a: End, b: End) -> Vec<(End, End)> {
    vec![(a, b), (b, a)]
}

#[test]
fn a_cable_is_a_link_at_once_and_a_port_without_one_a_host_port_after_half_a_second() {
    let mut lab = Lab::new(&[(at(1, 1), at(2, 1))], [1, 2]);
    assert_eq!(lab.links(), both_ways(at(1, 1), at(2, 1)));
    assert_eq!(lab.treats(at(1, 1), mac(1), IPV4), PASS);
    assert_eq!(lab.treats(at(1, 2), mac(1), IPV4), DROP);
    lab.run(400);
    assert_eq!(lab.kind(at(1, 2)), Some(Kind::Unknown));
    lab.run(200);
    assert_eq!(lab.kind(at(1, 2)), Some(Kind::Host));
    assert_eq!(lab.treats(at(1, 2), mac(1), IPV4), PUNT_AND_PASS);
    assert_eq!(lab.treats(at(1, 2), mac(1), ARP), PUNT_AND_PASS);
    assert_eq!(lab.kind(at(1, 1)), Some(Kind::Link));
    lab.run(60_000);
    assert_eq!(lab.links(), both_ways(at(1, 1), at(2, 1)));
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let mut lab = Lab::pair();
    for _ in 0..100 {
        let outcome = lab.bench.tick(std::time::Duration::from_millis(100));
        assert!(outcome.puts.is_empty() && outcome.flow_mods.is_empty());
        lab.carry(outcome);
    }
}

#[test]
fn a_port_that_goes_down_takes_its_link_and_a_mend_brings_it_back_at_once() {
    let mut lab = Lab::pair();
    lab.port_is(at(1, 1), false);
    assert_eq!(lab.links(), []);
    assert_eq!(lab.treats(at(1, 1), mac(1), IPV4), DROP);
    assert_eq!(lab.kind(at(2, 1)), Some(Kind::Unknown), "is searched again");
    lab.port_is(at(2, 1), false);
    lab.run(5000);
    lab.port_is(at(2, 1), true);
    lab.port_is(at(1, 1), true);
    assert_eq!(lab.links(), both_ways(at(1, 1), at(2, 1)));
    lab.run(5000);
    assert_eq!(lab.kind(at(1, 1)), Some(Kind::Link));
}

#[test]
fn a_port_that_is_removed_takes_its_link_and_its_row() {
    let mut lab = Lab::pair();
    lab.port_status(Dpid(2), PortReason::Delete, PortInfo::new(1));
    assert_eq!((lab.links(), lab.kind(at(2, 1))), (vec![], None));
    lab.run(1000);
    assert_eq!(lab.kind(at(1, 1)), Some(Kind::Host));
}

#[test]
fn a_cable_that_breaks_silently_is_missed_after_three_probes() {
    let mut lab = Lab::pair();
    lab.run(10_000);
    lab.break_silently(at(1, 1));
    lab.run(2900);
    assert_eq!(lab.links().len(), 2);
    lab.run(1300);
    assert_eq!(lab.links(), []);
    lab.run(1000);
    assert_eq!(lab.kind(at(1, 1)), Some(Kind::Host));
    assert_eq!(lab.kind(at(2, 1)), Some(Kind::Host));
}

#[test]
fn while_one_end_is_away_its_link_stays_and_so_do_its_rules() {
    let mut lab = Lab::pair();
    let rules = lab.bench.rules().clone();
    lab.disconnect(2);
    assert_eq!(lab.connected(2), Some(false));
    lab.run(60_000);
    assert_eq!(lab.links(), both_ways(at(1, 1), at(2, 1)));
    lab.connect(2);
    lab.run(60_000);
    assert_eq!(lab.links(), both_ways(at(1, 1), at(2, 1)));
    assert_eq!(lab.bench.rules(), &rules);
}

#[test]
fn ages_restart_at_a_resume() {
    let mut lab = Lab::pair();
    lab.break_silently(at(1, 1));
    for _ in 0..10 {
        lab.run(2500);
        let outcome = lab.bench.resume();
        lab.carry(outcome);
        assert_eq!(lab.links().len(), 2);
    }
    lab.run(4500);
    assert_eq!(lab.links(), []);
}

#[test]
fn a_link_on_a_host_port_makes_it_a_link_port_and_forgets_its_hosts() {
    let mut lab = Lab::pair();
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    assert!(lab.host(mac(1)).is_some());
    lab.cable(at(1, 2), at(2, 2));
    lab.run(1000);
    assert_eq!(lab.kind(at(1, 2)), Some(Kind::Link));
    assert_eq!(lab.links().len(), 4);
    assert_eq!((lab.host(mac(1)), lab.bearer("10.0.0.1")), (None, None));
    assert_eq!(lab.treats(at(1, 2), mac(1), IPV4), PASS);
}

#[test]
fn a_cable_that_is_plugged_in_elsewhere_is_followed() {
    let mut lab = Lab::pair();
    lab.break_silently(at(1, 1));
    lab.cable(at(1, 1), at(2, 3));
    lab.run(1100);
    assert_eq!(lab.kind(at(2, 3)), Some(Kind::Link));
    lab.run(5000);
    assert_eq!(lab.links(), both_ways(at(1, 1), at(2, 3)));
    assert_eq!(lab.kind(at(2, 1)), Some(Kind::Host));
}

#[test]
fn a_cable_between_two_ports_of_a_switch_is_no_place_for_hosts() {
    let mut lab = Lab::new(&[(at(1, 1), at(1, 2))], [1]);
    lab.run(5000);
    assert_eq!(lab.kind(at(1, 1)), Some(Kind::Link));
    assert_eq!(lab.kind(at(1, 2)), Some(Kind::Link));
}

#[test]
fn a_probe_that_comes_back_to_its_port_proves_no_link() {
    let mut lab = Lab::pair();
    lab.arp(at(1, 3), mac(3), [10, 0, 0, 3]);
    lab.cable(at(1, 2), at(1, 2));
    lab.run(1200);
    assert_eq!(lab.kind(at(1, 2)), Some(Kind::Host));
    assert_eq!(lab.alarms(LOOPED), ["0000000000000001/2"]);
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    assert_eq!(lab.host(mac(1)).unwrap().end(), at(1, 2), "a host there");
    lab.arp(at(1, 2), mac(3), [10, 0, 0, 3]);
    assert_eq!(lab.host(mac(3)).unwrap().end(), at(1, 3), "is elsewhere");
    lab.run(10_000);
    assert_eq!(lab.links(), both_ways(at(1, 1), at(2, 1)));
    assert_eq!(lab.alarms(LOOPED).len(), 1);
    // Another instance takes over: the alarm lasts.
    lab.bench.resume();
    lab.run(10_000);
    assert_eq!(lab.alarms(LOOPED).len(), 1);
    lab.break_silently(at(1, 2));
    lab.run(6000);
    assert!(lab.alarms(LOOPED).is_empty());
}

#[test]
fn a_switch_that_comes_back_is_compared_with_what_is_stored() {
    let mut lab = Lab::pair();
    lab.arp(at(2, 3), mac(3), [10, 0, 0, 3]);
    lab.arp(at(2, 4), mac(4), [10, 0, 0, 4]);
    lab.disconnect(2);
    // Port 1, with the link, is gone; 3 is down; 4 is as it was; 5 is new.
    let mut switch = Switch::new(Dpid(2), [2, 3, 4]);
    switch.ports.get_mut(&3).unwrap().state = 1;
    lab.event(Event::SwitchUp(switch));
    assert_eq!(lab.links(), []);
    assert_eq!(lab.kind(at(2, 1)), None);
    assert_eq!(lab.host(mac(3)), None);
    assert!(lab.host(mac(4)).is_some());
    assert_eq!(lab.kind(at(2, 4)), Some(Kind::Host));
}

#[test]
fn after_a_resync_switches_count_as_away_until_they_are_there() {
    let mut lab = Lab::pair();
    lab.event(Event::Resync { dpid: None });
    assert_eq!(
        (lab.connected(1), lab.connected(2)),
        (Some(false), Some(false))
    );
    lab.run(10_000);
    lab.connect(1);
    lab.connect(2);
    assert_eq!(
        (lab.connected(1), lab.connected(2)),
        (Some(true), Some(true))
    );
    lab.run(10_000);
    assert_eq!(lab.links(), both_ways(at(1, 1), at(2, 1)));
}

#[test]
fn after_a_resync_of_one_switch_its_ports_are_those_of_the_view() {
    let mut lab = Lab::pair();
    lab.event(Event::Resync {
        dpid: Some(Dpid(1)),
    });
    assert_eq!(lab.connected(1), Some(true));
    assert_eq!(lab.links(), both_ways(at(1, 1), at(2, 1)));
    lab.event(Event::Resync {
        dpid: Some(Dpid(7)),
    });
    assert_eq!(lab.connected(7), Some(false));
}

#[test]
fn a_forgotten_switch_leaves_nothing_behind() {
    let mut lab = Lab::pair();
    lab.run(10_000);
    lab.arp(at(2, 3), mac(3), [10, 0, 0, 3]);
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    lab.bench.row(&EDGES, &at(2, 4), &true);
    lab.disconnect(2);
    assert!(lab.host(mac(3)).is_some(), "it may come back");
    lab.event(Event::SwitchForgotten(Dpid(2)));
    let left = format!("{:?}", lab.bench.own_rows());
    assert!(!left.contains(&Dpid(2).to_string()), "{left}");
    assert_eq!((lab.host(mac(3)), lab.bearer("10.0.0.3")), (None, None));
    assert!(lab.host(mac(1)).is_some());
    assert_eq!(lab.kind(at(1, 1)), Some(Kind::Unknown), "searched again");
    lab.connect(2);
    lab.run(10_000);
    assert_eq!(lab.links(), both_ways(at(1, 1), at(2, 1)));
}

/// Without a probe: the lab refuses one by a port of such a number.
#[test]
fn the_bridges_own_port_is_a_host_port_at_once() {
    let local = (Dpid(1), port::LOCAL);
    let mut lab = Lab::new(&[], []);
    lab.event(Event::SwitchUp(Switch::new(Dpid(1), [1, port::LOCAL])));
    assert_eq!(lab.kind(local), Some(Kind::Host));
    lab.run(2000);
    assert_eq!(lab.treats(local, mac(1), IPV4), PUNT_AND_PASS);
    lab.arp(local, mac(1), [10, 0, 0, 1]);
    assert_eq!(lab.host(mac(1)).unwrap().end(), local);
    let outcome = lab.bench.resume();
    lab.carry(outcome);
    lab.run(2000);
    assert_eq!(lab.kind(local), Some(Kind::Host));
    lab.port_is(local, false);
    assert_eq!(lab.host(mac(1)), None);
    lab.port_is(local, true);
    assert_eq!(lab.kind(local), Some(Kind::Host));
}

#[test]
fn other_reserved_ports_are_left_out() {
    let mut lab = Lab::new(&[], []);
    lab.event(Event::SwitchUp(Switch::new(Dpid(1), [1, port::CONTROLLER])));
    lab.run(2000);
    assert_eq!(lab.kind((Dpid(1), port::CONTROLLER)), None);
}

#[test]
fn foreign_lldp_and_probes_of_unknown_ports_change_nothing() {
    let mut lab = Lab::pair();
    let mut foreign = lab.probe(at(1, 1)).to_vec();
    let magic = foreign.windows(8).position(|w| w == b"morpheus").unwrap();
    foreign[magic] = b'M';
    let frames = [
        ("foreign", foreign.into()),
        ("of no switch", lab.probe(at(9, 1))),
        ("of no port", lab.probe(at(1, 9))),
    ];
    for (what, frame) in frames {
        assert!(lab.punt(at(2, 2), frame).is_empty(), "{what}");
    }
    let frame = lab.probe(at(1, 1));
    assert!(lab.punt(at(9, 1), frame).is_empty(), "where no switch is");
    assert_eq!(lab.kind(at(2, 2)), Some(Kind::Host));
}

#[test]
fn a_probe_that_left_before_its_port_went_down_comes_too_late() {
    let mut lab = Lab::pair();
    lab.port_is(at(1, 1), false);
    let frame = lab.probe(at(1, 1));
    lab.punt(at(2, 1), frame);
    assert_eq!(lab.links(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_cause_a_panic(data in proptest::collection::vec(any::<u8>(), 0..100), port in 0u32..7) {
        let mut lab = Lab::pair();
        let before = lab.links();
        prop_assert!(lab.punt(at(1, port), data).error.is_none());
        prop_assert_eq!(lab.links(), before);
    }

    #[test]
    fn no_damaged_probe_causes_a_panic(bend in proptest::collection::vec((0usize..60, any::<u8>()), 1..4), length in 0usize..60) {
        let mut lab = Lab::pair();
        let mut frame = lab.probe(at(1, 1)).to_vec();
        for (at, byte) in bend {
            frame[at] = byte;
        }
        frame.truncate(length);
        prop_assert!(lab.punt(at(2, 2), frame).error.is_none());
        let view = lab.bench.view();
        prop_assert!(view.iter(&PORTS).count() == 8);
    }

    /// Checks for any story of cables and ports that the links become the cables between ports that are up, once all is
    /// quiet.
    #[test]
    fn links_come_to_be_the_cables(story in proptest::collection::vec((1u64..4, 1u32..4, 0u8..6), 0..30)) {
        let mut lab = Lab::new(&[], [1, 2, 3]);
        let mut cables: Vec<(End, End)> = Vec::new();
        let mut down = std::collections::BTreeSet::new();
        for (dpid, port, what) in story {
            let end = at(dpid, port);
            let far = at(dpid % 3 + 1, port);
            match what {
                0 if cables.iter().all(|(a, b)| ![*a, *b].contains(&end) && ![*a, *b].contains(&far)) => {
                    lab.cable(end, far);
                    cables.push((end, far));
                }
                1 => {
                    lab.break_silently(end);
                    cables.retain(|(a, b)| *a != end && *b != end);
                }
                2 => { lab.port_is(end, false); down.insert(end); }
                3 => { lab.port_is(end, true); down.remove(&end); }
                4 => lab.run(700),
                _ => { lab.disconnect(dpid); lab.run(100); lab.connect(dpid); down.retain(|end| end.0 != Dpid(dpid)); }
            }
        }
        // A cable whose end is down carries nothing.
        for end in &down {
            lab.break_silently(*end);
            cables.retain(|(a, b)| a != end && b != end);
        }
        lab.run(12_000);
        let mut expected: Vec<_> = cables.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]).collect();
        expected.sort();
        prop_assert_eq!(lab.links(), expected);
        for (end, row) in lab.bench.view().iter(&PORTS) {
            let cabled = cables.iter().any(|(a, b)| [*a, *b].contains(&end));
            let kind = match (row.up, cabled) {
                (false, _) => Kind::Unknown,
                (true, true) => Kind::Link,
                (true, false) => Kind::Host,
            };
            prop_assert_eq!(row.kind, kind, "{:?}", end);
        }
    }
}

/// Rows that are read when a link is found, and when a switch comes back, in a line of so many switches.
fn rows_read(switches: u64) -> [u64; 2] {
    let cables: Vec<_> = (1..switches).map(|n| (at(n, 1), at(n + 1, 2))).collect();
    let mut lab = Lab::new(&cables, 1..=switches);
    lab.run(1000);
    let start = lab.bench.rows_read();
    for (from, here) in [(at(1, 3), at(3, 3)), (at(3, 3), at(1, 3))] {
        let frame = lab.probe(from);
        lab.punt(here, frame);
    }
    let found = lab.bench.rows_read();
    assert_eq!(lab.kind(at(3, 3)), Some(Kind::Link));
    lab.bench.event(Event::SwitchDown(Dpid(1)));
    lab.bench.switch(Dpid(1), 1..5);
    [found - start, lab.bench.rows_read() - found]
}

#[test]
fn a_link_and_a_switch_cost_as_much_in_a_large_network_as_in_a_small_one() {
    assert_eq!(rows_read(4), rows_read(60));
}
