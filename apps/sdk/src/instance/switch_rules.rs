//! Rules in one connected switch, as far as they are known.
//!
//! ```text
//!           read()              last reply           take()
//!   Unread --------> Reading ---------------> Read ----------> InStep --+ changes go out one by one
//!     ^                 |                      |                 |      |
//!     +--- failed, or too late ----------------+-- resumed ------+ <----+
//! ```
//!
//! Rules are sent only to a switch that is in step. Changes before that are part of the difference that follows its
//! reading.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use morph_openflow::rule::{Difference, RuleKey, RuleSet, from_stats};
use morph_openflow::v13::{self, MultipartBody};

use crate::{Dpid, install};

/// Deadline of a switch's answers to one reading.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// Backoff before a failed reading is tried again, doubled with each failure.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
/// Longest backoff before a switch is read again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(super) enum ReadState {
    Unread {
        not_before: Option<Instant>,
    },
    Reading {
        token: u32,
        deadline: Instant,
        read: RuleSet,
    },
    Read(RuleSet),
    InStep {
        installed: RuleSet,
        stale: BTreeSet<RuleKey>,
        /// Time at which it is read again, because it refused a rule.
        reread_at: Option<Instant>,
    },
}

#[derive(Debug, Clone)]
pub(super) struct SwitchRules {
    pub(super) channel: u32,
    pub(super) state: ReadState,
    /// Rules that the switch removed by itself since its last reading began, and that no difference has covered yet.
    pub(super) expired: BTreeSet<RuleKey>,
    /// Failed readings and refused rules since the switch connected.
    pub(super) failures: u32,
}

impl SwitchRules {
    /// Whether anything is to be done or awaited.
    pub(super) fn is_unsettled(&self) -> bool {
        match &self.state {
            ReadState::Unread { .. } | ReadState::Reading { .. } | ReadState::Read(_) => true,
            ReadState::InStep {
                stale, reread_at, ..
            } => !stale.is_empty() || reread_at.is_some(),
        }
    }

    /// Difference to be sent now, if there is one; true if it is the first since a reading.
    pub(super) fn take(&mut self, wanted: &RuleSet, epoch: u64) -> Option<(Difference, bool)> {
        match &mut self.state {
            ReadState::Read(read) => {
                let mut installed = std::mem::take(read);
                let expired = std::mem::take(&mut self.expired);
                install::forget_expired(&mut installed, wanted, expired);
                let difference = install::all(&mut installed, wanted, epoch);
                self.state = ReadState::InStep {
                    installed,
                    stale: BTreeSet::new(),
                    reread_at: None,
                };
                Some((difference, true))
            }
            ReadState::InStep {
                installed, stale, ..
            } if !stale.is_empty() => {
                let keys = std::mem::take(stale);
                let expired = std::mem::take(&mut self.expired);
                install::forget_expired(installed, wanted, expired);
                let difference = install::some(installed, wanted, &keys, epoch);
                Some((difference, false))
            }
            ReadState::InStep { .. } | ReadState::Unread { .. } | ReadState::Reading { .. } => None,
        }
    }

    /// Schedules another reading after a failed one.
    pub(super) fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.state = ReadState::Unread {
            not_before: Some(now + self.backoff()),
        };
    }

    /// Schedules another reading: the switch has other rules than was thought. Other rules are not held up by that.
    pub(super) fn refuse(&mut self, now: Instant) {
        let backoff = self.backoff();
        if let ReadState::InStep { reread_at, .. } = &mut self.state
            && reread_at.is_none()
        {
            *reread_at = Some(now + backoff);
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn backoff(&self) -> Duration {
        SHORTEST_BACKOFF
            .saturating_mul(1 << self.failures.min(6))
            .min(LONGEST_BACKOFF)
    }

    pub(super) fn expire(&mut self, dpid: Dpid, now: Instant) {
        if matches!(self.state, ReadState::Reading { deadline, .. } if deadline <= now) {
            tracing::warn!(
                "switch {dpid} did not report its rules within {ANSWER:?}, and is asked again"
            );
            self.fail(now);
        }
    }

    pub(super) fn statistics(&mut self, xid: u32, reply: v13::MultipartReply, tables: Range<u8>) {
        let ReadState::Reading { token, read, .. } = &mut self.state else {
            return;
        };
        let MultipartBody::Flow(rules) = reply.body else {
            return;
        };
        if xid != *token {
            return;
        }
        let own = rules.iter().filter(|rule| tables.contains(&rule.table_id));
        read.extend(own.map(from_stats));
        if !reply.more {
            self.state = ReadState::Read(std::mem::take(read));
        }
    }
}
