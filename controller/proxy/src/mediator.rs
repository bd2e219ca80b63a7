//! The mediator: owns all channels, slots and sessions, and passes things between them.
//!
//! ```text
//!   switches --frames--> Channel --messages--> dispatch --events--> Slot --events--> Session --blobs--> instances
//!   switches <--bytes--- Channel <---------- turn check <--turns--- Slot <--records- Session <--blobs-- instances
//!                           ^                                        ^
//!                        pipeline (table 0, exits)               morphd: hold, resume
//! ```
//!
//! It waits for nothing and writes nothing: [`Mediator::handle`] takes what the drivers saw, and says what they have to
//! do. What goes out on channels and sessions is collected until [`Mediator::flush`], so that many inputs make one write.

mod control;
mod deaths;
mod observe;
mod questions;
mod replies;
mod session;
mod sessions;
mod switches;
#[cfg(test)]
pub(crate) mod tests;
mod turns;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use morph_api::Role;
use morph_api::store::Seq;
use morph_api::supervisor::Observation;
use morph_openflow::rule::RuleSet;

use crate::channel::{self, Channel, End};
use crate::dispatch::Apps;
use crate::pipeline::Reconcile;
use crate::slot::{self, Slot};
use crate::together::Together;
use crate::wire::NotOpenFlow;
pub use control::{Answer, Ask, Refusal};
use questions::Question;
use session::Session;

/// What the drivers saw.
#[derive(Debug, Clone)]
pub enum Input {
    /// A switch, or something else, has connected. Numbers count up and are never used again.
    Connected { conn: u32, remote: String },
    /// Whole messages came.
    Frames { conn: u32, frames: Vec<Bytes> },
    /// Bytes came that are no OpenFlow.
    NotOpenFlow { conn: u32, what: NotOpenFlow },
    /// So many bytes were written.
    Written { conn: u32, bytes: usize },
    /// The connection ended by itself.
    Ended { conn: u32, end: End },
    /// An instance has opened a session.
    SessionOpened { session: u64 },
    /// A blob of records came.
    Blob { session: u64, records: Bytes },
    /// So many bytes of blobs were taken by the transport.
    SessionWritten { session: u64, bytes: usize },
    /// The session ended by itself.
    SessionEnded { session: u64, reason: String },
    /// morphd asks.
    Ask { ticket: u64, ask: Ask },
    /// morphd observes from now on, or no longer.
    Observer { present: bool },
    /// What came of `Output::Fence`.
    Fenced { app: String, outcome: FenceOutcome },
    /// A deadline may have passed.
    Timer,
    /// The process ends.
    Shutdown,
}

/// What the store answered to a fence.
#[derive(Debug, Clone)]
pub enum FenceOutcome {
    /// The checkpoint as it is now.
    Won {
        epoch: u64,
        cursor: Seq,
        turn: u64,
        release: String,
        revision: u64,
    },
    /// Somebody else was faster.
    Raced,
    /// The app has no checkpoint: nothing of it ever ran.
    NoCheckpoint,
    /// Not now.
    Away(String),
}

/// What the drivers have to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Write these bytes to the switch.
    Write { conn: u32, bytes: BytesMut },
    /// Write what is queued, then close. Nothing more comes of this connection.
    Disconnect { conn: u32 },
    /// Send a blob of records.
    Blob { session: u64, records: Bytes },
    /// Send what is queued, then close, and let go of all that belongs to it; said once of each session, also of one that ended
    /// by itself.
    EndSession { session: u64 },
    /// One more blob may be read.
    Credit { session: u64 },
    /// Answer morphd.
    Answer {
        ticket: u64,
        answer: Result<Answer, Refusal>,
    },
    /// Tell the observer.
    Observe(Observation),
    /// Raise the epoch of the app's checkpoint, for the release that the checkpoint names.
    Fence { app: String },
}

/// What does not change while the process lives.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The incarnation of all its events.
    pub incarnation: u64,
    /// Bytes of events kept for one app.
    pub quota: usize,
    /// Asked for at every switch.
    pub role: Role,
}

/// The default quota of bytes of an app's backlog: some 300 000 small packet-ins.
pub const QUOTA: usize = 64 << 20;

/// A connection and what belongs to it.
#[derive(Debug, Clone)]
struct Switch {
    channel: Channel,
    reconcile: Reconcile,
    /// The connection that claims the same datapath id and waits for the challenge's end.
    challenger: Option<u32>,
    /// Apps know it.
    announced: bool,
    /// It is in the list of those to be flushed.
    dirty: bool,
}

/// The machine of machines.
#[derive(Debug, Clone)]
pub struct Mediator {
    settings: Settings,
    /// None before the first `Configure`: sessions wait, and no rule is touched.
    apps: Option<Apps>,
    wanted: RuleSet,
    switches: BTreeMap<u32, Switch>,
    /// The highest number of a connection so far.
    last_conn: u32,
    /// Which connection holds a datapath id.
    by_dpid: BTreeMap<u64, u32>,
    disconnects: BTreeMap<u64, u64>,
    /// By the app's id.
    slots: BTreeMap<u8, Slot>,
    /// The next event's number of slots that were removed: numbers are never used again in an incarnation.
    removed: BTreeMap<u8, u64>,
    sessions: BTreeMap<u64, Session>,
    /// Apps whose turns wait for each other, by the upgrade's id.
    together: BTreeMap<String, Together>,
    questions: BTreeMap<u64, Question>,
    observed: bool,
    dirty_switches: Vec<u32>,
    dirty_sessions: Vec<u64>,
    /// Not later than the earliest deadline.
    wake: Option<Instant>,
    /// Messages of switches that concerned nobody.
    unclaimed: u64,
    /// Empty between two inputs: kept so that not each message needs an allocation.
    channel_outputs: Vec<channel::Output>,
    slot_outputs: Vec<slot::Output>,
}

/// Datapaths whose disconnects are counted: more than any network of ours, and a bound for a peer that makes them up.
const COUNTED_DATAPATHS: usize = 65_536;

impl Mediator {
    /// Without apps, until it is configured.
    pub fn new(settings: Settings) -> Self {
        Mediator {
            settings,
            apps: None,
            wanted: RuleSet::new(),
            switches: BTreeMap::new(),
            last_conn: 0,
            by_dpid: BTreeMap::new(),
            disconnects: BTreeMap::new(),
            slots: BTreeMap::new(),
            removed: BTreeMap::new(),
            sessions: BTreeMap::new(),
            together: BTreeMap::new(),
            questions: BTreeMap::new(),
            observed: false,
            dirty_switches: Vec::new(),
            dirty_sessions: Vec::new(),
            wake: None,
            unclaimed: 0,
            channel_outputs: Vec::new(),
            slot_outputs: Vec::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Connected { conn, remote } => self.connected(conn, remote, now, out),
            Input::Frames { conn, frames } => {
                for frame in frames {
                    self.channel(conn, channel::Input::Frame(frame), now, out);
                }
            }
            Input::NotOpenFlow { conn, what } => {
                self.channel(conn, channel::Input::NotOpenFlow(what), now, out);
            }
            Input::Written { conn, bytes } => {
                self.channel(conn, channel::Input::Written(bytes), now, out);
                self.unblock(conn, now, out);
            }
            Input::Ended { conn, end } => self.channel(conn, channel::Input::Ended(end), now, out),
            Input::SessionOpened { session } => self.session_opened(session, now),
            Input::Blob { session, records } => self.blob(session, records, now, out),
            Input::SessionWritten { session, bytes } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.written(bytes, now);
                }
            }
            Input::SessionEnded { session, reason } => self.drop_session(session, reason, now, out),
            Input::Ask { ticket, ask } => self.ask(ticket, ask, now, out),
            Input::Observer { present } => self.observer(present, out),
            Input::Fenced { app, outcome } => self.fenced(&app, outcome, now, out),
            Input::Timer => self.timer(now, out),
            Input::Shutdown => self.shutdown(now, out),
        }
    }

    /// Everything collected since the last flush.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.refusals(now, out);
        for conn in std::mem::take(&mut self.dirty_switches) {
            let Some(switch) = self.switches.get_mut(&conn) else {
                continue;
            };
            switch.dirty = false;
            if let Some(bytes) = switch.channel.take_out(now) {
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

    /// When `Timer` is next due; perhaps a little early.
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
            self.channel(conn, channel::Input::Timer, now, out);
        }
        let late = |(conn, switch): (&u32, &Switch)| {
            due(switch.reconcile.next_deadline()).then_some(*conn)
        };
        for conn in self.switches.iter().filter_map(late).collect::<Vec<_>>() {
            tracing::warn!(
                conn,
                "no answer about table 0 and the exits within 10 s; asked again"
            );
            self.reconcile(conn, now);
        }
        for app in self.slots.keys().copied().collect::<Vec<_>>() {
            self.slot(app, slot::Input::Timer, now, out);
        }
        self.together(|together, out| together.time(now, out), now, out);
        let late = |(id, session): (&u64, &Session)| due(session.next_deadline()).then_some(*id);
        for id in self.sessions.iter().filter_map(late).collect::<Vec<_>>() {
            self.refuse(
                id,
                "the session is not read: its queue was full for 5 s".into(),
                now,
                out,
            );
        }
        self.expire_questions(now, out);
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
            .filter_map(|s| s.reconcile.next_deadline());
        let slots = self.slots.values().filter_map(Slot::next_deadline);
        let sessions = self.sessions.values().filter_map(Session::next_deadline);
        let questions = self.questions.values().map(Question::deadline);
        let together = self.together.values().filter_map(Together::next_deadline);
        channels
            .chain(reads)
            .chain(slots)
            .chain(sessions)
            .chain(questions)
            .chain(together)
            .min()
    }

    /// Sessions first, and without a word about switches: that they go is our doing, and no news for any app.
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
            let end = channel::Input::Shutdown;
            self.channel(conn, end, now, out);
        }
    }
}

/// How long morphd waits for a switch's answer at most.
const QUESTION: Duration = Duration::from_secs(5);
