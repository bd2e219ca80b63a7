//! Verification of a compared switch: finds rules that vanished or changed without Morpheus.
//!
//! ```text
//!                 count due            another number
//!        +-----> Count --------------------------+
//!   idle |                                       v
//!        +-----> Reading ----------------------> Answered --turn compares--> idle
//!          reading due, or a removal reported
//! ```
//!
//! Nothing waits for it: changes go on being sent. What was sent since a question, or removed by the switch itself, is not
//! compared, since the answer may be older.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

pub(super) use morph_api::verification::Question;
use morph_api::verification::{Recurrence, Schedule, VerificationPeriods};
use morph_openflow::rule::{RuleKey, RuleSet};

use super::reading::{Finding, Reading};
use crate::Dpid;

/// Time from a finding to a reading because of a reported removal, doubled with each finding. A switch whose table is full would
/// have its rules read all the time.
const AFTER_FINDING: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
enum State {
    Idle,
    Count {
        token: u32,
        deadline: Instant,
        /// Number of rules that the switch should have.
        most: u64,
        /// Number of them that it may have removed by itself.
        gone: u64,
    },
    Reading(Reading),
    /// The answer is complete, and the next turn compares it.
    Answered {
        read: RuleSet,
        removed: BTreeSet<RuleKey>,
    },
}

/// Verification of one switch.
#[derive(Debug, Clone)]
pub(super) struct Verification {
    schedule: Schedule,
    state: State,
    /// A rule was refused since the last reading began.
    refused: bool,
    /// The reading under way is one because of a refusal: rules that are missing have not vanished.
    by_refusal: bool,
    /// Rules that the switch refused. They are missing there, and sent again with each reading.
    refused_rules: BTreeSet<RuleKey>,
    /// Number of rules with the app's id that are not in its tables.
    elsewhere: u64,
    recurrence: Recurrence<RuleKey>,
    last_finding: Option<Instant>,
}

impl Verification {
    pub(super) fn new(periods: VerificationPeriods) -> Self {
        Verification {
            schedule: Schedule::new(periods),
            state: State::Idle,
            refused: false,
            by_refusal: false,
            refused_rules: BTreeSet::new(),
            elsewhere: 0,
            recurrence: Recurrence::new(periods),
            last_finding: None,
        }
    }

    /// Forgets questions and times: the switch is to be read as if it had just connected.
    pub(super) fn stop(&mut self) {
        self.schedule.stop();
        self.state = State::Idle;
        self.refused = false;
        self.refused_rules.clear();
        self.elsewhere = 0;
    }

    /// Begins once the switch is compared. Each switch has its place in the periods.
    pub(super) fn start(&mut self, dpid: Dpid, now: Instant) {
        self.schedule.start(dpid.0, now);
    }

    /// Calls for a reading by this time.
    pub(super) fn read_by(&mut self, at: Instant) {
        self.schedule.read_by(at);
    }

    /// Calls for a reading because the switch reports the removal of a rule.
    pub(super) fn removal_reported(&mut self, now: Instant) {
        let doubled = 1 << self.recurrence.findings();
        let calm = self.last_finding.map(|at| at + AFTER_FINDING * doubled);
        self.read_by(calm.map_or(now, |calm| calm.max(now)));
    }

    /// Notes that the switch refused a rule, and is to be read by this time. False if that is known.
    pub(super) fn rule_refused(&mut self, at: Instant) -> bool {
        self.read_by(at);
        !std::mem::replace(&mut self.refused, true)
    }

    /// Whether a question is under way, or its answer waits.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Whether an answer waits for its comparison.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.state, State::Answered { .. })
    }

    /// Time of the next question.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.schedule.due_at()
    }

    /// Deadline of the question that is under way.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Count { deadline, .. } => Some(*deadline),
            State::Reading(reading) => Some(reading.deadline),
            State::Idle | State::Answered { .. } => None,
        }
    }

    /// Question that is due.
    pub(super) fn due(&self, now: Instant) -> Option<Question> {
        self.schedule.due(now).filter(|_| !self.is_busy())
    }

    /// Begins a question, whose answer bears this token. The switch should have `most` rules, of which it has removed `gone`.
    pub(super) fn ask(
        &mut self,
        question: Question,
        token: u32,
        rules: (usize, usize),
        now: Instant,
        limit: Duration,
    ) {
        let deadline = now + limit;
        self.schedule.asked(question, now);
        self.state = match question {
            Question::Count => {
                let (most, gone) = rules;
                State::Count {
                    token,
                    deadline,
                    most: most as u64,
                    gone: (gone + self.refused_rules.len()) as u64,
                }
            }
            Question::Rules => {
                self.elsewhere = 0;
                self.by_refusal = std::mem::take(&mut self.refused);
                State::Reading(Reading::new(token, deadline))
            }
        };
    }

    /// The reading whose answer bears this token.
    pub(super) fn reading(&mut self, token: u32) -> Option<&mut Reading> {
        match &mut self.state {
            State::Reading(reading) if reading.token == token => Some(reading),
            State::Reading(_) | State::Idle | State::Count { .. } | State::Answered { .. } => None,
        }
    }

    /// Notes rules with the app's id that are not in its tables.
    pub(super) fn add_elsewhere(&mut self, rules: usize) {
        self.elsewhere += rules as u64;
    }

    /// Notes that the answer is complete.
    pub(super) fn answered(&mut self) {
        if let State::Reading(reading) = &mut self.state {
            self.state = State::Answered {
                read: std::mem::take(&mut reading.read),
                removed: std::mem::take(&mut reading.removed),
            };
        }
    }

    /// Takes the complete answer.
    pub(super) fn take_answer(&mut self) -> Option<(RuleSet, BTreeSet<RuleKey>)> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Answered { read, removed } => Some((read, removed)),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Notes a rule that the switch removed by itself, handled or waiting: the count may be with it or without it.
    pub(super) fn note_gone(&mut self) {
        if let State::Count { gone, .. } = &mut self.state {
            *gone += 1;
        }
    }

    pub(super) fn counts(&self, xid: u32) -> bool {
        matches!(self.state, State::Count { token, .. } if token == xid)
    }

    /// Handles the number of rules that the switch has.
    pub(super) fn counted(&mut self, count: u64, now: Instant) {
        let State::Count { most, gone, .. } = self.state else {
            return;
        };
        self.state = State::Idle;
        let own = count.saturating_sub(self.elsewhere);
        // After a refusal a reading is due anyway.
        if !self.refused {
            let agrees = (most.saturating_sub(gone)..=most).contains(&own);
            self.schedule.counted(agrees, now);
        }
    }

    /// Gives up counts: the switch refuses them.
    pub(super) fn counts_refused(&mut self) {
        self.state = State::Idle;
        self.schedule.counts_refused();
    }

    /// Gives up the question: the switch refuses it, or is too late.
    pub(super) fn give_up(&mut self, again: Instant) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Count { .. } => self.schedule.count_missing(),
            State::Reading(_) => self.read_by(again),
            State::Idle | State::Answered { .. } => {}
        }
    }

    /// Judges the result of a comparison, and logs it.
    pub(super) fn judge(&mut self, dpid: Dpid, mut finding: Finding, now: Instant) {
        let by_count = self.schedule.take_by_count();
        if self.by_refusal || self.refused {
            self.refused_rules.extend(finding.missing.drain(..));
        } else {
            let missing: BTreeSet<&RuleKey> = finding.missing.iter().collect();
            self.refused_rules.retain(|rule| missing.contains(rule));
            finding
                .missing
                .retain(|rule| !self.refused_rules.contains(rule));
        }
        if finding.is_empty() {
            if by_count && self.refused_rules.is_empty() {
                self.schedule.count_missing();
            }
            return;
        }
        self.schedule.found();
        let lasted = self.recurrence.lasts(now).is_some();
        let begins = self.recurrence.note(finding.rules().cloned(), now);
        self.last_finding = Some(now);
        let Finding {
            missing,
            changed,
            foreign,
        } = &finding;
        let (missing, changed, foreign) = (missing.len(), changed.len(), foreign.len());
        let Some(example) = finding.rules().next() else {
            return;
        };
        if begins {
            tracing::warn!(
                "alarm vanishing-rules on switch {dpid} began: rules vanish or change there again and again, without Morpheus, \
                 and are mended each time; now {missing} were missing, {changed} changed, {foreign} foreign, for example \
                 {example}; to end it: {}",
                morph_api::verification::MEND
            );
        } else if !lasted {
            tracing::warn!(
                "rules of switch {dpid} had vanished or changed without Morpheus: {missing} added again, {changed} changed \
                 back, {foreign} foreign ones removed; for example {example}"
            );
        }
    }

    /// Time since the beginning of the alarm, which may end now.
    pub(super) fn trouble(&mut self, dpid: Dpid, now: Instant) -> Option<Duration> {
        if self.recurrence.expire(now) {
            tracing::info!("alarm vanishing-rules on switch {dpid} ended");
        }
        self.recurrence.lasts(now)
    }
}
