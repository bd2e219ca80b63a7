//! Whether an instance still answers. One that hangs keeps its process and perhaps its session, so nothing else tells of it.
//!
//! A live instance that is stopped, or that nobody gives the CPU, for two seconds is none that hangs; one that hangs is found
//! out in less than five, with time left to replace it. What loads a large state answers late: it is seen to work.

use std::time::{Duration, Instant};

use crate::process::CpuTime;

/// Between two questions.
const PERIOD: Duration = Duration::from_millis(500);
/// It hangs when so many questions in a row had no answer and it did nothing meanwhile. Questions count, not time: a morphd
/// that was itself stopped for a while has asked nothing.
const STILL: u32 = 6;
/// One that was ready hangs after so many also if it uses the CPU, or waits for it. One that is not has its start deadline.
const BUSY: u32 = 8;

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

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// It is on its way to the instance.
    HandedOver,
    /// The proxy has no session with it.
    NoSession,
    /// The proxy is away: nothing can be said about the instance.
    Lost,
}

/// What is known of one instance.
#[derive(Debug)]
pub struct Pulse {
    unanswered: u32,
    /// Of them, those since it was last seen to do something.
    still: u32,
    cpu_time: Option<CpuTime>,
    next: Instant,
}

impl Pulse {
    /// It is there as of now.
    pub fn new(now: Instant) -> Self {
        Pulse {
            unanswered: 0,
            still: 0,
            cpu_time: None,
            next: now + PERIOD,
        }
    }

    /// When `beat` is due.
    pub fn next_deadline(&self) -> Instant {
        self.next
    }

    /// A deadline may have passed. `ready`: it has said so. `cpu_time` is looked up where it matters: what it did so far.
    pub fn beat(
        &mut self,
        now: Instant,
        ready: bool,
        cpu_time: impl FnOnce() -> Option<CpuTime>,
    ) -> Beat {
        if now < self.next {
            return Beat::Rest;
        }
        self.next = now + PERIOD;
        if self.unanswered > 0 {
            self.look(cpu_time());
        }
        if self.still >= STILL || (ready && self.unanswered >= BUSY) {
            Beat::Hung
        } else {
            Beat::Ask
        }
    }

    fn look(&mut self, cpu_time: Option<CpuTime>) {
        let before = std::mem::replace(&mut self.cpu_time, cpu_time);
        let did =
            matches!((before, cpu_time), (Some(before), Some(now)) if now.ticks > before.ticks);
        if did || cpu_time.is_some_and(|now| now.runnable) {
            self.still = 0;
        }
    }

    /// What became of the question. One that is `ready` and has no session has just lost it, which is told otherwise.
    pub fn asked(&mut self, question: Question, ready: bool) {
        match question {
            Question::HandedOver => {}
            Question::NoSession if !ready => {}
            Question::NoSession | Question::Lost => return self.heard(),
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.still = self.still.saturating_add(1);
    }

    /// It said something.
    pub fn heard(&mut self) {
        self.unanswered = 0;
        self.still = 0;
        self.cpu_time = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses no CPU, and waits for nothing that others have.
    const ASLEEP: Option<CpuTime> = Some(CpuTime {
        ticks: 7,
        runnable: false,
    });

    /// One after the other, each with a question; when it was found to hang.
    fn run(
        questions: u32,
        ready: bool,
        cpu_time: impl Fn(u32) -> Option<CpuTime>,
        mut ask: impl FnMut(u32, &mut Pulse),
    ) -> Option<Duration> {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        let hung = (1..=questions).find(|n| {
            let now = start + PERIOD * *n;
            let early = pulse.beat(now - Duration::from_millis(1), ready, || cpu_time(*n));
            assert_eq!(early, Beat::Rest);
            let beat = pulse.beat(now, ready, || cpu_time(*n));
            if beat == Beat::Ask {
                ask(*n, &mut pulse);
            }
            beat == Beat::Hung
        });
        hung.map(|n| PERIOD * n)
    }

    fn silent(ready: bool) -> impl FnMut(u32, &mut Pulse) {
        move |_, pulse| pulse.asked(Question::HandedOver, ready)
    }

    #[test]
    fn one_that_is_silent_and_still_hangs_after_three_seconds() {
        // The first question may come half a second after it has begun to hang.
        let found = Some(PERIOD * (STILL + 1));
        for ready in [true, false] {
            assert_eq!(run(30, ready, |_| ASLEEP, silent(ready)), found);
            assert_eq!(run(30, ready, |_| None, silent(ready)), found);
        }
        assert!(found <= Some(Duration::from_millis(3500)));
    }

    #[test]
    fn one_that_is_busy_has_longer_and_at_its_start_until_its_deadline() {
        let computes = |n| {
            Some(CpuTime {
                ticks: u64::from(n),
                runnable: false,
            })
        };
        let starved = |_| {
            Some(CpuTime {
                ticks: 7,
                runnable: true,
            })
        };
        let found = Some(PERIOD * (BUSY + 1));
        assert_eq!(run(60, true, computes, silent(true)), found);
        assert_eq!(run(60, true, starved, silent(true)), found);
        assert_eq!(run(60, false, computes, silent(false)), None);
        assert_eq!(run(60, false, starved, silent(false)), None);
        assert!(found <= Some(Duration::from_millis(4500)));
    }

    #[test]
    fn one_that_is_stopped_for_two_seconds_does_not_hang() {
        // In two seconds there are five questions at most.
        let stopped = |n, pulse: &mut Pulse| {
            pulse.asked(Question::HandedOver, true);
            if n % 5 == 0 {
                pulse.heard();
            }
        };
        assert_eq!(run(60, true, |_| ASLEEP, stopped), None);
    }

    #[test]
    fn one_that_never_comes_to_a_session_hangs_and_one_that_lost_it_does_not() {
        let without = |ready| move |_, pulse: &mut Pulse| pulse.asked(Question::NoSession, ready);
        let found = Some(PERIOD * (STILL + 1));
        assert_eq!(run(60, false, |_| ASLEEP, without(false)), found);
        assert_eq!(run(60, true, |_| ASLEEP, without(true)), None);
    }

    #[test]
    fn where_it_cannot_be_asked_nothing_is_known() {
        let sometimes = |n, pulse: &mut Pulse| match n % STILL {
            0 => pulse.asked(Question::Lost, true),
            _ => pulse.asked(Question::HandedOver, true),
        };
        assert_eq!(run(60, true, |_| ASLEEP, sometimes), None);
    }

    #[test]
    fn a_morphd_that_stood_still_asks_once() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        let later = start + PERIOD * 60;
        assert_eq!(pulse.beat(later, true, || ASLEEP), Beat::Ask);
        assert_eq!(pulse.beat(later, true, || ASLEEP), Beat::Rest);
    }
}
