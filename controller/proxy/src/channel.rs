//! One connection of a switch: who it is, whether it lives, and what goes out on it.
//!
//! ```text
//!   Hello --hello--> Features --features reply--> Admission --admit--> Describing --all answered--> Ready
//!     |                 |                            |                     |                          |
//!     +-----------------+----------------------------+---------------------+--------------------------+--> Closed
//! ```
//!
//! Up to `Ready` there are 10 s. From then on a switch that is silent for 5 s is probed by an echo, and one that is silent for
//! 15 s is dropped; so is one whose queue stays full for 5 s. What goes out is collected in one buffer.

mod hello;
#[cfg(test)]
mod tests;
mod xids;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use morph_api::session;
use morph_openflow::v13::{
    self, Desc, FeaturesReply, Hello, Message, MultipartBody, MultipartReply, MultipartRequest,
    Port, PortStatus, SwitchConfig,
};
use morph_openflow::{Header, MessageType, frame};
use tracing::Level;

use crate::wire::NotOpenFlow;
use xids::Xids;
pub(crate) use xids::{Asked, Asker, Expects};

/// From the connect to `Ready`.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A switch that is silent for so long is probed.
const PROBE: Duration = Duration::from_secs(5);
/// A switch that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a known switch has to show that it lives, when another claims its datapath id.
const CHALLENGE: Duration = Duration::from_secs(2);
/// Bytes that may wait for a switch before turns have to wait: some 30 000 flow-mods.
const QUEUE: usize = 4 << 20;
/// How long the queue may stay full.
const FULL: Duration = Duration::from_secs(5);
/// Messages kept that come before the switch is described: what Open vSwitch queues in a second and a bit.
const EARLY: usize = 256;

/// What happened to the connection.
#[derive(Debug)]
pub(crate) enum Input {
    /// A whole message came.
    Frame(Bytes),
    /// Bytes came that are none.
    NotOpenFlow(NotOpenFlow),
    /// The connection ended.
    Ended(End),
    /// The datapath id is free: go on.
    Admit,
    /// Go away, and why.
    Refuse(String),
    /// Another connection claims this datapath id: say whether this one lives.
    Challenge,
    /// So many bytes have left the queue.
    Written(usize),
    /// A deadline may have passed.
    Timer,
}

/// How a connection ended by itself.
#[derive(Debug)]
pub(crate) enum End {
    /// By the peer; so many bytes of an unfinished message were left.
    Peer { left: usize },
    /// By an error.
    Error(String),
}

/// What the mediator has to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// The datapath id is known: `Admit` or `Refuse` it.
    Identified { dpid: u64 },
    /// The switch is described and may be used.
    Ready,
    /// A message for whom it concerns.
    Message(Header, Bytes),
    /// Answers `Challenge`.
    Alive,
    /// It is closed; nothing more comes.
    Closed(Closing),
}

/// Why a connection was closed.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) level: Level,
    pub(crate) reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Hello,
    Features,
    Admission,
    /// The xids of the questions that are not answered.
    Describing {
        ports: Option<u32>,
        desc: Option<u32>,
        barrier: Option<u32>,
    },
    Ready,
    Closed,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) remote: String,
    state: State,
    connected: Instant,
    heard: Instant,
    /// An echo request was sent since something was heard.
    probed: bool,
    challenged: Option<Instant>,
    out: BytesMut,
    /// Bytes that were handed on and not written yet.
    unwritten: usize,
    full_since: Option<Instant>,
    xids: Xids,
    features: Option<FeaturesReply>,
    desc: Option<Desc>,
    ports: BTreeMap<u32, Port>,
    /// Counts the changes of its ports.
    changes: u64,
    early: Vec<(Header, Bytes)>,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) errors: u64,
}

impl Channel {
    /// A connection that has just been made; says hello.
    pub(crate) fn new(remote: String, now: Instant) -> Self {
        let mut channel = Channel {
            remote,
            state: State::Hello,
            connected: now,
            heard: now,
            probed: false,
            challenged: None,
            out: BytesMut::new(),
            unwritten: 0,
            full_since: None,
            xids: Xids::default(),
            features: None,
            desc: None,
            ports: BTreeMap::new(),
            changes: 0,
            early: Vec::new(),
            messages_in: 0,
            messages_out: 0,
            errors: 0,
        };
        let hello = Message::Hello(Hello {
            versions: Some(hello::OURS),
        });
        channel.say(&hello, Asker::Channel, Expects::Nothing, now);
        channel
    }

    /// Takes one input.
    pub(crate) fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        if self.state == State::Closed {
            return;
        }
        match input {
            Input::Frame(frame) => self.frame(frame, now, out),
            Input::NotOpenFlow(what) if what.is_probe() && self.state == State::Hello => {
                self.close(Level::DEBUG, format!("a probe: {what}"), out);
            }
            Input::NotOpenFlow(what) => self.close(Level::WARN, what.to_string(), out),
            Input::Ended(end) => self.ended(end, out),
            Input::Admit => self.describe(now),
            Input::Refuse(reason) => self.close(Level::WARN, reason, out),
            Input::Challenge => {
                self.challenged = Some(now + CHALLENGE);
                self.probe(now);
            }
            Input::Written(bytes) => self.unwritten = self.unwritten.saturating_sub(bytes),
            Input::Timer => self.timer(now, out),
        }
        self.watch_queue(now);
    }

    /// When `Timer` is next due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let life = match self.state {
            State::Closed => return None,
            State::Ready if self.probed => self.heard + SILENCE,
            State::Ready => self.heard + PROBE,
            State::Hello | State::Features | State::Admission | State::Describing { .. } => {
                self.connected + HANDSHAKE
            }
        };
        let full = self.full_since.map(|since| since + FULL);
        [Some(life), full, self.challenged]
            .into_iter()
            .flatten()
            .min()
    }

    fn timer(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.full_since.is_some_and(|since| since + FULL <= now) {
            let queued = self.queued();
            self.close(
                Level::ERROR,
                format!("does not read: {queued} bytes have waited for more than 5 s"),
                out,
            );
        } else if self.challenged.is_some_and(|until| until <= now) {
            self.close(
                Level::WARN,
                "silent for 2 s while another connection claims its datapath id".into(),
                out,
            );
        } else if self.state == State::Ready {
            if self.heard + SILENCE <= now {
                self.close(Level::WARN, "silent for 15 s".into(), out);
            } else if self.heard + PROBE <= now && !self.probed {
                self.probe(now);
            }
        } else if self.connected + HANDSHAKE <= now {
            let waiting = match self.state {
                State::Hello => "no hello",
                State::Features => "no features reply",
                State::Admission => "no decision about its datapath id",
                State::Describing { .. } => "no description of itself and its ports",
                State::Ready | State::Closed => "nothing",
            };
            self.close(Level::WARN, format!("{waiting} within 10 s"), out);
        }
    }

    fn probe(&mut self, now: Instant) {
        self.probed = true;
        if !self.is_full() {
            self.say(
                &Message::EchoRequest(Bytes::new()),
                Asker::Channel,
                Expects::Reply,
                now,
            );
        }
    }

    fn ended(&mut self, end: End, out: &mut Vec<Output>) {
        let level = match self.state {
            State::Ready => Level::WARN,
            State::Hello => Level::DEBUG,
            State::Features | State::Admission | State::Describing { .. } | State::Closed => {
                Level::INFO
            }
        };
        match end {
            End::Peer { left: 0 } => self.close(level, "closed by the switch".into(), out),
            End::Peer { left } => self.close(
                Level::WARN,
                format!(
                    "closed by the switch in the middle of a message ({left} bytes of it came)"
                ),
                out,
            ),
            End::Error(error) => self.close(level, error, out),
        }
    }

    fn close(&mut self, level: Level, reason: String, out: &mut Vec<Output>) {
        self.state = State::Closed;
        self.early = Vec::new();
        out.push(Output::Closed(Closing { level, reason }));
    }

    fn frame(&mut self, frame: Bytes, now: Instant, out: &mut Vec<Output>) {
        self.heard = now;
        self.probed = false;
        self.messages_in += 1;
        if self.challenged.take().is_some() {
            out.push(Output::Alive);
        }
        let header = match Header::read(&frame) {
            Ok(header) => header,
            Err(error) => return self.close(Level::WARN, format!("not OpenFlow: {error}"), out),
        };
        if self.state == State::Hello {
            return self.hello(header, &frame, now, out);
        }
        if header.version != v13::VERSION {
            let reason = format!(
                "a message of wire version {} on a channel of version {}",
                header.version,
                v13::VERSION
            );
            return self.close(Level::WARN, reason, out);
        }
        match header.kind {
            MessageType::ECHO_REQUEST => self.echo(&frame),
            MessageType::ECHO_REPLY => self.xids.done(header.xid),
            MessageType::HELLO => {}
            _ => match self.state {
                State::Ready => self.message(header, frame, out),
                State::Features => self.features(header, &frame, out),
                State::Admission | State::Describing { .. } => self.described(header, frame, out),
                State::Hello | State::Closed => {}
            },
        }
    }

    /// An echo's answer is the echo, but for its type. A switch that does not read gets none.
    fn echo(&mut self, frame: &[u8]) {
        if self.is_full() {
            return;
        }
        let start = self.out.len();
        self.out.extend_from_slice(frame);
        self.out[start + 1] = MessageType::ECHO_REPLY.0;
        self.messages_out += 1;
    }

    fn hello(&mut self, header: Header, frame: &Bytes, now: Instant, out: &mut Vec<Output>) {
        if header.kind != MessageType::HELLO {
            let reason = format!("the first message is {}, not a hello", header.kind);
            return self.close(Level::WARN, reason, out);
        }
        match hello::negotiate(frame) {
            Ok(_) => {
                self.state = State::Features;
                self.say(
                    &Message::FeaturesRequest,
                    Asker::Channel,
                    Expects::Reply,
                    now,
                );
            }
            Err(incompatible) => {
                let refusal = hello::refusal(&incompatible, header.xid);
                self.out.extend_from_slice(&refusal);
                self.close(Level::WARN, incompatible.text, out);
            }
        }
    }

    fn features(&mut self, header: Header, frame: &Bytes, out: &mut Vec<Output>) {
        match v13::decode(frame) {
            Ok((_, Message::FeaturesReply(features))) if features.auxiliary_id != 0 => {
                let reason = format!(
                    "auxiliary channel {} of {:016x}: only main channels are accepted",
                    features.auxiliary_id, features.datapath_id
                );
                self.close(Level::WARN, reason, out);
            }
            Ok((_, Message::FeaturesReply(features))) => {
                self.xids.done(header.xid);
                self.state = State::Admission;
                let dpid = features.datapath_id;
                self.features = Some(features);
                out.push(Output::Identified { dpid });
            }
            Ok((_, Message::Error(error))) => {
                let reason = format!("refused the handshake: {error}");
                self.close(Level::WARN, reason, out);
            }
            Ok(_) => self.keep_early(header, frame.clone()),
            Err(error) => self.malformed(header, &error, out),
        }
    }

    fn malformed(
        &mut self,
        header: Header,
        error: &morph_openflow::DecodeError,
        out: &mut Vec<Output>,
    ) {
        self.close(
            Level::WARN,
            format!("malformed {}: {error}", header.kind),
            out,
        );
    }

    fn describe(&mut self, now: Instant) {
        if self.state != State::Admission {
            return;
        }
        // Whole packets to the controller: nothing is ever left in a switch's buffers.
        let config = Message::SetConfig(SwitchConfig {
            flags: 0,
            miss_send_len: 0xffff,
        });
        self.say(&config, Asker::Channel, Expects::Nothing, now);
        let mut ask = |message| Some(self.say(&message, Asker::Channel, Expects::Reply, now));
        self.state = State::Describing {
            ports: ask(Message::MultipartRequest(MultipartRequest::PortDesc)),
            desc: ask(Message::MultipartRequest(MultipartRequest::Desc)),
            barrier: ask(Message::BarrierRequest),
        };
    }

    fn described(&mut self, header: Header, frame: Bytes, out: &mut Vec<Output>) {
        let mut answered = false;
        match v13::decode(&frame) {
            Ok((_, Message::MultipartReply(reply))) => answered = self.description(reply),
            Ok((_, Message::BarrierReply)) => answered = true,
            Ok((_, Message::PortStatus(status))) => self.note_port(status),
            Ok((_, Message::Error(error))) => {
                self.errors += 1;
                answered = true;
                tracing::warn!(remote = %self.remote, "error during the handshake: {error}");
            }
            Ok((_, Message::PacketIn(_) | Message::FlowRemoved(_))) => {
                self.keep_early(header, frame)
            }
            Ok(_) => {}
            Err(error) => return self.malformed(header, &error, out),
        }
        if !answered {
            return;
        }
        self.xids.done(header.xid);
        let State::Describing {
            ports,
            desc,
            barrier,
        } = &mut self.state
        else {
            return;
        };
        for waiting in [&mut *ports, &mut *desc, &mut *barrier] {
            waiting.take_if(|xid| *xid == header.xid);
        }
        if ports.is_none() && desc.is_none() && barrier.is_none() {
            self.state = State::Ready;
            out.push(Output::Ready);
            let early = std::mem::take(&mut self.early);
            out.extend(
                early
                    .into_iter()
                    .map(|(header, frame)| Output::Message(header, frame)),
            );
        }
    }

    /// Whether the description is whole.
    fn description(&mut self, reply: MultipartReply) -> bool {
        match reply.body {
            MultipartBody::Desc(desc) => self.desc = Some(desc),
            MultipartBody::PortDesc(ports) => {
                self.ports
                    .extend(ports.into_iter().map(|port| (port.port_no, port)));
            }
            _ => {}
        }
        !reply.more
    }

    /// Beyond the bound the oldest stay: they are answered first.
    fn keep_early(&mut self, header: Header, frame: Bytes) {
        if self.early.len() < EARLY {
            self.early.push((header, frame));
        }
    }

    fn message(&mut self, header: Header, frame: Bytes, out: &mut Vec<Output>) {
        match header.kind {
            MessageType::ERROR => self.errors += 1,
            MessageType::PORT_STATUS => match v13::decode(&frame) {
                Ok((_, Message::PortStatus(status))) => self.note_port(status),
                Ok(_) => {}
                Err(error) => return self.malformed(header, &error, out),
            },
            _ => {}
        }
        out.push(Output::Message(header, frame));
    }

    fn note_port(&mut self, status: PortStatus) {
        /// `OFPPR_DELETE`.
        const DELETE: u8 = 1;
        self.changes += 1;
        if status.reason == DELETE {
            self.ports.remove(&status.port.port_no);
        } else {
            self.ports.insert(status.port.port_no, status.port);
        }
    }
}

/// What goes out.
impl Channel {
    /// Queues a message of our own; its xid.
    pub(crate) fn say(
        &mut self,
        message: &Message,
        asker: Asker,
        expects: Expects,
        now: Instant,
    ) -> u32 {
        let xid = self.xids.next(asker, expects, now);
        message.encode_into(xid, &mut self.out);
        self.messages_out += 1;
        xid
    }

    /// Queues a message of an app, under an xid of our own.
    pub(crate) fn forward(&mut self, message: &[u8], asker: Asker, expects: Expects, now: Instant) {
        let xid = self.xids.next(asker, expects, now);
        let start = self.out.len();
        self.out.extend_from_slice(message);
        frame::set_xid(&mut self.out[start..], xid);
        self.messages_out += 1;
    }

    /// All that is to be written now.
    pub(crate) fn take_out(&mut self, now: Instant) -> Option<BytesMut> {
        if self.out.is_empty() {
            return None;
        }
        self.unwritten += self.out.len();
        self.watch_queue(now);
        Some(self.out.split())
    }

    fn queued(&self) -> usize {
        self.unwritten + self.out.len()
    }

    /// Whether turns for this channel have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.queued() > QUEUE
    }

    fn watch_queue(&mut self, now: Instant) {
        if self.is_full() {
            self.full_since.get_or_insert(now);
        } else {
            self.full_since = None;
        }
    }

    /// Who sent the message with this xid.
    pub(crate) fn asked(&self, xid: u32) -> Option<Asked> {
        self.xids.get(xid)
    }

    /// Its last answer has come.
    pub(crate) fn answered(&mut self, xid: u32) {
        self.xids.done(xid);
    }

    /// A barrier was answered.
    pub(crate) fn barrier(&mut self, xid: u32) {
        self.xids.barrier(xid);
    }
}

/// What it is.
impl Channel {
    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// 0 while it is not known.
    pub(crate) fn dpid(&self) -> u64 {
        self.features
            .as_ref()
            .map_or(0, |features| features.datapath_id)
    }

    /// How many tables the switch has.
    pub(crate) fn tables(&self) -> u8 {
        self.features
            .as_ref()
            .map_or(0, |features| features.n_tables)
    }

    /// For apps.
    pub(crate) fn switch_up(&self, channel: u32) -> session::SwitchUp {
        session::SwitchUp {
            channel,
            dpid: self.dpid(),
            version: u32::from(v13::VERSION),
            tables: u32::from(self.tables()),
            capabilities: self.features.as_ref().map_or(0, |f| f.capabilities),
            ports: self.ports.values().map(port_record).collect(),
        }
    }

    /// How often its ports have changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The port with this number, as it was described last.
    pub(crate) fn port(&self, number: u32) -> Option<session::Port> {
        self.ports.get(&number).map(port_record)
    }

    /// For morphd's table.
    pub(crate) fn report(&self, disconnects: u64, now: Instant) -> morph_api::supervisor::Switch {
        let connected = now.saturating_duration_since(self.connected);
        let desc = |field: fn(&Desc) -> &String| {
            self.desc.as_ref().map(field).cloned().unwrap_or_default()
        };
        morph_api::supervisor::Switch {
            dpid: self.dpid(),
            remote: self.remote.clone(),
            version: u32::from(v13::VERSION),
            tables: u32::from(self.tables()),
            ports: self.ports.len() as u32,
            manufacturer: desc(|d| &d.mfr_desc),
            hardware: desc(|d| &d.hw_desc),
            software: desc(|d| &d.sw_desc),
            serial: desc(|d| &d.serial_num),
            description: desc(|d| &d.dp_desc),
            connected_ms: connected.as_millis() as u64,
            disconnects,
            messages_in: self.messages_in,
            messages_out: self.messages_out,
            errors: self.errors,
        }
    }
}

fn port_record(port: &Port) -> session::Port {
    session::Port {
        number: port.port_no,
        hw_addr: Bytes::copy_from_slice(&port.hw_addr.0),
        name: port.name.clone(),
        config: port.config,
        state: port.state,
        curr_speed_kbps: port.curr_speed,
    }
}
