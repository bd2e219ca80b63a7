//! Points in time that a later morphd can measure from, whatever the wall clock was set to meanwhile.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A point in time within one boot of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Identifies the boot (`/proc/sys/kernel/random/boot_id`).
    boot: String,
    /// Milliseconds since that boot, suspended time included (`CLOCK_BOOTTIME`).
    ms: u64,
}

impl Moment {
    /// Current moment; `None` where /proc does not identify the boot.
    pub fn now() -> Option<Self> {
        // A process lives in one boot.
        static BOOT: OnceLock<Option<String>> = OnceLock::new();
        let read = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let boot = BOOT.get_or_init(|| read().map(|id| id.trim().to_owned()));
        let since = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(since.tv_sec).ok()?;
        Some(Moment {
            boot: boot.clone()?,
            ms: seconds * 1000 + u64::try_from(since.tv_nsec).ok()? / 1_000_000,
        })
    }

    /// Time since this moment; `None` if the machine has been restarted since.
    pub fn elapsed(&self) -> Option<Duration> {
        let now = Moment::now().filter(|now| now.boot == self.boot)?;
        Some(Duration::from_millis(now.ms.saturating_sub(self.ms)))
    }
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
}
