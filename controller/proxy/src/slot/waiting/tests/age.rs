//! Tests of packet-ins that are dropped because they are too old. The target is 200 ms.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Queues with a clock.
struct Queues {
    waiting: WaitingEvents,
    start: Instant,
    ms: u32,
}

impl Queues {
    fn new() -> Self {
        Queues {
            waiting: WaitingEvents::new(AgeLimit::new(200 * MS)),
            start: Instant::now(),
            ms: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + self.ms * MS
    }

    fn pause(&mut self) {
        let now = self.now();
        self.waiting.pause(now);
        self.ms += 1;
    }

    /// Queues a packet-in of a port, with its time in milliseconds as data.
    fn push(&mut self, dpid: u64, port: u32) {
        self.push_kind(dpid, packet_in(port, self.ms.into()));
    }

    fn push_kind(&mut self, dpid: u64, what: EventKind) {
        let now = self.now();
        let event = QueuedEvent {
            arrived: Some(now),
            ..QueuedEvent::new(1, dpid, what)
        };
        self.waiting.push(event, now);
    }

    /// Queues `count` packet-ins of a port, one in each millisecond.
    fn flood(&mut self, dpid: u64, port: u32, count: u32) {
        for _ in 0..count {
            self.push(dpid, port);
            self.ms += 1;
        }
    }

    /// Takes the next events at this time, as short texts.
    fn take(&mut self, ms: u32, count: usize) -> Vec<String> {
        self.ms = ms;
        let now = self.now();
        let next = |waiting: &mut WaitingEvents| match waiting.drop_old(now) {
            Some((told, count)) => {
                assert_eq!(told.what, EventKind::Lost(count));
                Some(told)
            }
            None => waiting.pop(now),
        };
        let taken = std::iter::from_fn(|| next(&mut self.waiting));
        taken.take(count).map(text).collect()
    }

    fn is_empty(&self) -> bool {
        (self.waiting.len(), self.waiting.bytes()) == (0, 0)
    }
}

#[test]
fn the_oldest_of_the_switch_whose_turn_it_is_are_dropped_and_told_in_their_place() {
    let mut queues = Queues::new();
    queues.flood(1, 1, 100);
    queues.ms = 240;
    queues.push(2, 1);
    let order = ["1 lost 60", "1 packet 60", "2 packet 240", "1 packet 61"];
    assert_eq!(queues.take(260, 4), order);
    assert_eq!(queues.take(298, 99).len(), 38, "none is older than 250 ms");
    assert!(queues.is_empty());
}

#[test]
fn dropping_begins_a_quarter_of_the_target_late_and_leaves_none_that_is_too_old() {
    let mut queues = Queues::new();
    queues.flood(1, 1, 100);
    assert_eq!(queues.take(250, 1), ["1 packet 0"]);
    assert_eq!(queues.take(251, 1), ["1 packet 1"]);
    assert_eq!(queues.take(253, 2), ["1 lost 51", "1 packet 53"]);
}

#[test]
fn the_last_packet_in_of_a_port_is_delivered_however_old_it_is() {
    let mut queues = Queues::new();
    queues.push(1, 1);
    queues.push(1, 2);
    queues.push(2, 1);
    let order = ["1 packet 0", "2 packet 0", "1 packet 0"];
    assert_eq!(queues.take(999, 9), order);
}

#[test]
fn a_short_queue_loses_packet_ins_when_it_has_been_late_for_a_second() {
    let mut queues = Queues::new();
    queues.flood(1, 1, 20);
    assert_eq!(queues.take(1000, 1), ["1 packet 0"]);
    assert_eq!(queues.take(1999, 1), ["1 packet 1"]);
    assert_eq!(queues.take(2000, 2), ["1 lost 17", "1 packet 19"]);
}

#[test]
fn a_port_with_few_packet_ins_loses_none_to_one_that_floods() {
    let mut queues = Queues::new();
    queues.flood(1, 7, 100);
    queues.flood(1, 8, 3);
    queues.flood(1, 7, 100);
    let taken = queues.take(1000, 99);
    let order = [
        "1 lost 100",
        "1 packet 100",
        "1 packet 101",
        "1 packet 102",
        "1 lost 99",
        "1 packet 202",
    ];
    assert_eq!(taken, order);
    assert!(queues.is_empty());
}

#[test]
fn after_each_loss_that_is_told_a_packet_in_is_delivered() {
    let mut queues = Queues::new();
    queues.flood(1, 1, 1000);
    assert_eq!(queues.take(1000, 1), ["1 lost 800"]);
    assert_eq!(queues.take(1300, 1), ["1 packet 800"]);
    assert_eq!(queues.take(1400, 2), ["1 lost 198", "1 packet 999"]);
}

#[test]
fn nothing_but_packet_ins_is_dropped_by_age() {
    let mut queues = Queues::new();
    queues.push_kind(1, EventKind::SwitchUp);
    queues.flood(1, 1, 40);
    let message = EventKind::Message(Bytes::from_static(&[0; 80]));
    queues.push_kind(1, message.clone());
    queues.push_kind(1, message);
    queues.push(1, 1);
    queues.push_kind(1, EventKind::SwitchDown);
    let order = [
        "1 up",
        "1 lost 40",
        "1 message",
        "1 message",
        "1 packet 40",
        "1 down",
    ];
    assert_eq!(queues.take(999, 9), order);
}

#[test]
fn after_a_pause_a_switch_loses_nothing_until_it_is_in_time_again() {
    let mut queues = Queues::new();
    queues.flood(1, 1, 100);
    queues.push(2, 1);
    queues.ms = 5000;
    queues.pause();
    queues.flood(1, 1, 10);
    queues.flood(3, 1, 300);
    let order = ["1 packet 0", "2 packet 100", "3 lost 100", "3 packet 5111"];
    assert_eq!(
        queues.take(5311, 4),
        order,
        "switch 3 had nothing to catch up"
    );
    let rest = queues.take(5311, 999);
    assert!(rest.iter().all(|text| !text.contains("lost")), "{rest:?}");
    queues.pause();
    queues.flood(1, 1, 300);
    assert_eq!(queues.take(6000, 9), ["1 lost 299", "1 packet 5611"]);
}

#[test]
fn a_queue_that_was_short_once_after_a_pause_is_in_time_again() {
    let mut queues = Queues::new();
    queues.flood(1, 1, 100);
    queues.pause();
    queues.ms = 1000;
    queues.flood(1, 1, 300);
    assert_eq!(queues.take(1100, 100).last().unwrap(), "1 packet 99");
    assert_eq!(queues.take(1100, 1), ["1 packet 1000"], "in time");
    assert_eq!(queues.take(1300, 1), ["1 lost 99"]);
}

#[test]
fn a_queue_that_overflows_or_grows_and_grows_is_not_waited_for() {
    let mut queues = Queues::new();
    queues.flood(1, 1, 100);
    queues.ms = 1000;
    queues.pause();
    assert_eq!(queues.waiting.shed(queues.now()), Some(1));
    let order = ["1 lost 1", "1 packet 1", "1 lost 97", "1 packet 99"];
    assert_eq!(queues.take(1000, 9), order);

    queues.flood(1, 1, 1000);
    queues.flood(2, 1, 1500);
    queues.pause();
    queues.ms = 9000;
    queues.flood(2, 1, 5000);
    let taken = queues.take(14_000, 4);
    let order = [
        "1 packet 1000",
        "2 lost 1000",
        "2 packet 3000",
        "1 packet 1001",
    ];
    assert_eq!(taken, order, "switch 1 still catches up");
}

#[test]
fn one_delivery_drops_a_bounded_number() {
    let mut queues = Queues::new();
    queues.flood(1, 1, 5000);
    let order = [
        "1 lost 1000",
        "1 packet 1000",
        "1 lost 1000",
        "1 packet 2001",
    ];
    assert_eq!(queues.take(9000, 4), order);
}

#[test]
fn events_behind_one_of_no_switch_do_not_count_as_in_time() {
    let mut queues = Queues::new();
    queues.flood(1, 1, 10);
    queues.pause();
    queues.push_kind(0, EventKind::Resync { list: false });
    queues.flood(1, 1, 10);
    let taken = queues.take(999, 99);
    assert_eq!(taken.len(), 21, "{taken:?}");
}
