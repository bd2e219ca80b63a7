//! Tests of a group of two apps: what is sent, and when.

use morph_api::supervisor::{Group as GroupMembers, HoldRequest};

use super::*;

const BOTH: [(&str, u32, u32, u32); 2] = [("fw", 2, 20, 29), ("ls", 1, 10, 19)];
const WAIT_MS: u32 = 3_000;

impl Bench {
    fn member(&mut self, session: u64, app: &str) {
        self.attach_member(session, app);
        self.resume_member(app, 1, "u1", &["fw", "ls"]);
    }

    fn attach_member(&mut self, session: u64, app: &str) {
        self.put(Input::SessionOpened { session });
        let hello = from_app::Record::Hello(SessionHello {
            app: app.into(),
            instance: app.into(),
            release: "2.0.0".into(),
            pid: 1,
            protocol: morph_api::PROTOCOL,
            confirms_rules: false,
        });
        self.records(session, |records| control(records, hello));
    }

    fn resume_member(&mut self, app: &str, epoch: u64, group: &str, members: &[&str]) {
        self.ask(ControlRequest::Resume(ResumeRequest {
            app: app.into(),
            instance: app.into(),
            epoch,
            cursor: Some(Seq {
                incarnation: 3,
                n: 2,
            }),
            turn: 0,
            revision: 0,
            group: Some(GroupMembers {
                id: group.into(),
                apps: members.iter().map(ToString::to_string).collect(),
                wait_ms: WAIT_MS,
            }),
        }));
    }

    fn rules_ready(&mut self, session: u64) {
        let ready = morph_api::session::RulesReady { epoch: 1 };
        self.records(session, |records| {
            control(records, from_app::Record::RulesReady(ready));
        });
    }

    fn first_turn(&mut self, session: u64) {
        let out = Message::PacketOut(PacketOut {
            buffer_id: v13::NO_BUFFER,
            in_port: v13::port::CONTROLLER,
            actions: Vec::new(),
            data: Bytes::from_static(b"first"),
        });
        let end = from_app::Record::TurnEnd(TurnEnd {
            epoch: 1,
            turn: 1,
            event: None,
            ..TurnEnd::default()
        });
        self.records(session, |records| {
            put_message(records, 1, &out.encode(0));
            control(records, end);
        });
    }

    /// Counts the packet-outs that were sent.
    fn packets_sent(&self) -> usize {
        let sent = |(_, message): &&(u32, Message)| matches!(message, Message::PacketOut(_));
        self.wire.iter().filter(sent).count()
    }

    fn turns_accepted(&mut self) -> usize {
        let received = self.received();
        received
            .iter()
            .filter(|text| text.contains("accepted"))
            .count()
    }
}

/// Resumes both apps; their first turns wait.
fn both() -> Bench {
    let mut bench = Bench::new(1 << 20);
    bench.ask(ControlRequest::Configure(configuration(&BOTH)));
    bench.switch(1, 7, 254);
    bench.wire.clear();
    bench.member(1, "fw");
    bench.rules_ready(1);
    bench.first_turn(1);
    bench.member(2, "ls");
    bench.first_turn(2);
    assert_eq!((bench.turns_accepted(), bench.packets_sent()), (0, 0));
    bench
}

#[test]
fn nothing_is_sent_before_each_member_has_its_first_rules() {
    let mut bench = both();
    bench.later(SECOND);
    assert_eq!((bench.turns_accepted(), bench.packets_sent()), (0, 0));
    bench.rules_ready(2);
    assert_eq!((bench.turns_accepted(), bench.packets_sent()), (2, 2));
    bench.first_turn(1);
    assert_eq!(bench.turns_accepted(), 1, "from then on each by itself");
    assert!(bench.others.is_empty(), "{:?}", bench.others);
}

#[test]
fn late_members_are_reported_and_turns_pass_after_all_without_morphd() {
    let mut bench = both();
    bench.later(Duration::from_millis(WAIT_MS.into()));
    let refused: Vec<_> = bench.others.drain(..).collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(
        refused.iter().all(|text| text.contains("from ls")),
        "{refused:?}"
    );
    assert_eq!((bench.turns_accepted(), bench.packets_sent()), (0, 0));
    bench.later(crate::group::GRACE);
    assert_eq!((bench.turns_accepted(), bench.packets_sent()), (2, 2));
}

#[test]
fn a_gated_turn_of_a_member_that_is_held_or_lost_is_never_sent() {
    let mut bench = both();
    bench.ask(ControlRequest::Hold(HoldRequest {
        app: "fw".into(),
        quiesce_ms: 1_000,
        hold_ms: 5_000,
    }));
    assert!(
        bench
            .received()
            .iter()
            .any(|text| text.starts_with("1: Rejected") && text.contains("stale: true"))
    );
    bench.put(Input::SessionEnded {
        session: 2,
        reason: "killed".into(),
    });
    bench.later(Duration::from_millis(WAIT_MS.into()) + crate::group::GRACE);
    assert_eq!(bench.packets_sent(), 0);
}

#[test]
fn a_member_is_answered_although_another_one_has_joined_a_new_group() {
    let mut bench = both();
    bench.resume_member("ls", 2, "u2", &["ls"]);
    let refused: Vec<_> = bench.others.drain(..).collect();
    assert_eq!(refused.len(), 1, "the former resume of ls: {refused:?}");
    bench.later(Duration::from_millis(WAIT_MS.into()));
    let late = "no first rules in time from ls";
    let refused: Vec<_> = bench.others.drain(..).collect();
    assert_eq!(refused.len(), 2, "fw in u1 and ls in u2: {refused:?}");
    assert!(
        refused.iter().all(|text| text.contains(late)),
        "{refused:?}"
    );
    bench.later(crate::group::GRACE);
    assert!(bench.mediator.groups.is_empty());
}

#[test]
fn an_app_that_its_group_does_not_name_is_answered() {
    let mut bench = Bench::new(1 << 20);
    bench.attach_member(1, "ls");
    bench.resume_member("ls", 1, "u1", &[]);
    assert_eq!(bench.mediator.groups.len(), 1);
    bench.rules_ready(1);
    assert!(bench.mediator.groups.is_empty(), "its turns pass");
    let slot = bench.mediator.slots.values_mut().next().unwrap();
    assert!(!slot.report(bench.now).held);
}
