//! Findings of the verification of one switch: whether the same rules vanish or change again and again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::VerificationPeriods;

/// Number of findings, among them one of a rule that was found before, that make a trouble.
const FINDINGS: usize = 3;
/// Most rules that are remembered.
const RULES: usize = 1000;

/// Recent findings on one switch, by rule.
#[derive(Debug, Clone)]
pub struct Recurrence<K> {
    /// Rules that were found, with the time of the last finding.
    found: BTreeMap<K, Instant>,
    /// Times of the last findings.
    findings: VecDeque<Instant>,
    /// Beginning of the trouble that lasts.
    began: Option<Instant>,
    window: Duration,
}

impl<K: Ord> Recurrence<K> {
    /// Makes a memory without findings.
    pub fn new(periods: VerificationPeriods) -> Self {
        Recurrence {
            found: BTreeMap::new(),
            findings: VecDeque::new(),
            began: None,
            window: periods.window(),
        }
    }

    /// Notes the rules of a finding. True if a trouble begins with it.
    pub fn note(&mut self, rules: impl IntoIterator<Item = K>, now: Instant) -> bool {
        self.forget(now);
        let mut repeats = false;
        for rule in rules {
            let is_known = self.found.contains_key(&rule);
            repeats |= is_known;
            if is_known || self.found.len() < RULES {
                self.found.insert(rule, now);
            }
        }
        self.findings.push_back(now);
        if self.findings.len() > FINDINGS {
            self.findings.pop_front();
        }
        let begins = self.began.is_none() && repeats && self.findings.len() == FINDINGS;
        if begins {
            self.began = self.findings.front().copied();
        }
        begins
    }

    /// Number of findings that count.
    pub fn findings(&self) -> usize {
        self.findings.len()
    }

    /// Ends a trouble without findings for long. True if one ends.
    pub fn expire(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.findings.is_empty() && self.began.take().is_some()
    }

    /// Time since the beginning of a trouble.
    pub fn lasts(&self, now: Instant) -> Option<Duration> {
        self.began.map(|began| now.saturating_duration_since(began))
    }

    fn forget(&mut self, now: Instant) {
        let window = self.window;
        let counts = |at: &Instant| *at + window > now;
        self.findings.retain(counts);
        self.found.retain(|_, at| counts(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_trouble_is_the_third_finding_with_a_rule_found_before_and_ends_without_findings() {
        let mut recurrence = Recurrence::new(VerificationPeriods::default());
        let mut now = Instant::now();
        // Different rules each time, as when somebody deletes by hand.
        for rule in 0..5 {
            assert!(!recurrence.note([rule], now));
            now += MINUTE;
        }
        assert!(recurrence.note([9, 4], now));
        assert!(!recurrence.note([4], now), "it began already");
        assert_eq!(recurrence.lasts(now), Some(2 * MINUTE));
        assert!(!recurrence.expire(now + 14 * MINUTE));
        assert!(recurrence.expire(now + 15 * MINUTE));
        assert!(!recurrence.expire(now + 16 * MINUTE));
        assert_eq!(recurrence.lasts(now), None);
    }

    #[test]
    fn findings_that_are_long_ago_do_not_count() {
        let mut recurrence = Recurrence::new(VerificationPeriods::default());
        let now = Instant::now();
        for time in 0..6 {
            assert!(!recurrence.note([1], now + time * 8 * MINUTE));
        }
        assert!(recurrence.findings() < FINDINGS);
    }

    #[test]
    fn memory_is_bounded() {
        let mut recurrence = Recurrence::new(VerificationPeriods::OFF);
        let now = Instant::now();
        for rule in 0..5000 {
            recurrence.note([rule], now);
        }
        assert_eq!(
            (recurrence.found.len(), recurrence.findings()),
            (RULES, FINDINGS)
        );
    }
}
