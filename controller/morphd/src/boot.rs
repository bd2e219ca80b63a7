//! Moments that a later morphd can count from, whatever the wall clock was set to meanwhile.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment of one boot of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The boot (`/proc/sys/kernel/random/boot_id`).
    boot: String,
    /// Milliseconds since it began, sleep included (`/proc/uptime`).
    ms: u64,
}

impl Moment {
    /// Now; `None` where /proc does not say.
    pub fn now() -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        Some(Moment {
            boot: boot.trim().to_owned(),
            ms: milliseconds(&uptime)?,
        })
    }

    /// How long ago it was; `None` where the machine was started again since.
    pub fn elapsed(&self) -> Option<Duration> {
        let now = Moment::now().filter(|now| now.boot == self.boot)?;
        Some(Duration::from_millis(now.ms.saturating_sub(self.ms)))
    }
}

/// The first of the two numbers, which are seconds.
fn milliseconds(uptime: &str) -> Option<u64> {
    let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    // Uptimes are far below where this would lose milliseconds.
    Some((seconds * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_within_a_boot_and_not_from_one_to_the_next() {
        let mut moment = Moment::now().unwrap();
        assert!(moment.elapsed().unwrap() < Duration::from_secs(5));
        moment.ms = moment.ms.saturating_sub(60_000);
        assert!(moment.elapsed().unwrap() >= Duration::from_millis(1));
        moment.boot = "another".into();
        assert_eq!(moment.elapsed(), None);
    }

    #[test]
    fn the_uptime_is_read() {
        assert_eq!(milliseconds("350735.47 234388.90\n"), Some(350_735_470));
        assert_eq!(milliseconds("soon"), None);
    }
}
