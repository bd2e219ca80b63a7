//! A fake OpenFlow 1.3 switch that is connected to the proxy over TCP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use morph_fake_switch::{Datapath, RequestKind, port};
use morph_openflow::frame;
use morph_openflow::rule::RuleSet;
use morph_openflow::v13::{
    self, Hello, Match, Message, PacketIn, PortStatus, packet_in, port_reason,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::deadline::{eventually, within_deadline};

/// State that the connection and the test share.
struct Shared {
    datapath: Datapath,
    flow_mods: usize,
    /// A mute switch reads and answers nothing.
    mute: bool,
}

pub(crate) struct Switch {
    shared: Arc<Mutex<Shared>>,
    inject: mpsc::Sender<(u32, Message)>,
    packet_outs: mpsc::Receiver<Bytes>,
    closed: JoinHandle<()>,
}

impl Switch {
    pub(crate) async fn connect(address: SocketAddr, dpid: u64) -> Self {
        Switch::with_rules(address, dpid, RuleSet::new()).await
    }

    /// Connects a switch that has rules already.
    pub(crate) async fn with_rules(address: SocketAddr, dpid: u64, rules: RuleSet) -> Self {
        Switch::start(address, Datapath::new(dpid, rules)).await
    }

    /// Connects a switch with rules, the first of which cannot be decoded as it reports them.
    pub(crate) async fn garbling(address: SocketAddr, dpid: u64, rules: RuleSet) -> Self {
        let mut datapath = Datapath::new(dpid, rules);
        datapath.garble_rules();
        Switch::start(address, datapath).await
    }

    /// Connects a switch that refuses these kinds of requests.
    pub(crate) async fn refusing(address: SocketAddr, dpid: u64, kinds: &[RequestKind]) -> Self {
        let mut datapath = Datapath::new(dpid, RuleSet::new());
        datapath.refuse(kinds);
        Switch::start(address, datapath).await
    }

    async fn start(address: SocketAddr, datapath: Datapath) -> Self {
        let stream = eventually("the OpenFlow port", async || {
            TcpStream::connect(address).await.ok()
        })
        .await;
        let shared = Arc::new(Mutex::new(Shared {
            datapath,
            flow_mods: 0,
            mute: false,
        }));
        let (inject, injected) = mpsc::channel(64);
        let (out, packet_outs) = mpsc::channel(64);
        let closed = tokio::spawn(run(stream, shared.clone(), injected, out));
        Switch {
            shared,
            inject,
            packet_outs,
            closed,
        }
    }

    pub(crate) async fn packet_in(&self, table_id: u8, cookie: u64, data: &'static [u8]) {
        let message = Message::PacketIn(PacketIn {
            buffer_id: v13::NO_BUFFER,
            total_len: data.len() as u16,
            reason: packet_in::reason::ACTION,
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

    /// Waits for the next packet-out and returns its data.
    pub(crate) async fn packet_out(&mut self) -> Bytes {
        within_deadline("a packet-out", self.packet_outs.recv())
            .await
            .unwrap()
    }

    pub(crate) fn no_packet_out(&mut self) -> bool {
        self.packet_outs.try_recv().is_err()
    }

    pub(crate) fn rules(&self) -> RuleSet {
        self.shared.lock().unwrap().datapath.rules().clone()
    }

    /// Number of flow-mods received so far.
    pub(crate) fn flow_mods(&self) -> usize {
        self.shared.lock().unwrap().flow_mods
    }

    pub(crate) async fn has_rules(&self, count: usize) {
        let what = format!("{count} rules");
        eventually(&what, async || (self.rules().len() == count).then_some(())).await;
    }

    pub(crate) fn be_mute(&self) {
        self.shared.lock().unwrap().mute = true;
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

async fn run(
    stream: TcpStream,
    shared: Arc<Mutex<Shared>>,
    mut injected: mpsc::Receiver<(u32, Message)>,
    packet_outs: mpsc::Sender<Bytes>,
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
                let _ = packet_outs.send(out.data.clone()).await;
            }
            let mut shared = shared.lock().unwrap();
            shared.flow_mods += usize::from(matches!(message, Message::FlowMod(_)));
            if !shared.mute {
                shared.datapath.answer(&frame, header, message, &mut answer);
            }
        }
        if output.write_all(&answer).await.is_err() {
            return;
        }
    }
}
