//! Fake switch that speaks only OpenFlow 1.0, and its traffic with an app.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use morph_api::cookie::Cookie;
use morph_api::session::{event, to_app};
use morph_api::store::Seq;
use morph_api::supervisor::{CleanRequest, FlowsRequest};
use morph_openflow::v10::{self, Message, StatsBody, StatsReply, StatsRequest, Vendor};
use morph_openflow::v13::{self, Action, FlowMod, FlowStatsRequest, Instruction, Match};
use morph_openflow::{MacAddr, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::deadline::{eventually, within_deadline};
use crate::fixture::Fixture;
use crate::instance::{Instance, packet_out};

type Rules = Arc<Mutex<Vec<v10::FlowMod>>>;

struct Switch {
    rules: Rules,
    inject: mpsc::Sender<Message>,
    outs: mpsc::Receiver<v10::PacketOut>,
    closed: JoinHandle<()>,
}

impl Switch {
    async fn connect(address: SocketAddr, rules: Vec<v10::FlowMod>) -> Self {
        let stream = eventually("the OpenFlow port", async || {
            TcpStream::connect(address).await.ok()
        })
        .await;
        let rules = Arc::new(Mutex::new(rules));
        let (inject, injected) = mpsc::channel(16);
        let (out, outs) = mpsc::channel(16);
        let closed = tokio::spawn(run(stream, rules.clone(), injected, out));
        Switch {
            rules,
            inject,
            outs,
            closed,
        }
    }

    fn cookies(&self) -> Vec<u64> {
        self.rules
            .lock()
            .unwrap()
            .iter()
            .map(|r| r.cookie)
            .collect()
    }

    async fn has(&self, cookies: &[u64]) {
        eventually("its rules", async || {
            (self.cookies() == cookies).then_some(())
        })
        .await;
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.closed.abort();
    }
}

async fn run(
    stream: TcpStream,
    rules: Rules,
    mut injected: mpsc::Receiver<Message>,
    outs: mpsc::Sender<v10::PacketOut>,
) {
    let (mut input, mut output) = stream.into_split();
    let mut buffer = BytesMut::new();
    let hello = Message::Hello(Bytes::new()).encode(1);
    output.write_all(&hello).await.unwrap();
    loop {
        let mut answer = BytesMut::new();
        tokio::select! {
            read = input.read_buf(&mut buffer) => if read.unwrap_or(0) == 0 { return },
            Some(message) = injected.recv() => message.try_encode_into(0, &mut answer).unwrap(),
        }
        while let Some(frame) = frame::split(&mut buffer).unwrap() {
            // Hello of the proxy, in version 1.3.
            if frame[1] == 0 {
                continue;
            }
            let (header, message) = v10::decode(&frame).unwrap();
            match message {
                Message::PacketOut(out) => drop(outs.send(out).await),
                other => {
                    for message in reply(other, &mut rules.lock().unwrap()) {
                        message.try_encode_into(header.xid, &mut answer).unwrap();
                    }
                }
            }
        }
        if output.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn port(port_no: u16) -> v10::PhyPort {
    v10::PhyPort {
        port_no,
        hw_addr: MacAddr([2, 0, 0, 0, 0, port_no as u8]),
        name: format!("eth{port_no}"),
        config: 0,
        state: 0,
        curr: 0,
        advertised: 0,
        supported: 0,
        peer: 0,
    }
}

fn reply(message: Message, rules: &mut Vec<v10::FlowMod>) -> Vec<Message> {
    match message {
        Message::FeaturesRequest => vec![Message::FeaturesReply(v10::FeaturesReply {
            datapath_id: 7,
            n_buffers: 0,
            n_tables: 2,
            capabilities: 0,
            actions: 0xfff,
            ports: vec![port(1), port(2)],
        })],
        Message::EchoRequest(data) => vec![Message::EchoReply(data)],
        Message::BarrierRequest => vec![Message::BarrierReply],
        Message::SetConfig(_) => vec![],
        Message::Vendor(Vendor::NxRoleRequest(role)) => {
            vec![Message::Vendor(Vendor::NxRoleReply(role))]
        }
        Message::FlowMod(flow) => {
            let same = |r: &v10::FlowMod| (r.priority, r.match_) == (flow.priority, flow.match_);
            rules.retain(|rule| !same(rule));
            match flow.command {
                v10::FlowModCommand::Add => rules.push(flow),
                v10::FlowModCommand::DeleteStrict => {}
                other => panic!("{other:?} is not used"),
            }
            vec![]
        }
        Message::StatsRequest(StatsRequest::Flow(_)) => {
            let half = rules.len() / 2;
            let part = |more, rules: &[v10::FlowMod]| {
                let body = StatsBody::Flow(rules.iter().map(stats).collect());
                Message::StatsReply(StatsReply { more, body })
            };
            vec![part(true, &rules[..half]), part(false, &rules[half..])]
        }
        Message::StatsRequest(StatsRequest::Desc) => {
            let body = StatsBody::Desc(v10::Desc {
                mfr_desc: "Old".into(),
                ..v10::Desc::default()
            });
            vec![Message::StatsReply(StatsReply { more: false, body })]
        }
        other => panic!("{other:?} is not answered"),
    }
}

fn stats(rule: &v10::FlowMod) -> v10::FlowStats {
    v10::FlowStats {
        table_id: 1,
        match_: rule.match_,
        duration_sec: 3,
        duration_nsec: 0,
        priority: rule.priority,
        idle_timeout: rule.idle_timeout,
        hard_timeout: rule.hard_timeout,
        cookie: rule.cookie,
        packet_count: 1,
        byte_count: 60,
        actions: rule.actions.clone(),
    }
}

fn cookie(app: u8, own: u32) -> u64 {
    let epoch = 1;
    Cookie { app, epoch, own }.to_u64()
}

fn foreign() -> v10::FlowMod {
    old(99, 9)
}

/// Builds a rule that is installed before the proxy connects.
fn old(cookie: u64, priority: u16) -> v10::FlowMod {
    v10::FlowMod {
        cookie,
        priority,
        ..v10::FlowMod::default()
    }
}

fn flow(table_id: u8, own: u32, out: u32) -> v13::Message {
    v13::Message::FlowMod(FlowMod {
        cookie: cookie(1, own),
        table_id,
        priority: 5,
        match_: Match::new().in_port(own),
        instructions: vec![Instruction::ApplyActions(vec![Action::output(out)])],
        ..FlowMod::default()
    })
}

const ALONE: [(&str, u32, u32, u32); 1] = [("learning-switch", 1, 10, 19)];

/// Starts a switch with these rules, and a live instance of the only app.
async fn live(rules: Vec<v10::FlowMod>) -> (Fixture, Switch, Instance) {
    let mut fixture = Fixture::new().await;
    fixture.configure(&ALONE).await;
    let switch = Switch::connect(fixture.address, rules).await;
    eventually("the switch", async || {
        (fixture.switches().await.len() == 1).then_some(())
    })
    .await;
    let mut instance = fixture.instance("a").await;
    fixture.resume("a", 1, Seq::ZERO).await;
    instance.resumed().await;
    let (resync, _) = instance.event().await;
    instance.answer(&resync).await;
    let (up, _) = instance.event().await;
    match &up.what {
        Some(event::What::SwitchUp(up)) => {
            assert_eq!((up.version, up.tables, up.ports.len()), (1, 1, 2));
        }
        other => panic!("{other:?}"),
    }
    instance.answer(&up).await;
    (fixture, switch, instance)
}

#[tokio::test]
async fn packets_and_rules_pass_between_a_switch_of_1_0_and_an_app() {
    let (fixture, mut switch, mut instance) = live(vec![foreign()]).await;
    let channel = instance.switches[0].channel;
    let found = &fixture.switches().await[0];
    assert_eq!((found.manufacturer.as_str(), found.version), ("Old", 1));
    let packet = Message::PacketIn(v10::PacketIn {
        buffer_id: v10::NO_BUFFER,
        total_len: 5,
        in_port: 2,
        reason: v10::packet_in::reason::NO_MATCH,
        data: Bytes::from_static(b"first"),
    });
    switch.inject.send(packet).await.unwrap();
    let (event, message) = instance.event().await;
    match message {
        Some(v13::Message::PacketIn(packet)) => {
            assert_eq!((packet.in_port(), packet.table_id), (Some(2), 10));
            assert_eq!(packet.data, "first");
        }
        other => panic!("{other:?}"),
    }
    let commands = [
        (channel, 0, packet_out(b"out")),
        (channel, 9, flow(10, 1, 2)),
        (channel, 10, flow(11, 2, 2)),
    ];
    instance.turn(&commands, event.seq).await;
    instance.accepted().await;
    let out = within_deadline("a packet-out", switch.outs.recv())
        .await
        .unwrap();
    assert_eq!((out.in_port, &out.data[..]), (v10::port::NONE, &b"out"[..]));
    // The rule for the second table is refused as if by the switch; the other one is installed.
    assert!(matches!(instance.control().await, to_app::Record::Reply(_)));
    let (_, error) = instance.message().await;
    let (header, error) = v13::decode(&error).unwrap();
    match error {
        v13::Message::Error(error) => {
            let said = (header.xid, error.to_string());
            assert_eq!(said, (10, "FLOW_MOD_FAILED/BAD_TABLE_ID".into()));
        }
        other => panic!("{other:?}"),
    }
    switch.has(&[99, cookie(1, 1)]).await;
    // The read returns the app's own rules only.
    let (own, mask) = Cookie::all_of(1);
    let question = v13::MultipartRequest::Flow(FlowStatsRequest::by_cookie(own, mask));
    instance
        .read(channel, 20, v13::Message::MultipartRequest(question))
        .await;
    let mut rules = Vec::new();
    for _ in 0..2 {
        assert!(matches!(instance.control().await, to_app::Record::Reply(_)));
        let (_, bytes) = instance.message().await;
        match v13::decode(&bytes).unwrap().1 {
            v13::Message::MultipartReply(v13::MultipartReply {
                body: v13::MultipartBody::Flow(part),
                ..
            }) => rules.extend(part),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rules.len(), 1);
    assert_eq!((rules[0].table_id, rules[0].cookie), (10, cookie(1, 1)));
    assert_eq!(rules[0].match_, Match::new().in_port(1));
    let mut control = fixture.control.clone();
    let flows = control.flows(FlowsRequest { dpid: 7 }).await.unwrap();
    assert_eq!(flows.into_inner().flows.len(), 2, "people see all");
}

#[tokio::test]
async fn rules_of_absent_apps_go_and_those_of_the_app_when_it_is_cleaned() {
    let there = vec![
        foreign(),
        old(cookie(0, 0), 1),
        old(cookie(2, 0), 2),
        old(cookie(1, 3), 3),
        old(cookie(1, 4), 4),
    ];
    let (fixture, switch, _instance) = live(there).await;
    switch.has(&[99, cookie(1, 3), cookie(1, 4)]).await;
    let request = CleanRequest {
        app: "learning-switch".into(),
        id: 1,
    };
    let reply = within_deadline("clean", fixture.control.clone().clean(request)).await;
    assert_eq!(reply.unwrap().into_inner().switches, 1);
    assert_eq!(switch.cookies(), [99]);
}

#[tokio::test]
async fn a_second_app_has_no_room_on_it() {
    let (fixture, mut switch, _instance) = live(vec![]).await;
    fixture
        .configure(&[("topology", 2, 2, 9), ("learning-switch", 1, 10, 19)])
        .await;
    within_deadline("its end", &mut switch.closed)
        .await
        .unwrap();
    assert!(fixture.switches().await.is_empty());
    let mut again = Switch::connect(fixture.address, vec![]).await;
    within_deadline("its end", &mut again.closed).await.unwrap();
}
