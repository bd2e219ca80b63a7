//! How late events are handled. Each switch's events come in order, but several switches' events may wait for different times.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use morph_sdk::Dpid;

/// Time without events of a switch after which all older ones count as handled.
pub const QUIET: Duration = Duration::from_millis(20);

/// Events of each switch that were handled since the last resume.
#[derive(Debug, Default)]
pub struct Lateness {
    switches: BTreeMap<Dpid, Handled>,
}

/// Events of one switch that were handled.
#[derive(Debug, Clone, Copy)]
struct Handled {
    /// Time at which the last one was handled.
    last: Instant,
    /// What was on its way before is handled.
    until: Instant,
    /// Time that the last probe took to reach the proxy.
    way: Duration,
}

impl Handled {
    fn until(&self, now: Instant) -> Instant {
        match now.saturating_duration_since(self.last) >= QUIET {
            true => now,
            false => self.until,
        }
    }
}

impl Lateness {
    /// Notes an event of a switch that is handled `now`, and came to the proxy at `arrived`.
    pub fn event(&mut self, dpid: Dpid, arrived: Instant, now: Instant) {
        let before = self.switches.get(&dpid);
        let way = before.map_or(Duration::ZERO, |handled| handled.way);
        let until = arrived.checked_sub(way).unwrap_or(arrived);
        let last = now;
        self.switches.insert(dpid, Handled { last, until, way });
    }

    /// Notes that the present event of a switch is a probe, which left its sender at `sent`: all may be as long on their way
    /// to the proxy.
    pub fn probe(&mut self, dpid: Dpid, sent: Instant, arrived: Instant) {
        if let Some(handled) = self.switches.get_mut(&dpid) {
            handled.way = arrived.saturating_duration_since(sent);
            handled.until = arrived.min(sent);
        }
    }

    /// Forgets a switch that is gone.
    pub fn forget(&mut self, dpid: Dpid) {
        self.switches.remove(&dpid);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.switches.clear();
    }

    /// Returns the time up to which events of a switch are handled; later ones may still wait.
    pub fn handled_until(&self, dpid: Dpid, now: Instant) -> Instant {
        let handled = self.switches.get(&dpid);
        handled.map_or(now, |handled| handled.until(now))
    }

    /// Returns the time up to which events of all switches are handled.
    pub fn all_handled_until(&self, now: Instant) -> Instant {
        let each = self.switches.values().map(|handled| handled.until(now));
        each.min().unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Dpid = Dpid(1);
    const TWO: Dpid = Dpid(2);

    #[test]
    fn a_switch_whose_events_wait_makes_no_other_one_late() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lateness = Lateness::default();
        lateness.event(ONE, at(100), at(900));
        lateness.event(TWO, at(899), at(901));
        assert_eq!(lateness.handled_until(ONE, at(902)), at(100));
        assert_eq!(lateness.handled_until(TWO, at(902)), at(899));
        assert_eq!(lateness.all_handled_until(at(902)), at(100));
        assert_eq!(
            lateness.handled_until(Dpid(3), at(902)),
            at(902),
            "nothing waits"
        );
        assert_eq!(
            lateness.all_handled_until(at(921)),
            at(921),
            "all are quiet"
        );
    }

    #[test]
    fn a_probe_tells_how_long_it_was_on_its_way_to_the_proxy() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lateness = Lateness::default();
        lateness.event(ONE, at(100), at(110));
        lateness.probe(ONE, at(30), at(100));
        assert_eq!(lateness.handled_until(ONE, at(111)), at(30));
        lateness.event(ONE, at(105), at(112));
        assert_eq!(lateness.handled_until(ONE, at(112)), at(35));
        lateness.forget(ONE);
        assert_eq!(lateness.handled_until(ONE, at(113)), at(113));
    }
}
