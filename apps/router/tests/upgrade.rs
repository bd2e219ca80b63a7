//! Upgrades between the releases: paths, weights and rules stay; each release treats weights in its own way.

#![allow(clippy::unwrap_used, clippy::panic)]

mod net;

use std::collections::BTreeMap;

use morph_sdk::bench::{Bench, Outcome, down, up};
use morph_sdk::{Dpid, Key, Migration, Rows};
use net::{Net, WEIGHTS, any_net, any_weights, connected, cut, end, host, link, mac, untagged};
use proptest::prelude::*;
use router::graph::End;
use router::tree::Tree;
use router::{Release, Router, V1, V1ToV2, V2, V2ToV3, V3};
use serde_json::{Value, json};

fn weigh<R: Release>(bench: &mut Bench<Router<R>>, at: End, weight: u32) -> Outcome {
    bench.row(&WEIGHTS, &(at.dpid, at.port).text(), &weight)
}

/// Whether no row was written. The rules are compared as a whole: the bench's switches begin without any.
fn keeps(outcome: Outcome) -> bool {
    outcome.puts.is_empty() && outcome.deletes.is_empty() && outcome.error.is_none()
}

fn trees<R: Release>(bench: &Bench<Router<R>>) -> BTreeMap<String, Tree> {
    let view = bench.view();
    R::destinations(&view)
        .into_iter()
        .filter_map(|mac| Some((mac.to_string(), R::tree(&view, mac)?)))
        .collect()
}

/// Two paths from 1 to 4, equally long: over 2 by cables 1 and 2, over 3 by cables 3 and 4. The host is at 4.
fn diamond() -> Net {
    Net::of([(1, 2), (2, 4), (1, 3), (3, 4)]).host(4, end(4, 50))
}

const OVER_2: u32 = 1;
const OVER_3: u32 = 3;

fn first_hop<R: Release>(bench: &Bench<Router<R>>) -> u32 {
    R::tree(&bench.view(), untagged(mac(4))).unwrap()[&Dpid(1)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn there_and_back_nothing_is_lost(
        trees in proptest::collection::btree_map(any::<[u8; 6]>(), proptest::collection::btree_map(any::<u64>(), any::<u32>(), 1..5), 0..5),
        weights in any_weights(),
        applied in any_weights(),
    ) {
        let mut old = Rows::new();
        for (mac, tree) in trees {
            let tree: BTreeMap<_, _> = tree.into_iter().map(|(dpid, port)| (Dpid(dpid), port)).collect();
            old.put(&router::release::TREES, &morph_sdk::MacAddr(mac), &tree).unwrap();
        }
        for (end, weight) in weights {
            old.put(&WEIGHTS, &(end.dpid, end.port).text(), &weight).unwrap();
        }
        for (end, weight) in applied {
            old.put(&router::tables::APPLIED, &(end.dpid, end.port), &weight).unwrap();
        }
        let new = up::<V1ToV2>(&old).unwrap();
        prop_assert_eq!(&down::<V1ToV2>(&new).unwrap(), &old);
        prop_assert_eq!(up::<V1ToV2>(&old).unwrap(), new);
        let new = up::<(V1ToV2, V2ToV3)>(&old).unwrap();
        prop_assert_eq!(&down::<(V1ToV2, V2ToV3)>(&new).unwrap(), &old);
    }

    #[test]
    fn an_upgrade_changes_no_path_and_no_rule(net in any_net(), first in any_weights(), then in any_weights()) {
        let mut old = net.bench::<V1>(&Rows::new());
        for (at, weight) in first {
            prop_assert!(weigh(&mut old, at, weight).flow_mods.is_empty());
        }
        let mut new = net.before_resume::<V2>(&up::<V1ToV2>(&old.own_rows()).unwrap());
        prop_assert!(keeps(new.resume()));
        prop_assert_eq!(new.rules(), old.rules());
        prop_assert_eq!(trees(&new), trees(&old));
        for (at, weight) in then {
            weigh(&mut new, at, weight);
        }
        let mut back = net.before_resume::<V1>(&down::<V1ToV2>(&new.own_rows()).unwrap());
        prop_assert!(keeps(back.resume()));
        prop_assert_eq!(back.rules(), new.rules());
        prop_assert_eq!(trees(&back), trees(&new));
    }

    #[test]
    fn an_upgrade_to_vlans_changes_no_path(net in any_net(), weights in any_weights()) {
        let mut old = net.bench::<V2>(&Rows::new());
        for (at, weight) in weights {
            weigh(&mut old, at, weight);
        }
        let mut new = net.before_resume::<V3>(&up::<V2ToV3>(&old.own_rows()).unwrap());
        prop_assert!(keeps(new.resume()));
        prop_assert_eq!(trees(&new), trees(&old));
        let mut back = net.before_resume::<V2>(&down::<V2ToV3>(&new.own_rows()).unwrap());
        prop_assert!(keeps(back.resume()));
        prop_assert_eq!(back.rules(), old.rules());
        prop_assert_eq!(back.own_rows(), old.own_rows());
    }

    #[test]
    fn settled_trees_stay_as_they_are(net in any_net(), weights in any_weights()) {
        let mut bench = net.bench::<V2>(&Rows::new());
        for (at, weight) in weights {
            weigh(&mut bench, at, weight);
        }
        prop_assert!(bench.resume().is_empty());
    }
}

#[test]
fn a_group_is_a_destination_in_both_schemas() {
    let mut old = Rows::new();
    let row = |table: &str, key: &str| (table.to_owned(), key.to_owned());
    old.0.insert(
        row("trees", "02:00:00:00:00:01"),
        json!({"0000000000000001": 5, "0000000000000002": 6}),
    );
    let new = up::<V1ToV2>(&old).unwrap();
    let expected: BTreeMap<_, Value> = [(1, 5), (2, 6)]
        .map(|(dpid, port)| {
            let key = format!("02:00:00:00:00:01/{}", Dpid(dpid));
            (row("hops", &key), json!({"port": port}))
        })
        .into();
    assert_eq!(new.0, expected);
    let groups: Vec<_> = new
        .0
        .keys()
        .map(|(t, k)| V1ToV2::group_of_new(t, k))
        .collect();
    assert_eq!(
        groups,
        vec![V1ToV2::group_of_old("trees", "02:00:00:00:00:01"); 2]
    );
}

#[test]
fn rows_that_are_none_of_ours_are_refused() {
    for (table, key, value) in [
        ("trees", "02:00:00:00:00:01", json!({})),
        ("trees", "02:00:00:00:00:01", json!({"x": 1})),
        ("trees", "02:00:00:00:00:01", json!(1)),
        ("trees", "somebody", json!({"0000000000000001": 5})),
    ] {
        let mut rows = Rows::new();
        rows.0.insert((table.into(), key.into()), value.clone());
        assert!(up::<V1ToV2>(&rows).is_err(), "{table}.{key} {value}");
    }
}

#[test]
fn a_weight_moves_the_tree_on_it_in_2_and_none_in_1() {
    let mut one = diamond().bench::<V1>(&Rows::new());
    assert_eq!(first_hop(&one), OVER_2, "a tie: the lower next hop");
    assert!(weigh(&mut one, end(1, OVER_2), 5).flow_mods.is_empty());
    assert_eq!(first_hop(&one), OVER_2);

    let mut two = diamond().bench::<V2>(&Rows::new());
    assert_eq!(first_hop(&two), OVER_2);
    weigh(&mut two, end(1, OVER_2), 5);
    assert_eq!(first_hop(&two), OVER_3);
}

#[test]
fn a_lower_weight_elsewhere_moves_nothing() {
    let mut bench = diamond().bench::<V2>(&Rows::new());
    weigh(&mut bench, end(1, OVER_2), 5);
    assert_eq!(first_hop(&bench), OVER_3);
    // The path over 2 is as good as ever again, but nothing on the path over 3 has changed.
    weigh(&mut bench, end(1, OVER_2), 1);
    assert_eq!(first_hop(&bench), OVER_3);
    bench.no_row(&WEIGHTS, &(Dpid(1), OVER_2).text());
    assert_eq!(first_hop(&bench), OVER_3);
}

#[test]
fn a_path_that_no_computation_would_choose_passes_both_upgrades() {
    let mut two = diamond().bench::<V2>(&Rows::new());
    weigh(&mut two, end(1, OVER_2), 5);
    weigh(&mut two, end(1, OVER_2), 1);
    assert_eq!(first_hop(&two), OVER_3);
    let mut one = diamond().before_resume::<V1>(&down::<V1ToV2>(&two.own_rows()).unwrap());
    assert!(keeps(one.resume()));
    let mut two = diamond().before_resume::<V2>(&up::<V1ToV2>(&one.own_rows()).unwrap());
    assert!(keeps(two.resume()));
    assert_eq!(first_hop(&two), OVER_3);
}

#[test]
fn a_weight_set_while_no_instance_was_live_counts_at_the_next_resume() {
    let two = diamond().bench::<V2>(&Rows::new());
    let mut rows = two.own_rows();
    rows.put(&WEIGHTS, &(Dpid(1), OVER_2).text(), &5).unwrap();
    let mut next = diamond().before_resume::<V2>(&rows);
    next.resume();
    assert_eq!(first_hop(&next), OVER_3);
    assert!(next.resume().is_empty());
}

#[test]
fn weights_that_make_no_sense_count_as_none() {
    let mut bench = diamond().bench::<V2>(&Rows::new());
    let raw = morph_sdk::Table::<String, Value>::new("weights");
    for (key, value) in [
        ("nobody", json!(5)),
        ("0000000000000001/1", json!("heavy")),
        ("0000000000000001/1", json!(-1)),
        ("0000000000000001/1", json!(0)),
    ] {
        let outcome = bench.row(&raw, &key.to_owned(), &value);
        assert!(outcome.is_empty(), "{key} {value}: {outcome:?}");
    }
    bench.row(&raw, &"of:0000000000000001/1".to_owned(), &json!(5));
    assert_eq!(first_hop(&bench), OVER_3, "a datapath id in another form");
}

#[test]
fn a_cut_moves_what_was_on_it_and_a_mend_moves_nothing() {
    let mut net = diamond();
    let mut bench = net.bench::<V1>(&Rows::new());
    cut(&mut bench, &mut net, end(1, OVER_2));
    assert_eq!(first_hop(&bench), OVER_3);
    link(&mut bench, end(1, OVER_2), Some(end(2, 1)));
    let mended = link(&mut bench, end(2, 1), Some(end(1, OVER_2)));
    assert!(mended.puts.is_empty() && mended.deletes.is_empty());
    assert_eq!(first_hop(&bench), OVER_3);
}

#[test]
fn switches_that_lose_their_channel_change_no_path() {
    let net = diamond();
    let mut bench = net.bench::<V2>(&Rows::new());
    let before = trees(&bench);
    for &dpid in &net.switches {
        assert!(connected(&mut bench, dpid, false).is_empty());
    }
    for &dpid in net.switches.iter().rev() {
        assert!(connected(&mut bench, dpid, true).is_empty());
    }
    assert_eq!(trees(&bench), before);
}

#[test]
fn a_host_that_moves_takes_its_tree_along() {
    let net = diamond();
    let mut bench = net.bench::<V1>(&Rows::new());
    host(&mut bench, mac(4), end(1, 50));
    let tree = V1::tree(&bench.view(), untagged(mac(4))).unwrap();
    assert_eq!(tree[&Dpid(1)], 50);
    assert_eq!((tree[&Dpid(2)], tree[&Dpid(3)]), (1, 3));
}

#[test]
fn more_trees_than_fit_into_a_turn_move_over_several() {
    const MANY: u16 = 9000;
    let many = |n: u16| morph_sdk::MacAddr([2, 1, 0, 0, (n >> 8) as u8, n as u8]);
    let mut net = Net::of([(1, 2), (2, 4), (1, 3), (3, 4)]);
    for n in 0..MANY {
        net.hosts.insert(many(n), end(4, 50));
    }
    let mut bench = net.before_resume::<V2>(&Rows::new());
    let mut turns = Vec::new();
    let mut outcome = bench.resume();
    while !outcome.puts.is_empty() {
        turns.push(outcome.puts.len());
        outcome = bench.tick(std::time::Duration::from_millis(100));
    }
    assert!(
        turns
            .iter()
            .all(|rows| *rows <= router::router::MOST_HOPS + 4),
        "{turns:?}"
    );
    assert_eq!(turns.iter().sum::<usize>(), usize::from(MANY) * 4);
    let to_hosts = bench.rules()[&Dpid(1)].keys();
    let to_hosts = to_hosts.filter(|key| key.priority == 100);
    assert_eq!(to_hosts.count(), usize::from(MANY));
}
