//! Tests of several events that are delivered at once.

use super::*;

impl Bench {
    /// Creates a live slot of a fast app.
    pub(super) fn fast() -> Self {
        let mut bench = Bench::new(1 << 20);
        bench.resume(1, 1, Seq::ZERO);
        bench.answer_at_once(1, 1);
        bench.durable(1);
        bench
    }

    pub(super) fn packet_ins(&mut self, count: usize) -> Vec<String> {
        (0..count).flat_map(|_| self.packet_in()).collect()
    }
}

#[test]
fn a_fast_app_is_given_several_events_and_answers_some_of_them_with_one_turn() {
    let mut bench = Bench::fast();
    let delivered = ["1: event 2", "1: event 3", "1: event 4"];
    assert_eq!(bench.packet_ins(3), delivered);
    assert_eq!(bench.permit_turn(1, 1, 1), WRONG, "answered before");
    for n in 2..=4 {
        assert_eq!(bench.permit_turn(1, 1, n), PASS);
    }
    assert_eq!(bench.permit_turn(1, 1, 5), WRONG, "not delivered");
    assert_eq!(bench.answer_at_once(1, 3), ["1: accepted 3"]);
    assert_eq!(bench.permit_turn(1, 1, 3), WRONG);
    assert_eq!(bench.answer_at_once(1, 4), ["1: accepted 4"]);
    let report = bench.slot.report(bench.now);
    assert_eq!(report.answered, 4);
    let sizes = report.turn_sizes.unwrap();
    assert_eq!((sizes.events, &sizes.buckets[..3]), (4, &[2, 1, 0][..]));
}

#[test]
fn after_a_death_events_of_accepted_turns_are_delivered_before_the_others_and_not_with_them() {
    let mut bench = Bench::fast();
    bench.packet_ins(4);
    bench.answer_at_once(1, 3);
    bench.lose(1);
    let resumed = bench.resume(2, 2, seq(1));
    assert_eq!(resumed[3..], ["2: event 2 again"], "nothing is known of it");
    assert_eq!(bench.permit_turn(2, 2, 2), WITHOUT_PACKET_OUTS);
    let answered = bench.answer_at_once(2, 2);
    assert_eq!(answered, ["2: accepted 2", "2: event 3 again"]);
    assert_eq!(bench.permit_turn(2, 2, 3), WITHOUT_PACKET_OUTS);
    // 4 and 5 were unanswered: they are suspects, and delivered singly.
    assert_eq!(bench.answer_at_once(2, 3), ["2: accepted 3"]);
    assert_eq!(bench.durable(3), ["2: event 4 again"]);
    assert_eq!(bench.permit_turn(2, 2, 4), PASS);
    assert_eq!(bench.answer_at_once(2, 4), ["2: accepted 4"]);
    assert_eq!(bench.durable(4), ["2: event 5 again"]);
    assert_eq!(bench.suspect(2), Some(5));
}

#[test]
fn a_turn_whose_commands_wait_for_room_leaves_its_events_unanswered_and_accepted() {
    let mut bench = Bench::fast();
    bench.packet_ins(3);
    let event = Some(seq(3));
    bench.put(SlotInput::Forwarded { event });
    bench.hold();
    bench.quiesced(1, 1, 1);
    bench.resume(1, 2, seq(1));
    assert_eq!(bench.permit_turn(1, 2, 2), WITHOUT_PACKET_OUTS);
    assert_eq!(bench.permit_turn(1, 2, 3), WRONG, "not delivered yet");
    let answered = bench.answer_at_once(1, 2);
    assert_eq!(answered, ["1: accepted 2", "1: event 3 again"]);
    let answered = bench.answer_at_once(1, 3);
    assert_eq!(answered, ["1: accepted 3", "1: event 4 again"], "by itself");
    assert_eq!(bench.permit_turn(1, 2, 4), PASS);
}

#[test]
fn nothing_is_delivered_between_a_resync_and_the_switches_that_it_lists() {
    let mut bench = Bench::new(0);
    bench.resume(1, 1, Seq::ZERO);
    let gone = SlotInput::Event {
        channel: 1,
        dpid: 1,
        what: EventKind::SwitchDown,
    };
    assert!(bench.put(gone.clone()).is_empty(), "1 is unanswered");
    assert_eq!(
        bench.answer_at_once(1, 1),
        ["1: accepted 1", "list", "1: event 2"]
    );
    bench.slot.append_listed_switch(3, 1, bench.now);
    let delivered = bench.put(gone);
    assert_eq!(delivered, ["1: event 3", "list", "1: event 4"]);
    assert_eq!(bench.slot.queued(3).unwrap().0.what, EventKind::SwitchUp);
}
