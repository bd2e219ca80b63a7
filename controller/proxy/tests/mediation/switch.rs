//! Fake switch: speaks OpenFlow 1.3 over TCP and keeps a table of rules.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use morph_openflow::rule::{RuleBody, RuleKey, RuleSet};
use morph_openflow::v13::{
    self, Desc, FeaturesReply, FlowMod, FlowModCommand, FlowStats, FlowStatsRequest, Hello, Match,
    Message, MultipartBody, MultipartReply, MultipartRequest, PacketIn, Port, PortStatus,
    port_reason,
};
use morph_openflow::{Header, MacAddr, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::deadline::{eventually, within_deadline};

/// State shared with the task of the switch.
#[derive(Default)]
struct SwitchState {
    rules: RuleSet,
    flow_mods: usize,
    /// Set if the switch no longer answers.
    mute: bool,
}

pub(crate) struct Switch {
    state: Arc<Mutex<SwitchState>>,
    inject: mpsc::Sender<(u32, Message)>,
    /// Queue of received packet-outs.
    outs: mpsc::Receiver<Bytes>,
    closed: JoinHandle<()>,
}

impl Switch {
    pub(crate) async fn connect(address: SocketAddr, dpid: u64) -> Self {
        Switch::with_rules(address, dpid, RuleSet::new()).await
    }

    /// Connects a switch that has rules already.
    pub(crate) async fn with_rules(address: SocketAddr, dpid: u64, rules: RuleSet) -> Self {
        let stream = eventually("the OpenFlow port", async || {
            TcpStream::connect(address).await.ok()
        })
        .await;
        let state = Arc::new(Mutex::new(SwitchState {
            rules,
            ..SwitchState::default()
        }));
        let (inject, injected) = mpsc::channel(64);
        let (out, outs) = mpsc::channel(64);
        let closed = tokio::spawn(run(stream, dpid, state.clone(), injected, out));
        Switch {
            state,
            inject,
            outs,
            closed,
        }
    }

    pub(crate) async fn packet_in(&self, table_id: u8, cookie: u64, data: &'static [u8]) {
        let message = Message::PacketIn(PacketIn {
            buffer_id: v13::NO_BUFFER,
            total_len: data.len() as u16,
            reason: 1,
            table_id,
            cookie,
            match_: Match::new().in_port(1),
            data: Bytes::from_static(data),
        });
        self.say(0, message).await;
    }

    pub(crate) async fn port_status(&self, port_no: u32) {
        let status = PortStatus {
            reason: port_reason::MODIFY,
            port: port(port_no),
        };
        self.say(0, Message::PortStatus(status)).await;
    }

    pub(crate) async fn say(&self, xid: u32, message: Message) {
        self.inject.send((xid, message)).await.unwrap();
    }

    /// Receives the data of the next packet-out.
    pub(crate) async fn packet_out(&mut self) -> Bytes {
        within_deadline("a packet-out", self.outs.recv())
            .await
            .unwrap()
    }

    pub(crate) fn no_packet_out(&mut self) -> bool {
        self.outs.try_recv().is_err()
    }

    pub(crate) fn rules(&self) -> RuleSet {
        self.state.lock().unwrap().rules.clone()
    }

    pub(crate) fn flow_mods(&self) -> usize {
        self.state.lock().unwrap().flow_mods
    }

    pub(crate) async fn has_rules(&self, count: usize) {
        let what = format!("{count} rules");
        eventually(&what, async || (self.rules().len() == count).then_some(())).await;
    }

    pub(crate) fn be_mute(&self) {
        self.state.lock().unwrap().mute = true;
    }

    /// Waits until the proxy closes the connection.
    pub(crate) async fn closed(&mut self) {
        within_deadline("the connection's end", &mut self.closed)
            .await
            .unwrap();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_finished()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.closed.abort();
    }
}

pub(crate) fn port(port_no: u32) -> Port {
    Port {
        port_no,
        hw_addr: MacAddr([2, 0, 0, 0, 0, port_no as u8]),
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

async fn run(
    stream: TcpStream,
    dpid: u64,
    state: Arc<Mutex<SwitchState>>,
    mut injected: mpsc::Receiver<(u32, Message)>,
    outs: mpsc::Sender<Bytes>,
) {
    let (mut input, mut output) = stream.into_split();
    let mut buffer = BytesMut::new();
    let hello = Message::Hello(Hello { versions: None });
    output.write_all(&hello.encode(1)).await.unwrap();
    loop {
        let mut answer = BytesMut::new();
        tokio::select! {
            read = input.read_buf(&mut buffer) => if read.unwrap_or(0) == 0 { return },
            Some((xid, message)) = injected.recv() => message.encode_into(xid, &mut answer),
        }
        while let Some(frame) = frame::split(&mut buffer).unwrap() {
            let (header, message) = v13::decode(&frame).unwrap();
            if let Message::PacketOut(out) = &message {
                let _ = outs.send(out.data.clone()).await;
            }
            let mut state = state.lock().unwrap();
            if !state.mute {
                state.answer(dpid, header, message, &mut answer);
            }
        }
        if output.write_all(&answer).await.is_err() {
            return;
        }
    }
}

impl SwitchState {
    fn answer(&mut self, dpid: u64, header: Header, message: Message, out: &mut BytesMut) {
        let answer = match message {
            Message::FeaturesRequest => Message::FeaturesReply(FeaturesReply {
                datapath_id: dpid,
                n_buffers: 0,
                n_tables: 254,
                auxiliary_id: 0,
                capabilities: 0x4f,
                reserved: 0,
            }),
            Message::EchoRequest(data) => Message::EchoReply(data),
            Message::BarrierRequest => Message::BarrierReply,
            Message::RoleRequest(role) => Message::RoleReply(role),
            Message::FlowMod(flow) => return self.flow_mod(flow),
            Message::MultipartRequest(request) => {
                return self.multipart(request, header.xid, out);
            }
            _ => return,
        };
        answer.encode_into(header.xid, out);
    }

    fn flow_mod(&mut self, flow: FlowMod) {
        self.flow_mods += 1;
        let key = RuleKey {
            table: flow.table_id,
            priority: flow.priority,
            match_: flow.match_.normal(),
        };
        match flow.command {
            FlowModCommand::Add => {
                let body = RuleBody {
                    instructions: flow.instructions,
                    idle_timeout: flow.idle_timeout,
                    hard_timeout: flow.hard_timeout,
                    flags: flow.flags,
                    cookie: flow.cookie,
                };
                self.rules.insert(key, body);
            }
            FlowModCommand::DeleteStrict => drop(self.rules.remove(&key)),
            FlowModCommand::Delete => self.rules.retain(|key, body| {
                let table = flow.table_id == v13::TABLE_ALL || flow.table_id == key.table;
                !table || body.cookie & flow.cookie_mask != flow.cookie & flow.cookie_mask
            }),
            other => panic!("{other:?} is not used"),
        }
    }

    fn multipart(&self, request: MultipartRequest, xid: u32, out: &mut BytesMut) {
        let bodies = match request {
            MultipartRequest::Desc => vec![MultipartBody::Desc(Desc {
                mfr_desc: "Fake".into(),
                hw_desc: "none".into(),
                sw_desc: "1".into(),
                serial_num: "7".into(),
                dp_desc: "a fake".into(),
            })],
            MultipartRequest::PortDesc => vec![MultipartBody::PortDesc(vec![port(1), port(2)])],
            MultipartRequest::PortStats { .. } => vec![MultipartBody::PortStats(Vec::new())],
            // Two parts, as from a large switch.
            MultipartRequest::Flow(request) => {
                let mut first = self.stats(&request);
                let second = first.split_off(first.len() / 2);
                vec![MultipartBody::Flow(first), MultipartBody::Flow(second)]
            }
            other => panic!("{other:?} is not answered"),
        };
        let count = bodies.len();
        for (index, body) in bodies.into_iter().enumerate() {
            let more = index + 1 < count;
            Message::MultipartReply(MultipartReply { more, body }).encode_into(xid, out);
        }
    }

    fn stats(&self, request: &FlowStatsRequest) -> Vec<FlowStats> {
        let asked = |(key, body): &(&RuleKey, &RuleBody)| {
            let table = request.table_id == v13::TABLE_ALL || request.table_id == key.table;
            table && body.cookie & request.cookie_mask == request.cookie & request.cookie_mask
        };
        let of = |(key, body): (&RuleKey, &RuleBody)| FlowStats {
            table_id: key.table,
            duration_sec: 3,
            duration_nsec: 0,
            priority: key.priority,
            idle_timeout: body.idle_timeout,
            hard_timeout: body.hard_timeout,
            flags: body.flags,
            cookie: body.cookie,
            packet_count: 1,
            byte_count: 60,
            match_: key.match_.clone(),
            instructions: body.instructions.clone(),
        };
        self.rules.iter().filter(asked).map(of).collect()
    }
}
