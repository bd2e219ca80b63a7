//! Bounded logs of what repeats: the first line in full, then a count each minute.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Time after which further lines of a kind are told as a count.
const MINUTE: Duration = Duration::from_secs(60);
/// Most kinds that are told apart. What is beyond is counted together: kinds may come from strangers.
const KINDS: usize = 1000;
/// Name of the kinds beyond the limit.
const OTHERS: &str = "lines of other kinds";

#[derive(Debug, Clone, Copy)]
struct Kind {
    /// End of the minute in which lines are counted.
    until: Instant,
    count: u64,
}

/// Lines of a log, by kind. A kind is a text that says of whom and what the line is; it ends the line with its count.
#[derive(Clone, Default)]
pub struct Repeats {
    kinds: BTreeMap<String, Kind>,
}

/// Shows no lines: a log is no part of the state of its owner, where that is shown or compared.
impl fmt::Debug for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Repeats")
    }
}

impl Repeats {
    /// Notes a line. Returns whether it is to be written in full: it is the first of its kind for a minute or more.
    pub fn note(&mut self, kind: &str, now: Instant) -> bool {
        if let Some(known) = self.kinds.get_mut(kind) {
            known.count += 1;
            return false;
        }
        let until = now + MINUTE;
        if self.kinds.len() < KINDS {
            self.kinds.insert(kind.to_owned(), Kind { until, count: 0 });
            return true;
        }
        let others = self.kinds.entry(OTHERS.to_owned());
        others.or_insert(Kind { until, count: 0 }).count += 1;
        false
    }

    /// Takes the counts that are due, as lines to be written. A kind without further lines in its minute is forgotten.
    pub fn due(&mut self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        self.kinds.retain(|kind, Kind { until, count }| {
            if *until > now {
                return true;
            }
            let repeated = std::mem::take(count);
            *until = now + MINUTE;
            if repeated > 0 {
                lines.push(format!("{repeated} more in the last minute: {kind}"));
            }
            repeated > 0
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_line_is_written_and_then_a_count_each_minute_until_it_is_quiet() {
        let mut now = Instant::now();
        let mut repeats = Repeats::default();
        assert!(repeats.note("a", now));
        for _ in 0..3100 {
            now += 10 * Duration::from_millis(1);
            assert!(!repeats.note("a", now));
        }
        assert!(repeats.note("b", now), "another kind");
        assert!(repeats.due(now).is_empty());
        now += 29 * SECOND;
        assert_eq!(repeats.due(now), ["3100 more in the last minute: a"]);
        assert!(!repeats.note("a", now));
        now += MINUTE;
        assert_eq!(repeats.due(now), ["1 more in the last minute: a"]);
        assert!(repeats.due(now + MINUTE).is_empty());
        assert!(repeats.kinds.is_empty());
        assert!(repeats.note("a", now), "it begins anew");
    }

    #[test]
    fn kinds_beyond_the_limit_are_counted_together() {
        let now = Instant::now();
        let mut repeats = Repeats::default();
        let written = (0..30_000).filter(|n| repeats.note(&n.to_string(), now));
        assert_eq!(written.count(), KINDS);
        assert_eq!(repeats.kinds.len(), KINDS + 1);
        let lines = repeats.due(now + MINUTE);
        assert_eq!(lines, [format!("29000 more in the last minute: {OTHERS}")]);
        assert!(repeats.note("new", now + MINUTE + SECOND));
    }
}
