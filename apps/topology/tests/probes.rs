//! Probes that are not believed, edge ports, and what clocks, holds and other instances do to probes.

#![allow(clippy::unwrap_used, clippy::panic)]

mod lab;

use std::time::Duration;

use lab::{Lab, PIPELINE, at, mac, random};
use morph_sdk::bench::Bench;
use morph_sdk::lldp::{ETHER_TYPE, Probe, SEGMENT_ETHER_TYPE};
use morph_sdk::packet::ether_type::IPV4;
use morph_sdk::{Bytes, Dpid, Rows};
use proptest::prelude::*;
use topology::Topology;
use topology::forged::FORGED;
use topology::secrets::{PRESENT, PREVIOUS, SECRETS, SecretRow};
use topology::segments::BLOCKED;
use topology::tables::{EDGES, End, Kind};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Port where frames are punted in, and the port that they say they come from. Both are host ports.
const HERE: End = at(2, 2);
const FROM: End = at(1, 2);

/// Alarm of [`HERE`].
const AT_HERE: &str = "0000000000000002/2";

/// Makes a pair of switches that has settled, with an instance that is no longer new.
fn settled() -> Lab {
    let mut lab = Lab::pair();
    lab.run(20_000);
    lab
}

fn edge(lab: &mut Lab, end: End, is_edge: bool) {
    let outcome = lab.bench.row(&EDGES, &end, &is_edge);
    lab.carry(outcome);
}

fn secret(lab: &Lab, name: &str) -> Option<SecretRow> {
    lab.bench.view().get(&SECRETS, &name.to_owned())
}

/// Copy of a probe with other contents, in the frame of a link's probe.
fn altered(frame: &[u8], alter: impl FnOnce(&mut Probe)) -> Bytes {
    let read = Probe::read(frame).or(Probe::read_segment(frame));
    let mut probe = read.unwrap();
    alter(&mut probe);
    probe.frame(mac(99))
}

/// Checks that a frame at [`HERE`] changes no link and no port, and raises the alarm, which ends by itself.
fn is_forged(lab: &mut Lab, frame: Bytes, what: &str) {
    let links = lab.links();
    assert!(lab.punt(HERE, frame).is_empty(), "{what}");
    lab.run(1000);
    assert_eq!(lab.alarms(FORGED), [AT_HERE], "{what}");
    assert_eq!(lab.links(), links, "{what}");
    assert_eq!(lab.kind(HERE), Some(Kind::Host), "{what}");
    assert_eq!(lab.kind(FROM), Some(Kind::Host), "{what}");
    lab.run(6000);
    assert!(lab.alarms(FORGED).is_empty(), "{what}");
}

#[test]
fn a_forged_probe_cuts_off_no_host_and_raises_an_alarm() {
    let mut lab = settled();
    lab.arp(FROM, mac(1), [10, 0, 0, 1]);
    let link = |lab: &Lab| lab.sent(FROM, ETHER_TYPE);
    let bare = altered(&link(&lab), |probe| probe.tag = None);
    is_forged(&mut lab, bare, "without a tag");
    let wrong = altered(&link(&lab), |probe| probe.tag.as_mut().unwrap()[15] ^= 1);
    is_forged(&mut lab, wrong, "with another tag");
    let port = altered(&lab.sent(at(1, 3), ETHER_TYPE), |probe| probe.port = FROM.1);
    is_forged(&mut lab, port, "with the tag of another port");
    let dpid = altered(&lab.sent(at(2, 2), ETHER_TYPE), |probe| probe.dpid = FROM.0);
    is_forged(&mut lab, dpid, "with the tag of another switch");
    let time = altered(&link(&lab), |probe| probe.sent_ms += 1);
    is_forged(&mut lab, time, "with another time");
    let segment = altered(&lab.sent(FROM, SEGMENT_ETHER_TYPE), |_| {});
    is_forged(&mut lab, segment, "with the tag of a segment probe");
    let segment = Probe::read(&link(&lab)).unwrap().segment_frame(mac(99));
    is_forged(
        &mut lab,
        segment,
        "a segment probe with the tag of a link's probe",
    );
    assert!(lab.host(mac(1)).is_some());
    assert_eq!(lab.treats(FROM, mac(1), IPV4), (false, true));
}

#[test]
fn the_alarm_lasts_while_forged_probes_come_and_over_a_resume() {
    let mut lab = settled();
    let forged = altered(&lab.sent(FROM, ETHER_TYPE), |probe| probe.tag = None);
    for second in 0..60 {
        lab.punt(HERE, forged.clone());
        if second == 20 {
            lab.bench.resume();
        }
        lab.run(1000);
        assert_eq!(lab.alarms(FORGED), [AT_HERE], "{second}");
    }
    lab.bench.resume();
    lab.run(16_000);
    assert!(lab.alarms(FORGED).is_empty());
}

#[test]
fn a_probe_is_believed_for_ten_seconds_and_a_replayed_one_is_not() {
    let mut lab = settled();
    let probe = lab.probe(FROM);
    lab.run(10_100);
    is_forged(&mut lab, probe, "replayed");
    let probe = lab.probe(FROM);
    lab.run(9900);
    lab.punt(HERE, probe);
    assert!(lab.links().contains(&(FROM, HERE)));
}

#[test]
fn a_clock_that_is_stepped_changes_nothing() {
    let mut lab = settled();
    let old = lab.probe(FROM);
    lab.run(11_000);
    let links = lab.links();
    let wall = lab.bench.wall();
    for (what, wall) in [("forward", wall + HOUR), ("back", wall - HOUR)] {
        lab.bench.set_wall(wall);
        for _ in 0..300 {
            lab.run(100);
            assert_eq!(lab.links(), links, "{what}");
        }
        assert!(lab.alarms(FORGED).is_empty(), "{what}");
        is_forged(&mut lab, old.clone(), what);
        // Another instance has the stepped clock.
        lab.bench.resume();
        for _ in 0..300 {
            lab.run(100);
            assert_eq!(lab.links(), links, "{what}, resumed");
        }
        assert!(lab.alarms(FORGED).is_empty(), "{what}, resumed");
    }
}

/// A cable that was plugged in just before, so that a probe which is believed shows as a link.
fn plugged_in(lab: &mut Lab) -> Bytes {
    let probe = lab.probe(FROM);
    assert!(!lab.links().contains(&(FROM, HERE)));
    probe
}

#[test]
fn probes_that_wait_in_a_hold_are_believed() {
    let mut lab = settled();
    let links = lab.links();
    let (frame, hold) = (plugged_in(&mut lab), Duration::from_secs(12));
    let on_their_way = lab.bench.tick(Duration::from_millis(1000)).packet_outs;
    assert!(!on_their_way.is_empty());
    let resumed = lab.bench.tick(hold);
    for out in on_their_way {
        let probe = Probe::read(&out.data);
        let link = probe.and_then(|probe| {
            links
                .iter()
                .find(|(from, _)| *from == (probe.dpid, probe.port))
        });
        if let Some((_, here)) = link {
            lab.punt_after(*here, out.data, hold);
        }
    }
    lab.carry(resumed);
    assert_eq!(lab.links(), links);
    lab.punt_after(HERE, frame, hold);
    assert!(lab.links().contains(&(FROM, HERE)));
    lab.run(2000);
    assert!(lab.alarms(FORGED).is_empty());
    assert!(links.iter().all(|link| lab.links().contains(link)));
}

#[test]
fn another_instance_believes_probes_of_the_one_before_for_ten_seconds() {
    let mut lab = settled();
    let frame = plugged_in(&mut lab);
    let rows = lab.bench.own_rows();
    let target = |ticks: u32, rows: &Rows| {
        let mut lab = Lab::new(&[], []);
        lab.bench = Bench::new(Topology::new(random), PIPELINE);
        lab.bench.set_wall(std::time::UNIX_EPOCH + DAY * 365 * 56);
        lab.bench.load(rows);
        lab.bench.resume();
        lab.run(u64::from(ticks) * 100);
        lab
    };
    let mut at_once = target(0, &rows);
    at_once.punt(HERE, frame.clone());
    assert!(at_once.links().contains(&(FROM, HERE)));
    let mut later = target(100, &rows);
    later.punt(HERE, frame.clone());
    assert!(!later.links().contains(&(FROM, HERE)), "too late");
    // Rows of a release that signed no probes.
    let mut unsigned = rows;
    unsigned.0.retain(|(table, _), _| table != SECRETS.name());
    let mut from_1_0_0 = target(0, &unsigned);
    assert!(secret(&from_1_0_0, PRESENT).is_some());
    let before = from_1_0_0.links();
    from_1_0_0.punt(HERE, altered(&frame, |probe| probe.tag = None));
    from_1_0_0.run(16_000);
    assert!(
        from_1_0_0.alarms(FORGED).is_empty(),
        "they were on their way"
    );
    assert!(!before.contains(&(FROM, HERE)));
}

#[test]
fn an_upgrade_from_a_release_without_secrets_drops_no_link() {
    let mut lab = settled();
    let links = lab.links();
    lab.bench.no_row(&SECRETS, &PRESENT.to_owned());
    let outcome = lab.bench.resume();
    lab.carry(outcome);
    for _ in 0..300 {
        lab.run(100);
        assert_eq!(lab.links(), links);
    }
    assert!(lab.alarms(FORGED).is_empty());
}

#[test]
fn a_secret_is_replaced_each_day_and_the_one_before_is_accepted() {
    let mut lab = settled();
    let (first, wall) = (secret(&lab, PRESENT), lab.bench.wall());
    assert_eq!(secret(&lab, PREVIOUS), None);
    lab.bench.set_wall(wall + DAY - Duration::from_secs(60));
    lab.run(1000);
    assert_eq!(secret(&lab, PRESENT), first);
    let [one, two] = [
        lab.sent(at(1, 2), ETHER_TYPE),
        lab.sent(at(1, 3), ETHER_TYPE),
    ];
    lab.bench.set_wall(wall + DAY);
    lab.run(100);
    assert_eq!(secret(&lab, PREVIOUS), first);
    assert_ne!(secret(&lab, PRESENT), first);
    lab.punt(at(2, 2), one);
    assert!(lab.links().contains(&(at(1, 2), at(2, 2))));
    lab.bench.set_wall(wall + DAY * 2);
    lab.run(100);
    lab.punt(at(2, 3), two);
    assert!(
        !lab.links().contains(&(at(1, 3), at(2, 3))),
        "two secrets ago"
    );
    lab.run(3000);
    assert!(lab.links().contains(&(at(1, 1), at(2, 1))));
}

#[test]
fn a_damaged_secret_is_replaced() {
    let mut lab = settled();
    for bad in ["", "xyz"] {
        let row = serde_json::json!({ "secret": bad, "made_ms": 0 });
        let row: SecretRow = serde_json::from_value(row).unwrap();
        let outcome = lab.bench.row(&SECRETS, &PRESENT.to_owned(), &row);
        lab.carry(outcome);
        lab.run(5000);
        assert_ne!(secret(&lab, PRESENT), Some(row));
        assert_eq!(lab.links().len(), 2);
    }
}

#[test]
fn no_probe_is_believed_at_an_edge_port() {
    let mut lab = settled();
    edge(&mut lab, HERE, true);
    let genuine = lab.probe(FROM);
    is_forged(&mut lab, genuine, "relayed to an edge port");
    edge(&mut lab, HERE, false);
    edge(&mut lab, FROM, true);
    let genuine = lab.probe(FROM);
    is_forged(&mut lab, genuine, "relayed from an edge port");
    edge(&mut lab, FROM, false);
    let genuine = lab.probe(FROM);
    lab.punt(HERE, genuine);
    assert!(lab.links().contains(&(FROM, HERE)), "no edge port any more");
}

#[test]
fn an_edge_port_is_a_host_port_at_once_and_keeps_its_hosts() {
    let mut lab = Lab::new(&[(at(1, 1), at(2, 1))], []);
    lab.bench.row(&EDGES, &at(1, 2), &true);
    lab.connect(1);
    assert_eq!(lab.kind(at(1, 2)), Some(Kind::Host));
    assert_eq!(lab.kind(at(1, 3)), Some(Kind::Unknown));
    edge(&mut lab, at(1, 3), true);
    assert_eq!(lab.kind(at(1, 3)), Some(Kind::Host));
    lab.arp(at(1, 2), mac(1), [10, 0, 0, 1]);
    edge(&mut lab, at(1, 2), true);
    lab.bench.resume();
    lab.run(5000);
    assert_eq!(lab.host(mac(1)).unwrap().end(), at(1, 2));
    // Down and up.
    lab.port_is(at(1, 3), false);
    assert_eq!(lab.kind(at(1, 3)), Some(Kind::Unknown));
    lab.port_is(at(1, 3), true);
    assert_eq!(lab.kind(at(1, 3)), Some(Kind::Host));
    // The row was set while no instance lived; and for a switch that nobody knows.
    lab.bench.load(&Rows(
        [(
            ("edges".to_owned(), "0000000000000001/4".to_owned()),
            true.into(),
        )]
        .into(),
    ));
    edge(&mut lab, (Dpid(77), 1), true);
    lab.bench.resume();
    assert_eq!(lab.kind(at(1, 4)), Some(Kind::Host));
    assert_eq!(lab.kind(at(77, 1)), None);
}

#[test]
fn a_link_ends_where_an_end_becomes_an_edge_port() {
    let mut lab = settled();
    edge(&mut lab, at(1, 1), true);
    assert_eq!(lab.links(), []);
    assert_eq!(lab.kind(at(1, 1)), Some(Kind::Host));
    lab.run(20_000);
    assert_eq!(lab.kind(at(2, 1)), Some(Kind::Host));
    assert_eq!(
        lab.alarms(FORGED),
        ["0000000000000001/1", "0000000000000002/1"]
    );
    edge(&mut lab, at(1, 1), false);
    lab.run(8000);
    assert_eq!(lab.links().len(), 2);
    assert!(lab.alarms(FORGED).is_empty());
}

#[test]
fn an_edge_port_is_part_of_no_segment() {
    let mut lab = Lab::new(&[], [1]);
    lab.bridge(&[at(1, 2), at(1, 3)]);
    lab.run(20_000);
    assert_eq!(lab.kind(at(1, 3)), Some(Kind::Blocked));
    edge(&mut lab, at(1, 3), true);
    assert_eq!(lab.kind(at(1, 3)), Some(Kind::Host));
    lab.run(5000);
    assert_eq!(lab.kind(at(1, 2)), Some(Kind::Host));
    assert_eq!(lab.kind(at(1, 3)), Some(Kind::Host));
    assert!(lab.alarms(BLOCKED).is_empty());
    assert_eq!(lab.alarms(FORGED).len(), 2);
}

#[test]
fn the_port_that_a_plain_switch_used_frees_the_other_one_as_it_becomes_an_edge_port() {
    let mut lab = Lab::new(&[], [1]);
    lab.bridge(&[at(1, 2), at(1, 3)]);
    lab.run(2000);
    edge(&mut lab, at(1, 2), true);
    lab.run(100);
    assert_eq!(lab.kind(at(1, 2)), Some(Kind::Host));
    assert_eq!(lab.kind(at(1, 3)), Some(Kind::Host));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Checks that no part of what a tag covers can be changed, for any change.
    #[test]
    fn no_altered_probe_is_believed(dpid in 1u64..3, port in 1u32..5, later in -3000i64..3000, bits in any::<u128>()) {
        let mut lab = settled();
        let (links, probe) = (lab.links(), lab.probe(FROM));
        let original = Probe::read(&probe);
        let frame = altered(&probe, |probe| {
            probe.dpid = Dpid(dpid);
            probe.port = port;
            probe.sent_ms = probe.sent_ms.saturating_add_signed(later);
            let tag = u128::from_be_bytes(probe.tag.unwrap_or_default()) ^ bits;
            probe.tag = Some(tag.to_be_bytes());
        });
        prop_assume!(Probe::read(&frame) != original);
        lab.punt(HERE, frame);
        prop_assert_eq!(lab.links(), links);
        lab.run(100);
        prop_assert_eq!(lab.alarms(FORGED), [AT_HERE]);
    }
}
