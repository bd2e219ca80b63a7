//! Frames to a group: one copy at each host by the rules alone, and never a loop, whatever becomes of the links.

#![allow(clippy::unwrap_used, clippy::panic)]

mod net;

use std::collections::BTreeMap;

use morph_sdk::bench::{Bench, Outcome};
use morph_sdk::packet::{self, ether_type};
use morph_sdk::{Action, Dpid, MacAddr, Rows, RuleSet, Vlan};
use net::{Frame, Installed, Net, any_net, bond, cut, end, host_port, link, mac};
use proptest::prelude::*;
use router::graph::End;
use router::{Router, V2};

fn broadcast(src: MacAddr) -> Frame {
    Frame {
        src,
        dst: MacAddr::BROADCAST,
        eth_type: ether_type::IPV4,
        vlan: Vlan::NONE,
    }
}

/// Copies of a host's broadcast at the ports of other hosts and at the controller (port 0), by the rules alone.
fn copies(net: &Net, rules: &BTreeMap<Dpid, RuleSet>, src: MacAddr) -> BTreeMap<End, usize> {
    let mut copies = BTreeMap::new();
    for at in net.spread(rules, net.hosts[&src], broadcast(src)) {
        *copies.entry(at).or_default() += 1;
    }
    copies
}

/// Ports of all hosts but one.
fn others(net: &Net, of: MacAddr) -> BTreeMap<End, usize> {
    let others = net.hosts.iter().filter(|(mac, _)| **mac != of);
    others.map(|(_, at)| (*at, 1)).collect()
}

fn is_whole(net: &Net) -> bool {
    let mut reached = vec![*net.switches.first().unwrap()];
    let mut at = 0;
    while let Some(dpid) = reached.get(at).copied() {
        at += 1;
        let cables = net.cables.iter().filter(|(near, _)| near.dpid == dpid);
        for (_, far) in cables {
            if !reached.contains(&far.dpid) {
                reached.push(far.dpid);
            }
        }
    }
    reached.len() == net.switches.len()
}

fn mended(bench: &mut Bench<Router<V2>>, net: &mut Net, a: End, b: End) -> Vec<Outcome> {
    net.cable(a, b);
    let there = link(bench, a, Some(b));
    vec![there, link(bench, b, Some(a))]
}

proptest! {
    #[test]
    fn each_host_gets_one_copy_where_links_connect_all(net in any_net()) {
        prop_assume!(is_whole(&net));
        let bench = net.bench::<V2>(&Rows::new());
        for src in net.hosts.keys() {
            prop_assert_eq!(copies(&net, bench.rules(), *src), others(&net, *src));
        }
    }

    /// Links fail and come back. Rules change one by one, in the order of their ranks; those of one rank in any order.
    #[test]
    fn no_host_gets_two_copies_while_the_tree_changes(
        whole in any_net(), which in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..8)
    ) {
        let mut net = whole.clone();
        prop_assume!(!net.cables.is_empty());
        let mut bench = net.bench::<V2>(&Rows::new());
        let mut now = Installed(bench.rules().clone());
        for (which, fails) in which {
            let (a, b) = whole.cables.iter().nth(which.index(whole.cables.len())).unwrap();
            let outcomes = match (fails, net.cables.contains_key(a)) {
                (true, true) => cut(&mut bench, &mut net, *a),
                (false, false) => mended(&mut bench, &mut net, *a, *b),
                _ => continue,
            };
            for (dpid, flow) in outcomes.iter().flat_map(|outcome| &outcome.flow_mods) {
                now.change(*dpid, flow);
                for src in net.hosts.keys() {
                    let copies = copies(&net, &now.0, *src);
                    prop_assert!(copies.values().all(|copies| *copies == 1), "{:?}", copies);
                }
            }
            if is_whole(&net) {
                for src in net.hosts.keys() {
                    prop_assert_eq!(copies(&net, &now.0, *src), others(&net, *src));
                }
            }
        }
    }
}

/// A ring of four switches, with a host at each.
fn ring() -> Net {
    let net = Net::of([(1, 2), (2, 3), (3, 4), (4, 1)]);
    (1..=4).fold(net, |net, n| net.host(n, end(u64::from(n), 50)))
}

#[test]
fn what_is_not_known_at_its_port_and_arp_go_to_the_controller_alone() {
    let net = ring();
    let bench = net.bench::<V2>(&Rows::new());
    let controller = vec![end(1, 0)];
    let arp = Frame {
        eth_type: ether_type::ARP,
        ..broadcast(mac(1))
    };
    for frame in [broadcast(mac(2)), broadcast(mac(9)), arp] {
        assert_eq!(net.spread(bench.rules(), end(1, 50), frame), controller);
    }
    let to_bridges = Frame {
        dst: MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]),
        ..broadcast(mac(1))
    };
    assert_eq!(net.spread(bench.rules(), end(1, 50), to_bridges), []);
}

#[test]
fn while_links_do_not_connect_all_switches_the_app_delivers() {
    let mut net = ring();
    let mut bench = net.bench::<V2>(&Rows::new());
    cut(&mut bench, &mut net, end(1, 1));
    assert_eq!(copies(&net, bench.rules(), mac(1)), others(&net, mac(1)));
    cut(&mut bench, &mut net, end(1, 4));
    for n in 1..=4 {
        let controller = BTreeMap::from([(end(u64::from(n), 0), 1)]);
        assert_eq!(copies(&net, bench.rules(), mac(n)), controller);
    }
}

/// Ports by which an app sends what it gets.
fn sent(outcome: &Outcome) -> BTreeMap<End, usize> {
    let mut sent = BTreeMap::new();
    for out in &outcome.packet_outs {
        for action in &out.actions {
            if let Action::Output { port, .. } = action {
                *sent.entry(end(out.dpid.0, *port)).or_default() += 1;
            }
        }
    }
    sent
}

#[test]
fn a_bond_gets_one_copy_and_sends_by_both_ports() {
    // Host 1 is behind a bond of ports 50 of switch 1 and 60 of switch 2.
    let (home, other) = (end(1, 50), end(2, 60));
    let net = ring();
    let mut bench = net.bench::<V2>(&Rows::new());
    host_port(&mut bench, other);
    let with_other = BTreeMap::from([(other, 1)]);
    let doubled: BTreeMap<End, usize> =
        others(&net, mac(1)).into_iter().chain(with_other).collect();
    assert_eq!(copies(&net, bench.rules(), mac(1)), doubled);
    let data = |src: MacAddr, n: u8| packet::frame(MacAddr::BROADCAST, src, ether_type::IPV4, &[n]);
    let outcome = bench.packet_in(other.dpid, other.port, data(mac(1), 1));
    assert_eq!(sent(&outcome), BTreeMap::new(), "it may have come back");
    bond(&mut bench, other, Some(home));
    assert_eq!(copies(&net, bench.rules(), mac(1)), others(&net, mac(1)));
    assert_eq!(copies(&net, bench.rules(), mac(2)), others(&net, mac(2)));
    let outcome = bench.packet_in(other.dpid, other.port, data(mac(1), 2));
    assert_eq!(sent(&outcome), others(&net, mac(1)));
    // Frames of others there have come back, as at any port.
    let outcome = bench.packet_in(other.dpid, other.port, data(mac(3), 3));
    assert_eq!(sent(&outcome), BTreeMap::new());
    bond(&mut bench, other, None);
    assert_eq!(copies(&net, bench.rules(), mac(1)), doubled);
}
