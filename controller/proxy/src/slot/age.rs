//! Decides which waiting packet-ins are too old to be delivered.
//!
//! ```text
//!                            pause
//!   in time: old ones -----------------------> catching up:
//!   are dropped                                nothing is dropped by age
//!      ^                                              |
//!      +--- a packet-in that came after the pause ----+
//!           waited no longer than half the target,
//!           or the queue was emptied or shed
//! ```
//!
//! Each switch has this state by itself, since a switch with more to catch up takes longer. A pause is any time in which
//! packet-ins wait for another reason than their number: a hold, a gate, a replay, suspects that are delivered singly, an
//! instance that answered nothing for longer than the target. It concerns all switches, so its end is noted once, and not
//! for each of them: a queue is in time if it was so since. A queue that grows far beyond its length at the end of the pause
//! is not catching up: the app is overloaded, and the longest queue counts as in time.

use std::time::{Duration, Instant};

/// Number of waiting events that are no sign of overload while an app catches up.
const FEW: usize = 1024;
/// Number of waiting packet-ins of a switch up to which its queue is short.
const SHORT: usize = 32;
/// Time for which a short queue may be late: an app or a machine that stands still for a moment is not overloaded, and soon
/// through with it.
const GRACE: Duration = Duration::from_secs(1);

/// Longest wait of a packet-in, and the pauses that suspend it.
#[derive(Debug, Clone)]
pub(super) struct AgeLimit {
    /// Zero: no packet-in is ever too old.
    target: Duration,
    /// End of the last pause.
    paused_at: Option<Instant>,
    /// Number of waiting events above which the app does not catch up.
    overload_above: usize,
}

/// State of the queue of one switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueAge {
    /// Time at which the queue was in time last.
    in_time: Option<Instant>,
    /// Time since which each packet-in that was delivered had waited for longer than the target.
    late_since: Option<Instant>,
    /// Whether a loss was told, and no packet-in was delivered since.
    told: bool,
}

impl AgeLimit {
    pub(super) fn new(target: Duration) -> Self {
        AgeLimit {
            target,
            paused_at: None,
            overload_above: FEW,
        }
    }

    pub(super) fn target(&self) -> Duration {
        self.target
    }

    /// Notes that events had to wait until now; `waiting` is their number.
    pub(super) fn pause(&mut self, waiting: usize, now: Instant) {
        self.paused_at = Some(now);
        self.overload_above = 2 * waiting + FEW;
    }

    /// Returns whether so many events wait that the app is overloaded, and not catching up after a pause.
    pub(super) fn is_overload(&self, waiting: usize) -> bool {
        waiting > self.overload_above
    }

    /// State of a queue that is in time.
    pub(super) fn in_time(now: Instant) -> QueueAge {
        QueueAge {
            in_time: Some(now),
            late_since: None,
            told: false,
        }
    }

    /// State of a queue behind others of its switch.
    pub(super) fn behind() -> QueueAge {
        QueueAge {
            in_time: None,
            late_since: None,
            told: false,
        }
    }

    /// Returns whether packet-ins are to be dropped from a queue, whose head arrived then. That begins when the head has
    /// waited for a quarter of the target more, so that one `Lost` stands for many. After each `Lost` a packet-in is
    /// delivered: else an app for which the target is too short would be told of losses only. `length` is the number of
    /// packet-ins in the queue.
    pub(super) fn begins(
        &self,
        queue: QueueAge,
        length: usize,
        arrived: Option<Instant>,
        now: Instant,
    ) -> bool {
        let grace = queue.late_since.is_none_or(|since| now < since + GRACE);
        if length <= SHORT && grace {
            return false;
        }
        let in_time = queue.in_time > self.paused_at;
        in_time
            && !queue.told
            && waited(arrived, now) > self.target + self.target / 4
            && self.is_on()
    }

    /// Returns whether a packet-in that arrived then is too old.
    pub(super) fn is_too_old(&self, arrived: Option<Instant>, now: Instant) -> bool {
        self.is_on() && waited(arrived, now) > self.target
    }

    /// Notes that losses are told.
    pub(super) fn tell(queue: &mut QueueAge) {
        queue.told = true;
    }

    /// Notes that a packet-in is delivered. Those that came before the end of a pause say nothing, since they waited for
    /// that: an instance that has just been resumed may be slow at first. The delay has to fall to half of the target,
    /// since that of a busy switch may grow at first: others, with less to catch up, have their turns, too.
    pub(super) fn deliver(&self, queue: &mut QueueAge, arrived: Option<Instant>, now: Instant) {
        queue.told = false;
        match waited(arrived, now) > self.target {
            true => drop(queue.late_since.get_or_insert(now)),
            false => queue.late_since = None,
        }
        if arrived > self.paused_at && waited(arrived, now) <= self.target / 2 {
            Self::end_catch_up(queue, now);
        }
    }

    /// Notes that a queue is in time, or that the app does not catch up with it.
    pub(super) fn end_catch_up(queue: &mut QueueAge, now: Instant) {
        queue.in_time = Some(now);
    }

    fn is_on(&self) -> bool {
        !self.target.is_zero()
    }
}

/// Computes how long an event has waited; an event of the proxy's own has not.
pub(super) fn waited(arrived: Option<Instant>, now: Instant) -> Duration {
    arrived.map_or(Duration::ZERO, |arrived| {
        now.saturating_duration_since(arrived)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(200);
    const MS: Duration = Duration::from_millis(1);
    const LONG: usize = SHORT + 1;

    #[test]
    fn a_packet_in_is_too_old_beyond_the_target_and_dropping_begins_a_little_later() {
        let (limit, now) = (AgeLimit::new(TARGET), Instant::now());
        let queue = AgeLimit::in_time(now);
        for (waited, begins, too_old) in [
            (0, false, false),
            (200, false, false),
            (201, false, true),
            (250, false, true),
            (251, true, true),
        ] {
            let later = now + waited * MS;
            assert_eq!(
                limit.begins(queue, LONG, Some(now), later),
                begins,
                "{waited} ms"
            );
            assert_eq!(limit.is_too_old(Some(now), later), too_old, "{waited} ms");
        }
        assert!(!limit.begins(queue, LONG, None, now + 999 * MS), "a marker");
    }

    #[test]
    fn after_a_pause_nothing_is_dropped_until_one_that_came_after_it_was_in_time() {
        let (mut limit, start) = (AgeLimit::new(TARGET), Instant::now());
        let at = |ms| start + ms * MS;
        let mut queue = AgeLimit::in_time(start);
        let old = |limit: &AgeLimit, queue| limit.begins(queue, LONG, Some(start), at(999));
        assert!(old(&limit, queue));
        limit.pause(9, at(50));
        assert!(!old(&limit, queue) && !old(&limit, AgeLimit::behind()));
        for (arrived, delivered, in_time) in [
            (40, 60, false),
            (50, 60, false),
            (51, 152, false),
            (51, 151, true),
        ] {
            limit.deliver(&mut queue, Some(at(arrived)), at(delivered));
            assert_eq!(old(&limit, queue), in_time, "{arrived} {delivered}");
        }
        limit.pause(0, at(200));
        assert!(!old(&limit, queue));
        assert!(old(&limit, AgeLimit::in_time(at(201))), "begun since");
        AgeLimit::end_catch_up(&mut queue, at(201));
        assert!(old(&limit, queue));
    }

    #[test]
    fn a_short_queue_may_be_late_for_a_while() {
        let (limit, start) = (AgeLimit::new(TARGET), Instant::now());
        let at = |ms| start + ms * MS;
        let mut queue = AgeLimit::in_time(start);
        let begins = |queue, ms: u32| limit.begins(queue, SHORT, Some(at(ms - 300)), at(ms));
        assert!(!begins(queue, 9000));
        for ms in [1000, 1500, 1999] {
            limit.deliver(&mut queue, Some(at(ms - 201)), at(ms));
            assert!(!begins(queue, ms));
        }
        assert!(begins(queue, 2000));
        limit.deliver(&mut queue, Some(at(1800)), at(2000));
        assert!(!begins(queue, 2001), "in time");
    }

    #[test]
    fn between_two_losses_a_packet_in_is_delivered() {
        let (limit, now) = (AgeLimit::new(TARGET), Instant::now());
        let mut queue = AgeLimit::in_time(now);
        let old = |queue| limit.begins(queue, LONG, Some(now), now + 300 * MS);
        AgeLimit::tell(&mut queue);
        assert!(!old(queue));
        limit.deliver(&mut queue, Some(now), now + 300 * MS);
        assert!(old(queue));
    }

    #[test]
    fn an_app_that_falls_further_behind_than_a_pause_left_it_is_overloaded() {
        let (mut limit, now) = (AgeLimit::new(TARGET), Instant::now());
        limit.pause(5000, now);
        assert!(!limit.is_overload(11_024) && limit.is_overload(11_025));
        limit.pause(0, now);
        assert!(!limit.is_overload(1024) && limit.is_overload(1025));
    }

    #[test]
    fn a_target_of_zero_drops_nothing() {
        let (limit, now) = (AgeLimit::new(Duration::ZERO), Instant::now());
        let queue = AgeLimit::in_time(now);
        assert!(!limit.begins(queue, LONG, Some(now), now + 999 * MS));
        assert!(!limit.is_too_old(Some(now), now + 999 * MS));
    }
}
