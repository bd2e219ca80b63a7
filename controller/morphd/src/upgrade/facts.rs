//! What an upgrade knows about its two instances, whatever it is doing: kept up before every decision.

use std::time::{Duration, Instant};

use super::types::{Answers, Difference, Input, OldIs, Output, Resumption, Side};
use crate::restarts::Restarts;

/// A newcomer whose cursor stands still for so long while its backlog grows has stalled.
const STALL: Duration = Duration::from_secs(2);
/// A newcomer whose answers take so many times as long as the old instance's took is too slow.
const SLOWER: u64 = 10;
/// And longer than this, so that it matters.
const SLOW_US: u64 = 50_000;
/// Fewer answers than this are no measure.
const ANSWERS: u64 = 20;
/// Fewer errors than this are no rate.
const ERRORS: u64 = 3;

/// How the old instance is, once the slot is the upgrade's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standby {
    /// The app's own supervision looks after it.
    NotOurs,
    /// Attached and ready.
    Ready,
    /// Running, not ready.
    Starting {
        /// Then it is ended and started again.
        until: Instant,
    },
    /// Dead.
    Absent {
        /// When it is started.
        again: Instant,
    },
}

/// For the statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// The hand-over.
    pub forward: Option<Resumption>,
    /// What it did to the rules.
    pub forward_rules: Difference,
    /// The way back.
    pub back: Option<Resumption>,
    /// What that did to the rules.
    pub back_rules: Difference,
}

#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) old: Standby,
    pub(super) slot_is_ours: bool,
    old_restarts: Restarts,
    pub(super) new_alive: bool,
    /// What the newcomer said when it was ready.
    pub(super) ready_said: String,
    /// It was resumed, and the slot was not held since.
    pub(super) new_live: bool,
    pub(super) keyspace: Option<u32>,
    pub(super) copied: bool,
    /// Groups of its rows that would not come back as they are from the other schema.
    pub(super) lossy: u64,
    /// All switches are in step since the last resume.
    pub(super) rules_synced: bool,
    /// It has answered the probe that precedes a commit.
    pub(super) answered: bool,
    /// Whom the proxy resumed by itself.
    pub(super) proxy_resumed: Option<Side>,
    mark: Option<Mark>,
    /// How fast the old instance was, as far as that was seen.
    old_answers: Answers,
    pub(super) numbers: Numbers,
}

/// The last move of the cursor.
#[derive(Debug, Clone, Copy)]
struct Mark {
    durable: (u64, u64),
    backlog: u64,
    since: Instant,
}

impl Default for Facts {
    fn default() -> Self {
        Facts {
            old: Standby::NotOurs,
            slot_is_ours: false,
            old_restarts: Restarts::new(1),
            new_alive: false,
            ready_said: String::new(),
            new_live: false,
            keyspace: None,
            copied: false,
            lossy: 0,
            rules_synced: false,
            answered: false,
            proxy_resumed: None,
            mark: None,
            old_answers: Answers::default(),
            numbers: Numbers::default(),
        }
    }
}

impl Facts {
    pub(super) fn note(&mut self, input: &Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Gone(Side::New, _) => {
                self.new_alive = false;
                self.new_live = false;
            }
            Input::Gone(Side::Old, _) if self.slot_is_ours => {
                self.old = Standby::Absent {
                    again: self.old_restarts.died(now),
                };
            }
            Input::Ready(Side::Old, _) if self.slot_is_ours => self.old = Standby::Ready,
            Input::Yielded(old) => self.yielded(*old, now),
            Input::ProxyLost if self.old == Standby::Ready => {
                // Its session went with the proxy; it attaches again by itself.
                self.old = Standby::Starting {
                    until: now + super::STARTING,
                };
            }
            Input::KeyspaceMade(keyspace) => self.keyspace = Some(*keyspace),
            Input::ShadowGrew {
                keyspace,
                complete,
                lossy,
            } if self.keyspace == Some(*keyspace) => {
                self.copied |= complete;
                self.lossy = *lossy;
            }
            Input::Rules {
                side,
                difference,
                last,
            } if !self.rules_synced => {
                self.numbers.add(*side, *difference);
                self.rules_synced = *last;
            }
            Input::HoldExpired(side) => self.proxy_resumed = *side,
            Input::Pong => self.answered = true,
            Input::Unobserved => self.mark = None,
            Input::Load { answers, .. } if !self.slot_is_ours => self.old_answers = *answers,
            Input::Time if self.slot_is_ours => self.look_after_old(now, out),
            Input::Gone(Side::Old, _)
            | Input::Ready(..)
            | Input::ProxyLost
            | Input::ShadowGrew { .. }
            | Input::ShadowFailed { .. }
            | Input::Rules { .. }
            | Input::Time
            | Input::Recorded(_)
            | Input::NotRecorded(..)
            | Input::Finished
            | Input::FinishRefused(_)
            | Input::KeyspaceFailed(_)
            | Input::Flushed
            | Input::Failed(..)
            | Input::Health { .. }
            | Input::Load { .. }
            | Input::Held(_)
            | Input::HoldFailed(_)
            | Input::Fenced
            | Input::Primary(_)
            | Input::FenceRefused(_)
            | Input::Resumed(_)
            | Input::ResumeFailed(_)
            | Input::Commit
            | Input::OtherGoesBack(_)
            | Input::Rollback => {}
        }
    }

    fn yielded(&mut self, old: OldIs, now: Instant) {
        self.slot_is_ours = true;
        self.old = match old {
            OldIs::Ready => Standby::Ready,
            OldIs::Starting => Standby::Starting {
                until: now + super::STARTING,
            },
            OldIs::Absent => Standby::Absent { again: now },
        };
    }

    /// Starts a dead standby again when its time has come, and ends one that does not get ready.
    fn look_after_old(&mut self, now: Instant, out: &mut Vec<Output>) {
        match self.old {
            Standby::Absent { again } if again <= now => {
                self.old = Standby::Starting {
                    until: now + super::STARTING,
                };
                out.push(Output::Spawn(Side::Old, None));
            }
            Standby::Starting { until } if until <= now => {
                self.old = Standby::Starting {
                    until: now + super::STARTING,
                };
                out.push(Output::End(Side::Old));
            }
            Standby::NotOurs
            | Standby::Ready
            | Standby::Starting { .. }
            | Standby::Absent { .. } => {}
        }
    }

    pub(super) fn standby_deadline(&self) -> Option<Instant> {
        match self.old {
            Standby::Absent { again: at } | Standby::Starting { until: at }
                if self.slot_is_ours =>
            {
                Some(at)
            }
            Standby::NotOurs
            | Standby::Ready
            | Standby::Starting { .. }
            | Standby::Absent { .. } => None,
        }
    }

    /// The backlog grows while the cursor stands still.
    pub(super) fn stalled(
        &mut self,
        backlog: u64,
        durable: (u64, u64),
        now: Instant,
    ) -> Option<String> {
        let here = Mark {
            durable,
            backlog,
            since: now,
        };
        let mark = match self.mark {
            Some(mark) if mark.durable == durable && backlog > 0 => mark,
            Some(_) | None => {
                self.mark = Some(here);
                return None;
            }
        };
        let still = now.saturating_duration_since(mark.since);
        (still >= STALL && backlog > mark.backlog).then(|| {
            let (incarnation, n) = durable;
            format!("its cursor stands at {incarnation}:{n} while {backlog} events wait")
        })
    }
}

impl Facts {
    /// Its answers take much longer than those of the old instance did.
    pub(super) fn slow(&self, new: Answers) -> Option<String> {
        let old = self.old_answers;
        let mean = |answers: Answers| answers.us.checked_div(answers.count);
        let (was, is) = (mean(old)?, mean(new)?);
        let counts = old.count >= ANSWERS && new.count >= ANSWERS;
        let slow = counts && is >= SLOW_US && is / SLOWER >= was.max(1);
        slow.then(|| format!("it answers an event in {is} us, and the old instance did in {was}"))
    }
}

impl Numbers {
    fn add(&mut self, side: Side, more: Difference) {
        let sum = match side {
            Side::New => &mut self.forward_rules,
            Side::Old => &mut self.back_rules,
        };
        sum.added += more.added;
        sum.changed += more.changed;
        sum.removed += more.removed;
        sum.unchanged += more.unchanged;
    }
}

/// More than one event in ten ended in an error, or switches refuse its rules again and again.
pub(super) fn unhealthy(events: u64, errors: u64, refused_rules: u64) -> Option<String> {
    if errors >= ERRORS && errors.saturating_mul(10) > events {
        return Some(format!("{errors} of its {events} events ended in errors"));
    }
    (refused_rules >= ERRORS).then(|| format!("switches refused {refused_rules} of its rules"))
}
