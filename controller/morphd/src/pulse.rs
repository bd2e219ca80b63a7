//! Whether an instance still answers. One that hangs keeps its process and its session, so nothing else tells of it.

use std::time::{Duration, Instant};

/// Between two questions.
const PERIOD: Duration = Duration::from_secs(1);
/// It hangs when so many questions in a row had no answer. Questions count, not time: a morphd that was itself stopped
/// for a while has asked nothing.
const UNANSWERED: u32 = 5;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing.
    Rest,
    /// Ask it.
    Ask,
    /// It hangs.
    Hung,
}

/// What is known of one instance.
#[derive(Debug)]
pub struct Pulse {
    unanswered: u32,
    next: Instant,
}

impl Pulse {
    /// It is there as of now.
    pub fn new(now: Instant) -> Self {
        Pulse {
            unanswered: 0,
            next: now + PERIOD,
        }
    }

    /// When `beat` is due.
    pub fn next_deadline(&self) -> Instant {
        self.next
    }

    /// A deadline may have passed.
    pub fn beat(&mut self, now: Instant) -> Beat {
        if now < self.next {
            return Beat::Rest;
        }
        self.next = now + PERIOD;
        if self.unanswered >= UNANSWERED {
            Beat::Hung
        } else {
            Beat::Ask
        }
    }

    /// The question is on its way, or could not be handed over: then nothing can be said about the instance.
    pub fn asked(&mut self, handed_over: bool) {
        self.unanswered = if handed_over { self.unanswered + 1 } else { 0 };
    }

    /// It said something.
    pub fn heard(&mut self) {
        self.unanswered = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds, each with a question that is answered by `answer`; when it was found to hang.
    fn run(seconds: u32, mut answer: impl FnMut(u32, &mut Pulse)) -> Option<u32> {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        (1..=seconds).find(|second| {
            let now = start + PERIOD * *second;
            assert_eq!(pulse.beat(now - Duration::from_millis(1)), Beat::Rest);
            let beat = pulse.beat(now);
            if beat == Beat::Ask {
                answer(*second, &mut pulse);
            }
            beat == Beat::Hung
        })
    }

    #[test]
    fn one_that_is_silent_hangs() {
        assert_eq!(run(9, |_, pulse| pulse.asked(true)), Some(UNANSWERED + 1));
    }

    #[test]
    fn one_that_answers_late_does_not() {
        let late = |second, pulse: &mut Pulse| {
            pulse.asked(true);
            if second % 4 == 0 {
                pulse.heard();
            }
        };
        assert_eq!(run(60, late), None);
    }

    #[test]
    fn where_it_cannot_be_asked_nothing_is_known() {
        assert_eq!(run(60, |second, p| p.asked(second % 5 != 0)), None);
    }

    #[test]
    fn a_morphd_that_stood_still_asks_once() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        let later = start + PERIOD * 60;
        assert_eq!(pulse.beat(later), Beat::Ask);
        assert_eq!(pulse.beat(later), Beat::Rest);
    }
}
