//! Who becomes live, and what happens when it is lost.

use super::*;

impl Slot {
    pub(super) fn resume(&mut self, resume: Resume, now: Instant, out: &mut Vec<Output>) {
        let ticket = resume.ticket;
        if let Some(ticket) = ticket
            && let Err(why) = self.may_resume(&resume)
        {
            let answer = Answer::Refused(why);
            out.push(Output::Answer { ticket, answer });
            return;
        }
        let left = self.leave(out);
        if let Some(session) = left.session.filter(|session| *session != resume.session) {
            pause(session, out);
        }
        self.backlog.forget(resume.cursor);
        let reply = ResumeReply {
            queued: self.backlog.len() as u64,
            replayed: self.backlog.delivered(),
            held_us: held_us(left.since, now),
        };
        let shut = resume.shut.then_some(Shut {
            ticket,
            reply,
            since: left.since,
            cursor: resume.cursor,
            turn: resume.turn,
        });
        let answered = ticket.filter(|_| shut.is_none());
        self.go_live(resume, shut, out);
        if let Some(ticket) = answered {
            let answer = Answer::Resume(reply);
            out.push(Output::Answer { ticket, answer });
        }
        self.deliver(now, out);
    }

    /// Whether turns of this session in this epoch wait for other apps.
    pub(crate) fn is_shut(&self, session: u64, epoch: u64) -> bool {
        match &self.state {
            State::Live(live) => {
                live.session == session && self.epoch == epoch && live.shut.is_some()
            }
            State::Draining(..) | State::Empty { .. } | State::Held(_) | State::Fencing { .. } => {
                false
            }
        }
    }

    /// All apps that were resumed as one have their first rules.
    pub(super) fn open(&mut self, now: Instant, out: &mut Vec<Output>) {
        let State::Live(live) = &mut self.state else {
            return;
        };
        let Some(shut) = live.shut.take() else {
            return;
        };
        let session = live.session;
        if let Some(ticket) = shut.ticket {
            let reply = ResumeReply {
                held_us: held_us(shut.since, now),
                ..shut.reply
            };
            let answer = Answer::Resume(reply);
            out.push(Output::Answer { ticket, answer });
        }
        out.push(Output::Release { session });
    }

    /// They are late: whoever asked is told, and decides before the turns pass.
    pub(super) fn late(&mut self, why: String, out: &mut Vec<Output>) {
        if let State::Live(live) = &mut self.state
            && let Some(ticket) = live.shut.as_mut().and_then(|shut| shut.ticket.take())
        {
            let answer = Answer::Refused(why);
            out.push(Output::Answer { ticket, answer });
        }
    }

    fn may_resume(&self, resume: &Resume) -> Result<(), String> {
        let (app, epoch) = (&self.app, self.epoch);
        if resume.epoch < epoch {
            return Err(format!(
                "{app} is at epoch {epoch}; {} is older",
                resume.epoch
            ));
        }
        if resume.cursor.incarnation > self.backlog.incarnation() {
            return Err(format!(
                "the cursor {} of {app} is of a later incarnation than this proxy's, {}",
                resume.cursor,
                self.backlog.incarnation()
            ));
        }
        match &self.state {
            State::Fencing { .. } => Err(format!(
                "the hold of {app} has expired and the proxy raises the epoch itself; observe HoldExpired"
            )),
            State::Live(live) if resume.epoch == epoch && live.session != resume.session => {
                Err(format!(
                    "{} is live in epoch {epoch} of {app}; another instance needs a newer one",
                    live.instance
                ))
            }
            State::Live(_) | State::Empty { .. } | State::Draining(..) | State::Held(_) => Ok(()),
        }
    }

    fn go_live(&mut self, resume: Resume, shut: Option<Shut>, out: &mut Vec<Output>) {
        let session = resume.session;
        self.epoch = resume.epoch;
        out.push(Output::Sync { session });
        out.push(Output::Send {
            session,
            record: to_app::Record::Resume(session::Resume {
                epoch: resume.epoch,
                cursor: Some(resume.cursor),
                turn: resume.turn,
                revision: resume.revision,
                group: resume.shut,
            }),
        });
        out.push(Output::Observe(observation::What::Resumed(Resumed {
            app: self.app.clone(),
            instance: resume.instance.clone(),
            epoch: resume.epoch,
        })));
        self.state = State::Live(Live {
            session,
            instance: resume.instance,
            unanswered: None,
            next: self.backlog.first(),
            shut,
            asked_at: None,
            answered: 0,
            answer_us: 0,
        });
    }

    pub(super) fn session_lost(
        &mut self,
        session: u64,
        instance: String,
        reason: String,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let mut was_live = false;
        let mut in_flight = None;
        self.state = match std::mem::replace(&mut self.state, State::Empty { since: None }) {
            State::Live(live) if live.session == session => {
                was_live = true;
                in_flight = live.unanswered;
                self.careful.died(&live, &self.backlog);
                live.not_opened("its session ended", out);
                State::Empty { since: Some(now) }
            }
            State::Draining(live, mut hold) if live.session == session => {
                was_live = true;
                in_flight = live.unanswered;
                self.careful.died(&live, &self.backlog);
                hold.session = None;
                hold.settle(Outcome::Gone, None, out);
                State::Held(hold)
            }
            State::Held(mut hold) => {
                hold.forget(session);
                State::Held(hold)
            }
            State::Fencing { mut hold, retry } => {
                hold.forget(session);
                State::Fencing { hold, retry }
            }
            other => other,
        };
        out.push(Output::Observe(observation::What::Detached(Detached {
            app: self.app.clone(),
            instance,
            live: was_live,
            reason,
            in_flight: in_flight.map(|n| self.backlog.seq(n)),
        })));
    }
}

impl Live {
    /// It is live no longer: whoever waits for its turns to pass is told so, and a waiting turn is judged.
    pub(super) fn not_opened(&self, why: &str, out: &mut Vec<Output>) {
        let Some(shut) = &self.shut else {
            return;
        };
        if let Some(ticket) = shut.ticket {
            let answer = Answer::Refused(format!("its turns did not come to pass: {why}"));
            out.push(Output::Answer { ticket, answer });
        }
        out.push(Output::Release {
            session: self.session,
        });
    }
}

/// For how long nothing passed.
fn held_us(since: Option<Instant>, now: Instant) -> u64 {
    let held = since.map(|since| now.saturating_duration_since(since));
    held.map_or(0, |held| held.as_micros() as u64)
}
