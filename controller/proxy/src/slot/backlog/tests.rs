//! Tests of numbers and of the quota.

use bytes::Bytes;

use super::super::event::ENTRY;
use super::*;

fn with_quota(incarnation: u64, quota: usize) -> Backlog {
    let limit = AgeLimit::new(Duration::from_millis(200));
    Backlog::new(incarnation, 1, quota, limit)
}

fn message(length: usize) -> Bytes {
    Bytes::from(vec![0; length])
}

fn packet_ins(backlog: &mut Backlog, dpids: impl IntoIterator<Item = u64>) {
    for dpid in dpids {
        backlog.push(
            dpid as u32,
            dpid,
            EventKind::PacketIn(message(100)),
            Instant::now(),
        );
    }
}

/// Numbers all events; returns their switches and kinds.
fn number_all(backlog: &mut Backlog) -> Vec<(u64, EventKind)> {
    let from = backlog.next();
    while backlog.number_next(Instant::now()).is_some() {}
    let numbered = (from..backlog.next()).filter_map(|n| backlog.get(n));
    numbered.map(|q| (q.dpid, q.what.clone())).collect()
}

#[test]
fn beyond_the_quota_the_switch_with_the_most_loses() {
    let mut backlog = with_quota(1, 5 * (ENTRY + 100));
    packet_ins(&mut backlog, [2, 1, 1, 1, 1, 1, 1, 1]);
    let packet = |dpid| (dpid, EventKind::PacketIn(message(100)));
    // The marker that counts the losses takes room, too.
    let queued = [
        packet(2),
        (1, EventKind::Lost(4)),
        packet(1),
        packet(1),
        packet(1),
    ];
    assert_eq!(number_all(&mut backlog), queued);
    assert_eq!(backlog.lost(), 4);
}

#[test]
fn numbered_events_are_never_dropped() {
    let mut backlog = with_quota(1, 2 * (ENTRY + 100));
    packet_ins(&mut backlog, [1, 1]);
    number_all(&mut backlog);
    packet_ins(&mut backlog, [1, 2, 1]);
    assert_eq!(
        number_all(&mut backlog),
        [(1, EventKind::Lost(2)), (2, EventKind::Lost(1))]
    );
    assert_eq!(backlog.lost(), 3);
}

#[test]
fn port_status_makes_packet_ins_give_way() {
    let mut backlog = with_quota(1, 2 * (ENTRY + 100));
    packet_ins(&mut backlog, [1, 1]);
    backlog.push(1, 1, EventKind::Message(message(80)), Instant::now());
    assert_eq!(
        number_all(&mut backlog),
        [
            (1, EventKind::Lost(2)),
            (1, EventKind::Message(message(80)))
        ]
    );
}

#[test]
fn events_that_must_not_be_lost_merge_into_one_resync() {
    let mut backlog = with_quota(1, 0);
    for _ in 0..3 {
        backlog.push(7, 1, EventKind::Message(message(80)), Instant::now());
    }
    backlog.push(7, 1, EventKind::SwitchDown, Instant::now());
    backlog.push(8, 1, EventKind::SwitchUp, Instant::now());
    assert_eq!(
        number_all(&mut backlog),
        [
            (1, EventKind::Resync { list: false }),
            (1, EventKind::SwitchUp),
            (0, EventKind::Resync { list: true })
        ]
    );
    assert_eq!(backlog.lost(), 5);
}

#[test]
fn an_event_that_is_put_first_is_numbered_at_once() {
    let mut backlog = with_quota(1, 1 << 20);
    packet_ins(&mut backlog, [1]);
    assert_eq!(backlog.put_first(1, 1, EventKind::SwitchUp), 1);
    assert_eq!(backlog.number_next(Instant::now()), Some(2));
    assert_eq!((backlog.len(), backlog.next()), (2, 3));
}

#[test]
fn events_up_to_the_cursor_are_removed_in_their_own_incarnation_only() {
    let mut backlog = with_quota(4, 1 << 20);
    packet_ins(&mut backlog, [1; 5]);
    number_all(&mut backlog);
    let upto = |incarnation, n| Seq { incarnation, n };
    backlog.forget(upto(3, 5));
    assert_eq!((backlog.first(), backlog.len()), (1, 5));
    backlog.forget(upto(4, 2));
    assert_eq!((backlog.first(), backlog.len(), backlog.next()), (3, 3, 6));
    assert!(backlog.get(2).is_none() && backlog.get(3).is_some() && backlog.get(6).is_none());
    backlog.forget(upto(4, 99));
    assert_eq!((backlog.bytes(), backlog.first()), (0, 6));
}
