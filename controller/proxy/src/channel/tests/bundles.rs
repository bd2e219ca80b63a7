//! Tests of bundles: what goes out, in which order, for each answer of a switch.

use morph_openflow::v13::bundle::control;
use morph_openflow::v13::{BundleControl, FlowMod, multipart_kind};

use super::*;

/// Changes of a bundle.
const CHANGES: u16 = 9;

fn flow_mod(priority: u16) -> Message {
    Message::FlowMod(FlowMod {
        priority,
        ..FlowMod::default()
    })
}

fn control(kind: u16) -> Message {
    Message::BundleControl(BundleControl {
        bundle_id: 0,
        kind,
        flags: 3,
        properties: Vec::new(),
    })
}

/// Error of a switch that refuses a message of a bundle: `MSG_FAILED`.
fn failed() -> Message {
    Message::Error(ErrorMsg {
        kind: 0xffff,
        code: 2313,
        data: Bytes::from_static(b"ONF\0"),
    })
}

/// Short form of messages: the priorities of flow-mods, and names of others.
fn shown(sent: &[(Header, Message)]) -> Vec<String> {
    let text = |(header, message): &(Header, Message)| match message {
        Message::FlowMod(flow) => flow.priority.to_string(),
        Message::BundleControl(BundleControl { kind, .. }) => match *kind {
            control::OPEN_REQUEST => "open".into(),
            control::COMMIT_REQUEST => "commit".into(),
            control::DISCARD_REQUEST => "discard".into(),
            kind => format!("control {kind}"),
        },
        Message::BundleAdd(add) => {
            let (inner, added) = v13::decode(&add.frame).unwrap();
            assert_eq!(inner.xid, header.xid);
            let Message::FlowMod(flow) = added else {
                panic!("{added:?}");
            };
            format!("+{}", flow.priority)
        }
        other => other.kind().to_string(),
    };
    sent.iter().map(text).collect()
}

impl Bench {
    /// Creates a described switch that has answered the question for bundles in this way.
    fn asked_for_bundles(answer: Message) -> Self {
        let mut bench = Bench::new();
        let requests = bench.admitted();
        assert_eq!(shown(&requests[5..]), ["open", "discard"]);
        assert_eq!(bench.describe(&requests), ["ready"]);
        let discarded = match &answer {
            Message::Error(_) => answer.clone(),
            _ => control(control::DISCARD_REPLY),
        };
        assert!(bench.message(answer, requests[5].0.xid).is_empty());
        assert!(bench.message(discarded, requests[6].0.xid).is_empty());
        bench.sent();
        bench
    }

    fn with_bundles() -> Self {
        Bench::asked_for_bundles(control(control::OPEN_REPLY))
    }

    /// Forwards changes with these priorities that are to take effect together.
    fn together(&mut self, priorities: std::ops::Range<u16>) {
        let changes = priorities.map(|priority| flow_mod(priority).encode(7));
        let (transport, now) = (&mut self.channel.transport, self.now);
        transport.forward_together(1, changes.collect(), now);
    }

    fn alone(&mut self, message: &Message) {
        let requester = Requester::Session {
            session: 1,
            token: 9,
        };
        let (transport, now) = (&mut self.channel.transport, self.now);
        transport.forward(&message.encode(9), requester, Expects::Reply, now);
    }

    /// Sends a bundle, a change and a barrier behind it. Returns the xids of the bundle's messages.
    fn bundle(&mut self) -> Vec<u32> {
        self.together(0..CHANGES);
        self.alone(&flow_mod(100));
        self.alone(&Message::BarrierRequest);
        let sent = self.sent();
        let mut expected = vec!["open".to_owned()];
        expected.extend((0..CHANGES).map(|priority| format!("+{priority}")));
        expected.extend(["commit".into(), "BARRIER_REQUEST".into()]);
        assert_eq!(shown(&sent), expected);
        sent.iter().map(|(header, _)| header.xid).collect()
    }

    fn requester(&self, xid: u32) -> Option<Requester> {
        let sent = self.channel.transport.sent(xid);
        sent.map(|sent| sent.requester)
    }
}

/// Xids of the commit and of the barrier among those of a bundle.
fn ends(xids: &[u32]) -> (u32, u32) {
    (xids[xids.len() - 2], xids[xids.len() - 1])
}

/// Everything one by one, and what waited for it.
fn singly() -> Vec<String> {
    let mut all: Vec<_> = (0..CHANGES).map(|priority| priority.to_string()).collect();
    all.extend(["100".into(), "BARRIER_REQUEST".into()]);
    all
}

#[test]
fn messages_behind_a_bundle_wait_for_its_commit() {
    let mut bench = Bench::with_bundles();
    let xids = bench.bundle();
    let (commit, barrier) = ends(&xids);
    let opened = control(control::OPEN_REPLY);
    assert!(bench.message(opened, xids[0]).is_empty() && bench.sent().is_empty());
    // The channel itself waits for nothing.
    bench.message(Message::EchoRequest(Bytes::new()), 1);
    assert_eq!(shown(&bench.sent()), ["ECHO_REPLY"]);
    bench.message(control(control::COMMIT_REPLY), commit);
    assert_eq!(shown(&bench.sent()), ["100", "BARRIER_REQUEST"]);
    assert_eq!(
        bench.message(Message::BarrierReply, barrier),
        ["BARRIER_REPLY"]
    );
    assert_eq!(bench.requester(barrier), Some(Requester::Channel));
    assert_eq!((bench.channel.next_deadline(), bench.refuses()), {
        let silent = bench.now + PROBE;
        (Some(silent), vec!["desc".to_owned()])
    });
}

#[test]
fn a_bundle_that_is_refused_is_sent_one_by_one_with_the_senders_of_its_changes() {
    let mut bench = Bench::with_bundles();
    let xids = bench.bundle();
    // The bad change is named first, with an error that nobody hears of.
    assert!(bench.message(error(5, 1), xids[3]).is_empty() && bench.sent().is_empty());
    assert!(bench.message(failed(), ends(&xids).0).is_empty());
    let sent = bench.sent();
    assert_eq!(shown(&sent), singly());
    let requester = Requester::Session {
        session: 1,
        token: 7,
    };
    assert_eq!(bench.requester(sent[2].0.xid), Some(requester));
    assert_eq!(bench.requester(xids[3]), None);
    // Such an answer says nothing about the next bundle.
    bench.bundle();
    assert_eq!(bench.refuses(), ["desc"]);
}

#[test]
fn a_change_that_is_refused_when_added_is_sent_again_and_the_others_are_not() {
    let mut bench = Bench::with_bundles();
    let xids = bench.bundle();
    assert!(bench.message(error(2, 4), xids[3]).is_empty());
    bench.message(control(control::COMMIT_REPLY), ends(&xids).0);
    assert_eq!(shown(&bench.sent()), ["2", "100", "BARRIER_REQUEST"]);
}

#[test]
fn bundles_behind_a_bundle_go_in_their_order() {
    let mut bench = Bench::with_bundles();
    let first = bench.bundle();
    bench.together(200..208);
    bench.alone(&flow_mod(300));
    assert!(bench.sent().is_empty());
    bench.message(failed(), ends(&first).0);
    let sent = bench.sent();
    let expected = singly().len();
    assert_eq!(shown(&sent[..expected]), singly());
    let second: Vec<u32> = sent[expected..].iter().map(|(h, _)| h.xid).collect();
    assert_eq!(second.len(), 8 + 3);
    // Answers to the first bundle do not reach the second.
    bench.message(Message::BarrierReply, ends(&first).1);
    assert!(bench.sent().is_empty());
    bench.message(control(control::COMMIT_REPLY), ends(&second).0);
    assert_eq!(shown(&bench.sent()), ["300"]);
}

#[test]
fn a_switch_that_does_not_answer_a_commit_gets_no_further_bundle() {
    for barrier in [true, false] {
        let mut bench = Bench::with_bundles();
        let xids = bench.bundle();
        if barrier {
            assert!(
                bench
                    .message(Message::BarrierReply, ends(&xids).1)
                    .is_empty()
            );
        } else {
            let deadline = bench.now + 5 * SECOND;
            assert_eq!(bench.channel.next_deadline(), Some(deadline));
            bench.later(5 * SECOND);
        }
        let sent = bench.sent();
        let expected = singly();
        assert_eq!(shown(&sent[..expected.len()]), expected);
        assert_eq!(bench.refuses(), ["bundle", "desc"]);
        bench.together(0..CHANGES);
        let sent = shown(&bench.sent());
        assert_eq!(sent[..], expected[..usize::from(CHANGES)]);
        // The late answer is no error of anybody.
        assert!(
            bench
                .message(control(control::COMMIT_REPLY), ends(&xids).0)
                .len()
                < 2
        );
        assert!(bench.sent().is_empty());
    }
}

#[test]
fn a_bundle_waits_longer_where_the_proxy_itself_stood_still() {
    let mut bench = Bench::with_bundles();
    let xids = bench.bundle();
    bench.later(9 * SECOND);
    assert!(!shown(&bench.sent()).contains(&"0".to_owned()));
    bench.message(control(control::COMMIT_REPLY), ends(&xids).0);
    assert_eq!(shown(&bench.sent()), ["100", "BARRIER_REQUEST"]);
}

#[test]
fn few_changes_and_switches_without_bundles_have_none() {
    let mut bench = Bench::with_bundles();
    bench.together(0..7);
    assert_eq!(shown(&bench.sent()), ["0", "1", "2", "3", "4", "5", "6"]);
    // BAD_EXPERIMENTER, BAD_EXP_TYPE, BAD_FLAGS, no answer; and a refusal as slave, which says nothing about bundles.
    let bad_flags = Message::Error(ErrorMsg {
        kind: 0xffff,
        code: 2307,
        data: Bytes::from_static(b"ONF\0"),
    });
    let refused = ["bundle", "desc"];
    for (answer, refuses) in [
        (error(1, 3), &refused[..]),
        (error(1, 4), &refused),
        (bad_flags, &refused),
        (Message::EchoReply(Bytes::new()), &["desc"]),
        (error(1, 10), &["desc"]),
    ] {
        let mut bench = Bench::asked_for_bundles(answer);
        bench.together(0..8);
        assert_eq!(shown(&bench.sent()).len(), 8);
        assert_eq!(bench.refuses(), refuses);
        assert_eq!(bench.channel.report(0, bench.now).errors, 1, "desc");
    }
    // Without barriers, nothing tells that a switch has come to a commit.
    let mut bench = Bench::with_bundles();
    bench.channel.transport.barriers.refuse();
    bench.together(0..8);
    assert_eq!(shown(&bench.sent()).len(), 8);
}

#[test]
fn what_waits_for_a_bundle_counts_as_queued() {
    let mut bench = Bench::with_bundles();
    bench.bundle();
    let requester = Requester::Channel;
    let transport = &mut bench.channel.transport;
    assert!(!transport.drops_packets());
    for _ in 0..20 {
        let packet = [&[4, 13, 0xff, 0xff][..], &[0; 65531]].concat();
        transport.forward(&packet, requester, Expects::Nothing, bench.now);
    }
    assert!(transport.drops_packets());
}

#[test]
fn nothing_of_a_bundle_is_sent_once_morpheus_is_a_slave() {
    let mut bench = Bench::with_bundles();
    let xids = bench.bundle();
    bench.channel.transport.discard_bundles();
    assert_eq!(bench.message(failed(), ends(&xids).0), ["ERROR"]);
    assert!(bench.sent().is_empty());
    assert_eq!(bench.channel.transport.bundle_deadline(), None);
    let request = Message::MultipartRequest(MultipartRequest::Desc);
    bench.alone(&request);
    let sent = bench.sent();
    let Message::MultipartRequest(sent) = &sent[0].1 else {
        panic!("{sent:?}");
    };
    assert_eq!(sent.kind(), multipart_kind::DESC);
}
