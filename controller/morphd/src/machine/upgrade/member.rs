//! One app's part in an upgrade: its state, and what every step may do to it. The steps themselves stand in `forward.rs`
//! and `back.rs`.

use std::time::{Duration, Instant};

use morph_api::management::Step;

use super::facts::{Facts, Numbers};
use super::messages::{Cause, Leftover, MemberOutput, Mode, Order, Plan, Side};
use super::probation::Probation;
use super::shadow::ShadowOutput;

/// Time that a rollback leaves the source's rules to get in step.
pub(super) const SETTLE: Duration = Duration::from_millis(500);
/// Before something that failed is tried again.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

/// Points at which a member waits until all members have come there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Barrier {
    /// The target is ready, and the slot may be held.
    Hold,
    /// The slot is held, and the fence may be made.
    Fence,
    /// The target has passed its probation, and the upgrade may be committed.
    Commit,
}

/// State of one member of an upgrade; see the drawing in `mod.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// Its first records are written.
    Staged,
    /// The source makes the shadow (backfill).
    Backfilling,
    /// The target loads its view and reads the switches.
    Starting,
    /// The target was sent a liveness probe.
    Probing,
    /// The record READY is written.
    Ready,
    AtBarrier(Barrier),
    /// The record QUIESCING is written.
    Announcing,
    /// The hold is on its way.
    Quiescing,
    /// The fence is on its way.
    Fencing,
    /// The resume is on its way.
    Resuming,
    /// Probation.
    Upgraded,
    /// Before the commit the target answers a last probe, and its rules get in step.
    Settling,
    /// Before the commit the shadow becomes current (online).
    CatchingUp,
    /// The last record is on its way.
    Committing,
    /// Failed before the hold: the last record is on its way.
    Leaving,
    /// Going back after the hold.
    Back(Back),
    /// The end with the target.
    Committed,
    /// The end with the source.
    RolledBack,
}

/// Steps of the way back after the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// The record ROLLING_BACK is written.
    Recording,
    /// The source has to get ready.
    Waiting,
    /// The target is live: the slot is held.
    Holding,
    /// The fence for the source is on its way.
    Fencing,
    /// The resume of the source is on its way.
    Resuming,
    /// The source is live on the target's schema, and gets its own back by a shadow.
    Restoring,
    /// The swap back is on its way, with the last record.
    Swapping,
    /// The source is live, and its rules get in step.
    Settling,
    /// The last record is on its way.
    Closing,
}

/// The present, and where the outputs go.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) out: &'a mut Vec<MemberOutput>,
}

impl Context<'_> {
    pub(super) fn put(&mut self, output: MemberOutput) {
        self.out.push(output);
    }

    pub(super) fn publish(&mut self, step: Step, message: impl Into<String>) {
        self.out.push(MemberOutput::Publish(step, message.into()));
    }
}

#[derive(Debug, Clone)]
pub struct Member {
    pub(super) plan: Plan,
    pub(super) state: MemberState,
    pub(super) deadline: Option<Instant>,
    pub(super) facts: Facts,
    pub(super) probation: Probation,
    /// Trouble met while an answer is awaited; acted upon after the answer.
    pub(super) trouble: Option<Cause>,
    /// Reason for going back, or for the end of the probation.
    pub(super) cause: Option<Cause>,
}

impl Member {
    fn in_state(plan: Plan, state: MemberState) -> Self {
        Member {
            plan,
            state,
            deadline: None,
            facts: Facts::new(plan.deadlines.shadow),
            probation: Probation::default(),
            trouble: None,
            cause: None,
        }
    }

    /// A new member. Its first output asks for its record.
    pub(super) fn begin(plan: Plan, out: &mut Vec<MemberOutput>) -> Self {
        out.push(MemberOutput::Record(Step::Staged));
        Member::in_state(plan, MemberState::Staged)
    }

    /// A member that another morphd left in probation, with its target live. Its shadow is made anew.
    pub(super) fn adopted(
        plan: Plan,
        left: Leftover,
        now: Instant,
        out: &mut Vec<MemberOutput>,
    ) -> Self {
        let mut member = Member::in_state(plan, MemberState::Upgraded);
        member.take_over(left, now);
        member.facts.target.alive = true;
        member.facts.target.live = true;
        member.facts.rules_synced = true;
        member.probation.begin(now, plan.probation);
        if plan.mode == Mode::Online {
            let make = member.facts.shadow.begin(plan.target_schema);
            member.on_shadow(make, &mut Context { now, out });
        }
        member
    }

    /// A member that another morphd left after the fence, and whose target is not live.
    pub(super) fn abandoned(
        plan: Plan,
        left: Leftover,
        why: Cause,
        now: Instant,
        out: &mut Vec<MemberOutput>,
    ) -> Self {
        let mut member = Member::in_state(plan, MemberState::Upgraded);
        member.take_over(left, now);
        member.go_back(why, &mut Context { now, out });
        member
    }

    fn take_over(&mut self, left: Leftover, now: Instant) {
        self.facts.source.take(left.source, now);
        self.facts.swapped = left.swapped;
    }

    pub fn state(&self) -> MemberState {
        self.state
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn numbers(&self) -> &Numbers {
        &self.facts.numbers
    }

    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Keyspace of the shadow, for the record.
    pub fn keyspace(&self) -> Option<u32> {
        self.facts.shadow.keyspace()
    }

    /// The fence swapped primary and shadow.
    pub fn swapped(&self) -> bool {
        self.facts.swapped
    }

    /// The target has been live until the first sample of its probation, and is not on its way back.
    pub fn has_settled_in(&self) -> bool {
        self.probation.has_sampled() && self.is_in_probation()
    }

    /// The target is live, and neither committed nor on its way back.
    pub fn is_in_probation(&self) -> bool {
        matches!(
            self.state,
            MemberState::Upgraded
                | MemberState::Settling
                | MemberState::CatchingUp
                | MemberState::AtBarrier(Barrier::Commit)
                | MemberState::Committing
        )
    }

    pub fn ended(&self) -> bool {
        matches!(self.state, MemberState::Committed | MemberState::RolledBack)
    }

    /// Whether the member is on its way back, or has gone back.
    pub fn goes_back(&self) -> bool {
        matches!(
            self.state,
            MemberState::Leaving | MemberState::Back(_) | MemberState::RolledBack
        )
    }

    /// The shadow with which fence or commit swap.
    pub(super) fn swap(&self) -> Option<u32> {
        let swaps = match self.state {
            MemberState::AtBarrier(Barrier::Fence) => self.plan.mode == Mode::Backfill,
            MemberState::AtBarrier(Barrier::Commit) => self.plan.mode == Mode::Online,
            _ => false,
        };
        self.keyspace().filter(|_| swaps)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        if self.ended() {
            return None;
        }
        let probation = match self.state {
            MemberState::Upgraded => self.probation.next_deadline(),
            _ => None,
        };
        let deadlines = [probation, self.deadline, self.facts.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    pub(super) fn enter(&mut self, state: MemberState, deadline: Option<Instant>) {
        self.state = state;
        self.deadline = deadline;
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The instance that makes the shadow.
    pub(super) fn maker(&self) -> Side {
        match (self.state, self.plan.mode) {
            (MemberState::Back(_), _) | (_, Mode::Backfill) => Side::Source,
            (_, Mode::Plain | Mode::Online) => Side::Target,
        }
    }

    /// Carries out what the shadow's job asks for. Its failure is left to the caller, and returned.
    pub(super) fn on_shadow(
        &mut self,
        output: ShadowOutput,
        cx: &mut Context<'_>,
    ) -> Option<String> {
        let maker = self.maker();
        match output {
            ShadowOutput::Make(schema) => cx.put(MemberOutput::MakeKeyspace(maker, schema)),
            ShadowOutput::Fill { keyspace, schema } => cx.put(MemberOutput::Instruct(
                maker,
                Order::MakeShadow { keyspace, schema },
            )),
            ShadowOutput::Flush => cx.put(MemberOutput::Instruct(maker, Order::Flush)),
            ShadowOutput::Drop(keyspace) => cx.put(MemberOutput::DropKeyspace(keyspace)),
            ShadowOutput::Fail(why) => return Some(why),
        }
        None
    }

    /// Ends the target, and what was made for it.
    pub(super) fn give_up_target(&mut self, cx: &mut Context<'_>) {
        if self.facts.target.alive {
            cx.put(MemberOutput::End(Side::Target));
        }
        let keyspace = self.facts.shadow.give_up();
        if self.facts.swapped {
            return;
        }
        if self.plan.mode == Mode::Backfill && keyspace.is_some() {
            cx.put(MemberOutput::Instruct(Side::Source, Order::StopShadow));
        }
        if let Some(keyspace) = keyspace {
            cx.put(MemberOutput::DropKeyspace(keyspace));
        }
    }

    /// Gives up before the hold: only the target ends.
    pub(super) fn leave(&mut self, cause: Cause, cx: &mut Context<'_>) {
        cx.publish(Step::RollingBack, cause.message.as_str());
        self.cause = Some(cause);
        self.give_up_target(cx);
        cx.put(MemberOutput::RecordRolledBack(None));
        self.enter(MemberState::Leaving, None);
    }

    /// Goes back by the path that a crash takes.
    pub(super) fn go_back(&mut self, cause: Cause, cx: &mut Context<'_>) {
        cx.publish(Step::RollingBack, cause.message.as_str());
        self.cause = Some(cause);
        cx.put(MemberOutput::Record(Step::RollingBack));
        self.enter(MemberState::Back(Back::Recording), None);
    }

    pub(super) fn end(&mut self, step: Step, cx: &mut Context<'_>) {
        let state = match step {
            Step::Committed => MemberState::Committed,
            _ => MemberState::RolledBack,
        };
        self.enter(state, None);
        let message = self.cause.as_ref().map(|cause| cause.message.clone());
        cx.publish(step, message.unwrap_or_default());
    }
}
