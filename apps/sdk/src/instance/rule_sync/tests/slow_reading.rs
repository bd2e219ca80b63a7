//! Switches that take long to report their rules, and what changes meanwhile.

use std::ops::Range;

use morph_openflow::v13::flow_removed::reason::IDLE_TIMEOUT;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

impl Bench {
    /// Asks switch A, which has these rules, and lets it come to the question. Returns xid and complete answer.
    fn ask(&mut self, rules: Range<u16>) -> (u32, Message) {
        let rules = rules.map(|number| (key(number), body(1))).collect();
        self.rules.insert(1, rules);
        self.begin_reading();
        let mut replies = self.replies(1).into_iter();
        let is_read = |reply: &Option<Message>| matches!(reply, Some(Message::MultipartReply(_)));
        let (xid, reply, _) = replies.find(|(_, reply, _)| is_read(reply)).unwrap();
        (xid, reply.unwrap())
    }

    /// Lets time pass, with all that is due. Returns whether switch A was asked again.
    fn pass(&mut self, time: Duration) -> bool {
        self.now += time;
        self.begin_reading();
        self.wires.get(&1).is_some_and(|wire| !wire.is_empty())
    }

    fn removal_waits(&mut self, xid: u32, number: u16) {
        self.removed(xid, number, IDLE_TIMEOUT);
    }
}

/// An answer with one rule for each part.
fn parts(rules: Range<u16>) -> Vec<Message> {
    let last = rules.end - 1;
    let part = |number| {
        let rules = RuleSet::from([(key(number), body(1))]);
        let Message::MultipartReply(mut reply) = statistics(&rules) else {
            unreachable!()
        };
        reply.more = number != last;
        Message::MultipartReply(reply)
    };
    rules.map(part).collect()
}

#[test]
fn a_late_answer_to_the_newest_question_counts() {
    let mut bench = Bench::new(100);
    (0..3).for_each(|number| bench.want(A, number, Some(1)));
    let (xid, answer) = bench.ask(0..2);
    assert!(!bench.pass(6 * SECOND), "late, and not asked again yet");
    bench.answer(1, xid, &answer);
    assert_eq!(bench.turn(), 1);
    bench.handle(1);
    assert!(bench.is_right(1, A));
}

#[test]
fn each_part_has_as_much_time_as_the_first_one() {
    let mut bench = Bench::new(100);
    (0..4).for_each(|number| bench.want(A, number, Some(1)));
    let (xid, _) = bench.ask(0..4);
    for part in parts(0..4) {
        assert!(!bench.pass(4 * SECOND));
        bench.answer(1, xid, &part);
    }
    assert_eq!(bench.turn(), 0, "all is there");
    assert_eq!(bench.synced.len(), 1);
}

#[test]
fn the_time_for_an_answer_grows_with_each_one_that_is_late() {
    let mut bench = Bench::new(100);
    let mut xid = bench.ask(0..1).0;
    // Late after 5 s, then 10, 20, 40, and 60 from then on; asked again 2, 4, 8 s later, and so on.
    for (limit, backoff) in [(5, 2), (10, 4), (20, 8), (40, 16), (60, 32), (60, 60)] {
        assert!(!bench.pass(limit * SECOND - SECOND));
        assert_eq!(bench.sync.next_deadline(true), Some(bench.now + SECOND));
        assert!(!bench.pass(SECOND));
        assert!(!bench.pass(backoff * SECOND - SECOND));
        assert!(bench.pass(SECOND), "{limit}");
        let old = xid;
        xid = bench.replies(1)[0].0;
        // Only the newest question counts.
        bench.answer(1, old, &statistics(&RuleSet::new()));
        assert!(matches!(
            bench.sync.by_dpid[&A].state,
            ReadState::Reading(_)
        ));
    }
    // The switch stays slow when it is to be read for another reason.
    bench.sync.mark_unread(Some(A));
    bench.begin_reading();
    bench.replies(1);
    assert!(!bench.pass(59 * SECOND));
    assert_eq!(bench.sync.next_deadline(true), Some(bench.now + SECOND));
}

#[test]
fn what_changes_during_a_reading_is_sent_and_not_compared() {
    let mut bench = Bench::new(100);
    (0..4).for_each(|number| bench.want(A, number, Some(1)));
    let (xid, answer) = bench.ask(0..4);
    // A new rule, one in another form, one that goes and one that comes back.
    bench.want(A, 7, Some(1));
    bench.want(A, 0, Some(5));
    bench.want(A, 1, None);
    assert_eq!(
        bench.turn(),
        2,
        "what is there is not known yet, so nothing is deleted"
    );
    bench.want(A, 7, None);
    assert_eq!(bench.turn(), 1, "it is known that this one is there");
    bench.answer(1, xid, &answer);
    assert_eq!(bench.turn(), 1, "the deletion of rule 1");
    while !bench.handle(1).is_empty() {
        bench.turn();
    }
    assert!(bench.is_right(1, A));
}

#[test]
fn a_change_that_waits_at_the_end_of_a_reading_is_sent() {
    let mut bench = Bench::new(1);
    bench.want(A, 0, Some(1));
    let (xid, answer) = bench.ask(0..1);
    bench.want(A, 7, Some(1));
    bench.want(A, 8, Some(1));
    assert_eq!(bench.turn(), 1, "the window is full");
    bench.answer(1, xid, &answer);
    bench.turn();
    while !bench.handle(1).is_empty() {
        bench.turn();
    }
    assert!(bench.is_right(1, A));
}

#[test]
fn a_rule_whose_removal_waits_for_the_app_is_not_added_again() {
    let mut bench = Bench::new(100);
    (0..3).for_each(|number| bench.want(A, number, Some(1)));
    let (xid, answer) = bench.ask(0..1);
    // Rules 1 and 2 have expired; the app does not know that yet.
    bench.removal_waits(xid, 1);
    bench.removal_waits(xid, 2);
    bench.answer(1, xid, &answer);
    assert_eq!(bench.turn(), 0);
    // The app handles both events. It wants one of the rules all the same.
    bench.sync.note_expired(A, key(1));
    bench.want(A, 1, None);
    bench.sync.note_expired(A, key(2));
    bench.turn();
    let added = bench.wires[&1]
        .iter()
        .filter_map(|(_, message)| match message {
            Message::FlowMod(flow) if flow.command == FlowModCommand::Add => {
                Some(flow.match_.clone())
            }
            _ => None,
        });
    assert_eq!(added.collect::<Vec<_>>(), [(*key(2).match_).clone()]);
}

#[test]
fn a_rule_that_expires_while_the_answer_is_on_its_way_is_added_again_if_it_is_wanted() {
    let mut bench = Bench::new(100);
    (0..2).for_each(|number| bench.want(A, number, Some(1)));
    let (xid, answer) = bench.ask(0..2);
    // The answer shows both; rule 1 expires after that.
    bench.sync.note_expired(A, key(1));
    bench.rules.get_mut(&1).unwrap().remove(&key(1));
    bench.answer(1, xid, &answer);
    assert_eq!(bench.turn(), 1);
    bench.handle(1);
    assert!(bench.is_right(1, A));
}

#[test]
fn a_rule_that_is_refused_during_a_reading_is_read_again_after_it() {
    let mut bench = Bench::new(100);
    let (xid, answer) = bench.ask(0..0);
    bench.want(A, 7, Some(1));
    assert_eq!(bench.turn(), 1);
    bench.wires.clear();
    let error = Message::Error(ErrorMsg {
        kind: 5,
        code: 1,
        data: Bytes::new(),
    });
    let refused = error.encode(FLOW_MOD);
    let outcome = bench.sync.reply(1, &refused, bench.now);
    assert!(matches!(outcome, ReplyOutcome::RuleFailed(A, _)));
    bench.answer(1, xid, &answer);
    bench.turn();
    assert!(bench.pass(2 * SECOND), "it is read again");
    bench.handle(1);
    assert_eq!(bench.turn(), 1);
    bench.handle(1);
    assert!(bench.is_right(1, A));
}
