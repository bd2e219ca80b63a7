//! Rules in one connected switch, as far as they are known.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use morph_openflow::SkippedRule;
use morph_openflow::rule::{RuleKey, RuleSet, from_stats};
use morph_openflow::v13::{self, MultipartBody};

use super::window::RuleWindow;
use super::writer::RuleWriter;
use crate::{Dpid, install};

/// Deadline of a switch's answers to one reading.
const ANSWER: Duration = Duration::from_secs(5);
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
    Writing {
        writer: Box<RuleWriter>,
        /// Time at which it is read again, because it refused a rule.
        reread_at: Option<Instant>,
    },
}

#[derive(Debug, Clone)]
pub(super) struct SwitchRules {
    pub(super) channel: u32,
    pub(super) state: ReadState,
    /// Rules that the switch removed by itself since its reading began; empty once it is written to.
    expired: BTreeSet<RuleKey>,
    /// Failed readings and refused rules since the switch connected.
    failures: u32,
    /// The log says that rules of the switch cannot be decoded.
    skipped_logged: bool,
}

impl SwitchRules {
    pub(super) fn new(channel: u32) -> Self {
        SwitchRules {
            channel,
            state: ReadState::Unread { not_before: None },
            expired: BTreeSet::new(),
            failures: 0,
            skipped_logged: false,
        }
    }

    /// Whether anything is to be done or awaited.
    pub(super) fn is_unsettled(&self) -> bool {
        match &self.state {
            ReadState::Unread { .. } | ReadState::Reading { .. } | ReadState::Read(_) => true,
            ReadState::Writing { writer, reread_at } => {
                reread_at.is_some() || writer.is_unsettled()
            }
        }
    }

    /// Forgets what is known: others may have written to the switch.
    pub(super) fn mark_unread(&mut self) {
        self.state = ReadState::Unread { not_before: None };
        self.failures = 0;
    }

    pub(super) fn is_to_be_read(&self, now: Instant) -> bool {
        match &self.state {
            ReadState::Unread { not_before } => not_before.is_none_or(|at| at <= now),
            ReadState::Writing { reread_at, .. } => reread_at.is_some_and(|at| at <= now),
            ReadState::Reading { .. } | ReadState::Read(_) => false,
        }
    }

    /// Begins a reading, whose answers bear this token. Whatever was sent before is handled by the switch before it
    /// answers, so no change is unconfirmed after it.
    pub(super) fn begin_reading(&mut self, token: u32, now: Instant) {
        self.expired.clear();
        self.state = ReadState::Reading {
            token,
            deadline: now + ANSWER,
            read: RuleSet::new(),
        };
    }

    /// Begins to write, if it has been read.
    pub(super) fn begin_writing(&mut self, wanted: &RuleSet, limit: RuleWindow) {
        let ReadState::Read(read) = &mut self.state else {
            return;
        };
        let mut installed = std::mem::take(read);
        for key in std::mem::take(&mut self.expired) {
            install::forget_expired(&mut installed, wanted, &key);
        }
        self.state = ReadState::Writing {
            writer: Box::new(RuleWriter::new(installed, wanted, limit)),
            reread_at: None,
        };
    }

    /// Notes a rule that the switch removed by itself.
    pub(super) fn note_expired(&mut self, key: RuleKey) {
        match self.writer_mut() {
            Some(writer) => writer.note_expired(key),
            None => drop(self.expired.insert(key)),
        }
    }

    /// Whether it has been read, or could not be.
    pub(super) fn was_read(&self) -> bool {
        match self.state {
            ReadState::Read(_) | ReadState::Writing { .. } => true,
            ReadState::Unread { .. } | ReadState::Reading { .. } => self.failures > 0,
        }
    }

    /// Whether messages are to be sent to bring its rules in line.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        match &self.state {
            ReadState::Read(_) => true,
            ReadState::Writing { writer, .. } => writer.has_work(now),
            ReadState::Unread { .. } | ReadState::Reading { .. } => false,
        }
    }

    pub(super) fn writer(&self) -> Option<&RuleWriter> {
        match &self.state {
            ReadState::Writing { writer, .. } => Some(writer),
            ReadState::Unread { .. } | ReadState::Reading { .. } | ReadState::Read(_) => None,
        }
    }

    pub(super) fn writer_mut(&mut self) -> Option<&mut RuleWriter> {
        match &mut self.state {
            ReadState::Writing { writer, .. } => Some(writer),
            ReadState::Unread { .. } | ReadState::Reading { .. } | ReadState::Read(_) => None,
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
        if let ReadState::Writing { reread_at, .. } = &mut self.state
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

    /// Gives up a reading that takes too long.
    pub(super) fn expire(&mut self, dpid: Dpid, now: Instant) {
        if matches!(self.state, ReadState::Reading { deadline, .. } if deadline <= now) {
            tracing::warn!(
                "switch {dpid} did not report its rules within {ANSWER:?}, and is asked again"
            );
            self.fail(now);
        }
    }

    /// Handles an error that answers a request with this token.
    pub(super) fn refused_request(&mut self, xid: u32, now: Instant) {
        match &mut self.state {
            ReadState::Reading { token, .. } if *token == xid => self.fail(now),
            // A switch that refuses a barrier has come to it.
            ReadState::Writing { writer, .. } => writer.confirm(xid),
            ReadState::Unread { .. } | ReadState::Reading { .. } | ReadState::Read(_) => {}
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

    /// Notes rules that were left out of a reply. If they are wanted, they are missing, and added. The first one is logged.
    pub(super) fn note_skipped(&mut self, dpid: Dpid, skipped: &[SkippedRule]) {
        if let Some(SkippedRule { table_id, error }) = skipped.first()
            && !std::mem::replace(&mut self.skipped_logged, true)
        {
            tracing::error!(
                "switch {dpid} reports a rule of table {table_id} that cannot be decoded; it is left out, as are further ones: {error}"
            );
        }
    }

    /// Time at which the reading has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            ReadState::Unread { not_before } => *not_before,
            ReadState::Reading { deadline, .. } => Some(*deadline),
            ReadState::Read(_) => None,
            ReadState::Writing { reread_at, .. } => *reread_at,
        }
    }
}
