//! The way forward: from Staged to Committed, and out of it before the hold.

use std::time::Instant;

use morph_api::management::Step;

use super::{
    AGAIN, Back, Cause, FLUSH, HoldOutcome, Input, Mode, Order, Output, Phase, SAMPLE, Side, State,
    TRIES, Upgrade,
};

impl Upgrade {
    pub(super) fn staged(&mut self, input: &Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Recorded(Step::Staged) => {
                out.push(Output::Publish(Step::Staged, String::new()));
                out.push(Output::Record(Step::Starting));
            }
            Input::Recorded(Step::Starting) => {
                out.push(Output::Publish(Step::Starting, String::new()));
                match self.plan.mode {
                    Mode::Plain | Mode::Online => self.start(None, now, out),
                    Mode::Backfill => {
                        out.push(Output::MakeKeyspace(Side::Old, self.plan.new_schema));
                        self.enter(State::Filling, Some(now + self.plan.deadlines.shadow));
                    }
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, keyspace: Option<u32>, now: Instant, out: &mut Vec<Output>) {
        self.facts.new_alive = true;
        out.push(Output::Spawn(Side::New, keyspace));
        self.enter(State::Starting, Some(now + self.plan.deadlines.start));
    }

    pub(super) fn filling(&mut self, input: &Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::KeyspaceMade(keyspace) => {
                out.push(Output::Tell(
                    Side::Old,
                    Order::MakeShadow(*keyspace, self.plan.new_schema),
                ));
            }
            Input::KeyspaceFailed(why) => self.leave(
                Cause::failure(format!("no keyspace for the shadow: {why}")),
                out,
            ),
            Input::ShadowGrew { .. } if self.facts.copied => match self.forbidden_loss() {
                Some(cause) => self.leave(cause, out),
                None => self.start(self.facts.keyspace, now, out),
            },
            Input::ShadowGrew { .. } => self.deadline = Some(now + self.plan.deadlines.shadow),
            Input::Time if self.due(now) => {
                let why =
                    "the running instance did not get its state copied to the older schema".into();
                self.leave(Cause::failure(why), out);
            }
            _ => {}
        }
    }

    /// An older release takes over the shadow: what is not in it is lost.
    fn forbidden_loss(&self) -> Option<Cause> {
        let lossy = self.facts.lossy;
        let forbidden = self.plan.mode == Mode::Backfill && lossy > 0 && !self.plan.allow_loss;
        forbidden.then(|| {
            let schema = self.plan.new_schema;
            Cause::failure(format!(
                "{lossy} groups of rows would lose something in schema {schema}: see `morphctl store migrations`, and \
                 --allow-loss if that may be"
            ))
        })
    }

    pub(super) fn starting(&mut self, input: &Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Ready(Side::New, said) => {
                self.facts.ready_said.clone_from(said);
                if self.plan.mode == Mode::Online {
                    out.push(Output::MakeKeyspace(Side::New, self.plan.new_schema));
                }
                out.push(Output::Sample);
                out.push(Output::Tell(Side::New, Order::Ping));
                self.enter(State::Probing, Some(now + self.plan.deadlines.probe));
            }
            Input::Time if self.due(now) => {
                let time = self.plan.deadlines.start;
                let why = format!("the new instance was not ready within {time:?}");
                self.leave(Cause::failure(why), out);
            }
            _ => {}
        }
    }

    pub(super) fn probing(&mut self, input: &Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Pong => {
                out.push(Output::Record(Step::Ready));
                self.enter(State::Ready, None);
            }
            Input::Time if self.due(now) => self.leave(Cause::failure(self.unanswered()), out),
            _ => self.on_keyspace(input, out),
        }
    }

    pub(super) fn ready(&mut self, input: &Input, out: &mut Vec<Output>) {
        match input {
            // Rows have been written meanwhile.
            Input::Recorded(Step::Ready) if self.forbidden_loss().is_some() => {
                if let Some(cause) = self.forbidden_loss() {
                    self.leave(cause, out);
                }
            }
            Input::Recorded(Step::Ready) => {
                out.push(Output::Publish(Step::Ready, self.facts.ready_said.clone()));
                out.push(Output::Record(Step::Quiescing));
            }
            Input::Recorded(Step::Quiescing) => {
                out.push(Output::Publish(Step::Quiescing, String::new()));
                out.push(Output::Hold);
                self.enter(State::Quiescing, None);
            }
            _ => self.on_keyspace(input, out),
        }
    }

    /// The newcomer's shadow is made beside everything else.
    fn on_keyspace(&mut self, input: &Input, out: &mut Vec<Output>) {
        if let Input::KeyspaceMade(keyspace) = input
            && self.plan.mode == Mode::Online
        {
            out.push(Output::Tell(
                Side::New,
                Order::MakeShadow(*keyspace, self.plan.new_schema),
            ));
        }
    }

    pub(super) fn quiescing(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Held(outcome) => self.held(outcome, out),
            Input::HoldFailed(why) => {
                let cause = Cause::failure(format!("the slot could not be held: {why}"));
                let cause = self.trouble.take().unwrap_or(cause);
                self.back(cause, out);
            }
            other => self.on_keyspace(&other, out),
        }
    }

    fn held(&mut self, outcome: HoldOutcome, out: &mut Vec<Output>) {
        if let Some(cause) = self.trouble.take() {
            return self.back(cause, out);
        }
        match (self.plan.mode, outcome) {
            (
                Mode::Plain | Mode::Online,
                HoldOutcome::Quiesced | HoldOutcome::Gone | HoldOutcome::Expired,
            )
            | (Mode::Backfill, HoldOutcome::Quiesced) => {
                let swap = self
                    .facts
                    .keyspace
                    .filter(|_| self.plan.mode == Mode::Backfill);
                out.push(Output::Fence(Side::New, swap));
                self.enter(State::Fencing, None);
            }
            (Mode::Backfill, HoldOutcome::Gone | HoldOutcome::Expired) => {
                let why = "the running instance did not quiesce, so its shadow may not be current";
                self.back(Cause::failure(why.into()), out);
            }
        }
    }

    pub(super) fn fencing(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Fenced => {
                self.swapped = self.plan.mode == Mode::Backfill;
                self.facts.rules_synced = false;
                match self.trouble.take() {
                    Some(cause) => self.back(cause, out),
                    None => {
                        out.push(Output::Publish(Step::Resuming, String::new()));
                        out.push(Output::Resume(Side::New));
                        self.enter(State::Resuming, None);
                    }
                }
            }
            Input::FenceRefused(why) => {
                let cause = Cause::failure(format!("the fence was refused: {why}"));
                let cause = self.trouble.take().unwrap_or(cause);
                self.back(cause, out);
            }
            other => self.on_keyspace(&other, out),
        }
    }

    pub(super) fn resuming(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Resumed(resumption) => {
                self.facts.numbers.forward = Some(resumption);
                self.facts.new_live = self.facts.new_alive;
                self.enter_probation(now, out);
            }
            // The proxy came first, and for the same release: that is as good.
            Input::ResumeFailed(_)
                if self.facts.proxy_resumed == Some(Side::New) && self.facts.new_alive =>
            {
                self.facts.new_live = true;
                self.enter_probation(now, out);
            }
            Input::ResumeFailed(why) => {
                let cause = Cause::failure(format!("the new instance could not be resumed: {why}"));
                let cause = self.trouble.take().unwrap_or(cause);
                self.back(cause, out);
            }
            other => self.on_keyspace(&other, out),
        }
    }

    fn enter_probation(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Some(cause) = self.trouble.take() {
            return self.back(cause, out);
        }
        out.push(Output::Record(Step::Upgraded));
        self.probation_end = Some(now + self.plan.probation);
        self.sample_at = Some(now + SAMPLE);
        self.enter(State::Upgraded, None);
    }

    pub(super) fn upgraded(&mut self, input: &Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Recorded(Step::Upgraded) => {
                let time = self.plan.probation;
                let message = match self.plan.confirm {
                    true => format!("goes back in {time:?} unless it is committed until then"),
                    false => format!("probation of {} s", time.as_secs_f64()),
                };
                out.push(Output::Publish(Step::Upgraded, message));
            }
            Input::Commit => self.settle(Cause::operator("committed by the operator"), now, out),
            Input::KeyspaceFailed(why) => self.back(
                Cause::failure(format!("no keyspace for the shadow: {why}")),
                out,
            ),
            Input::Time => {
                let over = self.probation_end.is_some_and(|end| end <= now);
                if over && self.plan.confirm {
                    let message = format!("not committed within {:?}", self.plan.probation);
                    let by = "confirmation";
                    return self.back(Cause { message, by }, out);
                }
                if over {
                    let message = "the probation ended without trouble".into();
                    return self.settle(
                        Cause {
                            message,
                            by: "probation",
                        },
                        now,
                        out,
                    );
                }
                if self.sample_at.is_some_and(|at| at <= now) {
                    self.sample_at = Some(now + SAMPLE);
                    self.looked = true;
                    out.push(Output::Sample);
                }
            }
            _ => self.on_keyspace(input, out),
        }
    }

    fn settle(&mut self, cause: Cause, now: Instant, out: &mut Vec<Output>) {
        self.cause = Some(cause);
        self.facts.answered = false;
        out.push(Output::Tell(Side::New, Order::Ping));
        self.enter(State::Settling, Some(now + self.plan.deadlines.probe));
    }

    pub(super) fn settling(&mut self, input: &Input, now: Instant, out: &mut Vec<Output>) {
        self.on_keyspace(input, out);
        // Rules may stay away with a switch; a newcomer that hangs is not made permanent, however quiet its probation was.
        if !self.facts.answered {
            if self.due(now) {
                self.back(Cause::failure(self.unanswered()), out);
            }
            return;
        }
        if !(self.facts.rules_synced || self.due(now)) {
            return;
        }
        match self.plan.mode {
            Mode::Plain | Mode::Backfill => {
                out.push(Output::Finish(Step::Committed, None));
                self.enter(State::Finishing(Phase::Swapping), None);
            }
            Mode::Online => {
                self.enter(
                    State::Finishing(Phase::Filling),
                    Some(now + self.plan.deadlines.shadow),
                );
                self.finishing(Phase::Filling, Input::Time, now, out);
            }
        }
    }

    pub(super) fn finishing(
        &mut self,
        phase: Phase,
        input: Input,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        self.on_keyspace(&input, out);
        match (phase, input) {
            (Phase::Filling, _) if self.facts.copied => self.flush(now, out),
            (Phase::Filling, Input::ShadowGrew { .. }) => {
                self.deadline = Some(now + self.plan.deadlines.shadow)
            }
            (Phase::Filling | Phase::Making, Input::KeyspaceFailed(why)) => {
                self.back(
                    Cause::failure(format!("no keyspace for the shadow: {why}")),
                    out,
                );
            }
            (Phase::Filling | Phase::Making, Input::Time) if self.due(now) => {
                self.back(
                    Cause::failure("its shadow did not get complete".into()),
                    out,
                );
            }
            (Phase::Flushing, Input::Flushed) => {
                out.push(Output::Finish(Step::Committed, self.facts.keyspace));
                self.enter(State::Finishing(Phase::Swapping), None);
            }
            (Phase::Flushing, Input::Time) if self.due(now) => self.flush(now, out),
            (Phase::Swapping, Input::Finished) => self.committed(out),
            (Phase::Swapping, Input::FinishRefused(why)) => match self.trouble.take() {
                Some(cause) => self.back(cause, out),
                // There is no shadow that could have been behind: no space for the record, which is waited for.
                None if self.plan.mode != Mode::Online => self.deadline = Some(now + AGAIN),
                None if self.tries < TRIES => self.flush(now, out),
                None => self.back(Cause::failure(format!("the swap was refused: {why}")), out),
            },
            (Phase::Swapping, Input::Time) if self.due(now) => {
                out.push(Output::Finish(Step::Committed, None));
                self.deadline = None;
            }
            (Phase::Making | Phase::Filling | Phase::Flushing | Phase::Swapping, _) => {}
        }
    }

    fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.tries += 1;
        if self.tries > TRIES {
            let why = "the new instance did not bring its shadow up to date";
            return self.back(Cause::failure(why.into()), out);
        }
        out.push(Output::Tell(Side::New, Order::Flush));
        self.enter(State::Finishing(Phase::Flushing), Some(now + FLUSH));
    }

    fn committed(&mut self, out: &mut Vec<Output>) {
        if self.plan.mode == Mode::Online {
            out.push(Output::Tell(Side::New, Order::Go));
        }
        let message = self.cause.as_ref().map(|cause| cause.message.clone());
        self.enter(State::Committed, None);
        out.push(Output::Publish(
            Step::Committed,
            message.unwrap_or_default(),
        ));
        out.push(Output::End(Side::Old));
    }

    /// Out of it before the hold: only the newcomer ends.
    pub(super) fn leave(&mut self, cause: Cause, out: &mut Vec<Output>) {
        out.push(Output::Publish(Step::RollingBack, cause.message.clone()));
        self.cause = Some(cause);
        self.give_up_newcomer(out);
        out.push(Output::Finish(Step::RolledBack, None));
        self.enter(State::Leaving, None);
    }

    /// Ends the newcomer and what was made for it.
    pub(super) fn give_up_newcomer(&mut self, out: &mut Vec<Output>) {
        if self.facts.new_alive {
            out.push(Output::End(Side::New));
        }
        if self.plan.mode == Mode::Backfill && !self.swapped && self.facts.keyspace.is_some() {
            out.push(Output::Tell(Side::Old, Order::StopShadow));
        }
        if let Some(keyspace) = self.facts.keyspace.take().filter(|_| !self.swapped) {
            out.push(Output::DropKeyspace(keyspace));
        }
        self.facts.copied = false;
    }

    pub(super) fn leaving(&mut self, input: &Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            // The keyspace was asked for before it failed.
            Input::KeyspaceMade(keyspace) => {
                out.push(Output::DropKeyspace(*keyspace));
                self.facts.keyspace = None;
            }
            Input::Finished => self.rolled_back(out),
            Input::FinishRefused(_) => self.deadline = Some(now + AGAIN),
            Input::Time if self.due(now) => {
                out.push(Output::Finish(Step::RolledBack, None));
                self.deadline = None;
            }
            _ => {}
        }
    }

    pub(super) fn rolled_back(&mut self, out: &mut Vec<Output>) {
        let message = self.cause.as_ref().map(|cause| cause.message.clone());
        self.enter(State::RolledBack, None);
        out.push(Output::Publish(
            Step::RolledBack,
            message.unwrap_or_default(),
        ));
    }

    fn unanswered(&self) -> String {
        let time = self.plan.deadlines.probe;
        format!("the new instance did not answer a probe within {time:?}")
    }

    /// Back by the path that a crash takes.
    pub(super) fn back(&mut self, cause: Cause, out: &mut Vec<Output>) {
        out.push(Output::Publish(Step::RollingBack, cause.message.clone()));
        self.cause = Some(cause);
        out.push(Output::Record(Step::RollingBack));
        self.enter(State::Back(Back::Recording), None);
    }
}
