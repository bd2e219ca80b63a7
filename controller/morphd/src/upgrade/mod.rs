//! One upgrade of one app: the machine that decides, without clock, store or process.
//!
//! ```text
//!  Staged -> [Filling ->] Starting -> Probing -> Ready -> Quiescing -> Fencing -> Resuming -> Upgraded -> Settling
//!     |          |            |          |         |          |           |          |           |  ^        |
//!     v          v            v          v         v          +-----------+----------+           |  |        v
//!     +----------+--- Leaving +----------+---------+          | the answer in hand is awaited    |  |    Finishing
//!                        |                                    v                                  v  |        |
//!                        |       Back: Recording -> Waiting -> Holding -> Fencing -> Resuming <--+--+--------+
//!                        |                           ^  the old instance died  |         |                   |
//!                        |                           +-------------------------+         v                   |
//!                        |                                                  Settling | Restoring             |
//!                        v                                                             |                     v
//!                    RolledBack <-----------------------------------------------------+                  Committed
//! ```
//!
//! Until the hold a failure only ends the newcomer (`Leaving`). From the hold on the slot is this machine's, and every
//! failure takes `Back`, which has no failure exit: it starts the old release again for as long as it takes.
//!
//! Schemas decide the mode. *Plain*: equal. *Online*: the newcomer brings the migration, serves the old primary
//! through it, makes the shadow, and the commit swaps. *Backfill* (a downgrade): the running release has the migration,
//! makes the shadow first, and the fence swaps; going back is then the old release through its migration, and a swap.

mod back;
mod facts;
mod forward;
mod left;
#[cfg(test)]
mod tests;
mod together;
mod types;

use std::time::{Duration, Instant};

use morph_api::management::Step;

pub use facts::Numbers;
use facts::{Facts, Standby};
pub use left::{Left, left};
pub use together::{Act, Together};
pub use types::*;

/// For a paused old instance that died to get ready again.
const STARTING: Duration = Duration::from_secs(20);
/// For the answer to a flush: after that the instance goes on by itself.
const FLUSH: Duration = Duration::from_secs(2);
/// How often a flush or swap is tried before the newcomer is given up.
const TRIES: u32 = 5;
/// Between two looks at the load during probation.
const SAMPLE: Duration = Duration::from_millis(500);
/// A rollback waits this long for them.
const SETTLE_BACK: Duration = Duration::from_millis(500);
/// Before something that failed is tried again, on the way back.
const AGAIN: Duration = Duration::from_millis(200);

/// The machine.
#[derive(Debug, Clone)]
pub struct Upgrade {
    plan: Plan,
    state: State,
    deadline: Option<Instant>,
    facts: Facts,
    /// Trouble met while an answer is awaited: what is done about it comes after the answer.
    trouble: Option<Cause>,
    /// Why it ends as it does.
    cause: Option<Cause>,
    probation_end: Option<Instant>,
    sample_at: Option<Instant>,
    /// The first sample of the probation was taken.
    looked: bool,
    tries: u32,
    /// The swap of a `Backfill` has happened: the primary has the new schema.
    swapped: bool,
}

impl Upgrade {
    /// A new upgrade. The first output asks for its record.
    pub fn begin(plan: Plan, out: &mut Vec<Output>) -> Self {
        out.push(Output::Record(Step::Staged));
        Upgrade::at(plan, State::Staged)
    }

    /// One that another morphd left in probation, with its newcomer live. Its shadow starts anew.
    pub fn adopted(plan: Plan, found: Found, now: Instant, out: &mut Vec<Output>) -> Self {
        let mut upgrade = Upgrade::at(plan, State::Upgraded);
        upgrade.take_over(found, now);
        upgrade.facts.new_alive = true;
        upgrade.facts.new_live = true;
        upgrade.facts.rules_synced = true;
        upgrade.probation_end = Some(now + plan.probation);
        upgrade.sample_at = Some(now + SAMPLE);
        if plan.mode == Mode::Online {
            out.push(Output::MakeKeyspace(Side::New, plan.new_schema));
        }
        upgrade
    }

    /// One that another morphd left after the fence, and whose newcomer is not live.
    pub fn abandoned(
        plan: Plan,
        found: Found,
        why: Cause,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Self {
        let mut upgrade = Upgrade::at(plan, State::Upgraded);
        upgrade.take_over(found, now);
        upgrade.back(why, out);
        upgrade
    }

    fn at(plan: Plan, state: State) -> Self {
        Upgrade {
            plan,
            state,
            deadline: None,
            facts: Facts::default(),
            trouble: None,
            cause: None,
            probation_end: None,
            sample_at: None,
            looked: false,
            tries: 0,
            swapped: false,
        }
    }

    fn take_over(&mut self, found: Found, now: Instant) {
        self.facts.old = match found.old {
            OldIs::Ready => Standby::Ready,
            OldIs::Starting => Standby::Starting {
                until: now + STARTING,
            },
            OldIs::Absent => Standby::Absent { again: now },
        };
        self.facts.slot_is_ours = true;
        self.swapped = found.swapped;
    }

    /// What is happening.
    pub fn state(&self) -> State {
        self.state
    }

    /// What was settled before it began.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is known so far: for the statuses.
    pub fn numbers(&self) -> &Numbers {
        &self.facts.numbers
    }

    /// Why it goes or went back, or who ended the probation.
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// The shadow that is being made, for the record.
    pub fn keyspace(&self) -> Option<u32> {
        self.facts.keyspace
    }

    /// Groups of rows that its shadow would lose on the way back, as far as it is made.
    pub fn lossy(&self) -> u64 {
        self.facts.lossy
    }

    /// The fence swapped primary and shadow, for the record.
    pub fn swapped(&self) -> bool {
        self.swapped
    }

    /// The newcomer has been live for long enough to be looked at, and is not on its way back.
    pub fn is_looked_at(&self) -> bool {
        let on_its_way = matches!(
            self.state,
            State::Upgraded | State::Settling | State::Finishing(_)
        );
        self.looked && on_its_way
    }

    /// Committed or rolled back.
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Committed | State::RolledBack)
    }

    /// Trouble was met whose answer waits for that of something else.
    pub fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// When it wants `Input::Time`.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.ended() {
            return None;
        }
        let standby = self.facts.standby_deadline();
        let probation = match self.state {
            State::Upgraded => [self.probation_end, self.sample_at],
            _ => [None, None],
        };
        probation
            .into_iter()
            .chain([self.deadline, standby])
            .flatten()
            .min()
    }

    /// One thing that happened; `out` takes what is to be done about it.
    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        if self.ended() {
            return;
        }
        if let Input::Primary(schema) = input {
            self.swapped = self.plan.mode == Mode::Backfill && schema == self.plan.new_schema;
            return;
        }
        self.facts.note(&input, now, out);
        match (self.trouble_in(&input, now), input) {
            (Some(cause), _) => self.fail(cause, now, out),
            (None, Input::NotRecorded(step, why)) => self.not_recorded(step, &why, now, out),
            (None, Input::ShadowFailed { keyspace, why }) => {
                // Else it is an earlier one, whose keyspace was dropped for the present one.
                if self.facts.keyspace == Some(keyspace) {
                    self.step(Input::KeyspaceFailed(why), now, out);
                }
            }
            (None, input) => self.step(input, now, out),
        }
    }

    /// Before the hold there is nothing that could not wait for another day. Afterwards the fence has a record already,
    /// and the next one takes the place of the one that is missing.
    fn not_recorded(&mut self, step: Step, why: &str, now: Instant, out: &mut Vec<Output>) {
        match self.state {
            State::Staged | State::Filling | State::Starting | State::Probing | State::Ready => {
                self.leave(
                    Cause::failure(format!("its record was refused: {why}")),
                    out,
                );
            }
            _ => self.step(Input::Recorded(step), now, out),
        }
    }

    /// What speaks against the newcomer, whatever the state. What the machine itself waits for is not here.
    fn trouble_in(&mut self, input: &Input, now: Instant) -> Option<Cause> {
        match input {
            Input::Gone(Side::New, why) => Some(Cause::failure(format!("the new instance {why}"))),
            Input::Failed(Side::New, why) => {
                Some(Cause::failure(format!("the new instance failed: {why}")))
            }
            Input::Failed(Side::Old, why) if self.needs_old_to_shadow() => Some(Cause::failure(
                format!("the running instance failed: {why}"),
            )),
            Input::Gone(Side::Old, why) if self.needs_old_to_shadow() => Some(Cause::failure(
                format!("the running instance, which makes the shadow, {why}"),
            )),
            Input::ProxyLost => Some(Cause::failure("the proxy went away".into())),
            Input::Rollback => Some(Cause::operator("asked for by the operator")),
            Input::OtherGoesBack(cause) => Some(cause.clone()),
            Input::Health {
                events,
                errors,
                refused_rules,
                unhealthy,
            } if self.state == State::Upgraded => {
                let own = unhealthy
                    .as_ref()
                    .map(|why| format!("it says of itself: {why}"));
                let counted = || facts::unhealthy(*events, *errors, *refused_rules);
                own.or_else(counted).map(Cause::failure)
            }
            Input::Load {
                backlog,
                durable,
                answers,
            } if self.state == State::Upgraded => {
                let stalled = self.facts.stalled(*backlog, *durable, now);
                let slow = || self.facts.slow(*answers);
                stalled.or_else(slow).map(Cause::failure)
            }
            Input::Gone(Side::Old, _)
            | Input::Failed(Side::Old, _)
            | Input::Health { .. }
            | Input::Load { .. }
            | Input::Unobserved
            | Input::Recorded(_)
            | Input::NotRecorded(..)
            | Input::Finished
            | Input::FinishRefused(_)
            | Input::KeyspaceMade(_)
            | Input::KeyspaceFailed(_)
            | Input::Ready(..)
            | Input::Pong
            | Input::ShadowGrew { .. }
            | Input::ShadowFailed { .. }
            | Input::Flushed
            | Input::Rules { .. }
            | Input::Yielded(_)
            | Input::Held(_)
            | Input::HoldFailed(_)
            | Input::Fenced
            | Input::Primary(_)
            | Input::FenceRefused(_)
            | Input::Resumed(_)
            | Input::ResumeFailed(_)
            | Input::HoldExpired(_)
            | Input::Commit
            | Input::Time => None,
        }
    }

    fn needs_old_to_shadow(&self) -> bool {
        let before_hold = matches!(
            self.state,
            State::Filling | State::Starting | State::Probing | State::Ready
        );
        self.plan.mode == Mode::Backfill && before_hold
    }

    /// Trouble: what it leads to depends only on how far the upgrade has come.
    fn fail(&mut self, cause: Cause, now: Instant, out: &mut Vec<Output>) {
        match self.state {
            State::Staged | State::Filling | State::Starting | State::Probing | State::Ready => {
                self.leave(cause, out);
            }
            State::Quiescing
            | State::Fencing
            | State::Resuming
            | State::Finishing(Phase::Swapping) => {
                self.trouble.get_or_insert(cause);
            }
            State::Upgraded
            | State::Settling
            | State::Finishing(Phase::Making | Phase::Filling | Phase::Flushing) => {
                self.back(cause, out)
            }
            // On the way back nothing that the newcomer does matters; what the old one does is in the facts.
            State::Back(back) => self.on_trouble_on_the_way_back(back, now, out),
            State::Restoring(_) => self.restore_again_if_old_is_gone(now, out),
            State::Leaving | State::Committed | State::RolledBack => {}
        }
    }

    fn step(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        match self.state {
            State::Staged => self.staged(&input, now, out),
            State::Filling => self.filling(&input, now, out),
            State::Starting => self.starting(&input, now, out),
            State::Probing => self.probing(&input, now, out),
            State::Ready => self.ready(&input, out),
            State::Quiescing => self.quiescing(input, out),
            State::Fencing => self.fencing(input, out),
            State::Resuming => self.resuming(input, now, out),
            State::Upgraded => self.upgraded(&input, now, out),
            State::Settling => self.settling(&input, now, out),
            State::Finishing(phase) => self.finishing(phase, input, now, out),
            State::Leaving => self.leaving(&input, now, out),
            State::Back(back) => self.going_back(back, input, now, out),
            State::Restoring(phase) => self.restoring(phase, input, now, out),
            State::Committed | State::RolledBack => {}
        }
    }

    fn enter(&mut self, state: State, deadline: Option<Instant>) {
        self.state = state;
        self.deadline = deadline;
    }

    fn due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}
