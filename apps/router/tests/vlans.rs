//! VLANs: each has hosts of its own.

#![allow(clippy::unwrap_used, clippy::panic)]

mod net;

use morph_sdk::bench::{Bench, down};
use morph_sdk::packet::{self, Arp, Ethernet, ether_type};
use morph_sdk::{Action, Bytes, Dpid, MacAddr, Rows, Vlan};
use net::{Fate, Net, end, host, host_on, mac, untagged};
use router::graph::End;
use router::hosts::Destination;
use router::release::HOPS;
use router::{Release, Router, V1, V2ToV3, V3};

const TEN: [u8; 4] = [0x81, 0, 0x60, 10];
const PRIORITY: [u8; 4] = [0x81, 0, 0xe0, 0];

fn on(vid: u16, mac: MacAddr) -> Destination {
    let vlan = Vlan::new(vid);
    Destination { mac, vlan }
}

/// Three switches in a line. Host 1 is at the first, at the second on VLAN 10, and at the third on VLAN 20; host 2 speaks to it.
fn bench() -> (Net, Bench<Router<V3>>) {
    let net = Net::of([(1, 2), (2, 3)])
        .host(1, end(1, 50))
        .host(2, end(1, 51));
    let mut bench = net.bench::<V3>(&Rows::new());
    host_on(&mut bench, on(10, mac(1)), end(2, 50));
    host_on(&mut bench, on(20, mac(1)), end(3, 50));
    (net, bench)
}

#[test]
fn frames_to_one_address_part_by_vlan() {
    let (net, bench) = bench();
    for (vid, home) in [(0, end(1, 50)), (10, end(2, 50)), (20, end(3, 50))] {
        for from in [end(1, 51), end(3, 51)] {
            let fate = net.walk_on(bench.rules(), from, on(vid, mac(1)));
            assert_eq!(fate, Fate::Left(home), "VLAN {vid}");
        }
    }
    let unknown = net.walk_on(bench.rules(), end(1, 51), on(30, mac(1)));
    assert_eq!(unknown, Fate::Punted(end(1, 51)));
}

#[test]
fn a_host_that_goes_on_one_vlan_stays_on_the_others() {
    let (net, mut bench) = bench();
    let ten = (mac(1), Vlan::new(10));
    bench.no_row(&net::hosts_of::<V3>(), &ten);
    let fate = |vid| net.walk_on(bench.rules(), end(3, 51), on(vid, mac(1)));
    assert_eq!(fate(10), Fate::Punted(end(3, 51)));
    assert_eq!(fate(0), Fate::Left(end(1, 50)));
    assert_eq!(fate(20), Fate::Left(end(3, 50)));
}

/// Ports by which the answer to a frame leaves, with the frame.
fn answered<R: Release>(bench: &mut Bench<Router<R>>, data: Bytes) -> Vec<(End, Bytes)> {
    let outcome = bench.packet_in(Dpid(1), 51, data);
    let ports = outcome.packet_outs.iter().flat_map(|out| {
        out.actions.iter().map(|action| match action {
            Action::Output { port, .. } => (end(out.dpid.0, *port), out.data.clone()),
            other => panic!("{other:?}"),
        })
    });
    ports.collect()
}

fn tagged(tag: [u8; 4], frame: &[u8]) -> Bytes {
    [&frame[..12], &tag[..], &frame[12..]].concat().into()
}

#[test]
fn a_punted_frame_goes_to_the_host_of_its_vlan() {
    let (_, mut bench) = bench();
    let plain = packet::frame(mac(1), mac(2), ether_type::IPV4, &[0; 46]);
    for (data, home) in [
        (plain.clone(), end(1, 50)),
        (tagged(PRIORITY, &plain), end(1, 50)),
        (tagged(TEN, &plain), end(2, 50)),
    ] {
        assert_eq!(answered(&mut bench, data.clone()), [(home, data)]);
    }
}

/// Question of host 2 for the address of host 1.
fn asks() -> Bytes {
    let asked = Arp {
        operation: Arp::REQUEST,
        sender_mac: mac(2),
        sender_ip: [10, 0, 0, 2].into(),
        target_mac: MacAddr([0; 6]),
        target_ip: [10, 0, 0, 1].into(),
    };
    asked.frame(MacAddr::BROADCAST)
}

#[test]
fn a_tagged_question_is_answered_with_its_tag() {
    let (_, mut bench) = bench();
    host_on(&mut bench, on(10, mac(2)), end(1, 51));
    for (tag, vlan) in [(TEN, Vlan::new(10)), (PRIORITY, Vlan::NONE)] {
        bench.tick(std::time::Duration::from_secs(11));
        let answers = answered(&mut bench, tagged(tag, &asks()));
        let [(back, answer)] = &answers[..] else {
            panic!("{answers:?}")
        };
        let answer = Ethernet::parse(answer).unwrap();
        assert_eq!(
            (*back, answer.tag, answer.vlan),
            (end(1, 51), &tag[..], vlan)
        );
        let arp = answer.arp().unwrap();
        assert_eq!((arp.operation, arp.sender_mac), (Arp::REPLY, mac(1)));
    }
    // On VLAN 20 nobody knows host 2, and on 30 nobody knows host 1: all hear the question.
    for vid in [20, 30] {
        let question = tagged([0x81, 0, 0, vid], &asks());
        let heard = answered(&mut bench, question.clone());
        assert!(heard.iter().all(|(_, data)| *data == question), "{heard:?}");
        assert!(!heard.is_empty());
    }
}

#[test]
fn a_release_without_vlans_forwards_by_the_address_alone() {
    let net = Net::of([(1, 2)]).host(1, end(2, 50)).host(2, end(1, 51));
    let mut bench = net.bench::<V1>(&Rows::new());
    host(&mut bench, mac(1), end(2, 50));
    for vid in [0, 10] {
        let fate = net.walk_on(bench.rules(), end(1, 51), on(vid, mac(1)));
        assert_eq!(fate, Fate::Left(end(2, 50)));
    }
    let heard = answered(&mut bench, tagged(TEN, &asks()));
    assert!(
        heard.iter().all(|(end, _)| *end != net::end(1, 51)),
        "{heard:?}"
    );
}

#[test]
fn on_the_way_back_the_paths_of_the_lowest_vlan_stay() {
    let (_, bench) = bench();
    let mut rows = bench.own_rows();
    let tree = |vid| V3::tree(&bench.view(), on(vid, mac(1))).unwrap();
    let back = |rows: &Rows| {
        let old = down::<V2ToV3>(rows).unwrap();
        let hops = old.of(&HOPS).unwrap().into_iter();
        let hops = hops.filter(|((to, _), _)| *to == mac(1));
        hops.map(|((_, dpid), hop)| (dpid, hop.port)).collect()
    };
    let untagged = V3::tree(&bench.view(), untagged(mac(1))).unwrap();
    assert_eq!((back(&rows), tree(0)), (untagged.clone(), untagged));
    rows.0.retain(|(_, key), _| !key.contains("/none/"));
    assert_eq!(back(&rows), tree(10));
}
