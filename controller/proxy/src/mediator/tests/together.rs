//! Two apps that are resumed as one: what leaves, and when.

use morph_api::supervisor::{Group as Joint, HoldRequest};

use super::*;

const BOTH: [(&str, u32, u32, u32); 2] = [("fw", 2, 20, 29), ("ls", 1, 10, 19)];
const WAIT_MS: u32 = 3_000;

impl Bench {
    fn member(&mut self, session: u64, app: &str) {
        self.put(Input::SessionOpened { session });
        let hello = from_app::Record::Hello(SessionHello {
            app: app.into(),
            instance: app.into(),
            release: "2.0.0".into(),
            pid: 1,
            protocol: morph_api::PROTOCOL,
        });
        self.records(session, |records| control(records, hello));
        self.ask(Ask::Resume(ResumeRequest {
            app: app.into(),
            instance: app.into(),
            epoch: 1,
            cursor: Some(Seq {
                incarnation: 3,
                n: 2,
            }),
            turn: 0,
            revision: 0,
            group: Some(Joint {
                id: "u1".into(),
                apps: vec!["fw".into(), "ls".into()],
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
        });
        self.records(session, |records| {
            put_message(records, 1, &out.encode(0));
            control(records, end);
        });
    }

    /// How many of the turns' messages are on the wire.
    fn left(&self) -> usize {
        let sent = |(_, message): &&(u32, Message)| matches!(message, Message::PacketOut(_));
        self.wire.iter().filter(sent).count()
    }

    fn accepted(&mut self) -> usize {
        let told = self.told();
        told.iter().filter(|text| text.contains("accepted")).count()
    }
}

/// Both are resumed, and their first turns wait.
fn both() -> Bench {
    let mut bench = Bench::new(1 << 20);
    bench.ask(Ask::Configure(configuration(&BOTH)));
    bench.switch(1, 7, 254);
    bench.wire.clear();
    bench.member(1, "fw");
    bench.rules_ready(1);
    bench.first_turn(1);
    bench.member(2, "ls");
    bench.first_turn(2);
    assert_eq!((bench.accepted(), bench.left()), (0, 0));
    bench
}

#[test]
fn nothing_leaves_before_each_has_its_first_rules() {
    let mut bench = both();
    bench.later(SECOND);
    assert_eq!((bench.accepted(), bench.left()), (0, 0));
    bench.rules_ready(2);
    assert_eq!((bench.accepted(), bench.left()), (2, 2));
    bench.first_turn(1);
    assert_eq!(bench.accepted(), 1, "from then on each by itself");
    assert!(bench.others.is_empty(), "{:?}", bench.others);
}

#[test]
fn a_late_one_is_told_and_without_morphd_the_turns_pass_after_all() {
    let mut bench = both();
    bench.later(Duration::from_millis(WAIT_MS.into()));
    let refused: Vec<_> = bench.others.drain(..).collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(
        refused.iter().all(|text| text.contains("ls did not say")),
        "{refused:?}"
    );
    assert_eq!((bench.accepted(), bench.left()), (0, 0));
    bench.later(crate::together::GRACE);
    assert_eq!((bench.accepted(), bench.left()), (2, 2));
}

#[test]
fn a_waiting_turn_of_one_that_is_held_or_lost_never_leaves() {
    let mut bench = both();
    bench.ask(Ask::Hold(HoldRequest {
        app: "fw".into(),
        quiesce_ms: 1_000,
        hold_ms: 5_000,
    }));
    assert!(
        bench
            .told()
            .iter()
            .any(|text| text.starts_with("1: Rejected") && text.contains("stale: true"))
    );
    bench.put(Input::SessionEnded {
        session: 2,
        reason: "killed".into(),
    });
    bench.later(Duration::from_millis(WAIT_MS.into()) + crate::together::GRACE);
    assert_eq!(bench.left(), 0);
}
