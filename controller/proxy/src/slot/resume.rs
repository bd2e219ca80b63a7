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
        let held = left.since.map(|since| now.saturating_duration_since(since));
        let reply = ResumeReply {
            queued: self.backlog.len() as u64,
            replayed: self.backlog.delivered(),
            held_us: held.map_or(0, |held| held.as_micros() as u64),
        };
        self.go_live(resume, out);
        if let Some(ticket) = ticket {
            let answer = Answer::Resume(reply);
            out.push(Output::Answer { ticket, answer });
        }
        self.deliver(out);
    }

    fn may_resume(&self, resume: &Resume) -> Result<(), String> {
        let (app, epoch) = (&self.app, self.epoch);
        if resume.epoch < epoch {
            return Err(format!(
                "{app} is at epoch {epoch}; {} is older",
                resume.epoch
            ));
        }
        if resume.cursor.stream > self.backlog.stream() {
            return Err(format!(
                "the cursor {} of {app} is of a later stream than this proxy's, {}",
                resume.cursor,
                self.backlog.stream()
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

    fn go_live(&mut self, resume: Resume, out: &mut Vec<Output>) {
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
        let mut in_hand = None;
        self.state = match std::mem::replace(&mut self.state, State::Empty { since: None }) {
            State::Live(live) if live.session == session => {
                was_live = true;
                in_hand = live.unanswered;
                State::Empty { since: Some(now) }
            }
            State::Draining(live, mut hold) if live.session == session => {
                was_live = true;
                in_hand = live.unanswered;
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
            in_hand: in_hand.map(|n| self.backlog.seq(n)),
        })));
    }
}
