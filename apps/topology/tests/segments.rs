//! Segments: networks of others that connect ports of ours, and let no LLDP pass.

#![allow(clippy::unwrap_used, clippy::panic)]

mod lab;

use lab::{Lab, at, mac};
use morph_sdk::packet::ether_type::IPV4;
use topology::segments::BLOCKED;
use topology::tables::{End, Kind};

/// Kinds of ports.
fn kinds<const N: usize>(lab: &Lab, ends: [End; N]) -> [Kind; N] {
    ends.map(|end| lab.kind(end).unwrap())
}

#[test]
fn one_of_two_ports_on_a_plain_switch_is_used_and_the_other_takes_over() {
    let mut lab = Lab::new(&[], [1]);
    let ends = [at(1, 2), at(1, 3)];
    lab.bridge(&ends);
    // Never are both used.
    for _ in 0..30 {
        lab.run(100);
        assert_ne!(kinds(&lab, ends), [Kind::Host; 2]);
    }
    assert_eq!(kinds(&lab, ends), [Kind::Host, Kind::Blocked]);
    assert_eq!(lab.treats(at(1, 3), mac(1), IPV4), (false, false));
    assert_eq!(lab.alarms(BLOCKED), ["0000000000000001/3"]);
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    lab.run(60_000);
    assert_eq!(kinds(&lab, ends), [Kind::Host, Kind::Blocked]);
    lab.port_is(at(1, 2), false);
    assert_eq!(kinds(&lab, ends), [Kind::Unknown, Kind::Host], "at once");
    assert!(lab.alarms(BLOCKED).is_empty());
    lab.port_is(at(1, 2), true);
    for _ in 0..30 {
        lab.run(100);
        assert_ne!(kinds(&lab, ends), [Kind::Host; 2]);
    }
    assert_eq!(kinds(&lab, ends), [Kind::Blocked, Kind::Host], "it stays");
}

/// As morphd starts an app: it is resumed before it sees a switch.
#[test]
fn a_new_instance_blocks_at_once() {
    let mut lab = Lab::new(&[], []);
    lab.bench.resume();
    lab.connect(1);
    let ends = [at(1, 2), at(1, 3)];
    lab.bridge(&ends);
    for _ in 0..60 {
        lab.run(100);
        assert_ne!(kinds(&lab, ends), [Kind::Host; 2]);
    }
    assert_eq!(kinds(&lab, ends), [Kind::Host, Kind::Blocked]);
    assert_eq!(lab.alarms(BLOCKED).len(), 1);
}

#[test]
fn a_cable_of_a_plain_switch_that_breaks_silently_frees_the_other_port() {
    let mut lab = Lab::new(&[], [1]);
    let ends = [at(1, 1), at(1, 2), at(1, 3)];
    lab.bridge(&ends);
    lab.run(2000);
    let blocked = Kind::Blocked;
    assert_eq!(kinds(&lab, ends), [Kind::Host, blocked, blocked]);
    lab.unplug(at(1, 1));
    lab.run(6000);
    assert_eq!(kinds(&lab, ends), [Kind::Host, Kind::Host, blocked]);
}

#[test]
fn another_instance_keeps_what_is_blocked() {
    let mut lab = Lab::new(&[], [1]);
    let ends = [at(1, 2), at(1, 3)];
    lab.bridge(&ends);
    lab.run(2000);
    for _ in 0..60 {
        lab.bench.resume();
        lab.run(700);
        assert_eq!(kinds(&lab, ends), [Kind::Host, Kind::Blocked]);
    }
    lab.unplug(at(1, 3));
    lab.bench.resume();
    lab.run(10_000);
    assert_eq!(kinds(&lab, ends), [Kind::Host; 2]);
}

#[test]
fn ports_of_switches_that_a_plain_switch_alone_connects_are_all_used() {
    let mut lab = Lab::new(&[], [1, 2]);
    lab.bridge(&[at(1, 2), at(2, 2)]);
    lab.run(5000);
    assert_eq!(kinds(&lab, [at(1, 2), at(2, 2)]), [Kind::Host; 2]);
    assert!(lab.alarms(BLOCKED).is_empty());
    // A cable makes one island of the two.
    lab.cable(at(1, 1), at(2, 1));
    lab.run(2000);
    assert_eq!(
        kinds(&lab, [at(1, 2), at(2, 2)]),
        [Kind::Host, Kind::Blocked]
    );
    lab.break_silently(at(1, 1));
    lab.run(10_000);
    assert_eq!(kinds(&lab, [at(1, 2), at(2, 2)]), [Kind::Host; 2]);
}

#[test]
fn a_link_that_is_found_on_a_blocked_port_is_used() {
    let mut lab = Lab::new(&[], [1, 2]);
    lab.bridge(&[at(1, 2), at(1, 3)]);
    lab.run(2000);
    assert_eq!(lab.kind(at(1, 3)), Some(Kind::Blocked));
    lab.unplug(at(1, 3));
    lab.cable(at(1, 3), at(2, 3));
    lab.run(2000);
    assert_eq!(kinds(&lab, [at(1, 2), at(1, 3)]), [Kind::Host, Kind::Link]);
}

#[test]
fn something_that_passes_lldp_between_three_ports_is_a_segment_and_no_link() {
    let mut lab = Lab::new(&[], [1, 2]);
    lab.cable(at(1, 1), at(2, 1));
    lab.run(2000);
    let ends = [at(1, 2), at(1, 3), at(2, 2)];
    lab.hub(&ends);
    lab.run(3000);
    let links = lab.links();
    assert_eq!(links, [(at(1, 1), at(2, 1)), (at(2, 1), at(1, 1))]);
    let found = kinds(&lab, ends);
    let of = |wanted| {
        ends.into_iter()
            .zip(found)
            .filter(move |(_, kind)| *kind == wanted)
    };
    assert_eq!(of(Kind::Blocked).count(), 2, "{found:?}");
    let (used, _) = of(Kind::Host).next().unwrap();
    for _ in 0..30 {
        lab.run(1000);
        assert_eq!(lab.links(), links, "no link flaps");
        assert_eq!(kinds(&lab, ends), found);
    }
    assert_eq!(lab.alarms(BLOCKED).len(), 2);
    lab.arp(used, mac(7), [10, 0, 0, 7]);
    assert_eq!(lab.host(mac(7)).unwrap().end(), used);
    // Another instance finds it so.
    lab.bench.resume();
    lab.run(10_000);
    assert_eq!(kinds(&lab, ends), found);
    assert_eq!(lab.links(), links);
}

#[test]
fn two_ports_that_are_left_of_a_segment_become_a_link() {
    let mut lab = Lab::new(&[], [1, 2, 3]);
    let ends = [at(1, 1), at(2, 1), at(3, 1)];
    lab.hub(&ends);
    lab.run(5000);
    assert_eq!(lab.links(), []);
    assert_eq!(kinds(&lab, ends), [Kind::Host; 3], "of three islands");
    lab.break_silently(ends[2]);
    lab.cable(ends[0], ends[1]);
    lab.run(10_000);
    let both = [(ends[0], ends[1]), (ends[1], ends[0])];
    assert_eq!(lab.links(), both);
    assert!(lab.alarms(BLOCKED).is_empty());
}
