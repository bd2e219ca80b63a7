//! Forwarding of frames: by the rules, and by the app where no rule matches.

#![allow(clippy::unwrap_used, clippy::panic)]

mod net;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use morph_sdk::bench::{Bench, Outcome};
use morph_sdk::packet::{self, Arp, Ethernet, ether_type};
use morph_sdk::{Action, Bytes, Dpid, Event, MacAddr, PacketIn, Rows, port};
use net::{Fate, Net, any_net, connected, end, host, mac, port_is, untagged};
use proptest::prelude::*;
use router::graph::End;
use router::tables::WEIGHTS;
use router::{Release, Router, V1, V2, V3};

/// Ports by which packet-outs leave, each port once.
fn outputs(outcome: &Outcome) -> BTreeSet<End> {
    let mut ends = BTreeSet::new();
    for out in &outcome.packet_outs {
        assert_eq!(out.in_port, port::CONTROLLER);
        for action in &out.actions {
            let Action::Output { port, .. } = action else {
                panic!("{action:?}")
            };
            let dpid = out.dpid;
            assert!(
                ends.insert(End { dpid, port: *port }),
                "twice: {dpid}/{port}"
            );
        }
    }
    ends
}

fn frame(dst: MacAddr, src: MacAddr) -> Bytes {
    packet::frame(dst, src, ether_type::IPV4, &[0; 46])
}

fn asks(sender: MacAddr, sender_ip: [u8; 4], target_ip: [u8; 4]) -> Bytes {
    let asked = Arp {
        operation: Arp::REQUEST,
        sender_mac: sender,
        sender_ip: sender_ip.into(),
        target_mac: MacAddr([0; 6]),
        target_ip: target_ip.into(),
    };
    asked.frame(MacAddr::BROADCAST)
}

fn line() -> Net {
    Net::of([(1, 2), (2, 3)])
        .host(1, end(1, 50))
        .host(2, end(2, 50))
        .host(3, end(3, 50))
}

fn on_a_line<R: Release>() -> Bench<Router<R>> {
    let mut bench = line().bench(&Rows::new());
    // A host port behind which no host has sent anything yet.
    port_is(&mut bench, end(3, 51), "host");
    bench
}

fn every_frame_to_a_known_host_gets_there<R: Release>(net: &Net) {
    let bench = net.bench::<R>(&Rows::new());
    for (&dst, &home) in &net.hosts {
        for (&src, &from) in &net.hosts {
            let tree = R::tree(&bench.view(), untagged(dst)).unwrap();
            let expected = match tree.get(&from.dpid) {
                Some(_) if src == dst => Fate::Dropped(home),
                Some(_) => Fate::Left(home),
                None => Fate::Punted(from),
            };
            assert_eq!(
                net.walk(bench.rules(), from, dst),
                expected,
                "{src} to {dst}"
            );
        }
        assert_eq!(
            net.walk(bench.rules(), home, mac(200)),
            Fate::Punted(home),
            "unknown"
        );
        assert_eq!(
            net.walk(bench.rules(), home, MacAddr::BROADCAST),
            Fate::Punted(home),
            "to all, from a host that is not known there"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rules_lead_to_every_known_host(net in any_net()) {
        every_frame_to_a_known_host_gets_there::<V1>(&net);
        every_frame_to_a_known_host_gets_there::<V2>(&net);
        every_frame_to_a_known_host_gets_there::<V3>(&net);
    }

    #[test]
    fn garbage_causes_no_panic(data in proptest::collection::vec(any::<u8>(), 0..80), group: bool, arp: bool) {
        let mut data = data;
        if group && data.len() > 6 { data[..6].fill(0xff); }
        if arp && data.len() > 22 { data[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]); }
        let mut bench = on_a_line::<V1>();
        for at in [end(1, 50), end(1, 1), end(9, 9)] {
            let outcome = bench.packet_in(at.dpid, at.port, data.clone());
            prop_assert!(outcome.error.is_none() && outcome.puts.is_empty());
        }
    }
}

/// A frame punted at one port, and the ports where it has to come out.
struct PuntedFrame {
    what: &'static str,
    at: End,
    data: Bytes,
    out: &'static [(u64, u32)],
}

fn punted() -> Vec<PuntedFrame> {
    let case = |what, at, data, out| PuntedFrame {
        what,
        at,
        data,
        out,
    };
    vec![
        case(
            "to a known host",
            end(1, 50),
            frame(mac(3), mac(1)),
            &[(3, 50)],
        ),
        case(
            "to a known host, punted on the way",
            end(2, 1),
            frame(mac(3), mac(1)),
            &[(3, 50)],
        ),
        case(
            "to the port it came from",
            end(1, 50),
            frame(mac(1), mac(7)),
            &[],
        ),
        case(
            "to nobody known",
            end(1, 50),
            frame(mac(9), mac(1)),
            &[(2, 50), (3, 50), (3, 51)],
        ),
        case(
            "to nobody known, punted on the way",
            end(2, 1),
            frame(mac(9), mac(1)),
            &[(2, 50), (3, 50), (3, 51)],
        ),
        case(
            "to all",
            end(3, 50),
            frame(MacAddr::BROADCAST, mac(3)),
            &[(1, 50), (2, 50), (3, 51)],
        ),
        case(
            "to all, over a link",
            end(2, 1),
            frame(MacAddr::BROADCAST, mac(1)),
            &[],
        ),
        case(
            "to bridges",
            end(1, 50),
            frame(MacAddr([1, 0x80, 0xc2, 0, 0, 0]), mac(1)),
            &[],
        ),
        case(
            "asks for an unknown address",
            end(1, 50),
            asks(mac(1), [10, 0, 0, 1], [10, 0, 0, 9]),
            &[(2, 50), (3, 50), (3, 51)],
        ),
        case(
            "asks for its own address",
            end(1, 50),
            asks(mac(1), [10, 0, 0, 1], [10, 0, 0, 1]),
            &[(2, 50), (3, 50), (3, 51)],
        ),
        case(
            "probes for a known address",
            end(1, 50),
            asks(mac(7), [0; 4], [10, 0, 0, 2]),
            &[(2, 50), (3, 50), (3, 51)],
        ),
        case(
            "probes for its own address by another",
            end(1, 50),
            asks(mac(1), [10, 0, 0, 5], [10, 0, 0, 1]),
            &[(2, 50), (3, 50), (3, 51)],
        ),
        case(
            "asks for a known address",
            end(1, 50),
            asks(mac(1), [10, 0, 0, 1], [10, 0, 0, 3]),
            &[(1, 50)],
        ),
        case(
            "too short for a frame",
            end(1, 50),
            Bytes::from_static(&[0xff; 13]),
            &[],
        ),
    ]
}

#[test]
fn punted_frames_come_out_where_they_belong() {
    come_out::<V1>();
    come_out::<V3>();
}

fn come_out<R: Release>() {
    for PuntedFrame {
        what,
        at,
        data,
        out,
    } in punted()
    {
        let mut bench = on_a_line::<R>();
        let outcome = bench.packet_in(at.dpid, at.port, data);
        let expected: BTreeSet<End> = out.iter().map(|(d, p)| end(*d, *p)).collect();
        assert_eq!(outputs(&outcome), expected, "{what}");
        assert!(
            outcome.puts.is_empty() && outcome.flow_mods.is_empty(),
            "{what}"
        );
    }
}

#[test]
fn the_answer_is_the_one_that_the_host_would_give() {
    let mut bench = on_a_line::<V2>();
    let asked = asks(mac(1), [10, 0, 0, 1], [10, 0, 0, 3]);
    let outcome = bench.packet_in(Dpid(1), 50, asked);
    let answer = Ethernet::parse(&outcome.packet_outs[0].data).unwrap();
    let arp = answer.arp().unwrap();
    assert_eq!((answer.dst, answer.src), (mac(1), mac(3)));
    assert_eq!((arp.operation, arp.sender_mac), (Arp::REPLY, mac(3)));
    assert_eq!(arp.sender_ip, Ipv4Addr::new(10, 0, 0, 3));
    assert_eq!(arp.target_ip, Ipv4Addr::new(10, 0, 0, 1));
}

#[test]
fn a_frame_that_was_flooded_is_not_flooded_again_when_it_comes_back() {
    let mut bench = on_a_line::<V1>();
    for dst in [MacAddr::BROADCAST, mac(9)] {
        let data = frame(dst, mac(1));
        let first = bench.packet_in(Dpid(1), 50, data.clone());
        assert!(!first.packet_outs.is_empty());
        for (dpid, port) in [(2, 50), (3, 50), (3, 51)] {
            let back = bench.packet_in(Dpid(dpid), port, data.clone());
            assert!(back.is_empty(), "{back:?}");
        }
        let again = bench.packet_in(Dpid(1), 50, data.clone());
        assert!(again.is_empty(), "it has come back to its first port");
        bench.tick(std::time::Duration::from_secs(1));
        let repeated = bench.packet_in(Dpid(1), 50, data.clone());
        assert_eq!(outputs(&repeated), outputs(&first), "the host repeats it");
        bench.tick(std::time::Duration::from_secs(1));
        // To a group: switches may have flooded it, as its source is known elsewhere.
        let later = bench.packet_in(Dpid(3), 51, data);
        assert_eq!(later.packet_outs.is_empty(), dst.is_multicast());
        bench.tick(std::time::Duration::from_secs(1));
    }
}

/// Beginning of a frame of 1500 bytes that the switch keeps in this buffer.
fn cut(dst: MacAddr, buffer: Option<u32>) -> Event {
    Event::PacketIn(PacketIn {
        dpid: Dpid(1),
        in_port: 50,
        table: net::PIPELINE.first,
        reason: 0,
        cookie_own: 0,
        length: 1500,
        buffer,
        data: frame(dst, mac(1)),
    })
}

#[test]
fn a_packet_of_which_only_the_beginning_came_leaves_the_switch_that_keeps_it() {
    let mut bench = line().host(4, end(1, 51)).bench::<V1>(&Rows::new());
    for (dst, buffer, out, dropped) in [
        (mac(4), Some(7), &[end(1, 51)][..], 0),
        (mac(4), None, &[], 1),
        (mac(3), Some(7), &[], 1),
        (mac(9), Some(7), &[end(1, 51)], 2),
    ] {
        let outcome = bench.event(cut(dst, buffer));
        assert_eq!(outputs(&outcome), out.iter().copied().collect(), "{dst}");
        assert_eq!(outcome.cut, dropped, "{dst}");
        let buffers = outcome.packet_outs.iter().map(|out| out.buffer);
        assert!(buffers.into_iter().all(|used| used == buffer), "{dst}");
    }
}

#[test]
fn a_switch_that_is_away_is_sent_nothing() {
    let mut bench = on_a_line::<V1>();
    bench.event(Event::SwitchDown(Dpid(3)));
    connected(&mut bench, Dpid(3), false);
    let to_all = bench.packet_in(Dpid(1), 50, frame(MacAddr::BROADCAST, mac(1)));
    assert_eq!(outputs(&to_all), BTreeSet::from([end(2, 50)]));
    let to_it = bench.packet_in(Dpid(1), 50, frame(mac(3), mac(1)));
    assert!(to_it.is_empty());
}

#[test]
fn weights_of_a_forgotten_switch_are_deleted_in_any_form() {
    let mut bench = on_a_line::<V2>();
    let keys = ["0000000000000003/1", "0x3/2", "3/2", "2/1", "33/1"];
    for key in keys {
        bench.row(&WEIGHTS, &key.to_owned(), &7);
    }
    bench.event(Event::SwitchDown(Dpid(3)));
    let forgotten = bench.event(Event::SwitchForgotten(Dpid(3)));
    let deleted: Vec<_> = forgotten.deleted(&WEIGHTS);
    assert_eq!(deleted, ["0000000000000003/1", "0x3/2", "3/2"]);
}

#[test]
fn a_host_is_heard_by_all_before_others_are_answered_for() {
    let mut bench = on_a_line::<V1>();
    let all = BTreeSet::from([end(1, 50), end(2, 50), end(3, 50)]);
    let ask = |bench: &mut Bench<Router<V1>>, sender| {
        let asked = asks(sender, [10, 0, 0, 4], [10, 0, 0, 3]);
        outputs(&bench.packet_in(Dpid(3), 51, asked))
    };
    let answered = BTreeSet::from([end(3, 51)]);
    assert_eq!(ask(&mut bench, mac(4)), all, "nobody knows it yet");
    host(&mut bench, mac(4), end(3, 51));
    assert_eq!(ask(&mut bench, mac(4)), all, "it has just become known");
    assert_eq!(ask(&mut bench, mac(4)), answered);
    assert_eq!(
        ask(&mut bench, mac(5)),
        all,
        "its address has another bearer"
    );
    assert_eq!(ask(&mut bench, mac(4)), answered);
    host(&mut bench, mac(4), end(3, 51));
    net::binds(&mut bench, [10, 0, 0, 4], mac(5));
    bench.tick(std::time::Duration::from_secs(11));
    let asked = ask(&mut bench, mac(5));
    assert_eq!(asked, answered, "it has been known for long");
}

#[test]
fn a_host_that_comes_gets_rules_and_one_that_goes_loses_them() {
    let mut bench = on_a_line::<V2>();
    let came = host(&mut bench, mac(4), end(3, 51));
    assert_eq!(came.flow_mods.len(), 4);
    let gone = bench.no_row(&net::hosts_of::<V1>(), &mac(4));
    assert_eq!(gone.deletes.len(), 3);
    assert_eq!(gone.flow_mods.len(), 4);
}
