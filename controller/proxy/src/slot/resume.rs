//! Start of a live instance, and its loss.

use super::suspects::only;
use super::*;

impl Slot {
    pub(super) fn resume(&mut self, plan: ResumePlan, now: Instant, out: &mut Vec<SlotOutput>) {
        let ticket = plan.ticket;
        if let Some(ticket) = ticket
            && let Err(why) = self.may_resume(&plan)
        {
            let reply = SlotReply::Refused(why);
            out.push(SlotOutput::Reply { ticket, reply });
            return;
        }
        let previous = self.end_state(out);
        if let Some(session) = previous.session.filter(|session| *session != plan.session) {
            pause(session, out);
        }
        self.backlog.forget(plan.cursor);
        let reply = ResumeReply {
            queued: self.backlog.len() as u64,
            replayed: self.backlog.delivered(),
            held_us: held_us(previous.since, now),
        };
        let gate = plan.gated.then_some(Gate {
            ticket,
            reply,
            since: previous.since,
            cursor: plan.cursor,
            turn: plan.turn,
        });
        let answered = ticket.filter(|_| gate.is_none());
        self.go_live(plan, gate, now, out);
        if let Some(ticket) = answered {
            let reply = SlotReply::Resume(reply);
            out.push(SlotOutput::Reply { ticket, reply });
        }
        self.deliver(now, out);
    }

    /// Returns whether turns of this session and epoch wait for other apps.
    pub(crate) fn is_gated(&self, session: u64, epoch: u64) -> bool {
        match &self.state {
            SlotState::Live(live) => {
                live.session == session && self.epoch == epoch && live.gate.is_some()
            }
            SlotState::Draining(..)
            | SlotState::Empty { .. }
            | SlotState::Held(_)
            | SlotState::Fencing { .. } => false,
        }
    }

    /// Opens the gate: all apps of the group have their first rules.
    pub(super) fn open_gate(&mut self, now: Instant, out: &mut Vec<SlotOutput>) {
        let SlotState::Live(live) = &mut self.state else {
            return;
        };
        let Some(gate) = live.gate.take() else {
            return;
        };
        let session = live.session;
        if let Some(ticket) = gate.ticket {
            let reply = ResumeReply {
                held_us: held_us(gate.since, now),
                ..gate.reply
            };
            let reply = SlotReply::Resume(reply);
            out.push(SlotOutput::Reply { ticket, reply });
        }
        out.push(SlotOutput::JudgeGatedTurn { session });
    }

    /// Reports that members of the group are late. The requester decides before the turns pass.
    pub(super) fn group_late(&mut self, why: String, out: &mut Vec<SlotOutput>) {
        if let SlotState::Live(live) = &mut self.state
            && let Some(ticket) = live.gate.as_mut().and_then(|gate| gate.ticket.take())
        {
            let reply = SlotReply::Refused(why);
            out.push(SlotOutput::Reply { ticket, reply });
        }
    }

    fn may_resume(&self, plan: &ResumePlan) -> Result<(), String> {
        let (app, epoch) = (&self.app, self.epoch);
        if plan.epoch < epoch {
            return Err(format!(
                "{app} is at epoch {epoch}, and cannot be resumed in epoch {}",
                plan.epoch
            ));
        }
        if plan.cursor.incarnation > self.backlog.incarnation() {
            return Err(format!(
                "the cursor {} of {app} belongs to a later incarnation than this proxy's, {}",
                plan.cursor,
                self.backlog.incarnation()
            ));
        }
        match &self.state {
            SlotState::Fencing { .. } => Err(format!(
                "the hold of {app} has expired and the proxy raises the epoch itself: wait for HoldExpired"
            )),
            SlotState::Live(live) if plan.epoch == epoch && live.session != plan.session => {
                Err(format!(
                    "{} is live in epoch {epoch} of {app}; another instance needs a newer one",
                    live.instance
                ))
            }
            SlotState::Live(_)
            | SlotState::Empty { .. }
            | SlotState::Draining(..)
            | SlotState::Held(_) => Ok(()),
        }
    }

    fn go_live(
        &mut self,
        plan: ResumePlan,
        gate: Option<Gate>,
        now: Instant,
        out: &mut Vec<SlotOutput>,
    ) {
        let session = plan.session;
        self.epoch = plan.epoch;
        self.backlog.pause(now);
        out.push(SlotOutput::Sync { session });
        out.push(SlotOutput::Send {
            session,
            record: to_app::Record::Resume(session::Resume {
                epoch: plan.epoch,
                cursor: Some(plan.cursor),
                turn: plan.turn,
                revision: plan.revision,
                group: plan.gated,
            }),
        });
        out.push(SlotOutput::Observe(observation::What::Resumed(Resumed {
            app: self.app.clone(),
            instance: plan.instance.clone(),
            epoch: plan.epoch,
        })));
        self.state = SlotState::Live(LiveInstance {
            session,
            instance: plan.instance,
            window: Window::new(self.backlog.first()),
            gate,
        });
    }

    pub(super) fn session_lost(
        &mut self,
        session: u64,
        instance: String,
        reason: String,
        now: Instant,
        out: &mut Vec<SlotOutput>,
    ) {
        let mut was_live = false;
        let mut in_flight = None;
        self.state = match std::mem::replace(&mut self.state, SlotState::Empty { since: None }) {
            SlotState::Live(live) if live.session == session => {
                was_live = true;
                in_flight = only(live.window.unanswered());
                self.suspects.record_death(&live, &self.backlog);
                live.abandon_gate("its session ended", out);
                SlotState::Empty { since: Some(now) }
            }
            SlotState::Draining(live, mut hold) if live.session == session => {
                was_live = true;
                in_flight = only(live.window.unanswered());
                self.suspects.record_death(&live, &self.backlog);
                hold.session = None;
                hold.answer(Outcome::Gone, None, out);
                SlotState::Held(hold)
            }
            SlotState::Held(mut hold) => {
                hold.forget(session);
                SlotState::Held(hold)
            }
            SlotState::Fencing { mut hold, retry } => {
                hold.forget(session);
                SlotState::Fencing { hold, retry }
            }
            other => other,
        };
        out.push(SlotOutput::Observe(observation::What::Detached(Detached {
            app: self.app.clone(),
            instance,
            live: was_live,
            reason,
            in_flight: in_flight.map(|n| self.backlog.seq(n)),
        })));
    }
}

impl LiveInstance {
    /// Abandons the gate: answers the request that waits for it, and has the gated turn rejected.
    pub(super) fn abandon_gate(&self, why: &str, out: &mut Vec<SlotOutput>) {
        let Some(gate) = &self.gate else {
            return;
        };
        if let Some(ticket) = gate.ticket {
            let reply = SlotReply::Refused(format!(
                "no turn of instance {} passed: {why}",
                self.instance
            ));
            out.push(SlotOutput::Reply { ticket, reply });
        }
        out.push(SlotOutput::JudgeGatedTurn {
            session: self.session,
        });
    }
}

/// Computes the time without deliveries in microseconds.
fn held_us(since: Option<Instant>, now: Instant) -> u64 {
    let held = since.map(|since| now.saturating_duration_since(since));
    held.map_or(0, |held| held.as_micros() as u64)
}
