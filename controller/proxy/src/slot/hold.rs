//! Hold of a slot: started by morphd, ended by a resume, or by the proxy's own fence when it expires.

use super::*;

#[derive(Debug, Clone)]
pub(super) struct Hold {
    pub(super) since: Instant,
    /// Requests that wait for the outcome.
    tickets: Vec<u64>,
    pub(super) quiesce_until: Instant,
    pub(super) until: Instant,
    length: Duration,
    /// Instance that was live at the start, and its session while it is attached.
    pub(super) instance: Option<String>,
    pub(super) session: Option<u64>,
    outcome: Option<HoldReply>,
}

impl Hold {
    /// Records the outcome and answers all requests that wait for it.
    pub(super) fn answer(
        &mut self,
        outcome: Outcome,
        quiesced: Option<session::Quiesced>,
        out: &mut Vec<SlotOutput>,
    ) {
        let reply = HoldReply {
            outcome: outcome.into(),
            cursor: quiesced.as_ref().and_then(|q| q.cursor),
            turn: quiesced.map_or(0, |q| q.turn),
        };
        for ticket in self.tickets.drain(..) {
            let reply = SlotReply::Hold(reply);
            out.push(SlotOutput::Reply { ticket, reply });
        }
        self.outcome.get_or_insert(reply);
    }

    pub(super) fn forget(&mut self, session: u64) {
        self.session = self.session.filter(|held| *held != session);
    }

    fn extend(&mut self, length: Duration, now: Instant) {
        self.length = length;
        self.until = now + length;
    }
}

/// Remains of the previous state.
pub(super) struct PreviousState {
    /// Session that is attached and may have to be paused.
    pub(super) session: Option<u64>,
    /// Start of the time without deliveries.
    pub(super) since: Option<Instant>,
}

impl Slot {
    pub(super) fn hold(
        &mut self,
        ticket: u64,
        quiesce: Duration,
        length: Duration,
        now: Instant,
        out: &mut Vec<SlotOutput>,
    ) {
        let mut begun = Hold {
            since: now,
            tickets: vec![ticket],
            quiesce_until: now + quiesce.min(length),
            until: now + length,
            length,
            instance: None,
            session: None,
            outcome: None,
        };
        self.state = match std::mem::replace(&mut self.state, SlotState::Empty { since: None }) {
            SlotState::Empty { since } => {
                begun.since = since.unwrap_or(now);
                begun.answer(Outcome::Gone, None, out);
                SlotState::Held(begun)
            }
            SlotState::Live(live) => {
                begun.instance = Some(live.instance.clone());
                begun.session = Some(live.session);
                if let Some(gate) = &live.gate {
                    // No turn has passed, so the instance stands where it was resumed.
                    let quiesced = session::Quiesced {
                        epoch: self.epoch,
                        cursor: Some(gate.cursor),
                        turn: gate.turn,
                    };
                    live.abandon_gate("the slot is held", out);
                    begun.answer(Outcome::Quiesced, Some(quiesced), out);
                    self.state = SlotState::Held(begun);
                    return;
                }
                out.push(SlotOutput::Send {
                    session: live.session,
                    record: to_app::Record::Quiesce(session::Quiesce { epoch: self.epoch }),
                });
                SlotState::Draining(live, begun)
            }
            SlotState::Draining(live, mut hold) => {
                hold.tickets.push(ticket);
                hold.extend(length, now);
                SlotState::Draining(live, hold)
            }
            SlotState::Held(mut hold) => {
                hold.extend(length, now);
                let reply = hold.outcome.unwrap_or_default();
                let reply = SlotReply::Hold(reply);
                out.push(SlotOutput::Reply { ticket, reply });
                SlotState::Held(hold)
            }
            SlotState::Fencing { hold, retry } => {
                let reply = SlotReply::Refused(format!(
                    "the previous hold of {} has expired and the proxy raises the epoch itself: hold again after HoldExpired",
                    self.app
                ));
                out.push(SlotOutput::Reply { ticket, reply });
                SlotState::Fencing { hold, retry }
            }
        };
    }

    pub(super) fn quiesced(
        &mut self,
        session: u64,
        quiesced: session::Quiesced,
        out: &mut Vec<SlotOutput>,
    ) {
        self.state = match std::mem::replace(&mut self.state, SlotState::Empty { since: None }) {
            SlotState::Draining(live, mut hold)
                if live.session == session && quiesced.epoch == self.epoch =>
            {
                if let Some(cursor) = quiesced.cursor {
                    self.backlog.forget(cursor);
                }
                hold.answer(Outcome::Quiesced, Some(quiesced), out);
                SlotState::Held(hold)
            }
            // Late, of another epoch, or unasked: the deadline or a resume has decided.
            other => other,
        };
    }

    pub(super) fn timer(&mut self, now: Instant, out: &mut Vec<SlotOutput>) {
        match &mut self.state {
            SlotState::Empty { .. } | SlotState::Live(_) => {}
            SlotState::Draining(_, hold) if hold.until <= now => self.expire(out),
            SlotState::Draining(_, hold) if hold.quiesce_until <= now => self.revoke(out),
            SlotState::Held(hold) if hold.until <= now => self.expire(out),
            SlotState::Draining(..) | SlotState::Held(_) => {}
            SlotState::Fencing { retry, .. } => {
                if retry.is_some_and(|at| at <= now) {
                    *retry = None;
                    out.push(SlotOutput::Fence);
                }
            }
        }
    }

    /// Revokes an instance that has not quiesced in time: none of its turns pass any more.
    fn revoke(&mut self, out: &mut Vec<SlotOutput>) {
        self.state = match std::mem::replace(&mut self.state, SlotState::Empty { since: None }) {
            SlotState::Draining(_, mut hold) => {
                hold.answer(Outcome::Expired, None, out);
                SlotState::Held(hold)
            }
            other => other,
        };
    }

    /// Ends a hold that is too long, by a fence of the proxy's own.
    fn expire(&mut self, out: &mut Vec<SlotOutput>) {
        self.revoke(out);
        self.state = match std::mem::replace(&mut self.state, SlotState::Empty { since: None }) {
            SlotState::Held(hold) => {
                out.push(SlotOutput::Fence);
                SlotState::Fencing { hold, retry: None }
            }
            other => other,
        };
    }

    pub(super) fn fenced(&mut self, result: FenceResult, now: Instant, out: &mut Vec<SlotOutput>) {
        self.state = match std::mem::replace(&mut self.state, SlotState::Empty { since: None }) {
            SlotState::Fencing { hold, .. } => match result {
                FenceResult::Committed(plan) => {
                    let (epoch, instance) = (plan.epoch, plan.instance.clone());
                    self.state = SlotState::Fencing { hold, retry: None };
                    self.resume(plan, now, out);
                    out.push(self.hold_expired(epoch, instance));
                    return;
                }
                FenceResult::NoInstance { epoch } => {
                    self.epoch = self.epoch.max(epoch);
                    if let Some(session) = hold.session {
                        pause(session, out);
                    }
                    out.push(self.hold_expired(epoch, String::new()));
                    SlotState::Empty {
                        since: Some(hold.since),
                    }
                }
                FenceResult::LostRace => {
                    let mut hold = hold;
                    hold.extend(hold.length, now);
                    SlotState::Held(hold)
                }
                FenceResult::StoreUnavailable => SlotState::Fencing {
                    hold,
                    retry: Some(now + FENCE_RETRY),
                },
            },
            other => other,
        };
    }

    fn hold_expired(&self, epoch: u64, instance: String) -> SlotOutput {
        SlotOutput::Observe(observation::What::HoldExpired(HoldExpired {
            app: self.app.clone(),
            epoch,
            instance,
        }))
    }

    /// Ends the present state before another one begins.
    pub(super) fn end_state(&mut self, out: &mut Vec<SlotOutput>) -> PreviousState {
        match std::mem::replace(&mut self.state, SlotState::Empty { since: None }) {
            SlotState::Empty { since } => PreviousState {
                session: None,
                since,
            },
            SlotState::Live(live) => {
                live.abandon_gate("another resume", out);
                PreviousState {
                    session: Some(live.session),
                    // No turn has passed since the preceding hold.
                    since: live.gate.and_then(|gate| gate.since),
                }
            }
            SlotState::Draining(live, mut hold) => {
                hold.answer(Outcome::Expired, None, out);
                PreviousState {
                    session: Some(live.session),
                    since: Some(hold.since),
                }
            }
            SlotState::Held(hold) | SlotState::Fencing { hold, .. } => PreviousState {
                session: hold.session,
                since: Some(hold.since),
            },
        }
    }
}
