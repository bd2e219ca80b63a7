//! Tests of the order of delivery, and of losses.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use morph_openflow::v13::{Match, Message, Oxm, OxmField, PacketIn, PacketInView};
use proptest::prelude::*;

use super::*;

mod age;

/// Queues without a limit of age.
fn unlimited() -> WaitingEvents {
    WaitingEvents::new(AgeLimit::new(Duration::ZERO))
}

/// Packet-in from a port, with data that tells it from others.
fn packet_in(port: u32, data: u64) -> EventKind {
    let message = Message::PacketIn(PacketIn {
        buffer_id: u32::MAX,
        total_len: 8,
        reason: 1,
        table_id: 0,
        cookie: 0,
        match_: Match::new().with(Oxm::exact(OxmField::IN_PORT, &port.to_be_bytes())),
        data: Bytes::copy_from_slice(&data.to_be_bytes()),
    });
    EventKind::PacketIn(message.encode(0))
}

fn data(event: &QueuedEvent) -> u64 {
    let EventKind::PacketIn(message) = &event.what else {
        panic!("{event:?}");
    };
    let view = PacketInView::new(message).unwrap();
    u64::from_be_bytes(view.data().try_into().unwrap())
}

/// Event as a short text: the switch, then what it is.
fn text(event: QueuedEvent) -> String {
    match &event.what {
        EventKind::PacketIn(_) => format!("{} packet {}", event.dpid, data(&event)),
        EventKind::Lost(count) => format!("{} lost {count}", event.dpid),
        EventKind::Message(_) => format!("{} message", event.dpid),
        EventKind::SwitchUp => format!("{} up", event.dpid),
        EventKind::SwitchDown => format!("{} down", event.dpid),
        EventKind::Resync { .. } => format!("{} resync", event.dpid),
        EventKind::Forgotten => format!("{} forgotten", event.dpid),
    }
}

fn texts(waiting: &mut WaitingEvents) -> Vec<String> {
    let taken = std::iter::from_fn(|| waiting.pop(Instant::now()));
    taken.map(text).collect()
}

fn push(waiting: &mut WaitingEvents, dpid: u64, what: EventKind) {
    waiting.push(QueuedEvent::new(1, dpid, what), Instant::now());
}

#[test]
fn each_switch_in_its_turn_gets_one_event_delivered() {
    let mut waiting = unlimited();
    for n in 0..4 {
        push(&mut waiting, 1, packet_in(1, n));
    }
    push(&mut waiting, 2, packet_in(1, 10));
    push(&mut waiting, 2, EventKind::SwitchDown);
    push(&mut waiting, 3, packet_in(1, 20));
    let order = [
        "1 packet 0",
        "2 packet 10",
        "3 packet 20",
        "1 packet 1",
        "2 down",
        "1 packet 2",
        "1 packet 3",
    ];
    assert_eq!(texts(&mut waiting), order);
    assert_eq!((waiting.len(), waiting.bytes()), (0, 0));
}

#[test]
fn an_event_of_no_switch_keeps_its_place_among_all() {
    let mut waiting = unlimited();
    push(&mut waiting, 1, packet_in(1, 0));
    push(&mut waiting, 1, packet_in(1, 1));
    push(&mut waiting, 0, EventKind::Resync { list: false });
    push(&mut waiting, 2, packet_in(1, 2));
    let order = ["1 packet 0", "1 packet 1", "0 resync", "2 packet 2"];
    assert_eq!(texts(&mut waiting), order);
}

#[test]
fn datapath_id_0_is_a_switch_like_any_other() {
    let mut waiting = unlimited();
    push(&mut waiting, 0, packet_in(1, 0));
    push(&mut waiting, 0, packet_in(1, 1));
    push(&mut waiting, 1, packet_in(1, 2));
    assert!(waiting.shed(Instant::now()).is_some());
    assert_eq!(
        texts(&mut waiting),
        ["0 lost 1", "1 packet 2", "0 packet 1"]
    );
}

#[test]
fn a_long_queue_loses_its_oldest_packet_in_of_the_port_with_the_most() {
    let mut waiting = unlimited();
    push(&mut waiting, 2, packet_in(1, 100));
    push(&mut waiting, 1, packet_in(7, 1));
    for n in 10..15 {
        push(&mut waiting, 1, packet_in(8, n));
    }
    for _ in 0..3 {
        assert!(waiting.shed(Instant::now()).is_some());
    }
    let order = [
        "2 packet 100",
        "1 packet 1",
        "1 lost 3",
        "1 packet 13",
        "1 packet 14",
    ];
    assert_eq!(texts(&mut waiting), order);
}

#[test]
fn nothing_but_packet_ins_is_dropped() {
    let mut waiting = unlimited();
    push(&mut waiting, 1, EventKind::SwitchUp);
    push(
        &mut waiting,
        1,
        EventKind::Message(Bytes::from_static(&[0; 80])),
    );
    assert!(waiting.shed(Instant::now()).is_none());
    assert_eq!(texts(&mut waiting), ["1 up", "1 message"]);
}

#[test]
fn losses_are_added_to_a_marker_until_it_is_taken() {
    let mut waiting = unlimited();
    waiting.lose(1, 1, Instant::now());
    waiting.lose(1, 1, Instant::now());
    waiting.lose(2, 2, Instant::now());
    assert_eq!(
        waiting.pop(Instant::now()).unwrap().what,
        EventKind::Lost(2)
    );
    waiting.lose(1, 1, Instant::now());
    assert_eq!(texts(&mut waiting), ["2 lost 1", "1 lost 1"]);
}

#[test]
fn merged_events_are_one_resync_until_it_is_taken() {
    let mut waiting = unlimited();
    for _ in 0..3 {
        waiting.resync(7, 1, Instant::now());
        waiting.resync_all(Instant::now());
    }
    let order = ["1 resync", "1 up", "0 resync", "1 resync", "1 up"];
    assert_eq!(
        texts(&mut waiting),
        order,
        "what came after the Resync of all is not covered"
    );
    waiting.resync(7, 1, Instant::now());
    waiting.pop(Instant::now());
    waiting.resync(7, 1, Instant::now());
    assert_eq!(texts(&mut waiting), ["1 up", "1 resync", "1 up"]);
}

proptest! {
    #[test]
    fn order_and_counts_hold_whatever_comes(ops in proptest::collection::vec((0..6u8, 1..4u64, 1..3u32), 0..200)) {
        let mut waiting = unlimited();
        let (mut pushed, mut seen, mut lost) = (0u64, 0u64, 0u64);
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        let mut take = |event: QueuedEvent, seen: &mut u64| match &event.what {
            EventKind::Lost(count) => *seen += count,
            EventKind::PacketIn(_) => {
                *seen += 1;
                let before = last.insert(event.dpid, data(&event));
                assert!(before.is_none_or(|before| before < data(&event)), "out of order");
            }
            _ => {}
        };
        for (op, dpid, port) in ops {
            match op {
                0..=2 => {
                    pushed += 1;
                    push(&mut waiting, dpid, packet_in(port, pushed));
                }
                3 => lost += u64::from(waiting.shed(Instant::now()).is_some()),
                4 => if let Some(event) = waiting.pop(Instant::now()) { take(event, &mut seen) },
                _ => waiting.resync_all(Instant::now()),
            }
        }
        while let Some(event) = waiting.pop(Instant::now()) {
            take(event, &mut seen);
        }
        prop_assert_eq!(seen, pushed, "{} of them were dropped and counted", lost);
        prop_assert_eq!((waiting.len(), waiting.bytes()), (0, 0));
        prop_assert!(waiting.shed(Instant::now()).is_none());
    }
}
