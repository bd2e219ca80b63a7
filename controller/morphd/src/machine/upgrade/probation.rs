//! The probation of a target: when it ends, and what is held against the target meanwhile.

use std::time::{Duration, Instant};

use super::messages::{AnswerTimes, HealthReport, Load, StandingFaults};

/// Between two samples of the load.
pub(super) const SAMPLE: Duration = Duration::from_millis(500);
/// A target that answers nothing for so long while it has a delivered event has stalled.
const STALL: Duration = Duration::from_secs(2);
/// A target whose answers take so many times as long as the source's is too slow ...
const SLOWDOWN: u64 = 10;
/// ... where they also take longer than this, in microseconds.
const SLOW_US: u64 = 50_000;
/// A probation lasts at most so many times its length, where the target has handled too few events.
const EXTENSION: u32 = 3;
/// Fewer answers than this are no measure.
const MIN_ANSWERS: u64 = 20;
/// Fewer errors than this are no rate.
const MIN_ERRORS: u64 = 3;

#[derive(Debug, Clone, Default)]
pub(super) struct Probation {
    end: Option<Instant>,
    /// Latest end, where the target has handled too few events by then; `None` once that counts.
    bound: Option<Instant>,
    sample_at: Option<Instant>,
    /// A sample was taken since the target is live.
    sampled: bool,
    /// Number of answers at the last sample, if an event was unanswered then.
    standstill: Option<u64>,
    /// Answers of the source, as far as they were seen.
    source_answers: AnswerTimes,
}

/// Action that is due in a probation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Sample,
    End,
}

impl Probation {
    pub(super) fn begin(&mut self, now: Instant, length: Duration) {
        self.end = Some(now + length);
        self.bound = Some(now + length * EXTENSION);
        self.sample_at = Some(now + SAMPLE);
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        if self.end.is_some_and(|end| end <= now) {
            return Due::End;
        }
        if self.sample_at.is_some_and(|at| at <= now) {
            self.sample_at = Some(now + SAMPLE);
            self.sampled = true;
            return Due::Sample;
        }
        Due::Nothing
    }

    /// Puts the end off to the latest one, once. Returns the time until then.
    pub(super) fn extend(&mut self, now: Instant) -> Option<Duration> {
        let bound = self.bound.take().filter(|bound| *bound > now)?;
        self.end = Some(bound);
        Some(bound - now)
    }

    pub(super) fn is_extended(&self) -> bool {
        self.end.is_some() && self.bound.is_none()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.end, self.sample_at].into_iter().flatten().min()
    }

    pub(super) fn has_sampled(&self) -> bool {
        self.sampled
    }

    /// A sample of the source, before the hand-over.
    pub(super) fn note_source(&mut self, load: Option<Load>) {
        self.standstill = None;
        if let Some(load) = load {
            self.source_answers = load.answers;
        }
    }

    /// Objection to the target, from a sample of its load. Without an answer of the proxy or the store there is none.
    pub(super) fn judge_load(&mut self, load: Option<Load>) -> Option<String> {
        let Some(load) = load else {
            self.standstill = None;
            return None;
        };
        let stalled = self.stalled(load);
        stalled.or_else(|| self.slow(load.answers))
    }

    /// Tells that delivered events stay unanswered. Two samples have to agree: after a pause of the proxy the first one may not count
    /// answers that have come meanwhile.
    fn stalled(&mut self, load: Load) -> Option<String> {
        let Load { silent, answers } = load;
        let unanswered = (!silent.is_zero()).then_some(answers.count);
        let before = std::mem::replace(&mut self.standstill, unanswered);
        (silent >= STALL && before == unanswered).then(|| {
            let seconds = silent.as_secs_f64();
            format!("it has not answered what it was given for {seconds:.1} s")
        })
    }

    fn slow(&self, target: AnswerTimes) -> Option<String> {
        let source = self.source_answers;
        let mean = |answers: AnswerTimes| answers.us.checked_div(answers.count);
        let (was, is) = (mean(source)?, mean(target)?);
        let measured = source.count >= MIN_ANSWERS && target.count >= MIN_ANSWERS;
        let slow = measured && is >= SLOW_US && is / SLOWDOWN >= was.max(1);
        slow.then(|| {
            format!("it answers an event in {is} us, and the release before took {was} us")
        })
    }
}

/// Objection to a target, from its report on itself. Three errors of any kind are too many; but what comes from the network may
/// make any release fail at some events, so there a rate counts.
pub(super) fn judge_health(health: &HealthReport) -> Option<String> {
    let HealthReport {
        events,
        errors,
        failures,
        refused_rules,
        faults,
        faults_before,
        unhealthy,
    } = health;
    if let Some(why) = unhealthy {
        return Some(format!("the app says that it is not healthy: {why}"));
    }
    if *errors >= MIN_ERRORS && errors.saturating_mul(10) > *events {
        return Some(format!("{errors} of its {events} events ended in errors"));
    }
    if *refused_rules >= MIN_ERRORS {
        return Some(format!("switches refused {refused_rules} of its rules"));
    }
    if failures + refused_rules >= MIN_ERRORS {
        return Some(format!(
            "{failures} of its ticks and changes of rows ended in errors, and switches refused {refused_rules} of its rules"
        ));
    }
    judge_faults(*faults, (*faults_before)?)
}

/// Objection to what is wrong with the target all the time and was not with the source.
fn judge_faults(faults: StandingFaults, before: StandingFaults) -> Option<String> {
    let StandingFaults {
        rules_left_out,
        rules_disputed,
        alarms_left_out,
    } = faults;
    if rules_left_out > before.rules_left_out {
        let was = before.rules_left_out;
        return Some(format!(
            "{rules_left_out} of its rules are left out, as they cannot be ({was} were before): its log says which"
        ));
    }
    if rules_disputed > before.rules_disputed {
        let was = before.rules_disputed;
        return Some(format!(
            "it states {rules_disputed} rules twice, with different bodies ({was} before): rules of one table, priority and match"
        ));
    }
    (alarms_left_out && !before.alarms_left_out).then(|| "it has more alarms than are kept".into())
}
