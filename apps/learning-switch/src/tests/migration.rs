//! Rows of schema version 1.

use morph_sdk::bench::{Bench, down, up};
use morph_sdk::{Action, MacAddr, Rows, Vlan};
use proptest::prelude::*;

use super::{A, B, C, PIPELINE, S, bench, known, limit, mac, packet, walk, with_one_table};
use crate::LearningSwitch;
use crate::migration::{OLD_MACS, OLD_PAIRS, V1ToV2, V2ToV3};
use crate::tables::{Counts, LIMITS, MACS, PAIRS, Pair, SWITCHES};

type Both = (V1ToV2, V2ToV3);

/// Rows as release 1.0.0 stored them, as text.
const OF_1_0_0: &str = r#"{
    "macs": {
        "0000000000000001/02:00:00:00:00:0a": 1,
        "0000000000000001/02:00:00:00:00:0b": 2,
        "0000000000000002/02:00:00:00:00:0a": 3
    },
    "pairs": {
        "0000000000000001/02:00:00:00:00:0a/02:00:00:00:00:0b": {"in_port": 1, "out": 2},
        "0000000000000001/02:00:00:00:00:0b/02:00:00:00:00:0a": {"in_port": 2, "out": 1},
        "0000000000000001/02:00:00:00:00:0a/ff:ff:ff:ff:ff:ff": {"in_port": 1, "out": 4294967291}
    }
}"#;

fn rows(text: &str) -> Rows {
    let tables: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    let mut rows = Rows::new();
    for (table, values) in tables {
        for (key, value) in values.as_object().unwrap() {
            rows.0.insert((table.clone(), key.clone()), value.clone());
        }
    }
    rows
}

#[test]
fn rows_of_1_0_0_come_back_as_they_were() {
    let old = rows(OF_1_0_0);
    let new = up::<Both>(&old).unwrap();
    assert_eq!(new.0.len(), 2 * 3 + 3);
    assert_eq!(down::<Both>(&new).unwrap(), old);
}

#[test]
fn rules_are_the_same_after_an_upgrade() {
    let new = up::<Both>(&rows(OF_1_0_0)).unwrap();
    let mut bench = Bench::new(LearningSwitch::default(), PIPELINE);
    bench.load(&new);
    bench.switch(S, [1, 2, 3]);
    bench.resume();
    assert_eq!(walk(bench.rules(), 1, A, B), [Action::output(2)]);
    assert_eq!(walk(bench.rules(), 2, B, A), [Action::output(1)]);
    let mut bench = with_one_table();
    bench.load(&new);
    bench.resume();
    assert_eq!(super::installed(&bench), 1 + 3);
    bench.packet_in(S, 3, packet(C, A));
    let counts = bench.view().get(&SWITCHES, &S);
    assert_eq!(counts, Some(Counts(3, 4)), "with those that were there");
}

#[test]
fn hosts_that_were_learned_without_bounds_are_bounded_and_go_first() {
    let mut old = Rows::new();
    for n in 0..100 {
        old.put(&OLD_MACS, &(S, mac(n)), &1).unwrap();
    }
    let mut bench = bench();
    bench.load(&up::<Both>(&old).unwrap());
    bench.resume();
    limit(&mut bench, "hosts-per-port", 50);
    for n in 1000..1050 {
        bench.packet_in(S, 1, packet(mac(n), A));
    }
    assert_eq!(known(&bench, 1), 50);
    let mut old = down::<Both>(&bench.own_rows()).unwrap();
    old.0.retain(|(table, _), _| table == "macs");
    let new = |(_, mac): &(_, MacAddr)| *mac >= super::mac(1000);
    assert!(old.of(&OLD_MACS).unwrap().iter().all(|(key, _)| new(key)));
}

#[test]
fn what_the_app_wrote_is_what_the_older_release_expects() {
    let mut bench = with_one_table();
    for (port, src, dst) in [(1, A, B), (2, B, A), (3, C, A), (1, A, MacAddr::BROADCAST)] {
        bench.packet_in(S, port, packet(src, dst));
    }
    let old = down::<Both>(&bench.own_rows()).unwrap();
    assert_eq!(
        old.of(&OLD_MACS).unwrap(),
        [((S, A), 1), ((S, B), 2), ((S, C), 3)]
    );
    let talking = bench.view().iter(&PAIRS);
    let talking: Vec<_> = talking
        .filter_map(|((dpid, src, (dst, _)), pair)| Some(((dpid, src, dst), pair?)))
        .collect();
    assert_eq!(talking.len(), 3);
    assert_eq!(old.of(&OLD_PAIRS).unwrap(), talking);
    assert_eq!(old.0.len(), 3 + 3);
}

#[test]
fn rows_of_1_1_0_come_back_as_they_were() {
    let mut bench = with_one_table();
    bench.packet_in(S, 1, packet(A, B));
    bench.packet_in(S, 2, packet(B, A));
    limit(&mut bench, "hosts-per-port", 50);
    let new = bench.own_rows();
    let old = down::<V2ToV3>(&new).unwrap();
    assert_eq!(old.0.len(), new.0.len());
    assert_eq!(
        old.get(&LIMITS, &"hosts-per-port".to_owned()).unwrap(),
        Some(50)
    );
    let mut back = up::<V2ToV3>(&old).unwrap();
    assert_eq!(down::<V2ToV3>(&back).unwrap(), old);
    back.0.retain(|id, value| new.0.get(id) != Some(value));
    assert_eq!(back, Rows::new());
}

#[test]
fn a_host_on_several_vlans_was_one_host_before_them() {
    let mut bench = bench();
    let on = |vid: u8, data: &[u8]| [&data[..12], &[0x81, 0, 0, vid], &data[12..]].concat();
    for (port, vid) in [(1, 20), (2, 10), (3, 30)] {
        bench.packet_in(S, port, on(vid, &packet(A, B)));
    }
    let old = down::<V2ToV3>(&bench.own_rows()).unwrap();
    assert_eq!(
        down::<V1ToV2>(&old).unwrap().of(&OLD_MACS).unwrap(),
        [((S, A), 2)]
    );
    // Counts that are too high do no harm.
    let mut bench = super::bench();
    bench.load(&up::<V2ToV3>(&old).unwrap());
    bench.resume();
    limit(&mut bench, "hosts-per-port", 1);
    bench.packet_in(S, 1, packet(C, B));
    assert_eq!((known(&bench, 1), known(&bench, 2)), (1, 1));
    let hosts = bench.view().iter(&MACS).map(|(key, _)| key);
    let hosts: Vec<_> = hosts.collect();
    assert_eq!(hosts, [(S, A, Vlan::NONE), (S, C, Vlan::NONE)]);
}

proptest! {
    #[test]
    fn whatever_was_stored_comes_back(
        hosts in prop::collection::vec((0u8..6, 0u8..4), 0..12),
        pairs in prop::collection::vec((0u8..6, 0u8..6, 0u32..4), 0..12),
    ) {
        let mac = |n: u8| MacAddr([2, 0, 0, 0, 0, n]);
        let mut old = Rows::new();
        for (host, port) in hosts {
            old.put(&OLD_MACS, &(S, mac(host)), &port.into()).unwrap();
        }
        for (src, dst, in_port) in pairs {
            let pair = Pair { in_port, out: 1 };
            old.put(&OLD_PAIRS, &(S, mac(src), mac(dst)), &pair).unwrap();
        }
        prop_assert_eq!(down::<Both>(&up::<Both>(&old).unwrap()).unwrap(), old);
    }
}
