//! The way back after the hold. It has no failure exit: what fails is tried again until the old release is live.

use std::time::Instant;

use morph_api::management::Step;

use super::{
    AGAIN, Back, FLUSH, Input, Order, Output, Phase, SETTLE_BACK, Side, State, Upgrade,
    facts::Standby,
};

impl Upgrade {
    pub(super) fn going_back(
        &mut self,
        at: Back,
        input: Input,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        match (at, input) {
            (Back::Recording, Input::Recorded(Step::RollingBack)) => self.await_old(now, out),
            (Back::Waiting, Input::Ready(Side::Old, _)) => self.await_old(now, out),
            (Back::Waiting, Input::Time) if self.due(now) => self.await_old(now, out),
            (Back::Holding, Input::Held(_) | Input::HoldFailed(_)) => {
                self.facts.new_live = false;
                self.await_old(now, out);
            }
            (Back::Fencing, Input::Fenced) => {
                self.facts.rules_synced = false;
                self.facts.numbers.back_rules = Default::default();
                out.push(Output::Resume(Side::Old));
                self.enter(State::Back(Back::Resuming), None);
            }
            (Back::Fencing, Input::FenceRefused(_)) | (Back::Resuming, Input::ResumeFailed(_)) => {
                self.enter(State::Back(Back::Waiting), Some(now + AGAIN));
            }
            (Back::Resuming, Input::Resumed(resumption)) => {
                self.facts.numbers.back = Some(resumption);
                self.old_is_live(now, out);
            }
            (Back::Settling, Input::Gone(Side::Old, _)) => self.await_old(now, out),
            (Back::Settling, Input::Rules { .. }) if self.facts.rules_synced => self.close(out),
            (Back::Settling, Input::Time) if self.due(now) => self.close(out),
            (Back::Closing, Input::Finished) => self.rolled_back(out),
            (Back::Closing, Input::FinishRefused(_)) => self.deadline = Some(now + AGAIN),
            (Back::Closing, Input::Time) if self.due(now) => self.close(out),
            (
                Back::Recording
                | Back::Waiting
                | Back::Holding
                | Back::Fencing
                | Back::Resuming
                | Back::Settling
                | Back::Closing,
                other,
            ) => self.drop_late_keyspace(&other, out),
        }
    }

    /// A keyspace that was asked for on the way forward.
    fn drop_late_keyspace(&mut self, input: &Input, out: &mut Vec<Output>) {
        if let Input::KeyspaceMade(keyspace) = input
            && !self.swapped
        {
            out.push(Output::DropKeyspace(*keyspace));
            self.facts.keyspace = None;
        }
    }

    /// The next thing towards a live old instance, by what there is.
    fn await_old(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.facts.proxy_resumed == Some(Side::Old) && self.facts.old == Standby::Ready {
            return self.old_is_live(now, out);
        }
        if self.facts.old != Standby::Ready {
            return self.enter(State::Back(Back::Waiting), None);
        }
        if self.facts.new_live {
            out.push(Output::Hold);
            return self.enter(State::Back(Back::Holding), None);
        }
        out.push(Output::Fence(Side::Old, None));
        self.enter(State::Back(Back::Fencing), None);
    }

    fn old_is_live(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.facts.proxy_resumed = None;
        self.give_up_newcomer(out);
        self.facts.new_alive = false;
        self.facts.new_live = false;
        if self.facts.old != Standby::Ready {
            // It died between the resume and its answer.
            return self.enter(State::Back(Back::Waiting), None);
        }
        if self.swapped {
            return self.make_keyspace_again(out);
        }
        self.enter(State::Back(Back::Settling), Some(now + SETTLE_BACK));
    }

    fn close(&mut self, out: &mut Vec<Output>) {
        out.push(Output::Finish(Step::RolledBack, None));
        self.enter(State::Back(Back::Closing), None);
    }

    fn make_keyspace_again(&mut self, out: &mut Vec<Output>) {
        self.facts.keyspace = None;
        self.facts.copied = false;
        out.push(Output::MakeKeyspace(Side::Old, self.plan.old_schema));
        self.enter(State::Restoring(Phase::Making), None);
    }

    /// The old release serves the newer release's primary through its migration; here it gets its own schema back.
    pub(super) fn restoring(
        &mut self,
        phase: Phase,
        input: Input,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        match (phase, input) {
            (_, Input::Gone(Side::Old, _)) => self.restore_again_if_old_is_gone(now, out),
            (Phase::Making, Input::KeyspaceMade(keyspace)) => {
                out.push(Output::Tell(
                    Side::Old,
                    Order::MakeShadow(keyspace, self.plan.old_schema),
                ));
                self.enter(
                    State::Restoring(Phase::Filling),
                    Some(now + self.plan.deadlines.shadow),
                );
            }
            (Phase::Making, Input::KeyspaceFailed(_)) => self.deadline = Some(now + AGAIN),
            (Phase::Making, Input::Time) | (Phase::Filling, Input::Time) if self.due(now) => {
                self.make_keyspace_again(out);
            }
            (Phase::Filling, Input::ShadowGrew { .. }) if self.facts.copied => {
                self.flush_back(now, out)
            }
            (Phase::Filling, Input::ShadowGrew { .. }) => {
                self.deadline = Some(now + self.plan.deadlines.shadow)
            }
            (Phase::Flushing, Input::Flushed) => {
                out.push(Output::Finish(Step::RolledBack, self.facts.keyspace));
                self.enter(State::Restoring(Phase::Swapping), None);
            }
            (Phase::Flushing, Input::Time) if self.due(now) => self.flush_back(now, out),
            (Phase::Swapping, Input::FinishRefused(_)) => self.flush_back(now, out),
            (Phase::Swapping, Input::Finished) => {
                out.push(Output::Tell(Side::Old, Order::Go));
                self.rolled_back(out);
            }
            (Phase::Making | Phase::Filling | Phase::Flushing | Phase::Swapping, _) => {}
        }
    }

    fn flush_back(&mut self, now: Instant, out: &mut Vec<Output>) {
        out.push(Output::Tell(Side::Old, Order::Flush));
        self.enter(State::Restoring(Phase::Flushing), Some(now + FLUSH));
    }

    /// The shadow's only writer is gone: the shadow starts anew once the old release is live again. A last record that is
    /// being written decides by itself.
    pub(super) fn restore_again_if_old_is_gone(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.facts.old == Standby::Ready || self.state == State::Restoring(Phase::Swapping) {
            return;
        }
        self.facts.keyspace = None;
        self.await_old(now, out);
    }

    /// The proxy is gone, and with it what was asked of it: the answers say so by themselves.
    pub(super) fn on_trouble_on_the_way_back(
        &mut self,
        at: Back,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        match at {
            Back::Settling if self.facts.old != Standby::Ready => self.await_old(now, out),
            Back::Recording
            | Back::Waiting
            | Back::Holding
            | Back::Fencing
            | Back::Resuming
            | Back::Settling
            | Back::Closing => {}
        }
    }
}
