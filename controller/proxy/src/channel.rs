//! One connection of a switch: its handshake, its liveness, and its send queue.
//!
//! ```text
//!   Hello --hello--> Features --features reply--> Admission --admit--> Describing --all answered--> Ready
//!     |                 |                            |                     |                          |
//!     +-----------------+----------------------------+---------------------+--------------------------+--> Closed
//! ```
//!
//! `Ready` must be reached within 10 s. From then on a switch that is silent for 5 s is probed by an echo request, and one that
//! is silent for 15 s is disconnected; so is one that takes nothing of its queue for 5 s, or whose queue stays full for as long.
//! Bytes to write are collected in one buffer.
//! Messages here are OpenFlow 1.3: a channel that speaks 1.0 has a `V10Adapter`.

mod barriers;
mod bundles;
mod bundling;
mod description;
mod handshake;
mod hello;
mod refusals;
mod report;
mod role;
#[cfg(test)]
mod tests;
mod transport;
mod v10_adapter;
mod xids;

use std::time::{Duration, Instant};

use bytes::Bytes;
use morph_api::{session, supervisor};
use morph_openflow::v13::{self, ErrorMsg, Hello, Message, MultipartRequest, SwitchConfig};
use morph_openflow::{Dpid, Header, MessageType, SkippedRule, v10};
use tracing::Level;

use crate::wire::NotOpenFlow;
use description::Description;
use refusals::{Refusable, Refusals};
pub(crate) use role::Election;
use role::Roles;
pub(crate) use transport::Transport;
pub(crate) use xids::{Expects, Requester, SentMessage};

/// Time limit from the connect to `Ready`.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Silence after which a switch is probed.
const PROBE: Duration = Duration::from_secs(5);
/// Silence after which a switch is disconnected.
const SILENCE: Duration = Duration::from_secs(15);
/// Time that a known switch has to answer when another one claims its datapath id.
const CHALLENGE: Duration = Duration::from_secs(2);
/// Messages kept that arrive before the switch is described: what Open vSwitch queues in a second and a bit.
const EARLY: usize = 256;

#[derive(Debug, Clone)]
pub(crate) enum ChannelInput {
    /// Whole message of the peer.
    Frame(Bytes),
    NotOpenFlow(NotOpenFlow),
    Ended(ConnectionEnd),
    /// The datapath id is free, so the handshake continues.
    Admit,
    /// Close the connection, for this reason.
    Refuse(String),
    /// Another connection claims the datapath id: the switch has to prove that it is alive.
    Challenge,
    /// Bytes that have left the queue.
    Written(usize),
    /// Some deadline may have passed.
    Timer,
    Shutdown,
}

/// End of a connection that the proxy did not close.
#[derive(Debug, Clone)]
pub enum ConnectionEnd {
    /// Closed by the peer, with these bytes of an unfinished message.
    Peer { unfinished: usize },
    /// Broken by an error.
    Error(String),
}

/// Actions that the mediator carries out for a channel.
#[derive(Debug, Clone)]
pub(crate) enum ChannelOutput {
    /// The datapath id is known: `Admit` or `Refuse` the channel.
    Identified {
        dpid: u64,
    },
    /// The switch is described and may be used.
    Ready,
    /// Permission to write was gained or lost.
    RoleChanged,
    Message(Header, Bytes),
    /// The switch has answered a `Challenge`.
    Alive,
    /// The channel is closed and has no further outputs.
    Closed(Closing),
}

/// Reason of a closed connection, and the level at which it is logged.
#[derive(Debug, Clone)]
pub(crate) struct Closing {
    pub(crate) level: Level,
    pub(crate) reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelState {
    Hello,
    Features,
    Admission,
    /// Xids of the requests that are not answered yet.
    Describing {
        ports: Option<u32>,
        desc: Option<u32>,
        barrier: Option<u32>,
    },
    Ready,
    Closed,
}

/// Machine of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    pub(crate) remote: String,
    state: ChannelState,
    pub(crate) transport: Transport,
    roles: Roles,
    description: Description,
    refusals: Refusals,
    connected: Instant,
    heard: Instant,
    /// An echo request was sent since the last message.
    probed: bool,
    challenged: Option<Instant>,
    early: Vec<(Header, Bytes)>,
    received: Received,
}

/// Figures about what the switch has sent.
#[derive(Debug, Clone, Default)]
struct Received {
    messages: u64,
    errors: u64,
    /// The log says that rules of the switch cannot be decoded.
    skipped_logged: bool,
}

impl Channel {
    /// Creates the machine of a new connection, which begins with a hello.
    pub(crate) fn new(remote: String, election: Election, now: Instant) -> Self {
        let mut channel = Channel {
            remote,
            state: ChannelState::Hello,
            transport: Transport::default(),
            roles: Roles::new(election),
            description: Description::default(),
            refusals: Refusals::default(),
            connected: now,
            heard: now,
            probed: false,
            challenged: None,
            early: Vec::new(),
            received: Received::default(),
        };
        let hello = Message::Hello(Hello {
            versions: Some(hello::OURS),
        });
        channel
            .transport
            .send(&hello, Requester::Channel, Expects::Nothing, now);
        channel
    }

    pub(crate) fn handle(
        &mut self,
        input: ChannelInput,
        now: Instant,
        out: &mut Vec<ChannelOutput>,
    ) {
        if self.state == ChannelState::Closed {
            return;
        }
        match input {
            ChannelInput::Frame(frame) => self.frame(frame, now, out),
            ChannelInput::NotOpenFlow(what)
                if what.is_probe() && self.state == ChannelState::Hello =>
            {
                self.close(Level::DEBUG, format!("a probe: {what}"), out);
            }
            ChannelInput::NotOpenFlow(what) => self.close(Level::WARN, what.to_string(), out),
            ChannelInput::Ended(end) => self.ended(end, out),
            ChannelInput::Admit => self.describe(now),
            ChannelInput::Refuse(reason) => self.close(Level::WARN, reason, out),
            ChannelInput::Challenge => {
                self.challenged = Some(now + CHALLENGE);
                self.probe(now);
            }
            ChannelInput::Written(bytes) => self.transport.written(bytes, now),
            ChannelInput::Timer => self.timer(now, out),
            ChannelInput::Shutdown => self.close(Level::DEBUG, "the proxy ends".into(), out),
        }
        self.transport.watch_queue(now);
    }

    /// Returns the time at which `Timer` is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let life = match self.state {
            ChannelState::Closed => return None,
            ChannelState::Ready if self.probed => self.heard + SILENCE,
            ChannelState::Ready => self.heard + PROBE,
            ChannelState::Hello
            | ChannelState::Features
            | ChannelState::Admission
            | ChannelState::Describing { .. } => self.connected + HANDSHAKE,
        };
        [
            Some(life),
            self.transport.next_deadline(),
            self.transport.bundle_deadline(),
            self.challenged,
            self.roles.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn timer(&mut self, now: Instant, out: &mut Vec<ChannelOutput>) {
        let dpid = self.display_dpid();
        self.roles.timer(dpid, &mut self.transport, now);
        self.become_ready_if_complete(out);
        self.expire_bundle(now);
        if self.transport.is_stalled(now) {
            let queued = self.transport.queued();
            self.close(
                Level::ERROR,
                format!("the switch does not read: {queued} bytes have waited for more than 5 s"),
                out,
            );
        } else if self.challenged.is_some_and(|until| until <= now) {
            self.close(
                Level::WARN,
                "silent for 2 s while another connection claims its datapath id".into(),
                out,
            );
        } else if self.state == ChannelState::Ready {
            if self.heard + SILENCE <= now {
                self.close(Level::WARN, "silent for 15 s".into(), out);
            } else if self.heard + PROBE <= now && !self.probed {
                self.probe(now);
            }
        } else if self.connected + HANDSHAKE <= now {
            let missing = match self.state {
                ChannelState::Hello => "no hello",
                ChannelState::Features => "no features reply",
                ChannelState::Admission => "no decision about its datapath id",
                ChannelState::Describing { .. } => "no description of the switch and its ports",
                ChannelState::Ready | ChannelState::Closed => "nothing",
            };
            self.close(Level::WARN, format!("{missing} within 10 s"), out);
        }
    }

    fn probe(&mut self, now: Instant) {
        self.probed = true;
        if !self.transport.is_full() {
            self.request(&Message::EchoRequest(Bytes::new()), now);
        }
    }

    /// Sends a request of the channel's own and returns its xid.
    fn request(&mut self, message: &Message, now: Instant) -> u32 {
        self.transport
            .send(message, Requester::Channel, Expects::Reply, now)
    }

    fn ended(&mut self, end: ConnectionEnd, out: &mut Vec<ChannelOutput>) {
        let level = match self.state {
            ChannelState::Ready => Level::WARN,
            ChannelState::Hello => Level::DEBUG,
            ChannelState::Features
            | ChannelState::Admission
            | ChannelState::Describing { .. }
            | ChannelState::Closed => Level::INFO,
        };
        match end {
            ConnectionEnd::Peer { unfinished: 0 } => {
                self.close(level, "closed by the switch".into(), out);
            }
            ConnectionEnd::Peer { unfinished } => self.close(
                Level::WARN,
                format!(
                    "closed by the switch in the middle of a message ({unfinished} bytes of it came)"
                ),
                out,
            ),
            ConnectionEnd::Error(error) => self.close(level, error, out),
        }
    }

    fn close(&mut self, level: Level, reason: String, out: &mut Vec<ChannelOutput>) {
        self.state = ChannelState::Closed;
        self.early = Vec::new();
        out.push(ChannelOutput::Closed(Closing { level, reason }));
    }

    fn frame(&mut self, frame: Bytes, now: Instant, out: &mut Vec<ChannelOutput>) {
        self.heard = now;
        self.probed = false;
        self.received.messages += 1;
        if self.challenged.take().is_some() {
            out.push(ChannelOutput::Alive);
        }
        let header = match Header::read(&frame) {
            Ok(header) => header,
            Err(error) => return self.close(Level::WARN, format!("not OpenFlow: {error}"), out),
        };
        if self.state == ChannelState::Hello {
            return self.hello(header, &frame, now, out);
        }
        let version = self.transport.version();
        if header.version != version {
            let reason = format!(
                "a message of wire version {} on a channel of version {version}",
                header.version
            );
            return self.close(Level::WARN, reason, out);
        }
        match header.kind {
            MessageType::ECHO_REQUEST => self.transport.echo(&frame),
            MessageType::ECHO_REPLY if self.transport.barriers.answered(header.xid) => {
                let (header, reply) = barriers::reply(header.xid);
                self.classify(header, reply, now, out);
            }
            MessageType::ECHO_REPLY => self.transport.answered(header.xid),
            MessageType::HELLO => {}
            _ => match self.transport.translate(&frame) {
                None => self.classify(header, frame, now, out),
                Some(Ok((frames, skipped))) => {
                    self.note_skipped(&skipped);
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

    fn classify(
        &mut self,
        header: Header,
        frame: Bytes,
        now: Instant,
        out: &mut Vec<ChannelOutput>,
    ) {
        if self.bundle_answered(header, &frame, now) {
            return;
        }
        let is_barrier =
            header.kind == MessageType::ERROR && self.barrier_refused(header.xid, &frame);
        let (header, frame) = match is_barrier {
            true => barriers::reply(header.xid),
            false => (header, frame),
        };
        match self.state {
            ChannelState::Ready => self.message(header, frame, now, out),
            ChannelState::Features => self.features(header, &frame, out),
            ChannelState::Admission | ChannelState::Describing { .. } => {
                self.described(header, frame, now, out);
            }
            ChannelState::Hello | ChannelState::Closed => {}
        }
    }

    fn message(
        &mut self,
        header: Header,
        frame: Bytes,
        now: Instant,
        out: &mut Vec<ChannelOutput>,
    ) {
        match header.kind {
            MessageType::ERROR => {
                if let Ok((_, Message::Error(error))) = v13::decode(&frame) {
                    if self.role_error(header.xid, &error, now) {
                        return;
                    }
                    self.received.errors += 1;
                    if self.request_refused(header.xid, &error) {
                        return;
                    }
                } else {
                    self.received.errors += 1;
                }
            }
            MessageType::ROLE_REPLY => {
                return match v13::decode(&frame) {
                    Ok((_, Message::RoleReply(reply))) => {
                        self.role_reply(header.xid, reply, now, out)
                    }
                    Ok(_) => {}
                    Err(error) => self.malformed(header, &error, out),
                };
            }
            MessageType::PORT_STATUS => match v13::decode(&frame) {
                Ok((_, Message::PortStatus(status))) => self.description.change_port(status),
                Ok(_) => {}
                Err(error) => return self.malformed(header, &error, out),
            },
            _ => {}
        }
        out.push(ChannelOutput::Message(header, frame));
    }

    /// Notes rules that were left out of a reply because they cannot be decoded. The first one is logged.
    pub(crate) fn note_skipped(&mut self, skipped: &[SkippedRule]) {
        if let Some(SkippedRule { table_id, error }) = skipped.first()
            && !std::mem::replace(&mut self.received.skipped_logged, true)
        {
            let dpid = self.display_dpid();
            tracing::warn!(%dpid, table = table_id, "the switch reports a rule that cannot be decoded; it is left out, as are further ones: {error}");
        }
    }

    fn role_reply(
        &mut self,
        xid: u32,
        reply: v13::Role,
        now: Instant,
        out: &mut Vec<ChannelOutput>,
    ) {
        let (dpid, could_write) = (self.display_dpid(), self.may_write());
        self.roles.reply(xid, reply, dpid, &mut self.transport, now);
        if could_write == self.may_write() {
            return;
        }
        match could_write {
            true => self.transport.discard_bundles(),
            false => self.transport.ask_for_bundles(now),
        }
        if self.state == ChannelState::Ready {
            out.push(ChannelOutput::RoleChanged);
        }
    }

    /// Returns whether an error answers a role request, and so concerns nobody else.
    fn role_error(&mut self, xid: u32, error: &ErrorMsg, now: Instant) -> bool {
        let dpid = self.display_dpid();
        let is_role = self.roles.error(xid, error, dpid, &mut self.transport, now);
        if is_role && refusals::is_refusal(error) {
            self.refusals.note(Refusable::Role);
        }
        is_role
    }

    /// Returns whether an error answers a barrier request, which the switch does not know, or its stand-in.
    fn barrier_refused(&mut self, xid: u32, frame: &Bytes) -> bool {
        if self.transport.barriers.answered(xid) {
            return true;
        }
        let Ok((_, Message::Error(error))) = v13::decode(frame) else {
            return false;
        };
        let is_barrier = self.refusals.request(xid) == Some(Refusable::Barrier)
            || barriers::quotes_barrier(&error);
        if !is_barrier || !refusals::is_refusal(&error) {
            return false;
        }
        self.received.errors += 1;
        self.transport.barriers.refuse();
        let dpid = self.display_dpid();
        self.refusals.refused(Refusable::Barrier, dpid, &error);
        true
    }

    /// Notes that the switch refuses to count its rules.
    pub(crate) fn counts_refused(&mut self, error: &ErrorMsg) {
        let dpid = self.display_dpid();
        self.refusals.refused(Refusable::Aggregate, dpid, error);
    }

    /// Returns whether an error answers a request of the channel itself, and so concerns nobody else.
    fn request_refused(&mut self, xid: u32, error: &ErrorMsg) -> bool {
        let sent = self.transport.sent(xid);
        if !sent.is_some_and(|sent| sent.requester == Requester::Channel) {
            return false;
        }
        self.transport.answered(xid);
        // After the handshake, the channel sends echo requests only.
        let what = self.refusals.request(xid).unwrap_or(Refusable::Echo);
        self.refusals.refused(what, self.display_dpid(), error);
        true
    }
}
