//! Tests of one channel by tables of messages and times.

mod bundles;
mod ports;
mod refusals;
mod roles;

use morph_api::Role;
use morph_openflow::frame;
use morph_openflow::v13::{
    FeaturesReply, MultipartBody, MultipartReply, Port, PortStatus, port_reason,
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn error(kind: u16, code: u16) -> Message {
    Message::Error(ErrorMsg {
        kind,
        code,
        data: Bytes::new(),
    })
}

struct Bench {
    channel: Channel,
    now: Instant,
}

/// Features of the fake switch.
fn features(aux: u8) -> Message {
    Message::FeaturesReply(FeaturesReply {
        datapath_id: 0x2a,
        n_buffers: 0,
        n_tables: 254,
        auxiliary_id: aux,
        capabilities: 0x47,
        reserved: 0,
    })
}

fn port(port_no: u32) -> Port {
    Port {
        port_no,
        hw_addr: morph_openflow::MacAddr([2, 0, 0, 0, 0, port_no as u8]),
        name: format!("eth{port_no}"),
        config: 0,
        state: 4,
        curr: 0,
        advertised: 0,
        supported: 0,
        peer: 0,
        curr_speed: 0,
        max_speed: 0,
    }
}

impl Bench {
    fn new() -> Self {
        Bench::of_role(Role::Equal)
    }

    fn of_role(role: Role) -> Self {
        let now = Instant::now();
        let election = Election {
            role,
            generation: 7,
        };
        let channel = Channel::new("10.0.0.1:5".into(), election, now);
        Bench { channel, now }
    }

    /// Creates a described switch: hello, features, ports in two parts, description and barrier are in. It knows no
    /// roles.
    fn ready() -> Self {
        let mut bench = Bench::new();
        let requests = bench.admitted();
        assert_eq!(bench.describe(&requests), ["ready"]);
        bench
    }

    /// Returns the requests that are sent once the datapath id is free.
    fn admitted(&mut self) -> Vec<(Header, Message)> {
        self.sent();
        self.message(Message::Hello(Hello::V13), 1);
        let xid = self.sent()[0].0.xid;
        assert_eq!(self.message(features(0), xid), ["identified 2a"]);
        self.put(ChannelInput::Admit);
        let sent = self.sent();
        let kinds: Vec<_> = sent.iter().map(|(header, _)| header.kind).collect();
        // The question for bundles is two messages.
        let is_asked = self.channel.may_write();
        let (described, question) = kinds.split_at(5);
        assert_eq!(
            question,
            &[MessageType::EXPERIMENTER; 2][..if is_asked { 2 } else { 0 }]
        );
        assert_eq!(
            described,
            [
                MessageType::SET_CONFIG,
                MessageType::ROLE_REQUEST,
                MessageType::MULTIPART_REQUEST,
                MessageType::MULTIPART_REQUEST,
                MessageType::BARRIER_REQUEST
            ]
        );
        let config = SwitchConfig {
            flags: 0,
            miss_send_len: 0xffff,
        };
        assert_eq!(sent[0].1, Message::SetConfig(config), "whole packets");
        sent
    }

    /// Answers all of these requests but the one about roles.
    fn describe(&mut self, requests: &[(Header, Message)]) -> Vec<String> {
        let xid = |index: usize| requests[index].0.xid;
        let ports = |more, port_no| {
            let body = MultipartBody::PortDesc(vec![port(port_no)]);
            Message::MultipartReply(MultipartReply { more, body })
        };
        assert!(self.message(ports(true, 1), xid(2)).is_empty());
        assert!(self.message(ports(false, 2), xid(2)).is_empty());
        // The fake switch does not support descriptions.
        assert!(self.message(error(1, 2), xid(3)).is_empty());
        self.message(Message::BarrierReply, xid(4))
    }

    fn put(&mut self, input: ChannelInput) -> Vec<String> {
        let mut out = Vec::new();
        self.channel.handle(input, self.now, &mut out);
        let text = |output| match output {
            ChannelOutput::Identified { dpid } => format!("identified {dpid:x}"),
            ChannelOutput::Ready => "ready".into(),
            ChannelOutput::RoleChanged => "role".into(),
            ChannelOutput::Message(header, _) => header.kind.to_string(),
            ChannelOutput::Alive => "alive".into(),
            ChannelOutput::Closed(closing) => format!("{}: {}", closing.level, closing.reason),
        };
        out.into_iter().map(text).collect()
    }

    fn message(&mut self, message: Message, xid: u32) -> Vec<String> {
        self.put(ChannelInput::Frame(message.encode(xid)))
    }

    fn later(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.put(ChannelInput::Timer)
    }

    /// Takes the messages sent since the last call.
    fn sent(&mut self) -> Vec<(Header, Message)> {
        let Some(mut bytes) = self.channel.transport.take_out(self.now) else {
            return Vec::new();
        };
        self.put(ChannelInput::Written(bytes.len()));
        let frames = std::iter::from_fn(|| frame::split(&mut bytes).unwrap());
        frames.map(|frame| v13::decode(&frame).unwrap()).collect()
    }
}

#[test]
fn a_switch_is_described_before_it_is_ready() {
    let bench = Bench::ready();
    let up = bench.channel.switch_up(3);
    assert_eq!(
        (up.channel, up.dpid, up.tables, up.version),
        (3, 0x2a, 254, 4)
    );
    let ports: Vec<_> = up
        .ports
        .iter()
        .map(|p| (p.number, p.name.as_str()))
        .collect();
    assert_eq!(ports, [(1, "eth1"), (2, "eth2")]);
    assert!(bench.channel.is_ready());
}

#[test]
fn messages_before_the_switch_is_ready_are_kept() {
    let mut bench = Bench::new();
    let requests = bench.admitted();
    let removed = Bytes::from_static(&[4, 11, 0, 56, 0, 0, 0, 0]);
    let mut removed = removed.to_vec();
    removed.resize(54, 0);
    removed.extend([0, 0]);
    // Match without fields: type 1, length 4, padded.
    removed[48..52].copy_from_slice(&[0, 1, 0, 4]);
    bench.put(ChannelInput::Frame(removed.into()));
    assert_eq!(bench.describe(&requests), ["ready", "FLOW_REMOVED"]);
}

#[test]
fn each_stage_has_ten_seconds_in_all() {
    for (stage, expected) in [
        (0, "no hello"),
        (1, "no features reply"),
        (2, "no decision"),
        (3, "no description"),
    ] {
        let mut bench = Bench::new();
        bench.sent();
        if stage > 0 {
            bench.message(Message::Hello(Hello::V13), 1);
        }
        if stage > 1 {
            let xid = bench.sent()[0].0.xid;
            bench.message(features(0), xid);
        }
        if stage > 2 {
            bench.put(ChannelInput::Admit);
        }
        assert!(bench.later(9 * SECOND).is_empty());
        let closed = bench.later(SECOND).join("");
        assert!(closed.contains(expected), "{closed}");
        assert_eq!(bench.channel.next_deadline(), None);
    }
}

#[test]
fn wrong_beginnings_are_closed_with_a_reason() {
    let hello_11 = Bytes::from_static(&[2, 0, 0, 8, 0, 0, 0, 1]);
    let echo = Message::EchoRequest(Bytes::new()).encode(1);
    for (frame, expected) in [
        (hello_11, "WARN: speaks OpenFlow 1.1 only"),
        (echo, "WARN: the first message is ECHO_REQUEST"),
    ] {
        let mut bench = Bench::new();
        let closed = bench.put(ChannelInput::Frame(frame)).join("");
        assert!(closed.starts_with(expected), "{closed}");
    }
    let mut bench = Bench::new();
    bench.sent();
    bench.put(ChannelInput::Frame(Bytes::from_static(&[
        2, 0, 0, 8, 0, 0, 0, 9,
    ])));
    let refusal = bench.channel.transport.take_out(bench.now).unwrap();
    assert_eq!(refusal[..12], [2, 1, 0, refusal[3], 0, 0, 0, 9, 0, 0, 0, 0]);
    assert!(String::from_utf8_lossy(&refusal[12..]).contains("protocols=OpenFlow13"));
}

#[test]
fn ends_are_logged_at_the_level_that_they_deserve() {
    for (input, expected) in [
        (
            ChannelInput::NotOpenFlow(NotOpenFlow::Text("A".into())),
            "DEBUG: a probe",
        ),
        (
            ChannelInput::NotOpenFlow(NotOpenFlow::Text("GET /".into())),
            "WARN: not OpenFlow: a line of text",
        ),
        (
            ChannelInput::Ended(ConnectionEnd::Peer { unfinished: 0 }),
            "DEBUG: closed by the switch",
        ),
        (
            ChannelInput::Ended(ConnectionEnd::Peer { unfinished: 5 }),
            "WARN: closed by the switch in the middle",
        ),
        (
            ChannelInput::Ended(ConnectionEnd::Error("reset".into())),
            "DEBUG: reset",
        ),
        (ChannelInput::Refuse("no".into()), "WARN: no"),
    ] {
        let closed = Bench::new().put(input).join("");
        assert!(closed.starts_with(expected), "{closed}");
    }
    let ended = ChannelInput::Ended(ConnectionEnd::Peer { unfinished: 0 });
    assert_eq!(Bench::ready().put(ended), ["WARN: closed by the switch"]);
}

#[test]
fn auxiliary_channels_and_mixed_versions_are_refused() {
    let mut bench = Bench::new();
    bench.message(Message::Hello(Hello::V13), 1);
    assert!(
        bench
            .message(features(1), 2)
            .join("")
            .contains("auxiliary channel 1 of 000000000000002a")
    );
    let mut bench = Bench::ready();
    let closed = bench
        .put(ChannelInput::Frame(Bytes::from_static(&[
            1, 2, 0, 8, 0, 0, 0, 1,
        ])))
        .join("");
    assert!(closed.contains("wire version 1"), "{closed}");
}

#[test]
fn echoes_are_answered_in_every_state() {
    for mut bench in [Bench::ready(), {
        let mut bench = Bench::new();
        bench.message(Message::Hello(Hello::V13), 1);
        bench
    }] {
        bench.sent();
        let body = Bytes::from_static(b"ping");
        assert!(
            bench
                .message(Message::EchoRequest(body.clone()), 77)
                .is_empty()
        );
        let sent = bench.sent();
        assert_eq!((sent[0].0.xid, &sent[0].1), (77, &Message::EchoReply(body)));
    }
}

#[test]
fn a_silent_switch_is_probed_and_then_dropped() {
    let mut bench = Bench::ready();
    bench.sent();
    assert!(bench.later(4 * SECOND).is_empty() && bench.sent().is_empty());
    assert!(bench.later(SECOND).is_empty());
    let xid = bench.sent()[0].0.xid;
    assert!(
        bench.later(SECOND).is_empty() && bench.sent().is_empty(),
        "once"
    );
    assert!(
        bench
            .message(Message::EchoReply(Bytes::new()), xid)
            .is_empty()
    );
    assert!(bench.later(14 * SECOND).is_empty());
    assert_eq!(bench.later(SECOND), ["WARN: silent for 15 s"]);
}

#[test]
fn a_challenge_is_answered_by_any_message_within_two_seconds() {
    let mut bench = Bench::ready();
    bench.sent();
    bench.put(ChannelInput::Challenge);
    assert_eq!(bench.sent().len(), 1);
    bench.now += SECOND;
    assert_eq!(
        bench.message(Message::EchoReply(Bytes::new()), 0),
        ["alive"]
    );
    assert!(bench.later(2 * SECOND).is_empty());
    bench.put(ChannelInput::Challenge);
    assert!(
        bench
            .later(2 * SECOND)
            .join("")
            .contains("claims its datapath id")
    );
}

#[test]
fn a_switch_that_does_not_read_is_lost_after_five_seconds() {
    let mut bench = Bench::ready();
    let requester = Requester::Session {
        session: 1,
        token: 0,
    };
    let message = vec![0; 1 << 20];
    for _ in 0..5 {
        bench
            .channel
            .transport
            .forward(&message, requester, Expects::Nothing, bench.now);
    }
    assert!(bench.channel.transport.is_full());
    let queued = bench.channel.transport.take_out(bench.now).unwrap().len();
    bench.now += 3 * SECOND;
    bench.put(ChannelInput::Written(2 << 20));
    assert!(!bench.channel.transport.is_full());
    bench
        .channel
        .transport
        .forward(&message, requester, Expects::Nothing, bench.now);
    bench
        .channel
        .transport
        .forward(&message, requester, Expects::Nothing, bench.now);
    let before = bench.channel.transport.messages_out;
    bench.message(Message::EchoRequest(Bytes::new()), 1);
    assert_eq!(
        bench.channel.transport.messages_out, before,
        "its echoes are not queued for it"
    );
    assert!(bench.later(4 * SECOND).is_empty());
    let closed = bench.later(SECOND).join("");
    assert!(
        closed.starts_with("ERROR: the switch does not read"),
        "{closed}"
    );
    assert_eq!(queued, 5 << 20);
}

#[test]
fn a_switch_that_takes_nothing_of_a_short_queue_is_lost_and_a_slow_one_is_kept() {
    let mut bench = Bench::ready();
    let requester = Requester::Session {
        session: 1,
        token: 0,
    };
    let transport = &mut bench.channel.transport;
    transport.forward(&[0; 64], requester, Expects::Nothing, bench.now);
    transport.forward(&[0; 64], requester, Expects::Nothing, bench.now);
    assert_eq!(transport.take_out(bench.now).map(|b| b.len()), Some(128));
    let echo = Message::EchoReply(Bytes::new());
    for written in [1, 63, 1] {
        assert!(bench.later(4 * SECOND).is_empty());
        bench.put(ChannelInput::Written(written));
        bench.message(echo.clone(), 0);
    }
    // Bytes that are queued later do not count as bytes that the switch took.
    assert!(bench.later(4 * SECOND).is_empty());
    let transport = &mut bench.channel.transport;
    transport.forward(&[0; 64], requester, Expects::Nothing, bench.now);
    assert!(transport.take_out(bench.now).is_some());
    let closed = bench.later(SECOND).join("");
    assert!(closed.contains("does not read: 127 bytes"), "{closed}");
}

#[test]
fn after_the_proxy_stood_still_a_switch_has_time_to_take_what_waits() {
    let mut bench = Bench::ready();
    let requester = Requester::Session {
        session: 1,
        token: 0,
    };
    let transport = &mut bench.channel.transport;
    transport.forward(&[0; 64], requester, Expects::Nothing, bench.now);
    assert!(transport.take_out(bench.now).is_some());
    assert!(bench.later(9 * SECOND).is_empty());
    bench.message(Message::EchoReply(Bytes::new()), 0);
    assert!(bench.later(4 * SECOND).is_empty());
    let closed = bench.later(SECOND).join("");
    assert!(closed.contains("does not read"), "{closed}");
}

#[test]
fn ports_are_followed() {
    let mut bench = Bench::ready();
    let status = |reason, port_no| {
        Message::PortStatus(PortStatus {
            reason,
            port: port(port_no),
        })
    };
    assert_eq!(
        bench.message(status(port_reason::ADD, 9), 0),
        ["PORT_STATUS"]
    );
    bench.message(status(port_reason::DELETE, 1), 0);
    let numbers: Vec<_> = bench
        .channel
        .switch_up(1)
        .ports
        .iter()
        .map(|p| p.number)
        .collect();
    assert_eq!((numbers, bench.channel.port_changes()), (vec![2, 9], 2));
    let cut = Bytes::from_static(&[4, 12, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(
        bench
            .put(ChannelInput::Frame(cut))
            .join("")
            .contains("malformed PORT_STATUS")
    );
}
