//! Tests of the mediator without sockets: cases that are rare or slow in reality.

use bytes::BytesMut;
use morph_api::cookie::Cookie;
use morph_api::session::{
    Blob, FromApp, Hello as SessionHello, ToApp, TurnEnd, event, from_app, to_app,
};
use morph_api::supervisor::ResumeRequest;
use morph_api::{Record, Records, put_control, put_message};
use morph_openflow::v13::{
    self, FeaturesReply, Hello, Match, Message, MultipartBody, MultipartReply, MultipartRequest,
    PacketIn, PacketOut,
};
use morph_openflow::{Header, MessageType, frame};
use prost::Message as _;

mod channels;
mod entries;
mod group;
mod reads;
mod slow;
mod together;

use super::*;
use crate::dispatch::tests::configuration;

const SECOND: Duration = Duration::from_secs(1);
const APPS: [(&str, u32, u32, u32); 1] = [("ls", 1, 10, 19)];

/// Mediator with a clock. Handshakes and pipeline reads are answered as by a switch without rules.
struct Bench {
    mediator: Mediator,
    now: Instant,
    /// Whether bytes for channels are reported as written at once.
    writes: bool,
    /// Whether requests for rules are answered; otherwise they are kept.
    answers_reads: bool,
    /// Whether instances say that they report when rules are confirmed.
    confirms_rules: bool,
    /// Xids of the requests for rules that were not answered.
    reads: Vec<u32>,
    /// Messages received by switches, without handshakes.
    wire: Vec<(u32, Message)>,
    /// Records received by sessions, as short texts.
    received: Vec<(u64, String)>,
    /// Barrier replies received by sessions, with their tokens.
    replies: Vec<(u64, u32)>,
    /// Parts of answers, in the same form.
    answers: Vec<(u64, u32)>,
    /// Removals told with an answer, in the same form.
    removals: Vec<(u64, u32)>,
    /// All other outputs, as text.
    others: Vec<String>,
    turn: u64,
}

impl Bench {
    fn new(quota: usize) -> Self {
        let settings = Settings {
            incarnation: 3,
            quota,
            target_delay: TARGET_DELAY,
            role: Role::Equal,
            verification: VerificationPeriods::OFF,
        };
        let mut bench = Bench {
            mediator: Mediator::new(settings),
            now: Instant::now(),
            writes: true,
            answers_reads: true,
            confirms_rules: false,
            reads: Vec::new(),
            wire: Vec::new(),
            received: Vec::new(),
            replies: Vec::new(),
            answers: Vec::new(),
            removals: Vec::new(),
            others: Vec::new(),
            turn: 0,
        };
        bench.ask(ControlRequest::Configure(configuration(&APPS)));
        bench
    }

    /// Creates a bench with a switch on channel 1, and a live instance in session 1 that has answered all events.
    fn live(quota: usize) -> Self {
        let mut bench = Bench::new(quota);
        bench.switch(1, 7, 254);
        bench.attach(1, "a");
        bench.resume("a", 1, 0);
        bench.answer(1);
        bench.answer(2);
        bench.received.clear();
        bench
    }

    fn put(&mut self, input: Input) {
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            let mut outputs = Vec::new();
            for input in inputs.drain(..) {
                self.mediator.handle(input, self.now, &mut outputs);
            }
            self.mediator.flush(self.now, &mut outputs);
            for output in outputs {
                self.carry_out(output, &mut inputs);
            }
        }
    }

    fn carry_out(&mut self, output: Output, inputs: &mut Vec<Input>) {
        match output {
            Output::Write { conn, mut bytes } => {
                if self.writes {
                    let bytes = bytes.len();
                    inputs.push(Input::Written { conn, bytes });
                }
                while let Some(frame) = frame::split(&mut bytes).unwrap() {
                    inputs.extend(self.wire(conn, &frame));
                }
            }
            Output::Blob { session, records } => self.receive(session, records),
            Output::Credit { .. } => {}
            Output::Reply { reply: Ok(_), .. } => {}
            other => self.others.push(format!("{other:?}")),
        }
    }

    fn wire(&mut self, conn: u32, frame: &Bytes) -> Option<Input> {
        let (header, message) = v13::decode(frame).unwrap();
        let body = match message {
            Message::Hello(_)
            | Message::SetConfig(_)
            | Message::FeaturesRequest
            | Message::RoleRequest(_) => return None,
            Message::BarrierRequest => None,
            Message::MultipartRequest(MultipartRequest::Desc) => {
                Some(MultipartBody::Desc(Default::default()))
            }
            Message::MultipartRequest(MultipartRequest::PortDesc) => {
                Some(MultipartBody::PortDesc(Vec::new()))
            }
            Message::MultipartRequest(MultipartRequest::Flow(_)) if !self.answers_reads => {
                self.reads.push(header.xid);
                return None;
            }
            Message::MultipartRequest(MultipartRequest::Flow(_)) => {
                Some(MultipartBody::Flow(Vec::new()))
            }
            Message::BundleControl(control) => {
                self.wire
                    .push((conn, Message::BundleControl(control.clone())));
                let kind = control.kind + 1;
                let reply = Message::BundleControl(v13::BundleControl { kind, ..control });
                let frames = vec![reply.encode(header.xid)];
                return Some(Input::Frames { conn, frames });
            }
            other => {
                self.wire.push((conn, other));
                return None;
            }
        };
        let reply = body.map_or(Message::BarrierReply, |body| {
            Message::MultipartReply(MultipartReply { more: false, body })
        });
        let frames = vec![reply.encode(header.xid)];
        Some(Input::Frames { conn, frames })
    }

    fn receive(&mut self, session: u64, records: Bytes) {
        for record in Records::new(records).map(Result::unwrap) {
            let text = match record {
                Record::Control(bytes) => text(ToApp::decode(bytes).unwrap().record.unwrap()),
                Record::Message { message, .. } => {
                    let header = Header::read(&message).unwrap();
                    let of = (session, header.xid);
                    match header.kind {
                        MessageType::BARRIER_REPLY => self.replies.push(of),
                        MessageType::MULTIPART_REPLY => self.answers.push(of),
                        // Events have the xid 0 of their switch.
                        MessageType::FLOW_REMOVED if header.xid != 0 => self.removals.push(of),
                        _ => {}
                    }
                    continue;
                }
            };
            self.received.push((session, text));
        }
    }

    fn ask(&mut self, request: ControlRequest) {
        self.put(Input::Request { ticket: 1, request });
    }

    fn frame(&mut self, conn: u32, message: Message) {
        let frames = vec![message.encode(0)];
        self.put(Input::Frames { conn, frames });
    }

    fn switch(&mut self, conn: u32, dpid: u64, tables: u8) {
        let remote = format!("switch {dpid}");
        self.put(Input::Connected { conn, remote });
        self.frame(conn, Message::Hello(Hello::V13));
        self.frame(
            conn,
            Message::FeaturesReply(FeaturesReply {
                datapath_id: dpid,
                n_buffers: 0,
                n_tables: tables,
                auxiliary_id: 0,
                capabilities: 0,
                reserved: 0,
            }),
        );
    }

    fn packet_in(&mut self, conn: u32) {
        self.frame(
            conn,
            Message::PacketIn(PacketIn {
                buffer_id: v13::NO_BUFFER,
                total_len: 4,
                reason: 1,
                table_id: 10,
                cookie: u64::MAX,
                match_: Match::new(),
                data: Bytes::from_static(b"data"),
            }),
        );
    }

    fn records(&mut self, session: u64, fill: impl FnOnce(&mut BytesMut)) {
        let mut records = BytesMut::new();
        fill(&mut records);
        let Blob { records } = Blob {
            records: records.freeze(),
        };
        self.put(Input::Blob { session, records });
    }

    fn attach(&mut self, session: u64, name: &str) {
        self.attach_with(session, name, morph_api::PROTOCOL);
    }

    fn attach_with(&mut self, session: u64, name: &str, protocol: u32) {
        self.put(Input::SessionOpened { session });
        let hello = from_app::Record::Hello(SessionHello {
            app: "ls".into(),
            instance: name.into(),
            release: "1.0.0".into(),
            pid: 1,
            protocol,
            confirms_rules: self.confirms_rules,
        });
        self.records(session, |records| control(records, hello));
    }

    fn resume(&mut self, name: &str, epoch: u64, n: u64) {
        self.ask(ControlRequest::Resume(ResumeRequest {
            group: None,
            app: "ls".into(),
            instance: name.into(),
            epoch,
            cursor: Some(Seq { incarnation: 3, n }),
            turn: 0,
            revision: 0,
        }));
    }

    /// Sends a turn of session 1 in epoch 1 for event `n`, with a packet-out of this many bytes.
    fn turn(&mut self, n: u64, bytes: usize) {
        self.turn_on(1, n, bytes);
    }

    /// Sends such a turn with rules of this many bytes for a switch.
    fn flow_mods(&mut self, n: u64, conn: u32, bytes: usize) {
        self.turn += 1;
        let end = from_app::Record::TurnEnd(TurnEnd {
            epoch: 1,
            turn: self.turn,
            event: (n > 0).then_some(Seq { incarnation: 3, n }),
            ..TurnEnd::default()
        });
        let cookie = Cookie {
            app: 1,
            epoch: 1,
            own: 0,
        };
        let flow_mod = v13::FlowMod {
            table_id: 10,
            cookie: cookie.to_u64(),
            instructions: vec![v13::Instruction::ApplyActions(vec![
                v13::Action::output(1);
                60
            ])],
            ..v13::FlowMod::default()
        };
        let message = Message::FlowMod(flow_mod).encode(1);
        self.records(1, |records| {
            for _ in 0..bytes.div_ceil(message.len()) {
                put_message(records, conn, &message);
            }
            control(records, end);
        });
    }

    /// Sends such a turn with packet-outs for a switch.
    fn turn_on(&mut self, conn: u32, n: u64, bytes: usize) {
        self.turn += 1;
        let end = from_app::Record::TurnEnd(TurnEnd {
            epoch: 1,
            turn: self.turn,
            event: (n > 0).then_some(Seq { incarnation: 3, n }),
            ..TurnEnd::default()
        });
        self.records(1, |records| {
            let mut left = bytes;
            while left > 0 {
                let length = left.min(60_000);
                left -= length;
                let out = Message::PacketOut(PacketOut {
                    buffer_id: v13::NO_BUFFER,
                    in_port: v13::port::CONTROLLER,
                    actions: Vec::new(),
                    data: vec![0; length].into(),
                });
                put_message(records, conn, &out.encode(0));
            }
            control(records, end);
        });
    }

    /// Report of the only app's slot.
    fn slot(&mut self) -> morph_api::supervisor::Slot {
        let slot = self.mediator.slots.values_mut().next().unwrap();
        slot.report(self.now)
    }

    fn answer(&mut self, n: u64) {
        self.turn(n, 0);
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
        if self
            .mediator
            .next_deadline()
            .is_some_and(|at| at <= self.now)
        {
            self.put(Input::Timer);
        }
    }

    fn received(&mut self) -> Vec<String> {
        let received = std::mem::take(&mut self.received);
        received
            .into_iter()
            .map(|(session, text)| format!("{session}: {text}"))
            .collect()
    }
}

fn control(records: &mut BytesMut, record: from_app::Record) {
    let record = Some(record);
    put_control(records, &FromApp { record });
}

fn text(record: to_app::Record) -> String {
    use event::What;
    match record {
        to_app::Record::Event(event) => {
            let n = event.seq.unwrap().n;
            match event.what.unwrap() {
                What::Message(_) => format!("event {n} message"),
                What::SwitchUp(up) => format!("event {n} up {}", up.dpid),
                What::SwitchDown(down) => format!("event {n} down {}", down.dpid),
                What::Lost(lost) => format!("event {n} lost {} of {}", lost.count, lost.dpid),
                What::Resync(resync) => format!("event {n} resync {}", resync.dpid),
            }
        }
        to_app::Record::Accepted(accepted) => format!("accepted {}", accepted.turn),
        to_app::Record::SwitchUp(up) => format!("up {}", up.dpid),
        to_app::Record::SwitchDown(down) => format!("down {}", down.dpid),
        to_app::Record::Welcome(welcome) => format!("welcome {}", welcome.switches.len()),
        to_app::Record::Resume(resume) => format!("resume {}", resume.epoch),
        to_app::Record::Refused(refused) if refused.permanent => {
            format!("refused for good: {}", refused.message)
        }
        to_app::Record::Refused(refused) => format!("refused: {}", refused.message),
        other => format!("{other:?}"),
    }
}

#[test]
fn an_app_that_is_added_later_gets_the_connected_switches() {
    let mut bench = Bench::new(1 << 20);
    bench.switch(1, 7, 254);
    bench.switch(2, 8, 254);
    let both = [("fw", 2, 20, 29), APPS[0]];
    bench.ask(ControlRequest::Configure(configuration(&both)));
    bench.attach(1, "a");
    bench.resume("a", 1, 0);
    bench.answer(1);
    bench.answer(2);
    bench.answer(3);
    assert_eq!(
        bench.received(),
        [
            "1: welcome 2",
            "1: resume 1",
            "1: event 1 resync 0",
            "1: accepted 1",
            "1: event 2 up 7",
            "1: event 3 up 8",
            "1: accepted 2",
            "1: accepted 3"
        ]
    );
    // Removed and added again in one incarnation: no number is used twice.
    bench.ask(ControlRequest::Configure(configuration(&both[..1])));
    assert_eq!(bench.received(), ["1: refused: ls is no longer present"]);
    bench.ask(ControlRequest::Configure(configuration(&both)));
    bench.attach(2, "a");
    bench.resume("a", 2, 3);
    assert_eq!(
        bench.received(),
        ["2: welcome 2", "2: resume 2", "2: event 4 resync 0"]
    );
}

#[test]
fn a_release_of_another_protocol_is_refused_by_name_with_what_to_do() {
    let mut bench = Bench::new(1 << 20);
    bench.ask(ControlRequest::Configure(configuration(&APPS)));
    let what_to_do = "and this Morpheus speaks version 1: rebuild the app with the SDK of this Morpheus, install that \
                      release, and start or upgrade to it";
    for (session, protocol, spoken) in [
        (
            1,
            0,
            "a session protocol from before its versions were numbered",
        ),
        (2, 2, "version 2 of the session protocol"),
    ] {
        bench.attach_with(session, "a", protocol);
        let refusal = format!(
            "{session}: refused for good: release 1.0.0 of app ls speaks {spoken}, {what_to_do}"
        );
        assert_eq!(bench.received(), [refusal]);
    }
    bench.attach(3, "a");
    assert_eq!(bench.received(), ["3: welcome 0"]);
}

#[test]
fn a_session_that_is_not_read_is_closed() {
    let mut bench = Bench::live(1 << 20);
    // Replies pile up, because nothing is reported as written.
    let reply = Message::EchoReply(vec![0; 60_000].into()).encode(0);
    for _ in 0..300 {
        let session = bench.mediator.sessions.get_mut(&1).unwrap();
        session.put(to_app::Record::Reply(morph_api::session::Reply {
            channel: 1,
        }));
        session.put_message(1, &reply, Some(5));
        bench.mediator.dirty_sessions.push(1);
    }
    bench.put(Input::Timer);
    bench.received();
    bench.later(4 * SECOND);
    assert!(bench.received().is_empty());
    bench.later(SECOND);
    let received = bench.received();
    assert!(
        received[0].contains("does not read its session"),
        "{received:?}"
    );
    assert!(
        bench
            .others
            .contains(&"EndSession { session: 1 }".to_owned())
    );
}

#[test]
fn a_session_that_its_instance_closed_is_freed() {
    let mut bench = Bench::live(1000);
    bench.put(Input::SessionEnded {
        session: 1,
        reason: "closed".into(),
    });
    let end = "EndSession { session: 1 }".to_owned();
    assert!(bench.others.contains(&end), "{:?}", bench.others);
}

#[test]
fn losses_beyond_the_quota_are_reported_in_order() {
    let mut bench = Bench::live(1000);
    // An app that takes so long is given one event at a time.
    bench.packet_in(1);
    bench.later(SECOND);
    bench.answer(3);
    for _ in 0..9 {
        bench.packet_in(1);
    }
    bench.received();
    for n in 4..10 {
        bench.answer(n);
    }
    let received = bench.received();
    assert_eq!(received[0], "1: accepted 4");
    let lost = received
        .iter()
        .position(|received| received.contains("lost"))
        .unwrap();
    assert!(received[lost].ends_with("of 7"), "{received:?}");
    let slot = bench.slot();
    assert_eq!(slot.events, 3 + 9);
    assert!(
        received[lost].contains(&format!("lost {} of", slot.lost)),
        "{received:?}"
    );
}

#[test]
fn a_switch_with_too_few_tables_is_refused() {
    let mut bench = Bench::new(1 << 20);
    bench.switch(1, 7, 18);
    assert!(
        bench.others.contains(&"Disconnect { conn: 1 }".to_owned()),
        "{:?}",
        bench.others
    );
    bench.others.clear();
    bench.switch(2, 7, 19);
    assert!(bench.others.is_empty(), "{:?}", bench.others);
    // An app with more tables is added.
    bench.ask(ControlRequest::Configure(configuration(&[
        APPS[0],
        ("fw", 2, 20, 29),
    ])));
    assert!(bench.others.contains(&"Disconnect { conn: 2 }".to_owned()));
}

#[test]
fn inputs_for_unknown_peers_have_no_effect() {
    let mut bench = Bench::new(1 << 20);
    for input in [
        Input::Frames {
            conn: 9,
            frames: vec![Bytes::from_static(&[4, 0, 0, 8, 0, 0, 0, 0])],
        },
        Input::Written { conn: 9, bytes: 5 },
        Input::Ended {
            conn: 9,
            end: ConnectionEnd::Peer { unfinished: 0 },
        },
        Input::SessionWritten {
            session: 9,
            bytes: 5,
        },
        Input::SessionEnded {
            session: 9,
            reason: String::new(),
        },
        Input::Blob {
            session: 9,
            records: Bytes::from_static(b"?"),
        },
        Input::Fenced {
            app: "nobody".into(),
            outcome: FenceOutcome::LostRace,
        },
        Input::Timer,
        Input::Shutdown,
    ] {
        bench.put(input);
    }
    assert!(
        bench.others.is_empty() && bench.received.is_empty(),
        "{:?}",
        bench.others
    );
}
