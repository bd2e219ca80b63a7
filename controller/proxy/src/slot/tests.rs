//! Tests of the slot by tables of inputs: outputs and their order.

mod batches;
mod overload;
mod suspects;

use bytes::Bytes;
use morph_api::supervisor::hold_reply::Outcome;

use super::*;

const INCARNATION: u64 = 7;
const SECOND: Duration = Duration::from_secs(1);

/// Slot with a clock; its outputs are short texts.
struct Bench {
    slot: Slot,
    now: Instant,
}

fn seq(n: u64) -> Seq {
    Seq {
        incarnation: INCARNATION,
        n,
    }
}

impl Bench {
    fn new(quota: usize) -> Self {
        let now = Instant::now();
        let limits = Limits {
            quota,
            target_delay: Duration::from_millis(200),
        };
        let slot = Slot::new("router", INCARNATION, 1, limits, now);
        Bench { slot, now }
    }

    /// Creates a live slot: session 1, epoch 1, the first `Resync` answered and durable.
    fn live() -> Self {
        let mut bench = Bench::new(1 << 20);
        bench.resume(1, 1, Seq::ZERO);
        bench.answer(1, 1);
        bench.durable(1);
        bench
    }

    fn put(&mut self, input: SlotInput) -> Vec<String> {
        let mut out = Vec::new();
        self.slot.handle(input, self.now, &mut out);
        out.iter().filter_map(text).collect()
    }

    fn later(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.put(SlotInput::Timer)
    }

    fn packet_in(&mut self) -> Vec<String> {
        let what = EventKind::PacketIn(Bytes::from_static(&[0; 100]));
        self.put(SlotInput::Event {
            channel: 1,
            dpid: 1,
            what,
        })
    }

    fn resume(&mut self, session: u64, epoch: u64, cursor: Seq) -> Vec<String> {
        self.put(SlotInput::Resume(resume(Some(9), session, epoch, cursor)))
    }

    /// Forwards and accepts a turn for the event, after a time in which a slow app handles one event.
    fn answer(&mut self, session: u64, n: u64) -> Vec<String> {
        self.now += Duration::from_millis(5);
        self.answer_at_once(session, n)
    }

    /// Forwards and accepts a turn for all unanswered events up to this one.
    fn answer_at_once(&mut self, session: u64, n: u64) -> Vec<String> {
        let event = Some(seq(n));
        self.put(SlotInput::Forwarded { event });
        self.accept(session, n, event)
    }

    /// Accepts a turn of the present epoch with this number.
    fn accept(&mut self, session: u64, turn: u64, event: Option<Seq>) -> Vec<String> {
        let epoch = self.slot.epoch;
        let turn = TurnEnd {
            epoch,
            turn,
            event,
            ..TurnEnd::default()
        };
        self.put(SlotInput::TurnAccepted { session, turn })
    }

    fn durable(&mut self, n: u64) -> Vec<String> {
        self.put(SlotInput::Durable(seq(n)))
    }

    fn hold(&mut self) -> Vec<String> {
        self.put(SlotInput::Hold {
            ticket: 5,
            quiesce: SECOND,
            length: 10 * SECOND,
        })
    }

    fn quiesced(&mut self, session: u64, epoch: u64, n: u64) -> Vec<String> {
        let quiesced = session::Quiesced {
            epoch,
            cursor: Some(seq(n)),
            turn: n,
        };
        self.put(SlotInput::Quiesced { session, quiesced })
    }

    fn lose(&mut self, session: u64) -> Vec<String> {
        self.put(SlotInput::SessionLost {
            session,
            instance: format!("i{session}"),
            reason: "gone".into(),
        })
    }

    fn permit_turn(&self, session: u64, epoch: u64, n: u64) -> Result<TurnPermit, bool> {
        let event = (n > 0).then(|| seq(n));
        self.slot
            .permit_turn(session, epoch, event)
            .map_err(|rejection| rejection.stale)
    }
}

fn resume(ticket: Option<u64>, session: u64, epoch: u64, cursor: Seq) -> ResumePlan {
    ResumePlan {
        ticket,
        session,
        instance: format!("i{session}"),
        epoch,
        cursor,
        turn: 0,
        revision: 0,
        gated: false,
    }
}

/// Shortens an output to its relevant parts.
fn text(output: &SlotOutput) -> Option<String> {
    use to_app::Record;
    Some(match output {
        SlotOutput::Send { session, record } => match record {
            Record::Resume(resume) => format!("{session}: resume {}", resume.epoch),
            Record::Quiesce(quiesce) => format!("{session}: quiesce {}", quiesce.epoch),
            Record::Pause(_) => format!("{session}: pause"),
            Record::Accepted(accepted) => format!("{session}: accepted {}", accepted.turn),
            other => format!("{session}: {other:?}"),
        },
        SlotOutput::Deliver {
            session,
            n,
            replayed: false,
            ..
        } => format!("{session}: event {n}"),
        SlotOutput::Deliver { session, n, .. } => format!("{session}: event {n} again"),
        SlotOutput::Sync { session } => format!("{session}: sync"),
        SlotOutput::ListSwitches => "list".into(),
        SlotOutput::JudgeGatedTurn { session } => format!("{session}: judge gated turn"),
        SlotOutput::Fence => "fence".into(),
        SlotOutput::Reply { reply, .. } => match reply {
            SlotReply::Hold(reply) => format!("hold {:?} {}", reply.outcome(), reply.turn),
            SlotReply::Resume(reply) => format!("resumed {}/{}", reply.queued, reply.replayed),
            SlotReply::Retry(seq) => format!("queued {}", seq.n),
            SlotReply::Refused(_) => "refused".into(),
        },
        SlotOutput::Observe(observation::What::Detached(detached)) => {
            let in_flight = detached.in_flight.map_or(0, |seq| seq.n);
            format!("detached live={} in flight {in_flight}", detached.live)
        }
        SlotOutput::Observe(observation::What::HoldExpired(expired)) => {
            format!("expired {} {}", expired.epoch, expired.instance)
        }
        SlotOutput::Observe(_) | SlotOutput::Overload(_) => return None,
    })
}

const PASS: Result<TurnPermit, bool> = Ok(TurnPermit {
    drop_packet_outs: false,
});
const WITHOUT_PACKET_OUTS: Result<TurnPermit, bool> = Ok(TurnPermit {
    drop_packet_outs: true,
});
const STALE: Result<TurnPermit, bool> = Err(true);
const WRONG: Result<TurnPermit, bool> = Err(false);

#[test]
fn the_first_event_of_an_incarnation_is_resync_and_one_is_delivered_at_a_time() {
    let mut bench = Bench::new(1 << 20);
    assert!(bench.packet_in().is_empty(), "nobody is there");
    assert_eq!(
        bench.resume(
            1,
            1,
            Seq {
                incarnation: 6,
                n: 99
            }
        ),
        ["1: sync", "1: resume 1", "resumed 2/0", "1: event 1"]
    );
    assert!(matches!(
        bench.slot.queued(1).unwrap().0.what,
        EventKind::Resync { .. }
    ));
    assert!(bench.packet_in().is_empty(), "the window is one");
    assert_eq!(bench.answer(1, 1), ["1: accepted 1", "1: event 2"]);
    assert_eq!(bench.answer(1, 2), ["1: accepted 2", "1: event 3"]);
    assert_eq!(bench.answer(1, 3), ["1: accepted 3"]);
    assert_eq!(bench.packet_in(), ["1: event 4"]);
}

#[test]
fn a_turn_without_event_opens_no_window() {
    let mut bench = Bench::live();
    bench.packet_in();
    bench.packet_in();
    assert_eq!(bench.permit_turn(1, 1, 0), PASS);
    assert_eq!(bench.accept(1, 8, None), ["1: accepted 8"]);
}

#[test]
fn turns_pass_only_from_the_live_instance_for_the_unanswered_event() {
    let mut bench = Bench::live();
    bench.packet_in();
    bench.packet_in();
    for (session, epoch, n, wanted) in [
        (1, 1, 2, PASS),
        (2, 1, 2, STALE),
        (1, 0, 2, STALE),
        (1, 2, 2, WRONG),
        (1, 1, 1, WRONG),
        (1, 1, 3, WRONG),
    ] {
        assert_eq!(
            bench.permit_turn(session, epoch, n),
            wanted,
            "{session} {epoch} {n}"
        );
    }
    let older = Some(Seq {
        incarnation: 6,
        n: 2,
    });
    assert!(bench.slot.permit_turn(1, 1, older).unwrap_err().stale);
}

#[test]
fn a_hold_drains_quiesces_and_resumes_the_next_one() {
    let mut bench = Bench::live();
    bench.packet_in();
    assert_eq!(bench.hold(), ["1: quiesce 1"]);
    assert!(bench.packet_in().is_empty(), "held");
    assert_eq!(
        bench.permit_turn(1, 1, 2),
        PASS,
        "the turn in flight passes"
    );
    assert_eq!(
        bench.answer(1, 2),
        ["1: accepted 2"],
        "and no event follows"
    );
    assert_eq!(bench.quiesced(1, 1, 2), ["hold Quiesced 2"]);
    assert_eq!(bench.permit_turn(1, 1, 0), STALE, "no turn after Quiesced");
    assert_eq!(
        bench.resume(2, 2, seq(2)),
        [
            "1: pause",
            "1: sync",
            "2: sync",
            "2: resume 2",
            "resumed 1/0",
            "2: event 3"
        ]
    );
    assert_eq!(bench.permit_turn(1, 1, 0), STALE);
    assert_eq!(bench.permit_turn(2, 2, 3), PASS);
}

#[test]
fn the_length_of_a_hold_is_reported() {
    let mut bench = Bench::live();
    bench.hold();
    bench.now += Duration::from_millis(3);
    bench.quiesced(1, 1, 1);
    bench.now += Duration::from_millis(4);
    let mut out = Vec::new();
    bench.slot.handle(
        SlotInput::Resume(resume(Some(9), 2, 2, seq(1))),
        bench.now,
        &mut out,
    );
    let held = out.iter().find_map(|output| match output {
        SlotOutput::Reply {
            reply: SlotReply::Resume(reply),
            ..
        } => Some(reply.held_us),
        _ => None,
    });
    assert_eq!(held, Some(7000));
}

#[test]
fn one_that_hangs_is_revoked_at_the_quiesce_deadline() {
    let mut bench = Bench::live();
    bench.packet_in();
    bench.hold();
    assert!(bench.later(SECOND / 2).is_empty());
    assert_eq!(bench.slot.next_deadline(), Some(bench.now + SECOND / 2));
    assert_eq!(bench.later(SECOND / 2), ["hold Expired 0"]);
    assert_eq!(bench.permit_turn(1, 1, 2), STALE);
    assert!(bench.quiesced(1, 1, 2).is_empty(), "too late");
    let resumed = bench.resume(2, 2, seq(1));
    assert_eq!(resumed.last().unwrap(), "2: event 2 again");
}

#[test]
fn a_hold_of_nobody_and_a_death_within_a_hold_are_answered_gone() {
    let mut bench = Bench::new(1 << 20);
    assert_eq!(bench.hold(), ["hold Gone 0"]);
    assert_eq!(bench.hold(), ["hold Gone 0"], "asked again, answered again");
    let mut bench = Bench::live();
    bench.packet_in();
    bench.hold();
    assert_eq!(
        bench.lose(1),
        ["hold Gone 0", "detached live=true in flight 2"]
    );
    let resumed = bench.resume(2, 2, seq(1));
    assert_eq!(resumed[2..], ["resumed 1/1", "2: event 2 again"]);
}

#[test]
fn a_crash_replays_after_the_durable_cursor_without_the_packet_outs_that_are_out() {
    let mut bench = Bench::live();
    for _ in 0..3 {
        bench.packet_in();
    }
    bench.answer(1, 2);
    bench.durable(2);
    // Event 3 is accepted and not durable, 4 is unanswered.
    bench.answer(1, 3);
    assert_eq!(bench.lose(1), ["detached live=true in flight 4"]);
    assert!(bench.packet_in().is_empty());
    assert_eq!(
        bench.resume(2, 2, seq(2))[2..],
        ["resumed 3/2", "2: event 3 again"]
    );
    assert_eq!(bench.permit_turn(2, 2, 3), WITHOUT_PACKET_OUTS);
    assert_eq!(bench.answer(2, 3), ["2: accepted 3"], "one of them did it");
    assert_eq!(bench.durable(3), ["2: event 4 again"]);
    assert_eq!(
        bench.permit_turn(2, 2, 4),
        PASS,
        "of that one nothing was sent"
    );
    assert_eq!(bench.answer(2, 4), ["2: accepted 4"]);
    assert_eq!(bench.durable(4), ["2: event 5"]);
}

#[test]
fn a_turn_written_when_the_epoch_ends_counts_as_accepted() {
    let mut bench = Bench::live();
    bench.packet_in();
    let event = Some(seq(2));
    bench.put(SlotInput::Forwarded { event });
    bench.lose(1);
    bench.resume(2, 2, seq(1));
    assert!(
        bench.accept(1, 2, event).is_empty(),
        "not reported to the new instance"
    );
    assert_eq!(bench.permit_turn(2, 2, 2), WITHOUT_PACKET_OUTS);
    // An answer of its earlier epoch says nothing to an instance that is live again.
    bench.resume(2, 3, seq(1));
    let late = TurnEnd {
        epoch: 2,
        turn: 2,
        event,
        ..TurnEnd::default()
    };
    let late = SlotInput::TurnAccepted {
        session: 2,
        turn: late,
    };
    assert!(bench.put(late).is_empty());
    assert_eq!(bench.permit_turn(2, 3, 2), WITHOUT_PACKET_OUTS);
}

#[test]
fn older_epochs_and_second_instances_of_one_epoch_are_refused() {
    let mut bench = Bench::live();
    assert_eq!(
        bench.resume(2, 1, seq(1)),
        ["refused"],
        "1 is live in epoch 1"
    );
    bench.resume(2, 3, seq(1));
    assert_eq!(bench.resume(1, 2, seq(1)), ["refused"], "older");
    let later = Seq {
        incarnation: INCARNATION + 1,
        n: 1,
    };
    assert_eq!(
        bench.resume(1, 4, later),
        ["refused"],
        "of an incarnation to come"
    );
    assert_eq!(bench.permit_turn(2, 3, 0), PASS, "nothing was changed");
}

#[test]
fn an_expired_hold_fences_and_resumes_by_itself() {
    let mut bench = Bench::live();
    bench.packet_in();
    bench.hold();
    bench.quiesced(1, 1, 1);
    assert_eq!(bench.later(10 * SECOND), ["fence"]);
    assert_eq!(bench.slot.next_deadline(), None);
    assert_eq!(bench.slot.held_instance(), Some("i1"));
    assert_eq!(bench.resume(2, 2, seq(1)), ["refused"], "the race is on");
    assert_eq!(bench.hold(), ["refused"]);
    assert_eq!(
        bench.put(SlotInput::Fenced(FenceResult::Committed(resume(
            None,
            1,
            2,
            seq(1)
        )))),
        ["1: sync", "1: resume 2", "1: event 2 again", "expired 2 i1"]
    );
}

#[test]
fn an_expired_hold_waits_for_the_store_and_obeys_a_faster_one() {
    let mut bench = Bench::live();
    bench.hold();
    assert_eq!(bench.later(10 * SECOND), ["hold Expired 0", "fence"]);
    assert!(
        bench
            .put(SlotInput::Fenced(FenceResult::StoreUnavailable))
            .is_empty()
    );
    assert!(bench.packet_in().is_empty(), "still holding");
    assert_eq!(bench.later(SECOND), ["fence"]);
    assert!(
        bench
            .put(SlotInput::Fenced(FenceResult::LostRace))
            .is_empty()
    );
    let resumed = bench.resume(2, 2, seq(1));
    assert_eq!(resumed.last().unwrap(), "2: event 2");
    // No instance is attached: the epoch is raised, and the events wait.
    bench.hold();
    bench.later(10 * SECOND);
    let nobody = SlotInput::Fenced(FenceResult::NoInstance { epoch: 3 });
    assert_eq!(bench.put(nobody), ["2: pause", "2: sync", "expired 3 "]);
    assert_eq!(bench.resume(2, 2, seq(1)), ["refused"]);
    let resumed = bench.resume(2, 4, seq(1));
    assert_eq!(resumed.last().unwrap(), "2: event 2 again");
}

#[test]
fn a_backlog_that_fills_does_not_end_a_hold() {
    let mut bench = Bench::new(1000);
    bench.resume(1, 1, Seq::ZERO);
    bench.answer(1, 1);
    bench.durable(1);
    bench.hold();
    let outputs: Vec<_> = (0..9).flat_map(|_| bench.packet_in()).collect();
    assert!(outputs.is_empty(), "{outputs:?}");
    assert!(bench.slot.report(bench.now).lost > 0);
    assert_eq!(bench.quiesced(1, 1, 1), ["hold Quiesced 1"]);
}

#[test]
fn a_paused_or_ready_instance_dies_without_consequence() {
    let mut bench = Bench::live();
    bench.packet_in();
    assert_eq!(bench.lose(2), ["detached live=false in flight 0"]);
    assert_eq!(bench.permit_turn(1, 1, 2), PASS);
    bench.hold();
    bench.quiesced(1, 1, 1);
    bench.lose(1);
    assert_eq!(
        bench.resume(2, 2, seq(1))[0],
        "2: sync",
        "nobody is left to be paused"
    );
}

#[test]
fn switches_are_listed_when_their_resync_is_delivered() {
    let mut bench = Bench::new(0);
    bench.resume(1, 1, Seq::ZERO);
    assert_eq!(bench.answer(1, 1), ["1: accepted 1"]);
    let gone = SlotInput::Event {
        channel: 1,
        dpid: 1,
        what: EventKind::SwitchDown,
    };
    assert_eq!(bench.put(gone), ["list", "1: event 2"]);
    bench.slot.append_listed_switch(3, 1, bench.now);
    assert_eq!(bench.answer(1, 2), ["1: accepted 2", "1: event 3"]);
    assert_eq!(bench.slot.queued(3).unwrap().0.what, EventKind::SwitchUp);
}

#[test]
fn the_report_counts() {
    let mut bench = Bench::live();
    for _ in 0..4 {
        bench.packet_in();
    }
    let report = bench.slot.report(bench.now + SECOND);
    assert_eq!(
        (report.events, report.backlog, report.last),
        (5, 4, Some(seq(2)))
    );
    assert_eq!(
        (report.instance.as_str(), report.epoch, report.held),
        ("i1", 1, false)
    );
    assert_eq!(report.rate, 0.8);
    bench.hold();
    assert!(bench.slot.report(bench.now).held);
    assert_eq!(Outcome::Quiesced as i32, 1);
}

/// Creates a gated slot: session 1 was live in epoch 1; session 2 is resumed in epoch 2 after a hold and waits for
/// other apps.
fn gated() -> Bench {
    let mut bench = Bench::live();
    bench.hold();
    bench.quiesced(1, 1, 1);
    bench.packet_in();
    bench.now += SECOND;
    let waits = ResumePlan {
        gated: true,
        ..resume(Some(9), 2, 2, seq(1))
    };
    let outputs = bench.put(SlotInput::Resume(waits));
    assert_eq!(
        outputs,
        [
            "1: pause",
            "1: sync",
            "2: sync",
            "2: resume 2",
            "2: event 2"
        ]
    );
    assert!(bench.slot.is_gated(2, 2) && !bench.slot.is_gated(2, 1) && !bench.slot.is_gated(1, 2));
    bench
}

#[test]
fn an_app_that_waits_for_others_is_answered_when_its_turns_pass() {
    let mut bench = gated();
    bench.now += SECOND;
    let mut out = Vec::new();
    bench.slot.handle(SlotInput::OpenGate, bench.now, &mut out);
    let Some(SlotOutput::Reply {
        reply: SlotReply::Resume(reply),
        ..
    }) = out.first()
    else {
        panic!("{out:?}");
    };
    assert_eq!(
        (reply.queued, reply.held_us),
        (1, 2_000_000),
        "held until now"
    );
    assert_eq!(out.last(), Some(&SlotOutput::JudgeGatedTurn { session: 2 }));
    assert!(!bench.slot.is_gated(2, 2));
    assert_eq!(bench.permit_turn(2, 2, 2), PASS);
    assert!(bench.put(SlotInput::OpenGate).is_empty(), "once");
}

#[test]
fn an_app_that_waits_for_others_can_be_held_replaced_and_lost() {
    let mut bench = gated();
    assert_eq!(
        bench.put(SlotInput::GroupLate("router is late".into())),
        ["refused"]
    );
    assert!(bench.slot.is_gated(2, 2), "it still waits");
    assert_eq!(bench.hold(), ["2: judge gated turn", "hold Quiesced 0"]);
    assert_eq!(
        bench.permit_turn(2, 2, 2),
        STALE,
        "what waited does not pass"
    );
    let outputs = bench.resume(1, 3, seq(1));
    assert_eq!(
        outputs,
        [
            "2: pause",
            "2: sync",
            "1: sync",
            "1: resume 3",
            "resumed 1/1",
            "1: event 2 again"
        ]
    );
    let mut bench = gated();
    let outputs = bench.resume(1, 3, seq(1));
    assert_eq!(outputs[..3], ["refused", "2: judge gated turn", "2: pause"]);
    let mut bench = gated();
    let outputs = bench.lose(2);
    assert_eq!(
        outputs,
        [
            "refused",
            "2: judge gated turn",
            "detached live=true in flight 2"
        ]
    );
    assert!(
        bench.put(SlotInput::OpenGate).is_empty()
            && bench.put(SlotInput::GroupLate(String::new())).is_empty()
    );
}
