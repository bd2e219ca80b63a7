//! One app's event stream: who is live, what waits for it, and how a hand-over goes.
//!
//! ```text
//!            resume                hold                 quiesced, gone, quiesce deadline
//!   Empty ----------> Live -----------------> Draining ----------------------------------> Held
//!     ^                | session lost            |                                          |
//!     +----------------+                         +----------------- hold expired -----------+
//!     |                                          |                                          v
//!     +--- fenced, nobody there -----------------|-------------------------------------- Fencing
//!                                                |                                          |
//!   Live <-------------- resume (Draining, Held) +       Live <---- fenced, someone there --+
//! ```
//!
//! Events are queued in every state and delivered in `Live` only, one at a time: the next when the turn that answers
//! the former was accepted. Turns pass in `Live` and `Draining`. A resume starts again after the durable cursor.

mod backlog;
mod careful;
mod hold;
mod rate;
mod report;
mod resume;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use morph_api::session::{self, to_app};
use morph_api::store::Seq;
use morph_api::supervisor::{
    Detached, HoldExpired, HoldReply, ResumeReply, Resumed, hold_reply::Outcome, observation,
};

pub(crate) use backlog::{Backlog, Queued, What};
use careful::Careful;
use hold::Hold;
use rate::Rate;

/// What happened to the slot.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// An event for the app.
    Event { channel: u32, dpid: u64, what: What },
    /// morphd holds the slot.
    Hold {
        ticket: u64,
        quiesce: Duration,
        length: Duration,
    },
    /// This instance is to be live.
    Resume(Resume),
    /// The turn that answers `event` was written to its channels.
    Forwarded { event: Option<Seq> },
    /// All channels have room for what the turn wrote: it is accepted.
    Settled {
        session: u64,
        turn: u64,
        event: Option<Seq>,
    },
    /// The cursor is on disk.
    Durable(Seq),
    /// The instance has finished and stored all its turns.
    Quiesced {
        session: u64,
        quiesced: session::Quiesced,
    },
    /// The session of this instance ended.
    SessionLost {
        session: u64,
        instance: String,
        reason: String,
    },
    /// What came of the proxy's own fence.
    Fenced(Fenced),
    /// All apps that were resumed as one have their first rules: turns pass.
    Open,
    /// Some of them are late, and turns still wait: why.
    Late(String),
    /// An event that was set aside is queued again.
    Retry(Retry),
    /// A deadline may have passed.
    Timer,
}

/// An event that was set aside, and comes back.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    pub(crate) ticket: u64,
    /// The record's id, and how often it was tried with this one.
    pub(crate) try_: (String, u64),
    pub(crate) channel: u32,
    pub(crate) dpid: u64,
    pub(crate) what: What,
}

/// Who is to be live, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Resume {
    /// Who asked; none: the slot's own fence.
    pub(crate) ticket: Option<u64>,
    pub(crate) session: u64,
    pub(crate) instance: String,
    pub(crate) epoch: u64,
    pub(crate) cursor: Seq,
    pub(crate) turn: u64,
    pub(crate) revision: u64,
    /// Its turns wait until `Open`.
    pub(crate) shut: bool,
}

/// What came of the proxy's own fence.
#[derive(Debug, Clone)]
pub(crate) enum Fenced {
    /// The epoch is raised; this instance of the checkpoint's release is there.
    Won(Resume),
    /// The epoch is raised; nobody of the checkpoint's release is there.
    Nobody { epoch: u64 },
    /// Somebody else has raised the epoch meanwhile and will resume.
    Raced,
    /// The store is away.
    Away,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    /// Send a control record.
    Send {
        session: u64,
        record: to_app::Record,
    },
    /// Send the event with this number.
    Deliver {
        session: u64,
        n: u64,
        replayed: bool,
        /// Nothing follows before it is durable.
        alone: bool,
    },
    /// Tell the session, by information, which switches are connected.
    Sync { session: u64 },
    /// Queue a `SwitchUp` for every connected switch.
    ListSwitches,
    /// What became of the session's waiting turn is known: judge it now.
    Release { session: u64 },
    /// Answer morphd.
    Answer { ticket: u64, answer: Answer },
    /// Raise the epoch in the store, for the release that the checkpoint names.
    Fence,
    /// Tell the observer; the app's name is still missing.
    Observe(observation::What),
}

/// An answer to morphd.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Hold(HoldReply),
    Resume(ResumeReply),
    /// Where the event stands now.
    Retry(Seq),
    /// Nothing was changed, and why.
    Refused(String),
}

/// Why nothing of a turn is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// A newer epoch is live, or this one has ended.
    pub(crate) stale: bool,
    /// For people.
    pub(crate) message: String,
}

/// How a turn may be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    /// A turn that answers the same event was accepted before: its packet-outs are out.
    pub(crate) drop_packet_outs: bool,
}

#[derive(Debug, Clone)]
struct Live {
    session: u64,
    instance: String,
    /// The number of the event that it has and has not answered.
    unanswered: Option<u64>,
    /// The number of the next event for it.
    next: u64,
    /// Its turns wait for other apps.
    shut: Option<Shut>,
    /// When the event in hand was delivered.
    asked_at: Option<Instant>,
    /// Events answered, and how long that took in all.
    answered: u64,
    answer_us: u64,
}

/// Resumed, and its turns do not pass yet.
#[derive(Debug, Clone)]
struct Shut {
    /// Who waits for the resume.
    ticket: Option<u64>,
    reply: ResumeReply,
    since: Option<Instant>,
    cursor: Seq,
    turn: u64,
}

#[derive(Debug, Clone)]
enum State {
    Empty { since: Option<Instant> },
    Live(Live),
    Draining(Live, Hold),
    Held(Hold),
    Fencing { hold: Hold, retry: Option<Instant> },
}

/// What was forwarded for the app since the proxy's start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) flow_mods: u64,
    pub(crate) group_mods: u64,
    pub(crate) meter_mods: u64,
    pub(crate) packet_outs: u64,
    pub(crate) rejected: u64,
}

/// While the store is away a fence is tried again after this.
const FENCE_RETRY: Duration = Duration::from_secs(1);

/// The machine.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    app: String,
    backlog: Backlog,
    state: State,
    careful: Careful,
    epoch: u64,
    events: u64,
    replayed: u64,
    rate: Rate,
    pub(crate) forwarded: Forwarded,
}

impl Slot {
    /// A slot without instance, whose first event is `Resync`: of what was before this incarnation nothing is known.
    /// `first` is the number of its first event: 1, or where the app's former slot in this stream ended.
    pub(crate) fn new(app: &str, incarnation: u64, first: u64, quota: usize, now: Instant) -> Self {
        let mut backlog = Backlog::new(incarnation, first, quota);
        backlog.append_what(0, 0, What::Resync { list: false });
        Slot {
            app: app.to_owned(),
            backlog,
            state: State::Empty { since: None },
            careful: Careful::default(),
            epoch: 0,
            events: 1,
            replayed: 0,
            rate: Rate::new(now),
            forwarded: Forwarded::default(),
        }
    }

    /// Takes one input.
    pub(crate) fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Event {
                channel,
                dpid,
                what,
            } => self.event(channel, dpid, what, now, out),
            Input::Hold {
                ticket,
                quiesce,
                length,
            } => self.hold(ticket, quiesce, length, now, out),
            Input::Resume(resume) => self.resume(resume, now, out),
            Input::Forwarded { event } => self.mark_accepted(event),
            Input::Settled {
                session,
                turn,
                event,
            } => self.settled(session, turn, event, now, out),
            Input::Durable(cursor) => {
                self.backlog.forget(cursor);
                if self.careful.is_on() {
                    self.deliver(now, out);
                }
            }
            Input::Quiesced { session, quiesced } => self.quiesced(session, quiesced, out),
            Input::SessionLost {
                session,
                instance,
                reason,
            } => self.session_lost(session, instance, reason, now, out),
            Input::Fenced(fenced) => self.fenced(fenced, now, out),
            Input::Open => self.open(now, out),
            Input::Late(why) => self.late(why, out),
            Input::Retry(retry) => self.retry(retry, now, out),
            Input::Timer => self.timer(now, out),
        }
    }

    /// When `Timer` is next due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Empty { .. } | State::Live(_) => None,
            State::Draining(_, hold) => Some(hold.until.min(hold.quiesce_until)),
            State::Held(hold) => Some(hold.until),
            State::Fencing { retry, .. } => *retry,
        }
    }

    /// Whether a turn passes.
    pub(crate) fn judge(
        &self,
        session: u64,
        epoch: u64,
        event: Option<Seq>,
    ) -> Result<Pass, Rejection> {
        let live = match &self.state {
            State::Live(live) | State::Draining(live, _) if live.session == session => live,
            State::Empty { .. }
            | State::Live(_)
            | State::Draining(..)
            | State::Held(_)
            | State::Fencing { .. } => {
                return Err(Rejection {
                    stale: true,
                    message: format!(
                        "this instance is not live; the app is at epoch {}",
                        self.epoch
                    ),
                });
            }
        };
        if epoch != self.epoch {
            return Err(Rejection {
                stale: epoch < self.epoch,
                message: format!("epoch {epoch} is not the live one, {}", self.epoch),
            });
        }
        let Some(event) = event else {
            return Ok(Pass {
                drop_packet_outs: false,
            });
        };
        let in_flight = live.unanswered.map(|n| self.backlog.seq(n));
        if in_flight != Some(event) {
            let found = in_flight.map_or("none".to_owned(), |seq| seq.to_string());
            return Err(Rejection {
                stale: event.incarnation < self.backlog.incarnation(),
                message: format!("the turn answers event {event}; the event in hand is {found}"),
            });
        }
        Ok(Pass {
            drop_packet_outs: self.backlog.get(event.n).is_some_and(|q| q.accepted),
        })
    }

    fn event(&mut self, channel: u32, dpid: u64, what: What, now: Instant, out: &mut Vec<Output>) {
        self.events += 1;
        self.rate.count(now);
        self.backlog.push(channel, dpid, what);
        match &self.state {
            State::Live(_) => self.deliver(now, out),
            State::Draining(_, hold) | State::Held(hold)
                if !hold.full_before && self.backlog.is_full() =>
            {
                self.expire(out);
            }
            State::Empty { .. } | State::Draining(..) | State::Held(_) | State::Fencing { .. } => {}
        }
    }

    /// Queues what a list of switches asked for: not counted as news.
    pub(crate) fn list(&mut self, channel: u32, dpid: u64) {
        self.backlog.append_what(channel, dpid, What::SwitchUp);
    }

    /// Delivers the next event, where there is one and the window is open.
    fn deliver(&mut self, now: Instant, out: &mut Vec<Output>) {
        let State::Live(live) = &mut self.state else {
            return;
        };
        if live.unanswered.is_some() {
            return;
        }
        let n = live.next.max(self.backlog.first());
        if self.careful.waits(n, self.backlog.first()) {
            return;
        }
        let Some(queued) = self.backlog.get_mut(n) else {
            return;
        };
        live.unanswered = Some(n);
        live.asked_at = Some(now);
        live.next = n + 1;
        if let What::Resync { list } = &mut queued.what
            && std::mem::take(list)
        {
            out.push(Output::ListSwitches);
        }
        let replayed = std::mem::replace(&mut queued.delivered, true);
        self.replayed += u64::from(replayed);
        out.push(Output::Deliver {
            session: live.session,
            n,
            replayed,
            alone: self.careful.is_alone(n),
        });
    }

    fn mark_accepted(&mut self, event: Option<Seq>) {
        if let Some(queued) = event.and_then(|seq| self.backlog.get_mut(seq.n)) {
            queued.accepted = true;
        }
    }

    fn settled(
        &mut self,
        session: u64,
        turn: u64,
        event: Option<Seq>,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let live = match &mut self.state {
            State::Live(live) | State::Draining(live, _) if live.session == session => live,
            // Its epoch has ended meanwhile; the store refuses the turn, and its event is replayed.
            _ => return,
        };
        if event.is_some() {
            live.unanswered = None;
            if let Some(asked) = live.asked_at.take() {
                live.answered += 1;
                live.answer_us += now.saturating_duration_since(asked).as_micros() as u64;
            }
        }
        out.push(Output::Send {
            session,
            record: to_app::Record::Accepted(session::Accepted { turn }),
        });
        self.deliver(now, out);
    }
}

fn pause(session: u64, out: &mut Vec<Output>) {
    out.push(Output::Send {
        session,
        record: to_app::Record::Pause(session::Pause {}),
    });
    out.push(Output::Sync { session });
}
