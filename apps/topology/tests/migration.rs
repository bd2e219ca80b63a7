//! Migration between schema 1, without VLANs, and schema 2.

#![allow(clippy::unwrap_used, clippy::panic)]

mod lab;

use lab::{Lab, at, mac, tagged};
use morph_sdk::bench::{down, up};
use morph_sdk::packet::ether_type::IPV4;
use morph_sdk::packet::frame;
use morph_sdk::{Dpid, MacAddr, Migration, Rows, Vlan};
use proptest::prelude::*;
use serde_json::{Value, json};
use topology::V1ToV2;
use topology::host_tables::{HOSTS, IPS};
use topology::migration::{OLD_HOSTS, OLD_IPS};
use topology::tables::HostRow;

fn rows(text: Value) -> Rows {
    let mut rows = Rows::new();
    for (table, values) in text.as_object().unwrap() {
        for (key, value) in values.as_object().unwrap() {
            let id = (table.clone(), key.clone());
            rows.0.insert(id, value.clone());
        }
    }
    rows
}

/// Rows as release 1.1.0 stored them.
fn of_1_1_0() -> Rows {
    rows(json!({
        "switches": {"0000000000000001": {"connected": true}},
        "ports": {
            "0000000000000001/1": {"name": "p1", "mac": "02:00:00:00:01:01", "up": true, "kind": "link"},
            "0000000000000001/2": {"name": "p2", "mac": "02:00:00:00:01:02", "up": true, "kind": "host"},
        },
        "links": {"0000000000000001/1": {"dpid": "0000000000000002", "port": 1}},
        "hosts": {
            "02:00:00:00:00:01": {"dpid": "0000000000000001", "port": 2, "ips": ["10.0.0.1", "fe80::1"]},
            "02:00:00:00:00:02": {"dpid": "0000000000000001", "port": 2, "ips": []},
        },
        "ips": {"10.0.0.1": "02:00:00:00:00:01", "fe80::1": "02:00:00:00:00:01"},
        "limits": {"hosts": 5},
        "edges": {"0000000000000001/2": true},
        "secrets": {"current": {"key": "00", "since_ms": 1}},
    }))
}

#[test]
fn rows_of_1_1_0_come_back_as_they_were() {
    let old = of_1_1_0();
    let new = up::<V1ToV2>(&old).unwrap();
    assert_eq!(new.0.len(), old.0.len());
    assert_eq!(new.of(&HOSTS).unwrap().len(), 2);
    let bearer = new.get(&IPS, &("fe80::1".to_owned(), Vlan::NONE)).unwrap();
    assert_eq!(bearer, Some(mac(1)));
    assert_eq!(down::<V1ToV2>(&new).unwrap(), old);
}

fn host(port: u32, ips: &[&str]) -> HostRow {
    let ips = ips.iter().map(|ip| (*ip).to_owned()).collect();
    HostRow {
        dpid: Dpid(1),
        port,
        ips,
    }
}

#[test]
fn hosts_that_differ_by_their_vlan_become_the_one_of_the_lowest() {
    let mut new = Rows::new();
    // As text 100 comes before 20.
    for (vid, host) in [
        (100, host(3, &["10.0.0.3"])),
        (20, host(2, &["10.0.0.2", "10.0.0.9"])),
    ] {
        new.put(&HOSTS, &(mac(1), Vlan::new(vid)), &host).unwrap();
    }
    for (ip, vid, bearer) in [
        ("10.0.0.2", 20, mac(1)),
        ("10.0.0.9", 20, mac(1)),
        ("10.0.0.3", 100, mac(1)),
        ("10.0.0.9", 100, mac(2)),
    ] {
        let key = (ip.to_owned(), Vlan::new(vid));
        new.put(&IPS, &key, &bearer).unwrap();
    }
    let old = down::<V1ToV2>(&new).unwrap();
    let all = ["10.0.0.2", "10.0.0.9", "10.0.0.3"];
    assert_eq!(old.of(&OLD_HOSTS).unwrap(), [(mac(1), host(2, &all))]);
    let bearer = |ip: &str| old.get(&OLD_IPS, &ip.to_owned()).unwrap();
    assert_eq!(all.map(bearer), [Some(mac(1)); 3]);
    new.put(&HOSTS, &(mac(1), Vlan::NONE), &host(4, &[]))
        .unwrap();
    let old = down::<V1ToV2>(&new).unwrap();
    assert_eq!(old.of(&OLD_HOSTS).unwrap()[0].1.port, 4);
}

#[test]
fn a_tagged_host_of_the_release_before_is_learned_anew_by_its_first_frame() {
    let mut old = Rows::new();
    old.put(&OLD_HOSTS, &mac(1), &host(2, &[])).unwrap();
    let mut lab = Lab::pair();
    lab.bench.load(&up::<V1ToV2>(&old).unwrap());
    let data = frame(mac(9), mac(1), IPV4, &[]);
    lab.punt(at(1, 2), tagged(&[0x81, 0, 0, 10], &data));
    assert_eq!(lab.host_on(Vlan::new(10), mac(1)), lab.host(mac(1)));
    let back = down::<V1ToV2>(&lab.bench.own_rows()).unwrap();
    assert_eq!(back.get(&OLD_HOSTS, &mac(1)).unwrap(), Some(host(2, &[])));
}

#[test]
fn a_group_is_an_address_in_both_schemas() {
    for (table, old, new) in [
        ("hosts", "02:00:00:00:00:01", "02:00:00:00:00:01/none"),
        ("ips", "10.0.0.1", "10.0.0.1/20"),
        ("ports", "0000000000000001/1", "0000000000000001/1"),
    ] {
        let group = V1ToV2::group_of_old(table, old);
        assert_eq!(V1ToV2::group_of_new(table, new), group);
    }
}

#[test]
fn rows_that_are_none_of_topology_s_are_refused() {
    for odd in [
        json!({"hosts": {"somebody": {"dpid": "0000000000000001", "port": 1, "ips": []}}}),
        json!({"hosts": {"02:00:00:00:00:01": 7}}),
        json!({"ips": {"10.0.0.1": "nobody"}}),
    ] {
        assert!(up::<V1ToV2>(&rows(odd.clone())).is_err(), "{odd}");
    }
}

proptest! {
    #[test]
    fn whatever_was_stored_comes_back(
        hosts in prop::collection::btree_map(any::<[u8; 6]>(), (any::<u64>(), any::<u32>(), prop::collection::vec("[0-9.]{1,9}", 0..4)), 0..9),
        ips in prop::collection::btree_map("[0-9a-f.:]{1,9}", any::<[u8; 6]>(), 0..9),
    ) {
        let mut old = Rows::new();
        for (mac, (dpid, port, ips)) in hosts {
            let dpid = Dpid(dpid);
            old.put(&OLD_HOSTS, &MacAddr(mac), &HostRow { dpid, port, ips }).unwrap();
        }
        for (ip, mac) in ips {
            old.put(&OLD_IPS, &ip, &MacAddr(mac)).unwrap();
        }
        prop_assert_eq!(down::<V1ToV2>(&up::<V1ToV2>(&old).unwrap()).unwrap(), old);
    }
}
