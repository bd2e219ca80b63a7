//! Reading of a switch's rules.

use morph_api::supervisor::FlowsRequest;

use super::*;

#[test]
fn an_unanswered_read_of_the_pipeline_is_started_again() {
    let mut bench = Bench::new(1 << 20);
    bench.switch(1, 7, 254);
    let sent = |bench: &mut Bench| {
        let mods = bench
            .wire
            .iter()
            .filter(|(_, message)| matches!(message, Message::FlowMod(_)));
        let count = mods.count();
        bench.wire.clear();
        count
    };
    assert_eq!(sent(&mut bench), 2);
    let now = bench.now;
    bench.answers_reads = false;
    bench.mediator.reconcile(1, now);
    bench.packet_in(1);
    assert_eq!(bench.reads.len(), 1, "one at a time");
    bench.answers_reads = true;
    for _ in 0..9 {
        bench.later(SECOND);
        bench.packet_in(1);
    }
    assert_eq!(sent(&mut bench), 0);
    bench.later(SECOND);
    assert_eq!(sent(&mut bench), 2, "this switch forgets its rules at once");
}

/// Request of session 1 for the rules of switch 1, with a barrier.
fn read(bench: &mut Bench, session: u64, token: u32) {
    let rules = MultipartRequest::Flow(v13::FlowStatsRequest::all());
    bench.records(session, |records| {
        control(records, from_app::Record::ReadBegin(Default::default()));
        for message in [Message::BarrierRequest, Message::MultipartRequest(rules)] {
            put_message(records, 1, &message.encode(token));
        }
        control(records, from_app::Record::ReadEnd(Default::default()));
    });
}

/// Part of an answer to the request for rules that was sent last.
fn part(bench: &mut Bench, more: bool) {
    let xid = *bench.reads.last().unwrap();
    let body = MultipartBody::Flow(Vec::new());
    let part = Message::MultipartReply(MultipartReply { more, body });
    let frames = vec![part.encode(xid)];
    bench.put(Input::Frames { conn: 1, frames });
}

#[test]
fn a_switch_is_asked_for_its_rules_by_one_at_a_time() {
    let mut bench = Bench::live(1 << 20);
    bench.attach(2, "b");
    bench.answers_reads = false;
    read(&mut bench, 1, 20);
    read(&mut bench, 2, 30);
    // The second instance asks again while it waits.
    read(&mut bench, 2, 31);
    bench.mediator.reconcile(1, bench.now);
    // Parts come slowly.
    for _ in 0..4 {
        assert_eq!(bench.reads.len(), 1);
        bench.later(9 * SECOND);
        bench.frame(1, Message::EchoReply(Bytes::new()));
        part(&mut bench, true);
    }
    part(&mut bench, false);
    // A single request serves the second instance, and table 0 with the exits. The third instance is gone when that is answered.
    assert_eq!(bench.reads.len(), 2);
    bench.attach(3, "c");
    read(&mut bench, 3, 40);
    bench.put(Input::SessionEnded {
        session: 3,
        reason: String::new(),
    });
    assert!(!bench.mediator.switches[&1].reconciliation.is_in_step());
    part(&mut bench, false);
    assert_eq!(bench.reads.len(), 2);
    assert!(bench.mediator.switches[&1].reconciliation.is_in_step());
    let answered: Vec<_> = bench.answers.drain(..).collect();
    assert_eq!(answered[..5], [(1, 20); 5]);
    assert_eq!(answered[5..], [(2, 31)]);
}

#[test]
fn a_query_of_morphd_waits_for_its_turn_and_shares_an_answer() {
    let mut bench = Bench::live(1 << 20);
    bench.answers_reads = false;
    read(&mut bench, 1, 20);
    bench.ask(ControlRequest::Flows(FlowsRequest { dpid: 7 }));
    read(&mut bench, 1, 21);
    assert_eq!(bench.reads.len(), 1);
    bench.later(9 * SECOND);
    part(&mut bench, false);
    assert_eq!(
        bench.mediator.queries.len(),
        1,
        "it has waited for longer than an answer may take"
    );
    assert_eq!(bench.reads.len(), 2);
    part(&mut bench, true);
    part(&mut bench, false);
    assert_eq!(bench.reads.len(), 2);
    assert!(bench.mediator.queries.is_empty());
    assert_eq!(bench.answers, [(1, 20), (1, 21), (1, 21)]);
    // Without an answer it fails, as soon as that is missing.
    bench.ask(ControlRequest::Flows(FlowsRequest { dpid: 7 }));
    bench.later(10 * SECOND);
    assert!(bench.mediator.queries.is_empty());
    let failed = |other: &String| other.contains("did not report its rules in time");
    assert!(bench.others.iter().any(failed), "{:?}", bench.others);
}

#[test]
fn an_instance_is_told_of_removals_that_it_has_not_handled_before_the_last_part_of_its_answer() {
    let mut bench = Bench::live(1 << 20);
    bench.answers_reads = false;
    read(&mut bench, 1, 20);
    part(&mut bench, true);
    let cookie = Cookie {
        app: 1,
        epoch: 1,
        own: 0,
    };
    bench.frame(
        1,
        Message::FlowRemoved(v13::FlowRemoved {
            cookie: cookie.to_u64(),
            priority: 1,
            reason: 0,
            table_id: 10,
            duration_sec: 0,
            duration_nsec: 0,
            idle_timeout: 1,
            hard_timeout: 0,
            packet_count: 0,
            byte_count: 0,
            match_: Match::new(),
        }),
    );
    assert!(bench.removals.is_empty());
    part(&mut bench, false);
    assert_eq!(bench.removals, [(1, 20)]);
    // Handled, and durable.
    bench.answer(3);
    let cursor = Some(Seq {
        incarnation: 3,
        n: 3,
    });
    let durable = from_app::Record::Durable(morph_api::session::Durable { cursor });
    bench.records(1, |records| control(records, durable));
    read(&mut bench, 1, 21);
    part(&mut bench, false);
    assert_eq!(bench.removals.len(), 1);
}
