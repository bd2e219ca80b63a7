//! Whether the proxy and the store daemon still answer. One that hangs keeps its process and its sockets, so nothing else
//! tells of it.
//!
//! ```text
//!   Answers --3 unanswered--> Hung --8 unanswered--> Hung, and to be replaced where that is safe
//!      ^                        |
//!      +------- an answer, or another process ------+
//! ```

use std::time::{Duration, Instant};

/// Between an answer and the next question.
const PERIOD: Duration = Duration::from_secs(1);
/// For an answer.
pub const ANSWER: Duration = Duration::from_millis(1500);
/// It hangs when so many questions in a row had no answer. Questions count, not time: a morphd that was itself stopped for
/// a while has asked nothing.
const UNANSWERED: u32 = 3;
/// It is given up then.
const GIVEN_UP: u32 = 8;

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Answered,
    /// None in time, though somebody took the question.
    Silent,
    /// Nobody is there to be asked: others see to that.
    Away,
}

/// What is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It does not answer any longer.
    Hangs,
    /// It has been silent for so long that another one should take its place, if that is safe.
    GivenUp,
    /// It answers again.
    Back,
}

/// What is known of one part.
#[derive(Debug)]
pub struct Answers {
    unanswered: u32,
    /// None: a question is under way.
    next: Option<Instant>,
}

impl Answers {
    /// Of a process that is there as of now.
    pub fn new(now: Instant) -> Self {
        Answers {
            unanswered: 0,
            next: Some(now + PERIOD),
        }
    }

    /// When `is_due` is to be asked.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Whether to ask now; the outcome has to follow.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.next.take_if(|at| *at <= now).is_some()
    }

    /// It hangs.
    pub fn hangs(&self) -> bool {
        self.unanswered >= UNANSWERED
    }

    /// The outcome of the question.
    pub fn outcome(&mut self, outcome: Outcome, now: Instant) -> Option<News> {
        let hung = self.hangs();
        self.next = Some(now + PERIOD);
        match outcome {
            Outcome::Silent => {
                self.unanswered = self.unanswered.saturating_add(1);
                match self.unanswered {
                    UNANSWERED => Some(News::Hangs),
                    GIVEN_UP => Some(News::GivenUp),
                    _ => None,
                }
            }
            Outcome::Answered | Outcome::Away => {
                self.unanswered = 0;
                (hung && outcome == Outcome::Answered).then_some(News::Back)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The news of these outcomes, one a question: A, S or -.
    fn news(outcomes: &str) -> Vec<(usize, News)> {
        let mut now = Instant::now();
        let mut answers = Answers::new(now);
        let mut news = Vec::new();
        for (index, outcome) in outcomes.chars().enumerate() {
            assert!(!answers.is_due(now));
            now = answers.next_deadline().unwrap();
            assert!(answers.is_due(now) && !answers.is_due(now), "once");
            assert_eq!(answers.next_deadline(), None);
            let outcome = match outcome {
                'A' => Outcome::Answered,
                'S' => Outcome::Silent,
                _ => Outcome::Away,
            };
            news.extend(answers.outcome(outcome, now).map(|what| (index, what)));
        }
        news
    }

    #[test]
    fn silence_is_told_once_and_so_is_its_end() {
        assert_eq!(news("AASSSSA"), [(4, News::Hangs), (6, News::Back)]);
        let given_up = [(2, News::Hangs), (7, News::GivenUp)];
        assert_eq!(news("SSSSSSSSSS"), given_up);
    }

    #[test]
    fn one_that_is_slow_or_away_does_not_hang() {
        assert!(news("SSASSASSA").is_empty());
        assert!(news("SS-SS-SS-A").is_empty());
        assert_eq!(news("SSS-A"), [(2, News::Hangs)], "another process answers");
    }
}
