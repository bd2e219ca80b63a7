//! Changes that were sent to one switch and that it has not confirmed.
//!
//! ```text
//!   sent:  change change ... BARRIER | change change ... BARRIER | change change
//!          `---- section 1 -------'    `---- section 2 -------'    `-- open --'
//! ```
//!
//! The reply to a barrier confirms its section and all sections before it. The open part gets a barrier once it is a quarter
//! of the window, so that room comes back while the rest of a full window is still on its way. A smaller one needs none.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time after which an unanswered barrier is sent again: its reply may be lost.
const ANSWER: Duration = Duration::from_secs(5);

/// Limits of the changes that a switch has not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleWindow {
    /// Number of flow-mods.
    pub changes: usize,
    /// Bytes of their messages. The last message may go beyond.
    pub bytes: usize,
}

impl Default for RuleWindow {
    fn default() -> Self {
        RuleWindow {
            changes: 1000,
            bytes: 256 << 10,
        }
    }
}

/// Number and size of some changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    changes: usize,
    bytes: usize,
}

impl Amount {
    fn add(&mut self, other: Amount) {
        self.changes += other.changes;
        self.bytes += other.bytes;
    }
}

#[derive(Debug, Clone)]
struct Section {
    token: u32,
    asked: Instant,
    amount: Amount,
}

/// Unconfirmed changes of one switch.
#[derive(Debug, Clone)]
pub(super) struct Window {
    limit: RuleWindow,
    sections: VecDeque<Section>,
    /// Changes after the last barrier.
    open: Amount,
    unconfirmed: Amount,
    /// Number of changes sent in all, confirmed or not.
    sent: u64,
    /// Time of the last barrier request.
    asked: Option<Instant>,
}

impl Window {
    pub(super) fn new(limit: RuleWindow) -> Self {
        Window {
            limit,
            sections: VecDeque::new(),
            open: Amount::default(),
            unconfirmed: Amount::default(),
            sent: 0,
            asked: None,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.unconfirmed.changes < self.limit.changes && self.unconfirmed.bytes < self.limit.bytes
    }

    /// Counts a change that is sent.
    pub(super) fn send(&mut self, bytes: usize) {
        let amount = Amount { changes: 1, bytes };
        self.open.add(amount);
        self.unconfirmed.add(amount);
        self.sent += 1;
    }

    /// Whether the open part is to get a barrier now.
    pub(super) fn is_section(&self) -> bool {
        let Amount { changes, bytes } = self.open;
        changes * 4 >= self.limit.changes.max(1) || bytes * 4 >= self.limit.bytes.max(1)
    }

    /// Whether any change has no barrier behind it.
    pub(super) fn is_open(&self) -> bool {
        self.open.changes > 0
    }

    /// Ends the open part by a barrier request with this token.
    pub(super) fn close(&mut self, token: u32, now: Instant) {
        self.asked = Some(now);
        self.sections.push_back(Section {
            token,
            asked: now,
            amount: std::mem::take(&mut self.open),
        });
    }

    /// Handles the reply to a barrier; one that is not awaited changes nothing.
    pub(super) fn confirm(&mut self, token: u32) {
        let Some(at) = self.sections.iter().position(|s| s.token == token) else {
            return;
        };
        for Section { amount, .. } in self.sections.drain(..=at) {
            self.unconfirmed.changes -= amount.changes;
            self.unconfirmed.bytes -= amount.bytes;
        }
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Number of changes confirmed, of those sent in all.
    pub(super) fn confirmed(&self) -> u64 {
        self.sent - self.unconfirmed.changes as u64
    }

    /// Whether the oldest barrier has waited too long for its reply.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        let oldest = self.sections.front();
        oldest.is_some_and(|oldest| oldest.asked + ANSWER <= now)
    }

    /// Time at which the last barrier is to be sent again.
    pub(super) fn ask_again_at(&self) -> Option<Instant> {
        let asked = self.asked.filter(|_| !self.sections.is_empty());
        asked.map(|asked| asked + ANSWER)
    }

    /// Token of the barrier to be sent again. Its reply confirms everything before its first request.
    pub(super) fn ask_again(&mut self, now: Instant) -> Option<u32> {
        self.ask_again_at().filter(|at| *at <= now)?;
        self.asked = Some(now);
        self.sections.back().map(|last| last.token)
    }
}
