//! Timers: what an app does at a time that it sets.
//!
//! Timers stand in a table that every app has ([`morph_api::timer`]), so they outlive instances, upgrades and rollbacks. No schema has
//! this table, and migrations pass its rows unchanged.
//!
//! A timer is due by the wall clock, as only that goes on while no instance runs. Where the clock is set forward a timer comes early,
//! where it is set back late, by as much.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use morph_api::timer::{TABLE, TimerRow};

use crate::{Index, Key, Table, Turn, View};

/// Timers by kind and key.
pub(crate) const TIMERS: Table<(String, String), TimerRow> = Table::new(TABLE);
/// Timers by the time at which they are due, in milliseconds since 1970.
pub(crate) const BY_TIME: Index<(String, String), TimerRow, u64> =
    Index::new("due", TIMERS, |timer| timer.due);

/// Least time for which a timer is set. A timer that sets itself again lets events pass in between.
const LEAST: Duration = Duration::from_millis(1);

/// A kind of timers: one for each key.
///
/// ```
/// use std::time::Duration;
///
/// use morph_sdk::{AppError, DueTimer, MacAddr, Table, Timer, Turn};
///
/// const SEEN: Table<MacAddr, u32> = Table::new("seen");
/// const IDLE: Timer<MacAddr> = Timer::new("idle");
///
/// /// In `App::event`, for each packet of a host.
/// fn saw(mac: MacAddr, port: u32, turn: &mut Turn<'_>) {
///     turn.put(&SEEN, &mac, &port);
///     turn.set_timer(&IDLE, &mac, Duration::from_secs(300));
/// }
///
/// /// In `App::timer`.
/// fn timer(timer: &DueTimer, turn: &mut Turn<'_>) -> Result<(), AppError> {
///     if let Some(mac) = timer.key(&IDLE) {
///         turn.delete(&SEEN, &mac);
///     }
///     Ok(())
/// }
/// ```
pub struct Timer<K> {
    kind: &'static str,
    key: PhantomData<fn() -> K>,
}

impl<K: Key> Timer<K> {
    /// Declares a kind of timers.
    pub const fn new(kind: &'static str) -> Self {
        Timer {
            kind,
            key: PhantomData,
        }
    }

    /// Time at which the timer of a key is due, if it is set.
    pub fn due(&self, key: &K, view: &View<'_>) -> Option<SystemTime> {
        let row = view.get(&TIMERS, &self.row(key))?;
        UNIX_EPOCH.checked_add(Duration::from_millis(row.due))
    }

    fn row(&self, key: &K) -> (String, String) {
        (self.kind.to_owned(), key.text())
    }
}

impl<K> Clone for Timer<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Timer<K> {}

impl<K> fmt::Debug for Timer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timer {}", self.kind)
    }
}

/// A timer that is due. It is no longer set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTimer {
    kind: String,
    key: String,
}

impl DueTimer {
    /// Key of the timer, if it is of this kind.
    pub fn key<K: Key>(&self, timer: &Timer<K>) -> Option<K> {
        let is_its = self.kind == timer.kind;
        is_its.then(|| K::parse_exact(&self.key)).flatten()
    }

    /// Key of the timer's row.
    pub(crate) fn row_key(&self) -> String {
        (self.kind.clone(), self.key.clone()).text()
    }

    /// Timer that has been due longest at some time.
    pub(crate) fn first(view: &View<'_>, wall: SystemTime) -> Option<DueTimer> {
        let (kind, key) = view.first_in(&BY_TIME)?;
        let row = view.get(&TIMERS, &(kind.clone(), key.clone()))?;
        (row.due <= millis(wall)).then_some(DueTimer { kind, key })
    }

    /// Time from `wall` until a timer is due, if any is set.
    pub(crate) fn next_in(view: &View<'_>, wall: SystemTime) -> Option<Duration> {
        let due = view.get(&TIMERS, &view.first_in(&BY_TIME)?)?.due;
        Some(Duration::from_millis(due.saturating_sub(millis(wall))))
    }
}

impl fmt::Display for DueTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timer {} of {:?}", self.kind, self.key)
    }
}

fn millis(wall: SystemTime) -> u64 {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Turn<'_> {
    /// Sets the timer of a key, in the place of one that is set. [`App::timer`](crate::App::timer) is called once, when the time has
    /// passed.
    pub fn set_timer<K: Key>(&mut self, timer: &Timer<K>, key: &K, after: Duration) {
        // Up to the next millisecond, so that it does not come early.
        let after = after.max(LEAST) + Duration::from_nanos(999_999);
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let due = millis(self.wall).saturating_add(after);
        self.set(&TIMERS, &timer.row(key), &TimerRow { due });
    }

    /// Cancels the timer of a key, if it is set.
    pub fn cancel_timer<K: Key>(&mut self, timer: &Timer<K>, key: &K) {
        self.unset(&TIMERS, &timer.row(key));
    }

    /// Takes a due timer out of those that are set.
    pub(crate) fn take_timer(&mut self, timer: &DueTimer) {
        self.unset(&TIMERS, &(timer.kind.clone(), timer.key.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::Bench;
    use crate::{App, AppError, Dpid, Event, Pipeline, RuleInput, Rules};

    const SECOND: Duration = Duration::from_secs(1);
    const WAIT: Timer<u32> = Timer::new("wait");
    const DONE: Table<u32, u32> = Table::new("done");

    /// An app with a timer of as many seconds as the port of a packet says. At port 9 it fails when the timer is due, at port 8 it sets
    /// the timer again, and at port 7 it cancels that of port 5.
    struct Waiter;

    impl App for Waiter {
        type Group = ();

        fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
            if let Event::PacketIn(packet) = event {
                let port = packet.in_port;
                turn.set_timer(&WAIT, &port, SECOND * port);
                if port == 7 {
                    turn.cancel_timer(&WAIT, &5);
                }
            }
            Ok(())
        }

        fn timer(&mut self, timer: &DueTimer, turn: &mut Turn<'_>) -> Result<(), AppError> {
            let port = timer
                .key(&WAIT)
                .ok_or_else(|| AppError::new("another timer"))?;
            assert_eq!(timer.key(&Timer::<u32>::new("other")), None);
            let times = turn.get(&DONE, &port).unwrap_or(0);
            turn.put(&DONE, &port, &(times + 1));
            if port == 8 {
                turn.set_timer(&WAIT, &port, Duration::ZERO);
            }
            match port {
                9 => Err(AppError::new("nine")),
                _ => Ok(()),
            }
        }

        fn groups(&self, input: &RuleInput<'_>, _: &View<'_>) -> Vec<()> {
            assert_eq!(input.key(&TIMERS), None, "no rule depends on a timer");
            Vec::new()
        }

        fn rules(&self, (): &(), _: &View<'_>, _: &mut Rules) {}
    }

    fn bench(ports: &[u32]) -> Bench<Waiter> {
        let mut bench = Bench::new(Waiter, Pipeline::default());
        for port in ports {
            let _ = bench.packet_in(Dpid(1), *port, Vec::new());
        }
        bench
    }

    fn done(bench: &Bench<Waiter>) -> BTreeMap<u32, u32> {
        bench.view().iter(&DONE).collect()
    }

    #[test]
    fn a_timer_comes_once_when_it_is_due() {
        let mut bench = bench(&[3, 1, 5, 7, 3]);
        assert_eq!(bench.timers(SECOND - Duration::from_millis(1)).len(), 0);
        assert_eq!(bench.timers(Duration::from_millis(1)).len(), 1);
        assert_eq!(done(&bench), [(1, 1)].into());
        assert_eq!(bench.timers(SECOND * 100).len(), 2);
        assert_eq!(
            done(&bench),
            [(1, 1), (3, 1), (7, 1)].into(),
            "that of 5 was cancelled"
        );
        assert_eq!(WAIT.due(&3, &bench.view()), None);
    }

    #[test]
    fn a_timer_on_which_the_app_fails_is_past() {
        let mut bench = bench(&[9]);
        let outcomes = bench.timers(SECOND * 100);
        assert_eq!(outcomes.len(), 1);
        assert!(outcomes[0].error.is_some());
        assert_eq!(done(&bench), BTreeMap::new());
        assert_eq!(WAIT.due(&9, &bench.view()), None);
    }

    #[test]
    fn a_timer_that_sets_itself_again_is_due_later() {
        let mut bench = bench(&[8]);
        let _ = bench.timers(SECOND * 8 + Duration::from_millis(2));
        assert_eq!(done(&bench), [(8, 3)].into());
    }

    #[test]
    fn another_instance_has_the_timers_and_goes_by_its_clock() {
        let mut before = bench(&[3, 5]);
        let mut after = Bench::new(Waiter, Pipeline::default());
        after.load(&before.own_rows());
        assert_eq!(
            WAIT.due(&5, &after.view()),
            Some(before.wall() + SECOND * 5)
        );
        assert_eq!(after.timers(SECOND * 4).len(), 1);
        after.set_wall(before.wall() - SECOND * 100);
        assert_eq!(after.timers(SECOND * 50).len(), 0, "set back: late");
        after.set_wall(before.wall() + SECOND * 100);
        assert_eq!(after.timers(Duration::ZERO).len(), 1, "set forward: early");
        assert_eq!(before.timers(SECOND * 5).len(), 2);
    }

    #[test]
    fn an_app_cannot_write_the_table_by_itself() {
        struct Forger;
        impl App for Forger {
            type Group = ();
            fn event(&mut self, _: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
                let key = ("wait".to_owned(), "1".to_owned());
                turn.put(&TIMERS, &key, &TimerRow { due: 0 });
                Ok(())
            }
            fn groups(&self, _: &RuleInput<'_>, _: &View<'_>) -> Vec<()> {
                Vec::new()
            }
            fn rules(&self, (): &(), _: &View<'_>, _: &mut Rules) {}
        }
        let mut bench = Bench::new(Forger, Pipeline::default());
        let outcome = bench.packet_in(Dpid(1), 1, Vec::new());
        assert!(outcome.error.is_some() && outcome.puts.is_empty());
    }
}
