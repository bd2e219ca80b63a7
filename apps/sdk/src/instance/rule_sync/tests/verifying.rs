//! Rules that vanish or change without Morpheus, and what the verification makes of it.

use morph_openflow::v13::FlowRemoved;
use morph_openflow::v13::flow_removed::reason::{DELETE, IDLE_TIMEOUT};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const COUNTS: Duration = Duration::from_secs(30);
const RULES: Duration = Duration::from_secs(300);

impl Bench {
    /// Switch A has rules 0 to 9, switch B none, and both are compared. Counts alone are made, or whole readings too.
    fn compared(rules: Duration) -> Self {
        let periods = VerificationPeriods {
            counts: COUNTS,
            rules,
        };
        let mut bench = Bench::verified(RuleWindow::default(), periods);
        (0..10).for_each(|number| bench.want(A, number, Some(1)));
        bench.settle();
        assert!(bench.is_right(1, A));
        bench.synced.clear();
        bench
    }

    /// Both switches answer everything, until nothing is under way. Returns the number of flow-mods.
    fn settle(&mut self) -> usize {
        let mut count = 0;
        loop {
            self.begin_reading();
            count += self.turn();
            if self.wires.values().all(Vec::is_empty) {
                return count;
            }
            self.handle(1);
            self.handle(2);
        }
    }

    /// Lets time pass, second by second, with all that is due. Returns the number of flow-mods.
    fn pass_by(&mut self, time: Duration) -> usize {
        let seconds = 0..time.as_secs();
        let each = seconds.map(|_| {
            self.now += SECOND;
            self.settle()
        });
        each.sum()
    }

    /// Waits for the next question to switch A. Returns its xid and its complete answer.
    fn asked(&mut self) -> (u32, Message) {
        for _ in 0..2 * RULES.as_secs() {
            self.now += SECOND;
            self.begin_reading();
            self.handle(2);
            let replies = self.replies(1).into_iter();
            let mut asked = replies.filter_map(|(xid, reply, _)| match reply {
                Some(reply @ Message::MultipartReply(_)) => Some((xid, reply)),
                _ => None,
            });
            if let Some(asked) = asked.next() {
                return asked;
            }
        }
        panic!("nothing is asked");
    }

    /// Waits for the next reading of switch A, and leaves out counts.
    fn asked_for_rules(&mut self) -> (u32, Message) {
        loop {
            let (xid, answer) = self.asked();
            let is_of_rules = matches!(
                &answer,
                Message::MultipartReply(reply) if matches!(reply.body, MultipartBody::Flow(_))
            );
            if is_of_rules {
                return (xid, answer);
            }
            self.answer(1, xid, &answer);
            self.turn();
        }
    }

    fn vanish(&mut self, number: u16) {
        let rules = self.rules.get_mut(&1).unwrap();
        assert!(rules.remove(&key(number)).is_some());
    }

    pub(super) fn removed(&mut self, xid: u32, number: u16, reason: u8) {
        let key = key(number);
        let removed = FlowRemoved {
            cookie: body(1).cookie,
            priority: key.priority,
            reason,
            table_id: key.table,
            duration_sec: 1,
            duration_nsec: 0,
            idle_timeout: 1,
            hard_timeout: 0,
            packet_count: 0,
            byte_count: 0,
            match_: (*key.match_).clone(),
        };
        self.answer(1, xid, &Message::FlowRemoved(removed));
    }

    fn refuse(&mut self, xid: u32) -> ReplyOutcome {
        let error = Message::Error(ErrorMsg {
            kind: 1,
            code: 2,
            data: Bytes::new(),
        });
        self.sync.reply(1, &error.encode(xid), self.now)
    }
}

#[test]
fn a_rule_that_vanishes_is_missed_by_the_next_count_and_added_again() {
    let mut bench = Bench::compared(Duration::ZERO);
    assert_eq!(bench.pass_by(2 * COUNTS), 0, "all is there");
    bench.vanish(3);
    bench.vanish(4);
    assert_eq!(bench.pass_by(COUNTS), 2);
    assert!(bench.is_right(1, A));
    assert!(bench.synced.is_empty() && bench.sync.all_in_step());
    assert!(bench.sync.unsettled.is_empty());
}

#[test]
fn a_rule_that_another_one_changes_or_adds_is_found_by_the_next_reading() {
    let mut bench = Bench::compared(RULES);
    let rules = bench.rules.get_mut(&1).unwrap();
    let cookie = rules[&key(3)].cookie;
    let dropped = RuleBody {
        instructions: [].into(),
        cookie,
        ..RuleBody::default()
    };
    rules.insert(key(3), dropped);
    rules.insert(key(70), body(9));
    // The foreign rule is counted, and both are mended by the reading that follows.
    assert_eq!(bench.pass_by(COUNTS), 2);
    assert!(bench.is_right(1, A));
    let rules = bench.rules.get_mut(&1).unwrap();
    rules.insert(key(5), RuleBody { cookie, ..body(2) });
    assert_eq!(bench.pass_by(RULES), 1);
    assert!(bench.is_right(1, A));
}

#[test]
fn nothing_is_asked_where_the_verification_is_off_or_held() {
    let mut bench = Bench::read(100, 3);
    bench.settle();
    assert_eq!(bench.sync.next_deadline(true), None);
    let mut bench = Bench::compared(RULES);
    assert!(bench.sync.next_deadline(true).is_some());
    assert_eq!(bench.sync.next_deadline(false), None);
    bench.now += 2 * RULES;
    assert!(bench.sync.read(&NO_ENTRIES, false, bench.now).is_empty());
    assert!(!bench.sync.read(&NO_ENTRIES, true, bench.now).is_empty());
}

#[test]
fn changes_are_sent_during_a_verification_and_not_compared() {
    let mut bench = Bench::compared(RULES);
    let (xid, answer) = bench.asked_for_rules();
    bench.want(A, 2, None);
    bench.want(A, 5, Some(6));
    bench.want(A, 20, Some(1));
    // As after a turn of no event of the network.
    let mut stale = StaleRules::new();
    stale
        .rules
        .insert(A, BTreeSet::from([key(2), key(5), key(20)]));
    bench.sync.note(stale, &bench.wanted.clone(), false);
    assert_eq!(bench.turn(), 3, "nothing waits for the answer");
    assert!(bench.sync.all_in_step() && bench.sync.all_read());
    bench.answer(1, xid, &answer);
    assert_eq!(bench.turn(), 0, "the answer is older than the changes");
    bench.handle(1);
    assert!(bench.is_right(1, A));
}

#[test]
fn nothing_that_has_just_expired_is_added_again() {
    let mut bench = Bench::compared(RULES);
    // Rule 1 expires before the switch answers, rule 2 after that; the app handles one event before the comparison.
    let (xid, _) = bench.asked_for_rules();
    bench.vanish(1);
    let answer = statistics(&bench.rules[&1]);
    bench.vanish(2);
    bench.removed(xid, 1, IDLE_TIMEOUT);
    bench.sync.note_expired(A, key(2));
    bench.want(A, 2, None);
    bench.turn();
    bench.answer(1, xid, &answer);
    let removed = bench.turn();
    let added = |bench: &Bench| {
        let wire = bench.wires.get(&1).into_iter().flatten();
        let added = wire.filter(|(_, message)| {
            matches!(message, Message::FlowMod(flow) if flow.command == FlowModCommand::Add)
        });
        added.count()
    };
    assert_eq!((removed, added(&bench)), (0, 0));
    // The app handles the other one.
    bench.sync.note_expired(A, key(1));
    bench.want(A, 1, None);
    bench.turn();
    assert_eq!(added(&bench), 0);
}

#[test]
fn rules_that_expire_while_they_are_counted_call_for_no_reading() {
    let mut bench = Bench::compared(Duration::ZERO);
    let (xid, _) = bench.asked();
    // An event waits, another is handled, and the rule of one of them is counted all the same.
    bench.removed(xid, 1, IDLE_TIMEOUT);
    bench.sync.note_expired(A, key(2));
    bench.want(A, 2, None);
    bench.turn();
    bench.answer(1, xid, &aggregate(9));
    assert!(!bench.sync.by_dpid[&A].is_to_be_read(bench.now));
    assert_eq!(bench.sync.by_dpid[&A].verification_due(bench.now), None);
    // Too few all the same.
    let mut bench = Bench::compared(Duration::ZERO);
    let (xid, _) = bench.asked();
    bench.removed(xid, 1, IDLE_TIMEOUT);
    bench.answer(1, xid, &aggregate(8));
    let due = bench.sync.by_dpid[&A].verification_due(bench.now);
    assert_eq!(due, Some(Question::Rules));
}

#[test]
fn a_reported_removal_is_mended_at_once_and_less_often_where_it_comes_again() {
    let mut bench = Bench::compared(Duration::ZERO);
    let mut took = Vec::new();
    for _ in 0..4 {
        let began = bench.now;
        bench.vanish(3);
        bench.sync.note_removed(A, &key(3), bench.now);
        while bench.settle() == 0 {
            bench.now += SECOND;
        }
        took.push((bench.now - began).as_secs());
    }
    assert_eq!(took, [0, 2, 4, 8]);
    let vanishing = bench.sync.vanishing(bench.now);
    assert_eq!(vanishing.len(), 1);
    assert_eq!(vanishing[0].dpid, A.0);
    bench.pass_by(11 * COUNTS);
    assert!(bench.sync.vanishing(bench.now).is_empty());
}

#[test]
fn the_removal_of_a_rule_that_is_not_wanted_calls_for_nothing() {
    let mut bench = Bench::compared(Duration::ZERO);
    bench.want(A, 3, None);
    bench.settle();
    bench.sync.note_removed(A, &key(3), bench.now);
    assert_eq!(bench.sync.by_dpid[&A].verification_due(bench.now), None);
    // Such an event that waits does not say that its rule is to be left alone.
    bench.vanish(4);
    bench.sync.note_removed(A, &key(4), bench.now);
    bench.begin_reading();
    let replies = bench.replies(1);
    let (xid, answer, _) = replies.last().cloned().unwrap();
    bench.removed(xid, 4, DELETE);
    bench.answer(1, xid, &answer.unwrap());
    assert_eq!(bench.turn(), 1);
}

#[test]
fn a_switch_that_refuses_counts_is_read_as_a_whole() {
    let mut bench = Bench::compared(RULES);
    let (xid, _) = bench.asked();
    assert_eq!(bench.refuse(xid), ReplyOutcome::Nothing);
    bench.vanish(3);
    assert_eq!(bench.pass_by(RULES), 1);
    for _ in 0..10 {
        bench.asked_for_rules();
        bench
            .sync
            .by_dpid
            .get_mut(&A)
            .unwrap()
            .expire(A, bench.now + RULES);
    }
}

#[test]
fn rules_of_another_table_with_the_same_id_are_counted_once_known() {
    let mut bench = Bench::compared(RULES);
    let probes = RuleKey::new(0, 1, &Match::new());
    bench.rules.get_mut(&1).unwrap().insert(probes, body(1));
    assert_eq!(bench.pass_by(2 * RULES), 0);
    let (xid, answer) = bench.asked();
    bench.answer(1, xid, &answer);
    assert_eq!(bench.sync.by_dpid[&A].verification_due(bench.now), None);
}

#[test]
fn a_refused_rule_has_not_vanished() {
    let mut bench = Bench::compared(Duration::ZERO);
    bench.want(A, 20, Some(1));
    for _ in 0..6 {
        // The switch takes the rule and does not keep it.
        bench.begin_reading();
        bench.turn();
        bench.replies(1);
        bench.rules.get_mut(&1).unwrap().remove(&key(20));
        let error = bench.refuse(FLOW_MOD);
        assert!(matches!(error, ReplyOutcome::RuleFailed(A, _)));
        let (xid, answer) = bench.asked_for_rules();
        bench.answer(1, xid, &answer);
        assert_eq!(bench.turn(), 1, "it is tried again");
    }
    assert!(bench.sync.vanishing(bench.now).is_empty());
}

#[test]
fn a_question_without_an_answer_is_given_up_and_asked_again() {
    let mut bench = Bench::compared(RULES);
    bench.vanish(3);
    let (xid, answer) = bench.asked_for_rules();
    let asked = bench.now;
    let (other, _) = bench.asked_for_rules();
    assert!(other != xid && bench.now - asked <= Duration::from_secs(70));
    bench.answer(1, xid, &answer);
    assert_eq!(bench.turn(), 0, "only the newest answer counts");
    assert!(bench.sync.all_in_step());
    bench.answer(1, other, &answer);
    assert_eq!(bench.turn(), 1);
}

#[test]
fn what_a_verification_found_goes_together() {
    let mut bench = Bench::compared(RULES);
    (0..9).for_each(|number| bench.vanish(number));
    let (xid, answer) = bench.asked();
    bench.answer(1, xid, &answer);
    bench.turn();
    let (xid, answer) = bench.asked_for_rules();
    bench.answer(1, xid, &answer);
    assert_eq!(bench.together(), [[1]]);
    bench.handle(1);
    assert!(bench.is_right(1, A));
    bench.want(A, 0, Some(2));
    assert_eq!(bench.together(), [[0; 0]]);
}
