//! Tests of events that are dropped because they waited for too long, and of when none is.

use super::*;

const MS: Duration = Duration::from_millis(1);

impl Bench {
    /// Creates a live slot whose app has an unanswered event, and packet-ins that wait since now.
    fn waiting(count: usize) -> Self {
        let mut bench = Bench::live();
        bench.packet_in();
        bench.packet_ins(count);
        bench
    }

    /// Answers the unanswered event after this time; returns what is delivered next: a packet-in, or a loss.
    fn answer_after(&mut self, time: Duration) -> String {
        self.now += time;
        let n = self.unanswered();
        self.answer_at_once(self.session(), n);
        self.delivered(self.unanswered())
    }

    fn session(&self) -> u64 {
        self.slot.receiver().unwrap()
    }

    fn unanswered(&self) -> u64 {
        let SlotState::Live(live) = &self.slot.state else {
            panic!("{:?}", self.slot.state);
        };
        live.window.unanswered().start
    }

    fn delivered(&self, n: u64) -> String {
        match self.slot.queued(n).map(|(event, _)| &event.what) {
            Some(EventKind::PacketIn(_)) => "packet".into(),
            other => format!("{other:?}"),
        }
    }

    /// Answers all events after one millisecond each; counts the losses that are told.
    fn answer_all(&mut self) -> u64 {
        let mut lost = 0;
        while self.slot.backlog.get(self.unanswered()).is_some() {
            let n = self.unanswered();
            if let Some((event, _)) = self.slot.queued(n)
                && let EventKind::Lost(count) = event.what
            {
                lost += count;
            }
            self.now += MS;
            self.answer_at_once(self.session(), n);
            self.durable(n);
        }
        assert_eq!(self.slot.report(self.now).backlog, 0);
        lost
    }

    fn lost(&mut self) -> u64 {
        self.slot.report(self.now).lost
    }
}

#[test]
fn while_the_app_answers_what_has_waited_for_too_long_is_dropped_and_told() {
    let mut bench = Bench::waiting(100);
    assert_eq!(bench.answer_after(150 * MS), "packet");
    assert_eq!(bench.answer_after(150 * MS), "Some(Lost(98))");
    assert_eq!(bench.answer_after(150 * MS), "packet", "the last one");
    let report = bench.slot.report(bench.now);
    assert_eq!((report.lost, report.too_old), (98, 98));
    assert_eq!(report.answered_total, 4);
    assert_eq!(report.target_delay_us, 200_000);
    let p99 = report.delay_p99_us;
    assert!((450_000..=562_500).contains(&p99), "{p99}");
    assert_eq!(report.flood.map(|flood| flood.dpid), Some(1));
}

#[test]
fn the_report_says_for_how_long_nothing_was_answered() {
    let mut bench = Bench::waiting(1);
    bench.now += 30 * MS;
    assert_eq!(bench.slot.report(bench.now).silent_us, 30_000);
    bench.answer_after(MS);
    assert_eq!(bench.slot.report(bench.now).silent_us, 0);
    bench.now += 5 * MS;
    assert_eq!(bench.slot.report(bench.now).silent_us, 5000);
    let mut bench = gated();
    bench.now += SECOND;
    assert_eq!(bench.slot.report(bench.now).silent_us, 0, "it has to wait");
}

#[test]
fn while_the_app_answers_nothing_and_afterwards_nothing_is_dropped() {
    let mut bench = Bench::waiting(100);
    bench.now += 3 * SECOND;
    bench.packet_ins(100);
    assert_eq!(bench.answer_all(), 0);
    // In time again, it loses what waits for too long.
    bench.packet_ins(100);
    bench.answer_after(190 * MS);
    bench.answer_after(190 * MS);
    assert!(bench.answer_all() > 80);
}

#[test]
fn nothing_is_dropped_because_of_a_hold_however_short() {
    for hold in [4 * SECOND, 70 * MS] {
        let mut bench = Bench::waiting(100);
        bench.now += 190 * MS;
        bench.hold();
        bench.answer_at_once(1, 2);
        bench.now += hold;
        bench.packet_ins(100);
        bench.quiesced(1, 1, 2);
        bench.resume(2, 2, seq(2));
        assert_eq!(bench.answer_all(), 0, "{hold:?}");
    }
}

#[test]
fn nothing_is_dropped_because_a_resumed_instance_is_slow_at_first() {
    let mut bench = Bench::waiting(100);
    bench.now += 10 * MS;
    bench.hold();
    bench.answer_at_once(1, 2);
    bench.quiesced(1, 1, 2);
    bench.now += 20 * MS;
    bench.resume(2, 2, seq(2));
    for _ in 0..3 {
        assert_eq!(bench.answer_after(150 * MS), "packet");
    }
    assert_eq!(bench.answer_all(), 0);
}

#[test]
fn nothing_is_dropped_because_events_were_delivered_again() {
    let mut bench = Bench::fast();
    bench.packet_ins(5);
    bench.hold();
    bench.later(SECOND);
    bench.resume(2, 2, seq(1));
    bench.now += MS;
    bench.packet_ins(100);
    for n in 2..=6 {
        bench.now += 150 * MS;
        bench.answer_at_once(2, n);
    }
    assert_eq!(bench.answer_all(), 0);
}

#[test]
fn nothing_is_dropped_because_of_a_death_of_the_app() {
    let mut bench = Bench::fast();
    bench.packet_ins(30);
    bench.now += 3 * SECOND;
    bench.lose(1);
    bench.now += 3 * SECOND;
    bench.packet_ins(30);
    bench.resume(2, 2, seq(1));
    for n in 2..=31 {
        bench.now += 150 * MS;
        bench.packet_ins(2);
        bench.answer_at_once(2, n);
        bench.durable(n);
    }
    assert_eq!(bench.answer_all(), 0);
}

#[test]
fn nothing_is_dropped_because_a_suspect_takes_long_to_be_durable() {
    let mut bench = Bench::live();
    bench.packet_in();
    bench.lose(1);
    bench.resume(2, 2, seq(1));
    bench.answer_at_once(2, 2);
    bench.now += MS;
    bench.packet_ins(100);
    bench.now += 3 * SECOND;
    bench.durable(2);
    assert_eq!(bench.answer_all(), 0);
}

#[test]
fn nothing_is_dropped_because_an_app_waits_for_others() {
    for (gate, answer) in [(4 * SECOND, MS), (190 * MS, 70 * MS)] {
        let mut bench = gated();
        bench.now += MS;
        bench.packet_ins(100);
        bench.now += gate;
        bench.put(SlotInput::OpenGate);
        bench.answer_at_once(2, 2);
        bench.answer_after(answer);
        assert_eq!(bench.answer_all(), 0, "{gate:?}");
    }
}

#[test]
fn nothing_is_dropped_because_no_instance_was_there() {
    let mut bench = Bench::new(1 << 20);
    bench.packet_ins(100);
    bench.now += 4 * SECOND;
    bench.resume(1, 1, Seq::ZERO);
    assert_eq!(bench.answer_all(), 0);
}

#[test]
fn an_overload_is_told_when_it_begins_and_when_it_has_ended() {
    let mut bench = Bench::new(1000);
    bench.resume(1, 1, Seq::ZERO);
    assert_eq!(bench.slot.next_deadline(), None);
    let began = OverloadChange::Began { dpid: 1 };
    let mut out = Vec::new();
    for _ in 0..9 {
        let what = EventKind::PacketIn(Bytes::from_static(&[0; 100]));
        let (channel, dpid) = (1, 1);
        let event = SlotInput::Event {
            channel,
            dpid,
            what,
        };
        bench.slot.handle(event, bench.now, &mut out);
    }
    assert_eq!(out, [SlotOutput::Overload(began)]);
    assert_eq!(bench.slot.next_deadline(), Some(bench.now + 5 * SECOND));
    bench.now += 5 * SECOND;
    let (lost, took) = (bench.lost(), Duration::ZERO);
    out.clear();
    bench.slot.handle(SlotInput::Timer, bench.now, &mut out);
    let ended = OverloadChange::Ended {
        dpid: 1,
        of_it: lost,
        lost,
        took,
    };
    assert_eq!(out, [SlotOutput::Overload(ended)]);
    assert_eq!(bench.slot.report(bench.now).flood, None);
    assert_eq!(bench.slot.next_deadline(), None);
}
