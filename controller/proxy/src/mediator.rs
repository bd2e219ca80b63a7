//! The mediator: owns all channels, slots and sessions, and routes messages between them.
//!
//! ```text
//!   switches --frames--> Channel --messages--> dispatch --events--> Slot --events--> Session --blobs--> instances
//!   switches <--bytes--- Channel <------- command check <--turns--- Slot <--records- Session <--blobs-- instances
//!                           ^                                        ^
//!                pipeline (table 0, exit tables)                 morphd: hold, resume
//! ```
//!
//! It waits for nothing and writes nothing: [`Mediator::handle`] takes an input from the drivers and returns outputs for
//! them. Bytes for channels and sessions are collected until [`Mediator::flush`], so that many inputs cause one write.

mod cleaning;
mod control;
mod entries;
mod observe;
mod quarantine;
mod queries;
mod reading;
mod refused;
mod replies;
mod session;
mod sessions;
mod settling;
mod switches;
#[cfg(test)]
pub(crate) mod tests;
mod turns;
mod verifying;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use morph_api::store::Seq;
use morph_api::supervisor::Observation;
use morph_api::verification::VerificationPeriods;
use morph_api::{Repeats, Role};

use crate::channel::{Channel, ChannelInput, ChannelOutput, ConnectionEnd};
use crate::dispatch::Apps;
use crate::group::Group;
use crate::pipeline::{Entries, Reconciliation};
use crate::reads::ReadQueue;
use crate::slot::{
    EventKind, FenceResult, Limits, ResumePlan, Retry, Slot, SlotInput, SlotOutput, SlotReply,
};
use crate::verification::Verification;
use crate::wire::NotOpenFlow;
pub use control::{ControlReply, ControlRequest, Refusal};
use queries::PendingQuery;
use refused::RefusedSwitches;
use session::Session;
use settling::Settling;

/// Inputs from the drivers.
#[derive(Debug, Clone)]
pub enum Input {
    /// New connection. Numbers count up and are never reused.
    Connected {
        conn: u32,
        remote: String,
    },
    Frames {
        conn: u32,
        frames: Vec<Bytes>,
    },
    NotOpenFlow {
        conn: u32,
        what: NotOpenFlow,
    },
    Written {
        conn: u32,
        bytes: usize,
    },
    /// The peer or an error ended the connection.
    Ended {
        conn: u32,
        end: ConnectionEnd,
    },
    SessionOpened {
        session: u64,
    },
    Blob {
        session: u64,
        records: Bytes,
    },
    /// The transport has taken this many bytes of blobs.
    SessionWritten {
        session: u64,
        bytes: usize,
    },
    SessionEnded {
        session: u64,
        reason: String,
    },
    Request {
        ticket: u64,
        request: ControlRequest,
    },
    /// morphd observes from now on, or no longer.
    Observer {
        present: bool,
    },
    /// Result of `Output::Fence`.
    Fenced {
        app: String,
        outcome: FenceOutcome,
    },
    /// Some deadline may have passed.
    Timer,
    Shutdown,
}

/// Result of a fence.
#[derive(Debug, Clone)]
pub enum FenceOutcome {
    /// New state of the checkpoint.
    Committed {
        epoch: u64,
        cursor: Seq,
        turn: u64,
        release: String,
        revision: u64,
    },
    /// Another writer raised the epoch first.
    LostRace,
    /// The app has no checkpoint: no instance of it ever ran.
    NoCheckpoint,
    /// The store did not answer; carries the reason.
    StoreUnavailable(String),
}

/// Actions for the drivers.
#[derive(Debug, Clone)]
pub enum Output {
    Write {
        conn: u32,
        bytes: BytesMut,
    },
    /// Write what is queued, then close. No further input comes from this connection.
    Disconnect {
        conn: u32,
    },
    Blob {
        session: u64,
        records: Bytes,
    },
    /// Send what is queued, then close and free the session. Emitted once for each session, also for one that ended by
    /// itself.
    EndSession {
        session: u64,
    },
    /// Allow one more blob to be read.
    Credit {
        session: u64,
    },
    Reply {
        ticket: u64,
        reply: Result<ControlReply, Refusal>,
    },
    Observe(Observation),
    /// Raise the epoch of the app's checkpoint, for the release named there.
    Fence {
        app: String,
    },
}

/// Settings that stay the same while the process lives.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Incarnation of this proxy, part of every event's sequence number.
    pub incarnation: u64,
    /// Limit in bytes of the events kept for one app.
    pub quota: usize,
    /// Time after which a packet-in that waits for delivery is dropped, while the app answers; zero: it never is.
    pub target_delay: Duration,
    /// OpenFlow role requested from every switch.
    pub role: Role,
    /// Periods of the verification of table 0 and the exit tables.
    pub verification: VerificationPeriods,
}

/// Default limit of an app's backlog in bytes: some 200 000 small packet-ins. A process that is full of them takes a third more.
pub const QUOTA: usize = 48 << 20;
/// Default time after which a packet-in is dropped: its host will have sent it again.
pub const TARGET_DELAY: Duration = Duration::from_millis(200);

/// One connection and its state in the mediator.
#[derive(Debug, Clone)]
struct Switch {
    channel: Channel,
    reconciliation: Reconciliation,
    entries: Entries,
    verification: Verification,
    reads: ReadQueue,
    /// Connection that claims the same datapath id and waits for the end of the challenge.
    challenger: Option<u32>,
    /// Apps have been told of this switch.
    announced: bool,
    /// Listed in `dirty_switches`.
    dirty: bool,
}

#[derive(Debug, Clone)]
pub struct Mediator {
    settings: Settings,
    /// `None` before the first `Configure`: sessions wait, and no rule is touched.
    apps: Option<Apps>,
    /// Configuration whose end morphd waits for.
    settling: Option<Settling>,
    switches: BTreeMap<u32, Switch>,
    /// Highest connection number so far.
    last_conn: u32,
    /// Connection that holds a datapath id.
    by_dpid: BTreeMap<u64, u32>,
    disconnects: BTreeMap<u64, u64>,
    refused: RefusedSwitches,
    /// Slots, keyed by app id.
    slots: BTreeMap<u8, Slot>,
    /// Next event number of removed slots: numbers are never reused within an incarnation.
    removed: BTreeMap<u8, u64>,
    sessions: BTreeMap<u64, Session>,
    /// Groups of apps whose turns wait for each other, keyed by upgrade id.
    groups: BTreeMap<String, Group>,
    queries: BTreeMap<u64, PendingQuery>,
    observed: bool,
    dirty_switches: Vec<u32>,
    dirty_sessions: Vec<u64>,
    /// Lower bound of all deadlines.
    wake: Option<Instant>,
    /// Count of messages that belong to no present app.
    unclaimed: u64,
    /// Scratch space, empty between two inputs; saves an allocation for each message.
    channel_outputs: Vec<ChannelOutput>,
    /// Log lines that repeat.
    repeats: Repeats,
    slot_outputs: Vec<SlotOutput>,
}

/// Limit of datapaths whose disconnects are counted: bounds the memory that a peer with invented ids can take.
const COUNTED_DATAPATHS: usize = 65_536;

impl Mediator {
    /// Creates a mediator without apps; `Configure` adds them.
    pub fn new(settings: Settings) -> Self {
        Mediator {
            settings,
            apps: None,
            settling: None,
            switches: BTreeMap::new(),
            last_conn: 0,
            by_dpid: BTreeMap::new(),
            disconnects: BTreeMap::new(),
            refused: RefusedSwitches::default(),
            slots: BTreeMap::new(),
            removed: BTreeMap::new(),
            sessions: BTreeMap::new(),
            groups: BTreeMap::new(),
            queries: BTreeMap::new(),
            observed: false,
            dirty_switches: Vec::new(),
            dirty_sessions: Vec::new(),
            wake: None,
            unclaimed: 0,
            channel_outputs: Vec::new(),
            repeats: Repeats::default(),
            slot_outputs: Vec::new(),
        }
    }

    /// Handles one input and appends the resulting outputs.
    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Connected { conn, remote } => self.connected(conn, remote, now, out),
            Input::Frames { conn, frames } => {
                for frame in frames {
                    self.feed_channel(conn, ChannelInput::Frame(frame), now, out);
                }
            }
            Input::NotOpenFlow { conn, what } => {
                self.feed_channel(conn, ChannelInput::NotOpenFlow(what), now, out);
            }
            Input::Written { conn, bytes } => {
                self.feed_channel(conn, ChannelInput::Written(bytes), now, out);
                self.continue_sessions(conn, now, out);
            }
            Input::Ended { conn, end } => {
                self.feed_channel(conn, ChannelInput::Ended(end), now, out)
            }
            Input::SessionOpened { session } => self.session_opened(session, now),
            Input::Blob { session, records } => self.blob(session, records, now, out),
            Input::SessionWritten { session, bytes } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.written(bytes, now);
                }
            }
            Input::SessionEnded { session, reason } => self.drop_session(session, reason, now, out),
            Input::Request { ticket, request } => self.request(ticket, request, now, out),
            Input::Observer { present } => self.observer(present, out),
            Input::Fenced { app, outcome } => self.fenced(&app, outcome, now, out),
            Input::Timer => self.timer(now, out),
            Input::Shutdown => self.shutdown(now, out),
        }
        self.report_settled(out);
    }

    /// Appends the bytes collected since the last flush.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.answer_unsendable(now, out);
        for conn in std::mem::take(&mut self.dirty_switches) {
            let Some(switch) = self.switches.get_mut(&conn) else {
                continue;
            };
            switch.dirty = false;
            if let Some(bytes) = switch.channel.transport.take_out(now) {
                out.push(Output::Write { conn, bytes });
            }
            self.arm(
                self.switches
                    .get(&conn)
                    .and_then(|s| s.channel.next_deadline()),
            );
        }
        for id in std::mem::take(&mut self.dirty_sessions) {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            let blobs = session.take_out(now);
            out.extend(blobs.map(|records| Output::Blob {
                session: id,
                records,
            }));
            self.arm(self.sessions.get(&id).and_then(Session::next_deadline));
        }
    }

    /// Returns the time at which `Input::Timer` is due; it may be a little early.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }

    fn arm(&mut self, deadline: Option<Instant>) {
        self.wake = match (self.wake, deadline) {
            (Some(wake), Some(deadline)) => Some(wake.min(deadline)),
            (wake, deadline) => wake.or(deadline),
        };
    }

    fn timer(&mut self, now: Instant, out: &mut Vec<Output>) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        let late =
            |(conn, switch): (&u32, &Switch)| due(switch.channel.next_deadline()).then_some(*conn);
        for conn in self.switches.iter().filter_map(late).collect::<Vec<_>>() {
            self.feed_channel(conn, ChannelInput::Timer, now, out);
        }
        let late =
            |(conn, switch): (&u32, &Switch)| due(switch.reads.next_deadline()).then_some(*conn);
        for conn in self.switches.iter().filter_map(late).collect::<Vec<_>>() {
            self.read_missing(conn, now, out);
        }
        let late =
            |(conn, switch): (&u32, &Switch)| due(switch.verification_deadline()).then_some(*conn);
        for conn in self.switches.iter().filter_map(late).collect::<Vec<_>>() {
            self.verify(conn, now);
        }
        for app in self.slots.keys().copied().collect::<Vec<_>>() {
            self.feed_slot(app, SlotInput::Timer, now, out);
        }
        self.feed_groups(|group, out| group.timer(now, out), now, out);
        let late = |(id, session): (&u64, &Session)| due(session.next_deadline()).then_some(*id);
        for id in self.sessions.iter().filter_map(late).collect::<Vec<_>>() {
            self.refuse(
                id,
                "the instance does not read its session: the queue was full for 5 s".into(),
                now,
                out,
            );
        }
        self.expire_queries(now, out);
        for line in self.repeats.due(now) {
            tracing::warn!("{line}");
        }
        self.wake = self.earliest();
    }

    fn earliest(&self) -> Option<Instant> {
        let channels = self
            .switches
            .values()
            .filter_map(|s| s.channel.next_deadline());
        let reads = self
            .switches
            .values()
            .filter_map(|s| s.reads.next_deadline());
        let verifications = self
            .switches
            .values()
            .filter_map(Switch::verification_deadline);
        let slots = self.slots.values().filter_map(Slot::next_deadline);
        let sessions = self.sessions.values().filter_map(Session::next_deadline);
        let queries = self.queries.values().map(PendingQuery::deadline);
        let groups = self.groups.values().filter_map(Group::next_deadline);
        channels
            .chain(reads)
            .chain(verifications)
            .chain(slots)
            .chain(sessions)
            .chain(queries)
            .chain(groups)
            .min()
    }

    /// Ends sessions before channels: apps get no events about switches that go because the proxy ends.
    fn shutdown(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.flush(now, out);
        self.slots.clear();
        let sessions = std::mem::take(&mut self.sessions);
        out.extend(
            sessions
                .into_keys()
                .map(|session| Output::EndSession { session }),
        );
        for conn in self.switches.keys().copied().collect::<Vec<_>>() {
            let end = ChannelInput::Shutdown;
            self.feed_channel(conn, end, now, out);
        }
    }
}

/// Time limit for a switch to answer a request of morphd.
const QUERY: Duration = Duration::from_secs(5);
/// Time limit for a request of morphd for rules, which may wait for the answers to others.
const RULES_QUERY: Duration = Duration::from_secs(25);
