//! Tests of deaths: the suspect, and the deliveries that follow.

use super::*;

impl Bench {
    pub(super) fn suspect(&self, session: u64) -> Option<u64> {
        let suspect = self.slot.suspect(&format!("i{session}"), None);
        suspect.map(|(_, seq)| seq.n)
    }

    fn retry(&mut self, id: &str, attempt: u64) -> Vec<String> {
        self.put(SlotInput::Retry(Retry {
            ticket: 5,
            attempt: (id.to_owned(), attempt),
            channel: 1,
            dpid: 1,
            what: EventKind::PacketIn(Bytes::from_static(&[0; 100])),
        }))
    }
}

#[test]
fn a_death_counts_against_the_one_event_that_is_not_durable() {
    let mut bench = Bench::live();
    let handles_none = |bench: &Bench| bench.slot.suspect("i1", Some(Seq::ZERO)).is_none();
    assert_eq!(bench.suspect(1), None, "no event in flight");
    for _ in 0..2 {
        bench.packet_in();
    }
    assert_eq!(bench.suspect(1), Some(2), "its end is not known yet");
    assert!(handles_none(&bench), "it died of something else");
    assert_eq!(bench.suspect(2), None, "of that one nothing is known");
    bench.answer(1, 2);
    assert_eq!(bench.suspect(1), None, "2 is not durable, 3 is in flight");
    bench.durable(2);
    assert_eq!(bench.suspect(1), Some(3));
    bench.answer(1, 3);
    assert_eq!(bench.suspect(1), Some(3), "the store may refuse its turn");
    bench.lose(1);
    assert_eq!(bench.suspect(1), Some(3));
    bench.resume(2, 2, seq(2));
    assert_eq!(bench.suspect(1), Some(3), "asked late");
    bench.lose(2);
    assert_eq!((bench.suspect(2), bench.suspect(1)), (Some(3), None));
    bench.resume(3, 3, seq(3));
    assert_eq!(bench.suspect(2), None, "quarantined, or durable after all");
}

#[test]
fn a_death_counts_against_the_event_that_the_instance_was_handling() {
    let mut bench = Bench::fast();
    bench.packet_ins(4);
    bench.answer_at_once(1, 2);
    for _ in 0..2 {
        let suspect = |seq| bench.slot.suspect("i1", Some(seq)).map(|(_, seq)| seq.n);
        assert_eq!(suspect(seq(4)), Some(4));
        assert_eq!(
            suspect(seq(2)),
            None,
            "it is answered, and several others are in flight"
        );
        assert_eq!(suspect(seq(9)), None, "never delivered");
        assert_eq!(suspect(Seq::ZERO), None);
        let former = Seq {
            incarnation: 6,
            n: 4,
        };
        assert_eq!(suspect(former), None);
        let place = |seq| bench.slot.place("i1", seq);
        assert_eq!(place(seq(3)), Some((1, 3)));
        assert_eq!(place(seq(5)), Some((3, 3)));
        assert_eq!((place(seq(2)), place(former)), (None, None));
        bench.lose(1);
    }
}

/// Creates a slot whose instance died: 2 and 3 accepted and not durable, 4 unanswered.
fn several_in_flight() -> Bench {
    let mut bench = Bench::live();
    for _ in 0..4 {
        bench.packet_in();
    }
    bench.answer(1, 2);
    bench.answer(1, 3);
    bench.lose(1);
    assert_eq!(bench.suspect(1), None);
    let resumed = bench.resume(2, 2, seq(1));
    assert_eq!(resumed.last().unwrap(), "2: event 2 again");
    bench
}

#[test]
fn after_a_death_with_several_in_flight_the_last_one_is_delivered_alone() {
    let mut bench = several_in_flight();
    assert_eq!(bench.answer(2, 2), ["2: accepted 2", "2: event 3 again"]);
    assert_eq!(bench.answer(2, 3), ["2: accepted 3"]);
    assert!(bench.durable(2).is_empty());
    assert_eq!(bench.durable(3), ["2: event 4 again"]);
    assert_eq!(bench.suspect(2), Some(4));
    assert_eq!(bench.answer(2, 4), ["2: accepted 4"], "4 may have done it");
    assert_eq!(bench.durable(4), ["2: event 5"]);
    bench.packet_in();
    assert_eq!(bench.answer(2, 5), ["2: accepted 5", "2: event 6"]);
}

#[test]
fn after_a_second_death_events_are_delivered_singly_until_all_suspects_are_past() {
    let mut bench = several_in_flight();
    assert_eq!(bench.answer(2, 2), ["2: accepted 2", "2: event 3 again"]);
    bench.lose(2);
    assert_eq!(bench.suspect(2), None);
    let resumed = bench.resume(3, 3, seq(1));
    assert_eq!(resumed.last().unwrap(), "3: event 2 again");
    assert_eq!(bench.answer(3, 2), ["3: accepted 2"]);
    assert_eq!(bench.suspect(3), Some(2), "the store may refuse its turn");
    assert_eq!(bench.durable(2), ["3: event 3 again"]);
    bench.lose(3);
    assert_eq!(bench.suspect(3), Some(3));
    let resumed = bench.resume(4, 4, seq(2));
    assert_eq!(resumed.last().unwrap(), "4: event 3 again");
    assert_eq!(bench.answer(4, 3), ["4: accepted 3"]);
    assert_eq!(bench.durable(3), ["4: event 4 again"]);
    assert_eq!(bench.answer(4, 4), ["4: accepted 4"]);
    assert_eq!(bench.durable(4), ["4: event 5"]);
    bench.packet_in();
    assert_eq!(bench.answer(4, 5), ["4: accepted 5", "4: event 6"]);
}

#[test]
fn a_quarantined_event_is_not_delivered_again() {
    let mut bench = Bench::live();
    bench.packet_in();
    bench.packet_in();
    bench.lose(1);
    let resumed = bench.resume(2, 2, seq(2));
    assert_eq!(resumed.last().unwrap(), "2: event 3");
    bench.packet_in();
    assert_eq!(bench.answer(2, 3), ["2: accepted 3", "2: event 4"]);
}

#[test]
fn a_retried_event_is_queued_once_for_each_attempt() {
    let mut bench = Bench::live();
    bench.packet_in();
    assert_eq!(bench.retry("a", 1), ["queued 3"]);
    assert_eq!(bench.retry("a", 1), ["queued 3"], "asked again");
    assert_eq!(bench.retry("a", 2), ["queued 4"], "tried again");
    assert_eq!(bench.answer(1, 2), ["1: accepted 2", "1: event 3"]);
    bench.answer(1, 3);
    bench.durable(3);
    assert_eq!(bench.retry("a", 1), ["queued 3"], "it was applied");
    bench.answer(1, 4);
    assert_eq!(bench.retry("b", 1), ["queued 5", "1: event 5"]);
}

#[test]
fn a_retried_event_is_delivered_before_those_that_wait() {
    let mut bench = Bench::new(1000);
    for _ in 0..20 {
        bench.packet_in();
    }
    assert_eq!(bench.retry("a", 1), ["queued 2"]);
    bench.resume(1, 1, Seq::ZERO);
    assert_eq!(bench.answer(1, 1), ["1: accepted 1", "1: event 2"]);
    let (queued, _) = bench.slot.queued(2).unwrap();
    assert!(matches!(queued.what, EventKind::PacketIn(_)), "{queued:?}");
}
