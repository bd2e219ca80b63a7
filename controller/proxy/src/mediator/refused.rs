//! Switches that are refused because they have too few tables, so that people can be told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use morph_api::supervisor::RefusedSwitch;

/// Time after the last attempt to connect for which a switch counts as refused: switches try again within a minute.
const KEPT: Duration = Duration::from_secs(120);
/// Limit of refused switches that are known: bounds the memory that a peer with invented ids can take.
const KNOWN: usize = 256;

#[derive(Debug, Clone)]
struct Refusal {
    remote: String,
    reason: String,
    since: Instant,
    last: Instant,
}

/// Refused switches by datapath id.
#[derive(Debug, Clone, Default)]
pub(super) struct RefusedSwitches(BTreeMap<u64, Refusal>);

impl RefusedSwitches {
    /// Notes a refusal.
    pub(super) fn note(&mut self, dpid: u64, remote: &str, reason: &str, now: Instant) {
        self.0.retain(|_, refusal| now < refusal.last + KEPT);
        let since = self.0.get(&dpid).map_or(now, |refusal| refusal.since);
        if self.0.len() < KNOWN || self.0.contains_key(&dpid) {
            let refusal = Refusal {
                remote: remote.to_owned(),
                reason: reason.to_owned(),
                since,
                last: now,
            };
            self.0.insert(dpid, refusal);
        }
    }

    /// Notes that a switch is connected.
    pub(super) fn connected(&mut self, dpid: u64) {
        self.0.remove(&dpid);
    }

    /// Lists the switches that are refused.
    pub(super) fn report(&self, now: Instant) -> Vec<RefusedSwitch> {
        let refused = self
            .0
            .iter()
            .filter(|(_, refusal)| now < refusal.last + KEPT);
        let report = |(dpid, refusal): (&u64, &Refusal)| RefusedSwitch {
            dpid: *dpid,
            remote: refusal.remote.clone(),
            reason: refusal.reason.clone(),
            lasts_ms: now.saturating_duration_since(refusal.since).as_millis() as u64,
        };
        refused.map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_counts_as_refused_while_it_tries_again() {
        let (mut refused, start) = (RefusedSwitches::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        refused.note(7, "10.0.0.7:1", "has 2 tables", start);
        refused.note(7, "10.0.0.7:2", "has 3 tables", after(60));
        let found = refused.report(after(100));
        let [found] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((found.dpid, found.lasts_ms), (7, 100_000));
        assert_eq!(
            (&*found.remote, &*found.reason),
            ("10.0.0.7:2", "has 3 tables")
        );
        assert_eq!(refused.report(after(180)), []);
        refused.note(7, "", "", after(200));
        assert_eq!(
            refused.report(after(200))[0].lasts_ms,
            0,
            "it is another time"
        );
        refused.connected(7);
        assert_eq!(refused.report(after(200)), []);
    }

    #[test]
    fn no_more_are_known_than_the_limit() {
        let (mut refused, now) = (RefusedSwitches::default(), Instant::now());
        for dpid in 0..1000 {
            refused.note(dpid, "", "", now);
        }
        assert_eq!(refused.report(now).len(), KNOWN);
    }
}
