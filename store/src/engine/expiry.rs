//! Expiry of leases, counted from when this daemon last saw a lease granted, kept or changed.
//!
//! Every daemon on a backend sees renewals in the revision of the lease, whoever sent them. A daemon that starts, or
//! that could not write for a while, counts anew: during that time nobody could renew a lease.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use morph_api::store::Transaction;

use crate::core::Lease;
use crate::op;

/// Pause before a lease is revoked again, where that failed.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Expiry {
    running: BTreeMap<String, Countdown>,
}

#[derive(Debug)]
struct Countdown {
    revision: u64,
    over: Instant,
}

impl Expiry {
    /// Takes over the current leases.
    pub(super) fn follow(&mut self, leases: &BTreeMap<String, Lease>, now: Instant) {
        self.running.retain(|name, _| leases.contains_key(name));
        for (name, lease) in leases {
            if self.running.get(name).map(|running| running.revision) != Some(lease.revision) {
                let running = Countdown {
                    revision: lease.revision,
                    over: now + Duration::from_millis(u64::from(lease.ttl_ms)),
                };
                self.running.insert(name.clone(), running);
            }
        }
    }

    /// Starts all timers anew when the leases are followed next.
    pub(super) fn restart(&mut self) {
        self.running.clear();
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.running.values().map(|running| running.over).min()
    }

    /// Returns transactions that revoke expired leases, unless these are renewed meanwhile.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Transaction> {
        let over = self.running.iter_mut().filter(|(_, r)| r.over <= now);
        over.map(|(name, running)| {
            tracing::info!(lease = name, "the lease expired, as nobody renewed it");
            running.over = now + AGAIN;
            op::shared([], [op::revoke_at(name, running.revision)])
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases(all: &[(&str, u64, u32)]) -> BTreeMap<String, Lease> {
        let lease = |revision, ttl_ms| Lease {
            ttl_ms,
            revision,
            ..Lease::default()
        };
        let named = all.iter().map(|(n, r, t)| ((*n).to_owned(), lease(*r, *t)));
        named.collect()
    }

    #[test]
    fn a_lease_ends_its_time_after_it_was_last_kept_and_not_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut expiry = Expiry::default();
        expiry.follow(&leases(&[("a", 5, 1000), ("b", 6, 3000)]), at(0));
        expiry.follow(&leases(&[("a", 7, 1000), ("b", 6, 3000)]), at(900)); // kept
        assert_eq!(expiry.next_deadline(), Some(at(1900)));
        assert!(expiry.due(at(1899)).is_empty());
        let over = expiry.due(at(1900));
        assert_eq!(over, [op::shared([], [op::revoke_at("a", 7)])]);
        // The revocation failed, and is not repeated before its pause is over.
        assert!(expiry.due(at(2000)).is_empty());
        assert_eq!(expiry.due(at(2900)).len(), 1);
        expiry.follow(&leases(&[("b", 6, 3000)]), at(2950));
        assert_eq!(expiry.next_deadline(), Some(at(3000)));
    }

    #[test]
    fn after_an_outage_all_count_anew() {
        let start = Instant::now();
        let mut expiry = Expiry::default();
        let all = leases(&[("a", 5, 1000)]);
        expiry.follow(&all, start);
        expiry.restart();
        let later = start + Duration::from_secs(60);
        assert!(expiry.due(later).is_empty());
        expiry.follow(&all, later);
        assert!(expiry.due(later).is_empty());
        assert_eq!(expiry.next_deadline(), Some(later + Duration::from_secs(1)));
    }
}
