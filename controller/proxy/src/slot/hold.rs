//! The hold of a slot: begun by morphd, ended by a resume, or at its deadline by the proxy's own fence.

use super::*;

/// A hold under way.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    pub(super) since: Instant,
    /// Who waits for the outcome.
    tickets: Vec<u64>,
    pub(super) quiesce_until: Instant,
    pub(super) until: Instant,
    length: Duration,
    /// The backlog was full when it began, so that is no reason to end it.
    pub(super) full_before: bool,
    /// Who was live when it began, and its session while that is there.
    pub(super) instance: Option<String>,
    pub(super) session: Option<u64>,
    outcome: Option<HoldReply>,
}

impl Hold {
    /// The outcome is known: answers all who wait for it.
    pub(super) fn settle(
        &mut self,
        outcome: Outcome,
        quiesced: Option<session::Quiesced>,
        out: &mut Vec<Output>,
    ) {
        let reply = HoldReply {
            outcome: outcome.into(),
            cursor: quiesced.as_ref().and_then(|q| q.cursor),
            turn: quiesced.map_or(0, |q| q.turn),
        };
        for ticket in self.tickets.drain(..) {
            let answer = Answer::Hold(reply);
            out.push(Output::Answer { ticket, answer });
        }
        self.outcome.get_or_insert(reply);
    }

    pub(super) fn forget(&mut self, session: u64) {
        self.session = self.session.filter(|held| *held != session);
    }

    fn prolong(&mut self, length: Duration, now: Instant) {
        self.length = length;
        self.until = now + length;
    }
}

/// Who was live, or since when nobody is.
pub(super) struct Left {
    /// Its session, where that is there and may need to be paused.
    pub(super) session: Option<u64>,
    /// Since when nothing was delivered.
    pub(super) since: Option<Instant>,
}

impl Slot {
    pub(super) fn hold(
        &mut self,
        ticket: u64,
        quiesce: Duration,
        length: Duration,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let mut begun = Hold {
            since: now,
            tickets: vec![ticket],
            quiesce_until: now + quiesce.min(length),
            until: now + length,
            length,
            full_before: self.backlog.is_full(),
            instance: None,
            session: None,
            outcome: None,
        };
        self.state = match std::mem::replace(&mut self.state, State::Empty { since: None }) {
            State::Empty { since } => {
                begun.since = since.unwrap_or(now);
                begun.settle(Outcome::Gone, None, out);
                State::Held(begun)
            }
            State::Live(live) => {
                begun.instance = Some(live.instance.clone());
                begun.session = Some(live.session);
                if let Some(shut) = &live.shut {
                    // No turn of it has passed: it stands where it was resumed.
                    let quiesced = session::Quiesced {
                        epoch: self.epoch,
                        cursor: Some(shut.cursor),
                        turn: shut.turn,
                    };
                    live.not_opened("the slot is held", out);
                    begun.settle(Outcome::Quiesced, Some(quiesced), out);
                    self.state = State::Held(begun);
                    return;
                }
                out.push(Output::Send {
                    session: live.session,
                    record: to_app::Record::Quiesce(session::Quiesce { epoch: self.epoch }),
                });
                State::Draining(live, begun)
            }
            State::Draining(live, mut hold) => {
                hold.tickets.push(ticket);
                hold.prolong(length, now);
                State::Draining(live, hold)
            }
            State::Held(mut hold) => {
                hold.prolong(length, now);
                let reply = hold.outcome.unwrap_or_default();
                let answer = Answer::Hold(reply);
                out.push(Output::Answer { ticket, answer });
                State::Held(hold)
            }
            State::Fencing { hold, retry } => {
                let answer = Answer::Refused(format!(
                    "the former hold of {} has expired and the proxy raises the epoch itself",
                    self.app
                ));
                out.push(Output::Answer { ticket, answer });
                State::Fencing { hold, retry }
            }
        };
    }

    pub(super) fn quiesced(
        &mut self,
        session: u64,
        quiesced: session::Quiesced,
        out: &mut Vec<Output>,
    ) {
        self.state = match std::mem::replace(&mut self.state, State::Empty { since: None }) {
            State::Draining(live, mut hold)
                if live.session == session && quiesced.epoch == self.epoch =>
            {
                if let Some(cursor) = quiesced.cursor {
                    self.backlog.forget(cursor);
                }
                hold.settle(Outcome::Quiesced, Some(quiesced), out);
                State::Held(hold)
            }
            // Too late, of another epoch, or unasked: the deadline or the resume has decided.
            other => other,
        };
    }

    pub(super) fn timer(&mut self, now: Instant, out: &mut Vec<Output>) {
        match &mut self.state {
            State::Empty { .. } | State::Live(_) => {}
            State::Draining(_, hold) if hold.until <= now => self.expire(out),
            State::Draining(_, hold) if hold.quiesce_until <= now => self.revoke(out),
            State::Held(hold) if hold.until <= now => self.expire(out),
            State::Draining(..) | State::Held(_) => {}
            State::Fencing { retry, .. } => {
                if retry.is_some_and(|at| at <= now) {
                    *retry = None;
                    out.push(Output::Fence);
                }
            }
        }
    }

    /// The instance has not quiesced in time: nothing of it passes any more.
    fn revoke(&mut self, out: &mut Vec<Output>) {
        self.state = match std::mem::replace(&mut self.state, State::Empty { since: None }) {
            State::Draining(_, mut hold) => {
                hold.settle(Outcome::Expired, None, out);
                State::Held(hold)
            }
            other => other,
        };
    }

    /// The hold has lasted too long, or its backlog is full: it ends by a fence of the proxy's own.
    pub(super) fn expire(&mut self, out: &mut Vec<Output>) {
        self.revoke(out);
        self.state = match std::mem::replace(&mut self.state, State::Empty { since: None }) {
            State::Held(hold) => {
                out.push(Output::Fence);
                State::Fencing { hold, retry: None }
            }
            other => other,
        };
    }

    pub(super) fn fenced(&mut self, fenced: Fenced, now: Instant, out: &mut Vec<Output>) {
        self.state = match std::mem::replace(&mut self.state, State::Empty { since: None }) {
            State::Fencing { hold, .. } => match fenced {
                Fenced::Won(resume) => {
                    let (epoch, instance) = (resume.epoch, resume.instance.clone());
                    self.state = State::Fencing { hold, retry: None };
                    self.resume(resume, now, out);
                    out.push(self.hold_expired(epoch, instance));
                    return;
                }
                Fenced::Nobody { epoch } => {
                    self.epoch = self.epoch.max(epoch);
                    if let Some(session) = hold.session {
                        pause(session, out);
                    }
                    out.push(self.hold_expired(epoch, String::new()));
                    State::Empty {
                        since: Some(hold.since),
                    }
                }
                Fenced::Raced => {
                    let mut hold = hold;
                    hold.prolong(hold.length, now);
                    State::Held(hold)
                }
                Fenced::Away => State::Fencing {
                    hold,
                    retry: Some(now + FENCE_RETRY),
                },
            },
            other => other,
        };
    }

    fn hold_expired(&self, epoch: u64, instance: String) -> Output {
        Output::Observe(observation::What::HoldExpired(HoldExpired {
            app: self.app.clone(),
            epoch,
            instance,
        }))
    }

    /// Ends whatever state there is, before another begins.
    pub(super) fn leave(&mut self, out: &mut Vec<Output>) -> Left {
        match std::mem::replace(&mut self.state, State::Empty { since: None }) {
            State::Empty { since } => Left {
                session: None,
                since,
            },
            State::Live(live) => {
                live.not_opened("another resume", out);
                Left {
                    session: Some(live.session),
                    // Nothing has passed since the hold before it.
                    since: live.shut.and_then(|shut| shut.since),
                }
            }
            State::Draining(live, mut hold) => {
                hold.settle(Outcome::Expired, None, out);
                Left {
                    session: Some(live.session),
                    since: Some(hold.since),
                }
            }
            State::Held(hold) | State::Fencing { hold, .. } => Left {
                session: hold.session,
                since: Some(hold.since),
            },
        }
    }
}
