//! Periods of the verification: how often the rules of a connected switch are compared with the wanted ones.
//!
//! Switches have different places within a period, so that a thousand of them are not asked at once.

mod recurrence;
mod schedule;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use recurrence::Recurrence;
pub use schedule::{Question, Schedule};

/// Environment variable that tells an instance the periods.
pub const VARIABLE: &str = "MORPH_VERIFY";
/// Mend of rules that vanish again and again, for operators.
pub const MEND: &str = "find what else writes to the switch, such as another controller or a script; if nothing does, its table \
    is too small for all rules, and evicts some";
/// Longest period in seconds: a day.
const LONGEST: u64 = 86_400;

/// Periods of the verification; zero stands for never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationPeriods {
    /// Time from one count of rules to the next.
    pub counts: Duration,
    /// Time from one reading of whole tables to the next.
    pub rules: Duration,
}

impl Default for VerificationPeriods {
    fn default() -> Self {
        VerificationPeriods {
            counts: Duration::from_secs(30),
            rules: Duration::from_secs(300),
        }
    }
}

impl VerificationPeriods {
    /// No verification.
    pub const OFF: Self = VerificationPeriods {
        counts: Duration::ZERO,
        rules: Duration::ZERO,
    };

    /// Checks periods in whole seconds.
    pub fn of_seconds(counts: u64, rules: u64) -> Result<Self, String> {
        for period in [counts, rules] {
            if period > LONGEST {
                return Err(format!(
                    "{period} s is longer than a day, {LONGEST} s; 0 switches the verification off"
                ));
            }
        }
        Ok(VerificationPeriods {
            counts: Duration::from_secs(counts),
            rules: Duration::from_secs(rules),
        })
    }

    /// Time in which findings count as the same trouble.
    fn window(self) -> Duration {
        /// With no periods, findings still come from what switches report.
        const WITHOUT_PERIODS: Duration = Duration::from_secs(900);
        let window = self.rules.saturating_mul(3);
        let window = window.max(self.counts.saturating_mul(10));
        match window.is_zero() {
            true => WITHOUT_PERIODS,
            false => window,
        }
    }
}

/// Part of a period after which a switch is asked for the first time: between none and all of it, by its datapath id. Ids in
/// sequence are far from each other.
pub fn place(dpid: u64, period: Duration) -> Duration {
    /// 2^64 divided by the golden ratio: multiples of it are spread evenly.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let part = dpid.wrapping_mul(GOLDEN) >> 48;
    period.saturating_mul(part as u32) / (1 << 16)
}

impl fmt::Display for VerificationPeriods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.counts.as_secs(), self.rules.as_secs())
    }
}

impl FromStr for VerificationPeriods {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is not COUNTS,RULES in seconds, for example 30,300");
        let (counts, rules) = text.split_once(',').ok_or_else(invalid)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| invalid());
        Self::of_seconds(number(counts)?, number(rules)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_as_they_are_written_and_mistakes_are_named() {
        for periods in [VerificationPeriods::default(), VerificationPeriods::OFF] {
            assert_eq!(periods.to_string().parse(), Ok(periods));
        }
        for wrong in ["", "30", "30,", "a,1", "-1,5", "1,2,3", "1.5,3"] {
            let error = wrong.parse::<VerificationPeriods>().unwrap_err();
            assert!(error.contains("30,300"), "{error}");
        }
        let error = "30,86401".parse::<VerificationPeriods>().unwrap_err();
        assert!(error.contains("86401"), "{error}");
    }

    #[test]
    fn a_thousand_switches_are_spread_over_the_period() {
        let period = Duration::from_secs(30);
        let mut by_second = [0; 30];
        for dpid in 1..=1000 {
            let place = place(dpid, period);
            assert!(place < period);
            by_second[place.as_secs() as usize] += 1;
        }
        assert!(
            by_second.iter().all(|count| (25..45).contains(count)),
            "{by_second:?}"
        );
        assert_eq!(place(7, Duration::ZERO), Duration::ZERO);
    }
}
