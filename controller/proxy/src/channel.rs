//! One connection of a switch: who it is, whether it lives, and what goes out on it.
//!
//! ```text
//!   Hello --hello--> Features --features reply--> Admission --admit--> Describing --all answered--> Ready
//!     |                 |                            |                     |                          |
//!     +-----------------+----------------------------+---------------------+--------------------------+--> Closed
//! ```
//!
//! Up to `Ready` there are 10 s. From then on a switch that is silent for 5 s is probed by an echo, and one that is silent for
//! 15 s is dropped; so is one whose queue stays full for 5 s. What goes out is collected in one buffer. All speaks
//! OpenFlow 1.3 here: a channel of 1.0 has an `Edge` that translates.

mod edge;
mod handshake;
mod hello;
mod out;
mod report;
mod role;
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
use morph_openflow::{Header, MessageType, frame, v10};
use tracing::Level;

use crate::wire::NotOpenFlow;
use edge::Edge;
pub(crate) use out::Refused;
pub(crate) use role::Election;
use role::Roles;
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
#[derive(Debug, Clone)]
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
    /// The process ends.
    Shutdown,
}

/// How a connection ended by itself.
#[derive(Debug, Clone)]
pub enum End {
    /// By the peer; so many bytes of an unfinished message were left.
    Peer { left: usize },
    /// By an error.
    Error(String),
}

/// What the mediator has to do.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// The datapath id is known: `Admit` or `Refuse` it.
    Identified { dpid: u64 },
    /// The switch is described and may be used.
    Ready,
    /// Whether it may be written to has changed.
    Role,
    /// A message for whom it concerns.
    Message(Header, Bytes),
    /// Answers `Challenge`.
    Alive,
    /// It is closed; nothing more comes.
    Closed(Closing),
}

/// Why a connection was closed.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    pub(crate) remote: String,
    state: State,
    /// Of a channel that speaks OpenFlow 1.0.
    edge: Option<Edge>,
    table: u8,
    /// What could not be said in 1.0, to be answered as by the switch.
    refused: Vec<Refused>,
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
    roles: Roles,
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
    pub(crate) fn new(remote: String, election: Election, now: Instant) -> Self {
        let mut channel = Channel {
            remote,
            state: State::Hello,
            edge: None,
            table: 0,
            refused: Vec::new(),
            connected: now,
            heard: now,
            probed: false,
            challenged: None,
            out: BytesMut::new(),
            unwritten: 0,
            full_since: None,
            xids: Xids::default(),
            roles: Roles::new(election),
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
            Input::Shutdown => self.close(Level::DEBUG, "Morpheus ends".into(), out),
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
        [
            Some(life),
            full,
            self.challenged,
            self.roles.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn timer(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.role_timer(now, out);
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
        if header.version != self.version() {
            let reason = format!(
                "a message of wire version {} on a channel of version {}",
                header.version,
                self.version()
            );
            return self.close(Level::WARN, reason, out);
        }
        match header.kind {
            MessageType::ECHO_REQUEST => self.echo(&frame),
            MessageType::ECHO_REPLY => self.xids.done(header.xid),
            MessageType::HELLO => {}
            _ => match self.edge.as_mut().map(|edge| edge.receive(&frame)) {
                None => self.classify(header, frame, now, out),
                Some(Ok(frames)) => {
                    for frame in frames {
                        if let Ok(header) = Header::read(&frame) {
                            self.classify(header, frame, now, out);
                        }
                    }
                }
                Some(Err(error)) => {
                    let name = v10::kind::name(header.kind).unwrap_or("message");
                    self.close(Level::WARN, format!("malformed {name}: {error}"), out);
                }
            },
        }
    }

    fn classify(&mut self, header: Header, frame: Bytes, now: Instant, out: &mut Vec<Output>) {
        match self.state {
            State::Ready => self.message(header, frame, now, out),
            State::Features => self.features(header, &frame, out),
            State::Admission | State::Describing { .. } => {
                self.described(header, frame, now, out);
            }
            State::Hello | State::Closed => {}
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

    fn message(&mut self, header: Header, frame: Bytes, now: Instant, out: &mut Vec<Output>) {
        match header.kind {
            MessageType::ERROR => {
                if self.role_refused(header, &frame, now, out) {
                    return;
                }
                self.errors += 1;
            }
            MessageType::ROLE_REPLY => return self.role_reply(header, &frame, now, out),
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
