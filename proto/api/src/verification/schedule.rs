//! Times of the questions by which the rules of one switch are verified.

use std::time::{Duration, Instant};

use super::{VerificationPeriods, place};

/// Number of counts without an answer, or that differed where the rules did not, after which a switch is asked for no more.
const USELESS: u8 = 3;

/// Question to a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Number of its rules.
    Count,
    /// All of its rules.
    Rules,
}

/// Times of the next questions to one switch. It says nothing of questions that are under way.
#[derive(Debug, Clone)]
pub struct Schedule {
    periods: VerificationPeriods,
    count_at: Option<Instant>,
    read_at: Option<Instant>,
    /// The reading that is due, or under way, was called for by a count.
    by_count: bool,
    /// Useless counts in a row, up to [`USELESS`].
    useless: u8,
}

impl Schedule {
    /// Makes a schedule without times.
    pub fn new(periods: VerificationPeriods) -> Self {
        Schedule {
            periods,
            count_at: None,
            read_at: None,
            by_count: false,
            useless: 0,
        }
    }

    /// Sets the first times. Each switch has its place in the periods.
    pub fn start(&mut self, dpid: u64, now: Instant) {
        let first = |period: Duration| (!period.is_zero()).then(|| now + place(dpid, period));
        self.count_at = first(self.periods.counts).filter(|_| self.useless < USELESS);
        self.read_at = first(self.periods.rules);
    }

    /// Forgets the times.
    pub fn stop(&mut self) {
        self.count_at = None;
        self.read_at = None;
        self.by_count = false;
    }

    /// Forgets that a count called for a reading: the switch is read for another reason.
    pub fn interrupt(&mut self) {
        self.by_count = false;
    }

    /// Time of the next question.
    pub fn due_at(&self) -> Option<Instant> {
        self.read_at.into_iter().chain(self.count_at).min()
    }

    /// Question that is due.
    pub fn due(&self, now: Instant) -> Option<Question> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match is_due(self.read_at) {
            true => Some(Question::Rules),
            false => is_due(self.count_at).then_some(Question::Count),
        }
    }

    /// Notes that a question is asked. A reading makes the next count superfluous for a period.
    pub fn asked(&mut self, question: Question, now: Instant) {
        let next = |period: Duration| (!period.is_zero()).then(|| now + period);
        self.count_at = self.count_at.and(next(self.periods.counts));
        if question == Question::Rules {
            self.read_at = next(self.periods.rules);
        }
    }

    /// Calls for a reading by this time.
    pub fn read_by(&mut self, at: Instant) {
        self.read_at = Some(self.read_at.map_or(at, |before| before.min(at)));
    }

    /// Notes whether a count agrees with the wanted rules. If not, a reading is due now.
    pub fn counted(&mut self, agrees: bool, now: Instant) {
        if agrees {
            self.useless = 0;
        } else {
            self.by_count = true;
            self.read_by(now);
        }
    }

    /// Gives up counts: the switch refuses them.
    pub fn counts_refused(&mut self) {
        self.useless = USELESS;
        self.count_at = None;
    }

    /// Notes a count that was not answered.
    pub fn count_missing(&mut self) {
        self.useless = (self.useless + 1).min(USELESS);
        if self.useless == USELESS {
            self.count_at = None;
        }
    }

    /// Takes the end of a reading. True if a count called for it.
    pub fn take_by_count(&mut self) -> bool {
        std::mem::take(&mut self.by_count)
    }

    /// Notes that a reading has found something, so counts are not useless.
    pub fn found(&mut self) {
        self.useless = 0;
    }
}
