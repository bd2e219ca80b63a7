//! Probes at ports that are told by an alarm, for as long as they come.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::probing::PERIOD;
use crate::tables::End;

/// Time without a probe after which it is no longer told.
pub const ENDS: Duration = PERIOD.saturating_mul(5);

/// Ports with the last probe of each, as far as it is told.
#[derive(Debug, Clone)]
pub struct Sightings<V> {
    seen: BTreeMap<End, (V, Instant)>,
    /// Whether alarms may have to change.
    changed: bool,
    /// Time until which alarms of an earlier instance stay, since what lasts is seen again by then.
    inherited_until: Option<Instant>,
}

impl<V> Default for Sightings<V> {
    fn default() -> Self {
        Sightings {
            seen: BTreeMap::new(),
            changed: false,
            inherited_until: None,
        }
    }
}

impl<V: Copy + PartialEq> Sightings<V> {
    /// Notes a probe, and what is told of it.
    pub fn note(&mut self, end: End, told: V, now: Instant) {
        let before = self.seen.insert(end, (told, now));
        self.changed |= before.is_none_or(|(before, _)| before != told);
    }

    /// Notes that alarms may have to change.
    pub fn changed(&mut self) {
        self.changed = true;
    }

    /// Returns what is told of a port.
    pub fn get(&self, end: End) -> Option<V> {
        self.seen.get(&end).map(|(told, _)| *told)
    }

    /// Starts anew, after a resume; alarms of an earlier instance stay for some time.
    pub fn restart(&mut self, stay: Duration, now: Instant) {
        self.seen.clear();
        self.changed = true;
        self.inherited_until = Some(now + stay);
    }

    /// Returns the ports to tell of, if alarms may have to change now.
    pub fn due(&mut self, now: Instant) -> Option<Vec<(End, V)>> {
        let count = self.seen.len();
        let lasts = |seen| now.saturating_duration_since(seen) < ENDS;
        self.seen.retain(|_, (_, seen)| lasts(*seen));
        self.changed |= self.seen.len() != count;
        if self.inherited_until.is_some_and(|until| now < until) {
            return None;
        }
        let seen = self.seen.iter().map(|(end, (told, _))| (*end, *told));
        std::mem::take(&mut self.changed).then(|| seen.collect())
    }
}
