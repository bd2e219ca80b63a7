//! Hosts: who is learned, where, under which addresses, and until when.

#![allow(clippy::unwrap_used, clippy::panic)]

mod lab;

use std::net::Ipv6Addr;
use std::time::Duration;

use lab::{Lab, at, ipv4, ipv6, mac};
use morph_sdk::packet::ether_type::{ARP, IPV4, IPV6};
use morph_sdk::packet::{Arp, frame};
use morph_sdk::{Bytes, MacAddr};
use topology::hosts::MOST_IPS;
use topology::moves::FLAPPING;
use topology::rules::IDLE;
use topology::strays::RETURNING;
use topology::tables::{BONDS, End};

const IDLE_TIMEOUT: u8 = 0;
const DELETED: u8 = 2;

#[test]
fn a_host_is_learned_where_it_speaks_and_its_rule_lets_it_pass() {
    let mut lab = Lab::pair();
    assert_eq!(lab.treats(at(1, 2), mac(1), IPV4), (true, true));
    let outcome = lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    let host = lab.host(mac(1)).unwrap();
    assert_eq!(host.end(), at(1, 2));
    assert_eq!(host.ips, ["10.0.0.1"]);
    assert_eq!(lab.bearer("10.0.0.1"), Some(mac(1)));
    assert_eq!(lab.treats(at(1, 2), mac(1), IPV4), (false, true));
    assert_eq!(lab.treats(at(1, 2), mac(1), ARP), (true, true));
    assert_eq!(lab.treats(at(1, 2), mac(2), IPV4), (true, true));
    assert_eq!(lab.treats(at(1, 3), mac(1), IPV4), (true, true));
    let [(_, rule)] = &outcome.flow_mods[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!((rule.idle_timeout, rule.flags), (IDLE, 1));
    assert!(lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]).is_empty());
}

/// Frames, and the learned sender of each: with an address, without one (`Some(None)`), or no host at all.
#[test]
fn what_a_frame_says_of_its_sender() {
    let zero = MacAddr([0; 6]);
    let six = "fe80::1".parse().unwrap();
    let unspecified = Ipv6Addr::UNSPECIFIED;
    let cases: [(&str, Bytes, Option<Option<&str>>); 10] = [
        ("ipv4", ipv4(mac(1), [10, 0, 0, 1]), Some(Some("10.0.0.1"))),
        ("ipv6", ipv6(mac(1), six), Some(Some("fe80::1"))),
        (
            "duplicate address detection",
            ipv6(mac(1), unspecified),
            Some(None),
        ),
        ("dhcp", ipv4(mac(1), [0; 4]), Some(None)),
        ("loopback", ipv4(mac(1), [127, 0, 0, 1]), Some(None)),
        ("a broadcast address", ipv4(mac(1), [255; 4]), Some(None)),
        ("neither", frame(mac(2), mac(1), 0x1234, &[]), Some(None)),
        (
            "half a header",
            Bytes::copy_from_slice(&ipv4(mac(1), [10, 0, 0, 1])[..20]),
            Some(None),
        ),
        (
            "from a group",
            ipv4(MacAddr([3, 0, 0, 0, 0, 1]), [10, 0, 0, 1]),
            None,
        ),
        ("from nobody", ipv4(zero, [10, 0, 0, 1]), None),
    ];
    for (what, data, expected) in cases {
        let mut lab = Lab::pair();
        let outcome = lab.punt(at(1, 2), data);
        let host = lab.host(mac(1));
        assert_eq!(host.is_some(), expected.is_some(), "{what}");
        assert_eq!(outcome.is_empty(), expected.is_none(), "{what}");
        let ips = host.map(|host| host.ips).unwrap_or_default();
        let expected: Vec<&str> = expected.flatten().into_iter().collect();
        assert_eq!(ips, expected, "{what}");
    }
}

#[test]
fn no_host_is_learned_on_a_link_port_or_an_unknown_one() {
    let mut lab = Lab::pair();
    assert!(lab.arp(at(1, 1), mac(1), [10, 0, 0, 1]).is_empty());
    lab.port_is(at(1, 2), false);
    lab.port_is(at(1, 2), true);
    assert!(lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]).is_empty());
}

#[test]
fn a_host_that_moves_keeps_its_addresses_and_takes_its_rule_along() {
    let mut lab = Lab::pair();
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    lab.punt(at(2, 3), ipv4(mac(1), [10, 0, 0, 1]));
    let host = lab.host(mac(1)).unwrap();
    assert_eq!(
        (host.end(), host.ips),
        (at(2, 3), vec!["10.0.0.1".to_owned()])
    );
    assert_eq!(lab.treats(at(1, 2), mac(1), IPV4), (true, true));
    assert_eq!(lab.treats(at(2, 3), mac(1), IPV4), (false, true));
    // The end of the old rule changes nothing.
    assert!(lab.rule_ends(at(1, 2), mac(1), IDLE_TIMEOUT).is_empty());
}

#[test]
fn a_host_that_moves_back_is_noticed_for_its_rule_there_was_removed() {
    let mut lab = Lab::pair();
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    lab.run(1000);
    let moved = lab.arp(at(1, 3), mac(1), [10, 0, 0, 1]);
    assert_eq!(moved.flow_mods.len(), 2, "{moved:?}");
}

#[test]
fn an_address_belongs_to_the_host_that_used_it_last() {
    let mut lab = Lab::pair();
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 2]);
    lab.arp(at(2, 2), mac(3), [10, 0, 0, 1]);
    assert_eq!(lab.host(mac(1)).unwrap().ips, ["10.0.0.2"]);
    assert_eq!(lab.host(mac(3)).unwrap().ips, ["10.0.0.1"]);
    assert_eq!(lab.bearer("10.0.0.1"), Some(mac(3)));
}

#[test]
fn a_host_keeps_its_latest_addresses_only() {
    let mut lab = Lab::pair();
    for n in 0..=MOST_IPS as u8 {
        lab.arp(at(1, 2), mac(1), [10, 0, 1, n]);
    }
    let ips = lab.host(mac(1)).unwrap().ips;
    assert_eq!((ips.len(), ips[0].as_str()), (MOST_IPS, "10.0.1.1"));
    assert_eq!(lab.bearer("10.0.1.0"), None);
}

#[test]
fn an_idle_host_is_forgotten_and_learned_again_when_it_speaks() {
    let mut lab = Lab::pair();
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    assert!(lab.rule_ends(at(1, 2), mac(1), DELETED).is_empty());
    lab.rule_ends(at(1, 2), mac(1), IDLE_TIMEOUT);
    assert_eq!((lab.host(mac(1)), lab.bearer("10.0.0.1")), (None, None));
    let again = lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    assert_eq!(again.flow_mods.len(), 1);
}

#[test]
fn hosts_go_with_their_port_and_stay_with_their_switch() {
    let mut lab = Lab::pair();
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    lab.arp(at(1, 3), mac(2), [10, 0, 0, 2]);
    lab.disconnect(1);
    assert!(lab.host(mac(1)).is_some());
    lab.connect(1);
    lab.port_is(at(1, 2), false);
    assert_eq!((lab.host(mac(1)), lab.bearer("10.0.0.1")), (None, None));
    assert!(lab.host(mac(2)).is_some());
}

#[test]
fn a_copy_of_a_frame_that_comes_back_moves_no_host() {
    let mut lab = Lab::pair();
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    for port in [3, 4, 3] {
        let copy = lab.arp(at(1, port), mac(1), [10, 0, 0, 1]);
        assert!(copy.is_empty(), "{copy:?}");
    }
    lab.run(6000);
    lab.arp(at(1, 3), mac(1), [10, 0, 0, 1]);
    assert_eq!(lab.host(mac(1)).unwrap().end(), at(1, 3), "seconds later");
}

#[test]
fn no_host_is_known_at_a_port_where_copies_come_in_and_an_alarm_tells() {
    let mut lab = Lab::pair();
    lab.arp(at(1, 3), mac(2), [10, 0, 0, 2]);
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    lab.arp(at(1, 3), mac(1), [10, 0, 0, 1]);
    assert_eq!(lab.host(mac(2)), None);
    lab.punt(at(1, 3), ipv4(mac(2), [10, 0, 0, 2]));
    assert_eq!(lab.host(mac(2)), None, "it would be flooded by the switch");
    assert!(lab.host(mac(1)).is_some(), "others go on");
    lab.run(200);
    assert_eq!(lab.alarms(RETURNING).len(), 1);
    lab.run(6000);
    assert!(lab.alarms(RETURNING).is_empty());
    lab.punt(at(1, 3), ipv4(mac(2), [10, 0, 0, 2]));
    assert!(lab.host(mac(2)).is_some());
}

#[test]
fn a_frame_to_a_group_is_shown_to_topology_where_its_source_is_not_known() {
    let mut lab = Lab::pair();
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    let to = |src, dst| lab.treats_to(at(1, 2), src, dst, IPV4);
    assert_eq!(to(mac(1), MacAddr::BROADCAST), (false, true));
    assert_eq!(to(mac(7), MacAddr::BROADCAST), (true, true));
}

/// A network of others may bring what a host of another part has sent.
#[test]
fn a_broadcast_moves_no_host_while_links_do_not_connect_all_switches() {
    for whole in [true, false] {
        let mut lab = Lab::pair();
        lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
        if !whole {
            lab.port_is(at(1, 1), false);
        }
        lab.punt(at(2, 2), frame(MacAddr::BROADCAST, mac(1), 0x1234, &[1]));
        let end = if whole { at(2, 2) } else { at(1, 2) };
        assert_eq!(lab.host(mac(1)).unwrap().end(), end);
        lab.punt(at(2, 2), frame(mac(2), mac(1), 0x1234, &[2]));
        assert_eq!(lab.host(mac(1)).unwrap().end(), at(2, 2), "to a host");
    }
}

/// Frames of one address by two ports in turn, 100 a second.
#[test]
fn a_host_behind_a_bond_is_held_at_one_port_and_told_of_once() {
    let mut lab = Lab::pair();
    let (mut rules, mut ports) = (0, Vec::new());
    for n in 0..3000_u32 {
        let [.., a, b] = n.to_be_bytes();
        let port = 2 + n % 2;
        let data = frame(mac(2), mac(1), 0x1234, &[a, b]);
        let outcome = lab.punt(at(1, port), data);
        rules += outcome.flow_mods.len();
        ports.push(lab.host(mac(1)).unwrap().port);
        let outcome = lab.bench.tick(Duration::from_millis(10));
        lab.carry(outcome);
        if n == 2000 {
            assert_eq!(lab.alarms(FLAPPING), [format!("{}/none", mac(1))]);
        }
    }
    assert!(rules < 20, "{rules}");
    assert!(ports[100..].iter().all(|port| *port == 2));
    lab.run(11_000);
    assert!(lab.alarms(FLAPPING).is_empty());
}

/// Sends a frame of one address by two ports in turn, 100 a second, for so many seconds.
fn alternate(lab: &mut Lab, ends: [End; 2], seconds: u32) {
    for n in 0..seconds * 100 {
        let [.., a, b] = n.to_be_bytes();
        lab.punt(ends[n as usize % 2], frame(mac(2), mac(1), 0x1234, &[a, b]));
        let outcome = lab.bench.tick(Duration::from_millis(10));
        lab.carry(outcome);
    }
}

fn bonds(lab: &Lab) -> Vec<(End, End)> {
    let bonds = lab.bench.view().iter(&BONDS);
    bonds.map(|(other, home)| (other, home.end())).collect()
}

#[test]
fn two_ports_that_pass_nothing_on_are_a_bond_while_a_host_is_seen_at_both() {
    for other in [at(1, 3), at(2, 2)] {
        let mut lab = Lab::pair();
        let ends = [at(1, 2), other];
        alternate(&mut lab, ends, 1);
        assert_eq!(bonds(&lab), [], "not proven yet");
        alternate(&mut lab, ends, 4);
        assert_eq!(bonds(&lab), [(other, at(1, 2))]);
        lab.run(11_000);
        assert_eq!(bonds(&lab), []);
    }
}

#[test]
fn two_ports_that_something_connects_are_no_bond() {
    let ends = [at(1, 2), at(1, 3)];
    let mut lab = Lab::pair();
    lab.carries_arp_alone(ends);
    alternate(&mut lab, ends, 5);
    assert_eq!(bonds(&lab), []);
    assert!(!lab.alarms(RETURNING).is_empty());
    // A bond ends with the first copy.
    let mut lab = Lab::pair();
    alternate(&mut lab, ends, 5);
    assert_eq!(bonds(&lab).len(), 1);
    lab.carries_arp_alone(ends);
    alternate(&mut lab, ends, 2);
    assert_eq!(bonds(&lab), []);
}

#[test]
fn two_ports_with_another_host_at_one_are_no_bond() {
    let ends = [at(1, 2), at(1, 3)];
    let mut lab = Lab::pair();
    alternate(&mut lab, ends, 5);
    assert_eq!(bonds(&lab).len(), 1);
    lab.arp(at(1, 3), mac(7), [10, 0, 0, 7]);
    alternate(&mut lab, ends, 1);
    assert_eq!(bonds(&lab), []);
    // Nor are those of which one is down.
    let mut lab = Lab::pair();
    alternate(&mut lab, ends, 5);
    lab.port_is(at(1, 3), false);
    lab.run(200);
    assert_eq!(bonds(&lab), []);
}

/// ARP packet that announces an address for `mac`, in a frame from `src`.
fn announces(src: MacAddr, mac: MacAddr, ip: [u8; 4]) -> Bytes {
    let arp = Arp {
        operation: Arp::REPLY,
        sender_mac: mac,
        sender_ip: ip.into(),
        target_mac: MacAddr::BROADCAST,
        target_ip: ip.into(),
    };
    let mut frame = arp.frame(MacAddr::BROADCAST).to_vec();
    frame[6..12].copy_from_slice(&src.0);
    frame.into()
}

const VIRTUAL: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, 0x0a]);

#[test]
fn an_address_belongs_to_the_hardware_address_that_is_announced_for_it() {
    let mut lab = Lab::pair();
    lab.punt(at(1, 2), announces(mac(1), VIRTUAL, [10, 0, 0, 1]));
    assert_eq!(lab.bearer("10.0.0.1"), Some(VIRTUAL));
    assert_eq!(lab.host(VIRTUAL).unwrap().end(), at(1, 2));
    let machine = lab.host(mac(1)).unwrap();
    assert_eq!((machine.end(), machine.ips.len()), (at(1, 2), 0));
    // Another machine takes over.
    lab.punt(at(2, 2), announces(mac(2), VIRTUAL, [10, 0, 0, 1]));
    assert_eq!(lab.host(VIRTUAL).unwrap().end(), at(2, 2));
    let group = announces(mac(3), MacAddr::BROADCAST, [10, 0, 0, 1]);
    lab.punt(at(2, 3), group);
    assert_eq!(lab.bearer("10.0.0.1"), Some(VIRTUAL), "a group bears none");
}

/// Neighbour advertisement from `src` for a target, with options.
fn advertises(src: MacAddr, target: Ipv6Addr, options: &[u8]) -> Bytes {
    let mut packet = vec![0x60, 0, 0, 0, 0, 24 + options.len() as u8, 58, 255];
    packet.extend("fe80::7".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend("ff02::1".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend([136, 0, 0, 0, 0x20, 0, 0, 0]);
    packet.extend(target.octets());
    packet.extend(options);
    frame(MacAddr([0x33, 0x33, 0, 0, 0, 1]), src, IPV6, &packet)
}

#[test]
fn a_neighbour_advertisement_binds_its_target() {
    let target = "2001:db8::1".parse().unwrap();
    let address = [&[2, 1][..], &VIRTUAL.0].concat();
    let other = [&[14, 1, 0, 0, 0, 0, 0, 0][..], &address].concat();
    for (what, options, bearer) in [
        ("without an option", &[][..], mac(1)),
        ("with the address", &address, VIRTUAL),
        ("behind another option", &other, VIRTUAL),
        ("with an option of no length", &[2, 0, 1, 2], mac(1)),
        ("with half an option", &address[..5], mac(1)),
    ] {
        let mut lab = Lab::pair();
        lab.punt(at(1, 2), advertises(mac(1), target, options));
        assert_eq!(lab.bearer("2001:db8::1"), Some(bearer), "{what}");
        assert!(lab.host(mac(1)).is_some(), "{what}");
    }
}
