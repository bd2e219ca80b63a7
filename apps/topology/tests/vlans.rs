//! VLANs: one address on two of them is two hosts.

#![allow(clippy::unwrap_used, clippy::panic)]

mod lab;

use lab::{Lab, at, mac, tagged};
use morph_sdk::packet::ether_type::IPV4;
use morph_sdk::packet::frame;
use morph_sdk::{Match, Setting, Vlan};
use topology::bounds::HOSTS_PER_PORT;
use topology::host_tables::from_host;
use topology::moves::FLAPPING;
use topology::tables::LIMITS;

const IDLE_TIMEOUT: u8 = 0;
/// Tags of VLAN 10 and 20, one of a priority alone, and two tags, of which the outer one is 20.
const TEN: &[u8] = &[0x81, 0, 0, 10];
const TWENTY: &[u8] = &[0x81, 0, 0x60, 20];
const PRIORITY: &[u8] = &[0x81, 0, 0xe0, 0];
const TWENTY_OF_TEN: &[u8] = &[0x88, 0xa8, 0, 20, 0x81, 0, 0, 10];

fn vlan(vid: u16) -> Vlan {
    Vlan::new(vid)
}

#[test]
fn one_address_on_two_vlans_and_without_one_is_three_hosts() {
    let mut lab = Lab::pair();
    let ip = [10, 0, 0, 1];
    lab.arp(at(1, 2), mac(1), ip);
    lab.arp_tagged(at(1, 3), TEN, mac(1), ip);
    lab.arp_tagged(at(2, 2), TWENTY, mac(1), ip);
    let places = [vlan(0), vlan(10), vlan(20)].map(|vlan| lab.host_on(vlan, mac(1)).unwrap());
    assert_eq!(
        places.each_ref().map(|host| host.end()),
        [at(1, 2), at(1, 3), at(2, 2)]
    );
    assert!(places.iter().all(|host| host.ips == ["10.0.0.1"]));
    // Each passes at its own port, on its own VLAN, and is news elsewhere.
    for (of, end) in [(0, at(1, 2)), (10, at(1, 3)), (20, at(2, 2))] {
        for on in [0, 10, 20] {
            let expected = (on != of, true);
            let treats = lab.treats_on(vlan(on), end, mac(1), mac(9), IPV4);
            assert_eq!(treats, expected, "VLAN {on} at the port of VLAN {of}");
        }
    }
    // However often they speak, none moves.
    for _ in 0..20 {
        assert!(lab.arp(at(1, 2), mac(1), ip).is_empty());
        assert!(lab.arp_tagged(at(1, 3), TEN, mac(1), ip).is_empty());
        lab.run(100);
    }
    assert!(lab.alarms(FLAPPING).is_empty());
}

#[test]
fn an_ip_address_has_a_bearer_on_each_vlan() {
    let mut lab = Lab::pair();
    lab.arp_tagged(at(1, 2), TEN, mac(1), [10, 0, 0, 1]);
    lab.arp_tagged(at(1, 3), TWENTY, mac(2), [10, 0, 0, 1]);
    let bearers = [0, 10, 20].map(|vid| lab.bearer_on(vlan(vid), "10.0.0.1"));
    assert_eq!(bearers, [None, Some(mac(1)), Some(mac(2))]);
    lab.arp_tagged(at(1, 4), TEN, mac(3), [10, 0, 0, 1]);
    assert_eq!(lab.bearer_on(vlan(10), "10.0.0.1"), Some(mac(3)));
    assert!(lab.host_on(vlan(10), mac(1)).unwrap().ips.is_empty());
    assert_eq!(lab.bearer_on(vlan(20), "10.0.0.1"), Some(mac(2)));
}

#[test]
fn a_priority_makes_no_vlan_and_the_outer_tag_counts() {
    let mut lab = Lab::pair();
    lab.arp_tagged(at(1, 2), PRIORITY, mac(1), [10, 0, 0, 1]);
    assert_eq!(lab.bearer("10.0.0.1"), Some(mac(1)));
    assert!(lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]).is_empty());
    let double = tagged(TWENTY_OF_TEN, &frame(mac(9), mac(2), IPV4, &[]));
    lab.punt(at(1, 3), double);
    assert_eq!(lab.host_on(vlan(20), mac(2)).unwrap().end(), at(1, 3));
}

#[test]
fn a_rule_that_ends_forgets_the_host_of_its_vlan_only() {
    let mut lab = Lab::pair();
    for tag in [&[][..], TEN, TWENTY] {
        lab.arp_tagged(at(1, 2), tag, mac(1), [10, 0, 0, 1]);
    }
    let known = |lab: &Lab| [0, 10, 20].map(|vid| lab.host_on(vlan(vid), mac(1)).is_some());
    // A rule of a release without VLANs is of no host: frames may have matched the newer one beside it.
    lab.rule_of_ends(at(1, 2), Match::new().eth_src(mac(1)), IDLE_TIMEOUT);
    assert_eq!(known(&lab), [true, true, true]);
    let ten = from_host(Match::new(), (mac(1), vlan(10)));
    lab.rule_of_ends(at(1, 2), ten, IDLE_TIMEOUT);
    assert_eq!(known(&lab), [true, false, true]);
    assert_eq!(lab.bearer_on(vlan(10), "10.0.0.1"), None);
    lab.rule_ends(at(1, 2), mac(1), IDLE_TIMEOUT);
    assert_eq!(known(&lab), [false, false, true]);
    lab.port_is(at(1, 2), false);
    assert_eq!(known(&lab), [false, false, false]);
}

#[test]
fn a_flapping_host_is_held_on_its_vlan_only() {
    let mut lab = Lab::pair();
    for n in 0..40_u8 {
        let data = frame(mac(2), mac(1), 0x1234, &[n]);
        let port = 2 + u32::from(n % 2);
        lab.punt(at(1, port), tagged(TEN, &data));
        lab.punt(at(1, 4), data);
    }
    lab.run(100);
    assert_eq!(lab.alarms(FLAPPING), [format!("{}/10", mac(1))]);
    assert_eq!(lab.host(mac(1)).unwrap().end(), at(1, 4));
}

#[test]
fn each_host_of_each_vlan_counts() {
    let mut lab = Lab::pair();
    let most: Setting = HOSTS_PER_PORT;
    lab.bench.row(&LIMITS, &most.name().to_owned(), &2);
    for tag in [&[][..], TEN, TWENTY] {
        lab.arp_tagged(at(1, 2), tag, mac(1), [10, 0, 0, 1]);
    }
    let known = [0, 10, 20].map(|vid| lab.host_on(vlan(vid), mac(1)).is_some());
    assert_eq!(known, [true, true, false]);
}
