//! What a member knows about its two instances whatever it is doing, kept up before every decision.

use std::time::{Duration, Instant};

use super::messages::{
    MemberInput, MemberOutput, Resumption, RuleCounts, ShadowInput, Side, SourceState,
};
use super::shadow::ShadowJob;
use crate::machine::restarts::Restarts;

/// Time for a paused source that died, or lost its session, to get ready again.
const STARTING: Duration = Duration::from_secs(20);

/// The source's process, once the slot belongs to the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StandbyState {
    /// The app's own supervision still looks after it.
    NotOurs,
    Ready,
    Starting {
        until: Instant,
    },
    Absent {
        start_at: Instant,
    },
}

/// The source while the target serves: kept ready for a rollback, and started again when it dies.
#[derive(Debug, Clone)]
pub(super) struct Standby {
    state: StandbyState,
    restarts: Restarts,
}

impl Standby {
    fn new() -> Self {
        Standby {
            state: StandbyState::NotOurs,
            restarts: Restarts::new(1),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.state == StandbyState::Ready
    }

    pub(super) fn is_ours(&self) -> bool {
        self.state != StandbyState::NotOurs
    }

    /// The slot belongs to the upgrade from here on.
    pub(super) fn take(&mut self, source: SourceState, now: Instant) {
        self.state = match source {
            SourceState::Ready => StandbyState::Ready,
            SourceState::Starting => starting(now),
            SourceState::Absent => StandbyState::Absent { start_at: now },
        };
    }

    fn died(&mut self, now: Instant) {
        if self.is_ours() {
            let start_at = self.restarts.died(now);
            self.state = StandbyState::Absent { start_at };
        }
    }

    fn became_ready(&mut self) {
        if self.is_ours() {
            self.state = StandbyState::Ready;
        }
    }

    /// Its session went with the proxy; it attaches again by itself.
    fn session_lost(&mut self, now: Instant) {
        if self.is_ready() {
            self.state = starting(now);
        }
    }

    /// Starts a dead standby when its time has come, and ends one that does not get ready.
    fn time(&mut self, now: Instant, out: &mut Vec<MemberOutput>) {
        match self.state {
            StandbyState::Absent { start_at } if start_at <= now => {
                out.push(MemberOutput::Spawn(Side::Source, None));
                self.state = starting(now);
            }
            StandbyState::Starting { until } if until <= now => {
                out.push(MemberOutput::End(Side::Source));
                self.state = starting(now);
            }
            StandbyState::NotOurs
            | StandbyState::Ready
            | StandbyState::Starting { .. }
            | StandbyState::Absent { .. } => {}
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            StandbyState::Absent { start_at: at } | StandbyState::Starting { until: at } => {
                Some(at)
            }
            StandbyState::NotOurs | StandbyState::Ready => None,
        }
    }
}

fn starting(now: Instant) -> StandbyState {
    StandbyState::Starting {
        until: now + STARTING,
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Target {
    pub(super) alive: bool,
    /// Was resumed, and the slot was not held since.
    pub(super) live: bool,
    /// Has answered the liveness probe that precedes a commit.
    pub(super) answered: bool,
    /// Its own summary, from when it was ready.
    pub(super) summary: String,
    /// Objection to the rules that it would remove.
    pub(super) rule_loss: Option<String>,
}

/// Figures of the hand-over and the rollback, for the statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    pub forward: Option<Resumption>,
    pub forward_rules: RuleCounts,
    pub back: Option<Resumption>,
    pub back_rules: RuleCounts,
    /// Events that the target has answered in its probation.
    pub events: u64,
    /// The probation ended with no event, or with fewer than were asked for.
    pub untested: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) source: Standby,
    pub(super) target: Target,
    pub(super) shadow: ShadowJob,
    /// All switches are in step since the last resume.
    pub(super) rules_synced: bool,
    /// The side that the proxy resumed by itself.
    pub(super) proxy_resumed: Option<Side>,
    /// The fence of a backfill has swapped: the primary has the target's schema.
    pub(super) swapped: bool,
    pub(super) numbers: Numbers,
}

impl Facts {
    pub(super) fn new(shadow_limit: Duration) -> Self {
        Facts {
            source: Standby::new(),
            target: Target::default(),
            shadow: ShadowJob::idle(shadow_limit),
            rules_synced: false,
            proxy_resumed: None,
            swapped: false,
            numbers: Numbers::default(),
        }
    }

    pub(super) fn note(&mut self, input: &MemberInput, now: Instant, out: &mut Vec<MemberOutput>) {
        match input {
            MemberInput::Gone(Side::Target, _) => {
                self.target.alive = false;
                self.target.live = false;
            }
            MemberInput::Gone(Side::Source, _) => self.source.died(now),
            MemberInput::Ready(Side::Source, _) => self.source.became_ready(),
            MemberInput::Yielded(source) => self.source.take(*source, now),
            MemberInput::ProxyLost => self.source.session_lost(now),
            MemberInput::Rules { side, counts, last } if !self.rules_synced => {
                match side {
                    Side::Target => self.numbers.forward_rules.add(*counts),
                    Side::Source => self.numbers.back_rules.add(*counts),
                }
                self.rules_synced = *last;
            }
            MemberInput::HoldExpired(side) => self.proxy_resumed = *side,
            MemberInput::Pong => self.target.answered = true,
            MemberInput::RuleLoss(why) => self.target.rule_loss = Some(why.clone()),
            MemberInput::Time => self.source.time(now, out),
            MemberInput::Ready(Side::Target, _)
            | MemberInput::Rules { .. }
            | MemberInput::Shadow(
                ShadowInput::Made(_)
                | ShadowInput::MakeFailed(_)
                | ShadowInput::Progress { .. }
                | ShadowInput::Failed { .. }
                | ShadowInput::Flushed,
            )
            | MemberInput::Recorded(_)
            | MemberInput::NotRecorded(..)
            | MemberInput::Ended
            | MemberInput::EndRefused(_)
            | MemberInput::Failed(..)
            | MemberInput::Health(_)
            | MemberInput::Load(_)
            | MemberInput::Held(_)
            | MemberInput::HoldFailed(_)
            | MemberInput::Open
            | MemberInput::Fenced
            | MemberInput::PrimarySchema(_)
            | MemberInput::FenceRefused(_)
            | MemberInput::Resumed(_)
            | MemberInput::ResumeFailed(_)
            | MemberInput::Commit
            | MemberInput::OtherGoesBack(_)
            | MemberInput::Rollback => {}
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.source.next_deadline(), self.shadow.next_deadline()];
        deadlines.into_iter().flatten().min()
    }
}
