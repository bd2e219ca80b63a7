//! Rules in one connected switch, as far as they are known.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use morph_api::verification::VerificationPeriods;
use morph_openflow::SkippedRule;
use morph_openflow::rule::{RuleKey, RuleSet, from_stats};
use morph_openflow::v13::{self, MultipartBody};

use super::entries::Entries;
use super::reading::Reading;
use super::verification::{Question, Verification};
use super::window::RuleWindow;
use super::writer::RuleWriter;
use crate::Dpid;

/// First deadline of a switch's answer to a reading, and of each further part of it. Doubled with each answer that is late.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest such deadline.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);
/// Number of late answers after which the deadline is the longest.
const LATE: u32 = 4;
/// Backoff before a failed reading is tried again, doubled with each failure.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
/// Longest backoff before a switch is read again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(super) enum ReadState {
    /// Not asked, or asked without success.
    Unread {
        /// Time of the next question after a failure.
        not_before: Option<Instant>,
    },
    Reading(Reading),
    /// The answer is complete, and the next turn compares it.
    Read {
        read: RuleSet,
        removed: BTreeSet<RuleKey>,
    },
    /// Compared with the wanted rules. Changes keep it in line, and the verification looks for what others change.
    Compared,
}

#[derive(Debug, Clone)]
pub(super) struct SwitchRules {
    app: u8,
    pub(super) channel: u32,
    pub(super) state: ReadState,
    writer: Box<RuleWriter>,
    verification: Box<Verification>,
    limit: RuleWindow,
    /// Failed readings and refused rules since the switch connected, or was marked as unread.
    failures: u32,
    /// Time of another reading, because the switch has refused a rule that was sent since the question.
    refused: Option<Instant>,
    /// Answers that were late since the switch connected, counted up to [`LATE`].
    late: u32,
    /// The log says that rules of the switch cannot be decoded.
    skipped_logged: bool,
}

impl SwitchRules {
    pub(super) fn new(
        app: u8,
        channel: u32,
        limit: RuleWindow,
        periods: VerificationPeriods,
    ) -> Self {
        SwitchRules {
            app,
            channel,
            state: ReadState::Unread { not_before: None },
            writer: Box::new(RuleWriter::new(limit, Entries::new(app))),
            verification: Box::new(Verification::new(periods)),
            limit,
            failures: 0,
            refused: None,
            late: 0,
            skipped_logged: false,
        }
    }

    /// Whether anything is to be done or awaited.
    pub(super) fn is_unsettled(&self) -> bool {
        match &self.state {
            ReadState::Unread { .. } | ReadState::Reading(_) | ReadState::Read { .. } => true,
            ReadState::Compared => self.verification.is_busy() || self.writer.is_unsettled(),
        }
    }

    /// Forgets what is known: others may have written to the switch.
    pub(super) fn mark_unread(&mut self) {
        self.state = ReadState::Unread { not_before: None };
        *self.writer = RuleWriter::new(self.limit, Entries::new(self.app));
        self.verification.stop();
        self.failures = 0;
        self.refused = None;
    }

    pub(super) fn is_to_be_read(&self, now: Instant) -> bool {
        match &self.state {
            ReadState::Unread { not_before } => not_before.is_none_or(|at| at <= now),
            ReadState::Reading(reading) => reading.is_late && reading.deadline <= now,
            ReadState::Read { .. } | ReadState::Compared => false,
        }
    }

    /// Begins a reading, whose answer bears this token. It shows all that was sent before.
    pub(super) fn begin_reading(&mut self, token: u32, now: Instant) {
        self.writer.begin_reading();
        self.verification.stop();
        self.refused = None;
        self.state = ReadState::Reading(Reading::new(token, now + self.answer_limit()));
    }

    /// Question of the verification that is due. None is asked while changes wait: they would be missing in the answer.
    pub(super) fn verification_due(&self, now: Instant) -> Option<Question> {
        let is_idle = self.is_compared() && self.writer.is_idle();
        is_idle.then(|| self.verification.due(now)).flatten()
    }

    /// Begins a question of the verification, whose answer bears this token.
    pub(super) fn verify(&mut self, question: Question, token: u32, now: Instant) {
        if question == Question::Rules {
            self.writer.entries_mut().read_again();
        }
        self.writer.begin_verification();
        let (rules, limit) = (self.writer.count(), self.answer_limit());
        self.verification.ask(question, token, rules, now, limit);
    }

    /// Time of the verification's next question.
    pub(super) fn verification_at(&self) -> Option<Instant> {
        let is_idle = self.is_compared() && !self.verification.is_busy();
        is_idle.then(|| self.verification.due_at()).flatten()
    }

    /// Handles a removal that is no timeout. A rule that is still wanted calls for a reading.
    pub(super) fn removal_reported(&mut self, key: &RuleKey, now: Instant) {
        if self.is_compared() && self.writer.knows(key) {
            self.verification.removal_reported(now);
        }
    }

    /// Time since the beginning of the alarm that rules vanish, which may end now.
    pub(super) fn trouble(&mut self, dpid: Dpid, now: Instant) -> Option<Duration> {
        self.verification.trouble(dpid, now)
    }

    fn answer_limit(&self) -> Duration {
        ANSWER.saturating_mul(1 << self.late).min(LONGEST_ANSWER)
    }

    /// Compares a complete answer with the wanted rules.
    pub(super) fn compare(&mut self, dpid: Dpid, wanted: &RuleSet, now: Instant) {
        if let ReadState::Read { read, removed } = &mut self.state {
            let (read, removed) = (std::mem::take(read), std::mem::take(removed));
            self.writer.compare(read, &removed, wanted);
            self.state = ReadState::Compared;
            self.verification.start(dpid, now);
            if let Some(at) = self.refused.take() {
                self.verification.rule_refused(at);
            }
        } else if let Some((read, removed)) = self.verification.take_answer() {
            let finding = self.writer.verify(read, &removed, wanted);
            self.verification.judge(dpid, finding, now);
        }
    }

    /// Notes a rule that the switch removed by itself.
    pub(super) fn note_expired(&mut self, key: RuleKey) {
        self.verification.note_gone();
        self.writer.note_expired(key);
    }

    /// Notes a rule whose wanted form has changed. Where the switch is not compared yet, the comparison will show it, so only
    /// an `urgent` change is sent before.
    pub(super) fn note(&mut self, key: RuleKey, wanted: Option<&RuleSet>, urgent: bool) {
        let is_asked = match &self.state {
            ReadState::Unread { not_before } => not_before.is_some(),
            ReadState::Reading(_) | ReadState::Read { .. } => true,
            ReadState::Compared => return self.writer.note(key, wanted),
        };
        if is_asked && (urgent || self.writer.knows(&key)) {
            self.writer.note(key, wanted);
        }
    }

    /// Whether its rules are known, so that changes may be held back.
    pub(super) fn is_compared(&self) -> bool {
        matches!(self.state, ReadState::Compared)
    }

    /// Whether it has been read, or could not be.
    pub(super) fn was_read(&self) -> bool {
        match self.state {
            ReadState::Read { .. } | ReadState::Compared => true,
            ReadState::Unread { .. } | ReadState::Reading(_) => self.failures > 0,
        }
    }

    /// Whether messages are to be sent to bring its rules in line.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        match &self.state {
            ReadState::Unread { not_before: None } => false,
            ReadState::Read { .. } => true,
            ReadState::Unread { .. } | ReadState::Reading(_) | ReadState::Compared => {
                self.verification.is_answered() || self.writer.has_work(now)
            }
        }
    }

    /// Whether it has confirmed the changes found by the reading, and that was reported.
    pub(super) fn is_in_step(&self) -> bool {
        self.is_compared() && self.writer.is_in_step()
    }

    pub(super) fn writer(&self) -> &RuleWriter {
        &self.writer
    }

    pub(super) fn writer_mut(&mut self) -> &mut RuleWriter {
        &mut self.writer
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
        let at = now + self.backoff();
        let is_new = match &self.state {
            ReadState::Compared => self.verification.rule_refused(at),
            ReadState::Unread { .. } | ReadState::Reading(_) | ReadState::Read { .. } => {
                self.refused.replace(self.refused.unwrap_or(at)).is_none()
            }
        };
        if is_new {
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn backoff(&self) -> Duration {
        SHORTEST_BACKOFF
            .saturating_mul(1 << self.failures.min(6))
            .min(LONGEST_BACKOFF)
    }

    /// Notes that an answer is late. It still counts until the switch is asked again, unless it is one of the verification.
    pub(super) fn expire(&mut self, dpid: Dpid, now: Instant) {
        let deadline = self.verification.deadline();
        if deadline.is_some_and(|at| at <= now) {
            let limit = self.answer_limit();
            tracing::warn!(
                "switch {dpid} did not answer a question for the verification of its rules within {limit:?}"
            );
            self.late = (self.late + 1).min(LATE);
            self.give_up_verification(now);
        }
        let is_due = |reading: &Reading| !reading.is_late && reading.deadline <= now;
        if !matches!(&self.state, ReadState::Reading(reading) if is_due(reading)) {
            return;
        }
        let limit = self.answer_limit();
        self.failures = self.failures.saturating_add(1);
        self.late = (self.late + 1).min(LATE);
        let backoff = self.backoff();
        tracing::warn!(
            "switch {dpid} did not report its rules within {limit:?}, and is asked again in {backoff:?}"
        );
        if let ReadState::Reading(reading) = &mut self.state {
            reading.is_late = true;
            reading.deadline = now + backoff;
        }
    }

    fn give_up_verification(&mut self, now: Instant) {
        self.verification.give_up(now + LONGEST_BACKOFF);
        self.writer.end_verification();
    }

    /// Handles an error that answers a request with this token.
    pub(super) fn refused_request(&mut self, xid: u32, now: Instant) {
        match &self.state {
            ReadState::Reading(reading) if reading.token == xid => self.fail(now),
            // A switch that refuses a barrier has come to it.
            _ if self.verification.reading(xid).is_some() => self.give_up_verification(now),
            _ => self.writer.confirm(xid),
        }
    }

    /// Handles the refusal of a count. False if this token is of something else.
    pub(super) fn refused_count(&mut self, xid: u32) -> bool {
        let is_count = self.verification.counts(xid);
        if is_count {
            self.verification.counts_refused();
            self.writer.end_verification();
        }
        is_count
    }

    /// Adds a part of the answer to the newest question. A further part has as much time as the first one.
    pub(super) fn statistics(&mut self, xid: u32, reply: v13::MultipartReply, now: Instant) {
        let limit = self.answer_limit();
        let rules = match reply.body {
            MultipartBody::Flow(rules) => rules,
            MultipartBody::Aggregate(sum) if self.verification.counts(xid) => {
                self.verification.counted(sum.flow_count.into(), now);
                return self.writer.end_verification();
            }
            _ => return,
        };
        let is_verification = self.verification.reading(xid).is_some();
        let Some(reading) = self.reading(xid) else {
            return;
        };
        let all = rules.len();
        // In table 0 a rule with the app's id belongs to Morpheus. In other tables it may be left from a move.
        let own = rules.iter().filter(|rule| rule.table_id != 0);
        let before = reading.read.len();
        reading.read.extend(own.map(from_stats));
        reading.deadline = reading.deadline.max(now + limit);
        let elsewhere = (before + all).saturating_sub(reading.read.len());
        self.verification.add_elsewhere(elsewhere);
        if reply.more {
            return;
        }
        if is_verification {
            self.verification.answered();
        } else if let ReadState::Reading(reading) = &mut self.state {
            self.state = ReadState::Read {
                read: std::mem::take(&mut reading.read),
                removed: std::mem::take(&mut reading.removed),
            };
        }
    }

    /// The reading whose answer bears this token.
    fn reading(&mut self, token: u32) -> Option<&mut Reading> {
        match &mut self.state {
            ReadState::Reading(reading) => Some(reading).filter(|reading| reading.token == token),
            ReadState::Compared => self.verification.reading(token),
            ReadState::Unread { .. } | ReadState::Read { .. } => None,
        }
    }

    /// Notes a rule that is missing in the answer with this token, because its removal is an event that waits.
    pub(super) fn removal_waits(&mut self, xid: u32, key: RuleKey) {
        if self.verification.counts(xid) {
            self.verification.note_gone();
        } else if let Some(reading) = self.reading(xid) {
            reading.removed.insert(key);
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

    /// Time at which the reading, or the verification if it goes on, has something to do.
    pub(super) fn next_deadline(&self, verifies: bool) -> Option<Instant> {
        let of_entries = self.writer.entries().next_deadline();
        let of_rules = self.next_deadline_of_rules(verifies);
        of_rules.into_iter().chain(of_entries).min()
    }

    fn next_deadline_of_rules(&self, verifies: bool) -> Option<Instant> {
        match &self.state {
            ReadState::Unread { not_before } => *not_before,
            ReadState::Reading(reading) => Some(reading.deadline),
            ReadState::Read { .. } => None,
            ReadState::Compared if !verifies => None,
            ReadState::Compared if self.verification.is_busy() => self.verification.deadline(),
            // The answer that the changes wait for comes first.
            ReadState::Compared if !self.writer.is_idle() => None,
            ReadState::Compared => self.verification.due_at(),
        }
    }
}
