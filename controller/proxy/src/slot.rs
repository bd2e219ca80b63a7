//! Events of one app: the live instance, the backlog, and the steps of a hand-over.
//!
//! ```text
//!            resume                hold                 quiesced, gone, quiesce deadline
//!   Empty ----------> Live -----------------> Draining ----------------------------------> Held
//!     ^                | session lost            |                                          |
//!     +----------------+                         +----------------- hold expired -----------+
//!     |                                          |                                          v
//!     +--- fenced, no instance ------------------|-------------------------------------- Fencing
//!                                                |                                          |
//!   Live <-------------- resume (Draining, Held) +       Live <---- fenced, an instance ----+
//! ```
//!
//! Events are queued in every state, for each switch by itself. They are delivered in `Live` only, and numbered then: as many as
//! the app answers soon (`window`), without those that have waited for too long (`age`). A turn answers one or more of them, in
//! their order. Turns pass in `Live` and `Draining`. A resume continues after the durable cursor.

mod age;
mod backlog;
mod delays;
mod event;
mod hold;
mod overload;
mod rate;
mod report;
mod resume;
mod shares;
mod suspects;
mod switch_queue;
#[cfg(test)]
mod tests;
mod turn_sizes;
mod waiting;
mod window;

use std::time::{Duration, Instant};

use morph_api::session::{self, TurnEnd, to_app};
use morph_api::store::Seq;
use morph_api::supervisor::{
    Detached, HoldExpired, HoldReply, ResumeReply, Resumed, hold_reply::Outcome, observation,
};

use age::{AgeLimit, waited};
use backlog::Backlog;
use delays::Delays;
pub(crate) use event::{EventKind, QueuedEvent};
use hold::Hold;
pub(crate) use overload::OverloadChange;
use rate::Rate;
use suspects::Suspects;
use turn_sizes::TurnSizes;
use window::Window;

#[derive(Debug, Clone)]
pub(crate) enum SlotInput {
    Event {
        channel: u32,
        dpid: u64,
        what: EventKind,
    },
    Hold {
        ticket: u64,
        quiesce: Duration,
        length: Duration,
    },
    /// Makes this instance live.
    Resume(ResumePlan),
    /// The turn for all unanswered events up to `event` was queued on its channels.
    Forwarded { event: Option<Seq> },
    /// All channels of the turn have room again, so the turn is accepted.
    TurnAccepted { session: u64, turn: TurnEnd },
    /// Everything up to this cursor is durable.
    Durable(Seq),
    /// The instance has finished and stored all its turns.
    Quiesced {
        session: u64,
        quiesced: session::Quiesced,
    },
    SessionLost {
        session: u64,
        instance: String,
        reason: String,
    },
    /// Result of the proxy's own fence.
    Fenced(FenceResult),
    /// All apps of the group have their first rules, so turns pass.
    OpenGate,
    /// Some members of the group are late, and turns keep waiting. Carries the reason.
    GroupLate(String),
    /// A quarantined event is queued again.
    Retry(Retry),
    /// Some deadline may have passed.
    Timer,
}

/// Quarantined event that is tried again.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    pub(crate) ticket: u64,
    /// Id of the quarantine record and number of the attempt. A repeated request is answered, not queued twice.
    pub(crate) attempt: (String, u64),
    pub(crate) channel: u32,
    pub(crate) dpid: u64,
    pub(crate) what: EventKind,
}

/// Instance to make live, and the position from which it continues.
#[derive(Debug, Clone)]
pub(crate) struct ResumePlan {
    /// Ticket of morphd's request; `None` if the slot's own fence resumes.
    pub(crate) ticket: Option<u64>,
    pub(crate) session: u64,
    pub(crate) instance: String,
    pub(crate) epoch: u64,
    pub(crate) cursor: Seq,
    pub(crate) turn: u64,
    pub(crate) revision: u64,
    /// Gates the turns until `OpenGate`.
    pub(crate) gated: bool,
}

/// Result of the proxy's own fence.
#[derive(Debug, Clone)]
pub(crate) enum FenceResult {
    /// The epoch is raised, and an instance of the checkpoint's release is attached.
    Committed(ResumePlan),
    /// The epoch is raised, but no instance of the checkpoint's release is attached.
    NoInstance {
        epoch: u64,
    },
    /// Another writer raised the epoch and will resume.
    LostRace,
    StoreUnavailable,
}

/// Actions that the mediator carries out for a slot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SlotOutput {
    Send {
        session: u64,
        record: to_app::Record,
    },
    /// Send the event with number `n`.
    Deliver {
        session: u64,
        n: u64,
        replayed: bool,
        /// No event follows until this one is durable.
        alone: bool,
    },
    /// Bring the session's view of connected switches up to date.
    Sync {
        session: u64,
    },
    /// Queue a `SwitchUp` for every connected switch.
    ListSwitches,
    /// Judge the gated turn of the session now, in the slot's new state.
    JudgeGatedTurn {
        session: u64,
    },
    Reply {
        ticket: u64,
        reply: SlotReply,
    },
    /// Raise the epoch in the store, for the release named in the checkpoint.
    Fence,
    Observe(observation::What),
    /// Log that the app loses events, or no longer does.
    Overload(OverloadChange),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SlotReply {
    Hold(HoldReply),
    Resume(ResumeReply),
    /// Sequence number of the queued event.
    Retry(Seq),
    /// Nothing was changed; carries the reason.
    Refused(String),
}

/// Reason why no part of a turn is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// Set if a newer epoch is live or this one has ended.
    pub(crate) stale: bool,
    /// Explanation for people.
    pub(crate) message: String,
}

/// Permission to forward a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TurnPermit {
    /// Set if turns for the same events were accepted before: their packet-outs were sent then.
    pub(crate) drop_packet_outs: bool,
}

#[derive(Debug, Clone)]
struct LiveInstance {
    session: u64,
    instance: String,
    window: Window,
    /// Set while turns wait for other apps of the group.
    gate: Option<Gate>,
}

/// Gate of a resumed instance whose turns do not pass yet.
#[derive(Debug, Clone)]
struct Gate {
    /// Ticket of the resume request that waits for the gate.
    ticket: Option<u64>,
    reply: ResumeReply,
    since: Option<Instant>,
    cursor: Seq,
    turn: u64,
}

#[derive(Debug, Clone)]
enum SlotState {
    Empty { since: Option<Instant> },
    Live(LiveInstance),
    Draining(LiveInstance, Hold),
    Held(Hold),
    Fencing { hold: Hold, retry: Option<Instant> },
}

/// Counters of forwarded commands since the start of the proxy.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ForwardCounters {
    pub(crate) flow_mods: u64,
    pub(crate) group_mods: u64,
    pub(crate) meter_mods: u64,
    pub(crate) packet_outs: u64,
    /// Packet-outs dropped because too much waited for their switch.
    pub(crate) packet_outs_dropped: u64,
    pub(crate) rejected: u64,
}

/// Delay before a fence is retried while the store is unavailable.
const FENCE_RETRY: Duration = Duration::from_secs(1);

/// Limits of the events that wait for an app.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Size of all events in bytes.
    pub(crate) quota: usize,
    /// Longest wait of a packet-in for its delivery; zero: none.
    pub(crate) target_delay: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct Slot {
    app: String,
    backlog: Backlog,
    state: SlotState,
    suspects: Suspects,
    epoch: u64,
    events: u64,
    replayed: u64,
    turn_sizes: TurnSizes,
    /// Number of events answered since the slot was made.
    answered: u64,
    rate: Rate,
    /// Times from the arrival of events to their first delivery.
    delays: Delays,
    pub(crate) forwarded: ForwardCounters,
}

impl Slot {
    /// Creates an empty slot. Its first event is `Resync`: nothing is known of the time before this incarnation.
    /// `first` is the number of that event: 1, or the end of the app's former slot in this incarnation.
    pub(crate) fn new(
        app: &str,
        incarnation: u64,
        first: u64,
        limits: Limits,
        now: Instant,
    ) -> Self {
        let limit = AgeLimit::new(limits.target_delay);
        let mut backlog = Backlog::new(incarnation, first, limits.quota, limit);
        backlog.put_first(0, 0, EventKind::Resync { list: false });
        Slot {
            app: app.to_owned(),
            backlog,
            state: SlotState::Empty { since: None },
            suspects: Suspects::default(),
            epoch: 0,
            events: 1,
            replayed: 0,
            turn_sizes: TurnSizes::default(),
            answered: 0,
            rate: Rate::new(now),
            delays: Delays::new(now),
            forwarded: ForwardCounters::default(),
        }
    }

    pub(crate) fn handle(&mut self, input: SlotInput, now: Instant, out: &mut Vec<SlotOutput>) {
        match input {
            SlotInput::Event {
                channel,
                dpid,
                what,
            } => self.event(channel, dpid, what, now, out),
            SlotInput::Hold {
                ticket,
                quiesce,
                length,
            } => self.hold(ticket, quiesce, length, now, out),
            SlotInput::Resume(plan) => self.resume(plan, now, out),
            SlotInput::Forwarded { event } => self.mark_accepted(event),
            SlotInput::TurnAccepted { session, turn } => {
                self.turn_accepted(session, &turn, now, out);
            }
            SlotInput::Durable(cursor) => {
                self.backlog.forget(cursor);
                if self.suspects.any() {
                    self.deliver(now, out);
                }
            }
            SlotInput::Quiesced { session, quiesced } => self.quiesced(session, quiesced, out),
            SlotInput::SessionLost {
                session,
                instance,
                reason,
            } => self.session_lost(session, instance, reason, now, out),
            SlotInput::Fenced(result) => self.fenced(result, now, out),
            SlotInput::OpenGate => self.open_gate(now, out),
            SlotInput::GroupLate(why) => self.group_late(why, out),
            SlotInput::Retry(retry) => self.retry(retry, now, out),
            SlotInput::Timer => self.timer(now, out),
        }
        let change = self.backlog.overload.change(now);
        out.extend(change.map(SlotOutput::Overload));
    }

    /// Returns the time at which `Timer` is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let state = match &self.state {
            SlotState::Empty { .. } | SlotState::Live(_) => None,
            SlotState::Draining(_, hold) => Some(hold.until.min(hold.quiesce_until)),
            SlotState::Held(hold) => Some(hold.until),
            SlotState::Fencing { retry, .. } => *retry,
        };
        let overload = self.backlog.overload.next_deadline();
        [state, overload].into_iter().flatten().min()
    }

    /// Decides whether a turn may pass.
    pub(crate) fn permit_turn(
        &self,
        session: u64,
        epoch: u64,
        event: Option<Seq>,
    ) -> Result<TurnPermit, Rejection> {
        let live = match &self.state {
            SlotState::Live(live) | SlotState::Draining(live, _) if live.session == session => live,
            SlotState::Empty { .. }
            | SlotState::Live(_)
            | SlotState::Draining(..)
            | SlotState::Held(_)
            | SlotState::Fencing { .. } => {
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
                message: format!(
                    "epoch {epoch} is not live; the app is at epoch {}",
                    self.epoch
                ),
            });
        }
        let Some(event) = event else {
            return Ok(TurnPermit {
                drop_packet_outs: false,
            });
        };
        let unanswered = live.window.unanswered();
        let incarnation = self.backlog.incarnation();
        if event.incarnation != incarnation || !unanswered.contains(&event.n) {
            let found = match unanswered.is_empty() {
                true => "none is unanswered".to_owned(),
                false => format!(
                    "{} to {} are unanswered",
                    self.backlog.seq(unanswered.start),
                    self.backlog.seq(unanswered.end - 1)
                ),
            };
            return Err(Rejection {
                stale: event.incarnation < incarnation,
                message: format!("the turn answers event {event}, but {found}"),
            });
        }
        Ok(TurnPermit {
            drop_packet_outs: self.backlog.get(event.n).is_some_and(|q| q.accepted),
        })
    }

    fn event(
        &mut self,
        channel: u32,
        dpid: u64,
        what: EventKind,
        now: Instant,
        out: &mut Vec<SlotOutput>,
    ) {
        self.events += 1;
        self.rate.count(now);
        self.backlog.push(channel, dpid, what, now);
        match &self.state {
            SlotState::Live(_) => self.deliver(now, out),
            SlotState::Empty { .. }
            | SlotState::Draining(..)
            | SlotState::Held(_)
            | SlotState::Fencing { .. } => {}
        }
    }

    /// Returns the flow-removed messages of a channel whose events are not durable, oldest first.
    pub(crate) fn removals(&self, channel: u32) -> impl Iterator<Item = &bytes::Bytes> {
        self.backlog.removals(channel)
    }

    /// Queues a listed switch, without counting it as a new event.
    pub(crate) fn append_listed_switch(&mut self, channel: u32, dpid: u64, now: Instant) {
        self.backlog
            .append_marker(channel, dpid, EventKind::SwitchUp, now);
    }

    /// Delivers events as long as there are some and the window takes them.
    fn deliver(&mut self, now: Instant, out: &mut Vec<SlotOutput>) {
        while self.deliver_next(now, out) {}
    }

    /// Delivers the next event, if there is one and the window takes it. Returns whether another one may follow at once.
    fn deliver_next(&mut self, now: Instant, out: &mut Vec<SlotOutput>) -> bool {
        let SlotState::Live(live) = &mut self.state else {
            return false;
        };
        let n = live.window.next().max(self.backlog.first());
        if live.gate.is_some() || n < self.backlog.next() || self.suspects.any() {
            self.backlog.pause(now);
        }
        let accepted = self.backlog.get(n).is_some_and(|queued| queued.accepted);
        if self.suspects.must_wait(n, self.backlog.first()) || !live.window.takes(accepted) {
            return false;
        }
        if n == self.backlog.next() && self.backlog.number_next(now).is_none() {
            return false;
        }
        let Some(queued) = self.backlog.get_mut(n) else {
            return false;
        };
        live.window.deliver(n, queued.cost(), accepted, now);
        let lists = if let EventKind::Resync { list } = &mut queued.what {
            std::mem::take(list)
        } else {
            false
        };
        if lists {
            out.push(SlotOutput::ListSwitches);
        }
        let replayed = std::mem::replace(&mut queued.delivered, true);
        self.replayed += u64::from(replayed);
        if !replayed && queued.arrived.is_some() {
            self.delays.count(waited(queued.arrived, now), now);
        }
        out.push(SlotOutput::Deliver {
            session: live.session,
            n,
            replayed,
            alone: self.suspects.is_delivered_alone(n),
        });
        // The listed switches come next.
        !lists
    }

    fn mark_accepted(&mut self, event: Option<Seq>) {
        let (Some(seq), SlotState::Live(live) | SlotState::Draining(live, _)) =
            (event, &self.state)
        else {
            return;
        };
        for n in live.window.unanswered().start..=seq.n {
            if let Some(queued) = self.backlog.get_mut(n) {
                queued.accepted = true;
            }
        }
    }

    fn turn_accepted(
        &mut self,
        session: u64,
        turn: &TurnEnd,
        now: Instant,
        out: &mut Vec<SlotOutput>,
    ) {
        let epoch = self.epoch;
        let live = match &mut self.state {
            SlotState::Live(live) | SlotState::Draining(live, _)
                if live.session == session && turn.epoch == epoch =>
            {
                live
            }
            // The epoch has ended: the store rejects the turn, and its events are replayed.
            _ => return,
        };
        if let Some(seq) = turn.event {
            if live.window.silence(now) > self.backlog.target() {
                self.backlog.pause(now);
            }
            let answered = live.window.unanswered().start..=seq.n;
            self.turn_sizes.count(answered.clone().count() as u64);
            let costs = answered
                .filter_map(|n| self.backlog.get(n))
                .map(QueuedEvent::cost);
            self.answered += live.window.answer(seq.n, costs.sum(), now);
        }
        out.push(SlotOutput::Send {
            session,
            record: to_app::Record::Accepted(session::Accepted {
                turn: turn.turn,
                epoch,
            }),
        });
        self.deliver(now, out);
    }
}

fn pause(session: u64, out: &mut Vec<SlotOutput>) {
    out.push(SlotOutput::Send {
        session,
        record: to_app::Record::Pause(session::Pause {}),
    });
    out.push(SlotOutput::Sync { session });
}
