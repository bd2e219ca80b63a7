//! Addresses that have just got another bearer. Other hosts have to hear of it, so what such a host asks is not answered on behalf
//! of another one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use morph_sdk::{Changes, MacAddr, Turn};

use crate::hosts::{Hosts, ips};

/// Time after which a host that asked nothing counts as known by its new address.
const FRESH: Duration = Duration::from_secs(10);

/// Addresses by the time of their change, until their bearer asks for the first time.
#[derive(Debug)]
pub struct FreshBindings<H: Hosts>(BTreeMap<H::Ip, Instant>);

impl<H: Hosts> Default for FreshBindings<H> {
    fn default() -> Self {
        FreshBindings(BTreeMap::new())
    }
}

impl<H: Hosts> FreshBindings<H> {
    /// Notes the addresses that have changed.
    pub fn note(&mut self, changes: &Changes, now: Instant) {
        self.0.extend(changes.keys(&ips::<H>()).map(|ip| (ip, now)));
    }

    /// Whether others have yet to hear that `mac` bears this address: the question that is asked now tells them.
    pub fn take(&mut self, ip: &H::Ip, mac: MacAddr, turn: &Turn<'_>) -> bool {
        let is_fresh = self.0.remove(ip).is_some();
        // The change may not have come here yet.
        is_fresh || turn.get(&ips::<H>(), ip) != Some(mac)
    }

    /// Forgets the changes that are not new any more.
    pub fn age(&mut self, now: Instant) {
        self.0
            .retain(|_, since| now.saturating_duration_since(*since) < FRESH);
    }
}
