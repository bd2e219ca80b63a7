//! Events that are delivered to the live instance and unanswered, and how many there may be.
//!
//! A turn answers all unanswered events up to one. How many are delivered ahead follows the app: about what it answers in
//! [`BATCH`], so that a turn is soon over, and twice that, so that the next events are there when it is. An app that takes
//! longer than that for one event gets them one by one.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Time in which an app is to answer what is delivered at once.
const BATCH: Duration = Duration::from_millis(5);
/// Most events that are delivered at once.
const EVENTS: u64 = 1024;
/// Memory of unanswered events in bytes above which no further one is delivered.
const BYTES: usize = 256 << 10;

#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Numbers of the unanswered events.
    unanswered: Range<u64>,
    /// Memory of these in bytes.
    bytes: usize,
    /// Whether turns for these were accepted before. Their packet-outs have been sent, those of other events have not: a
    /// turn is for events of one kind.
    accepted: bool,
    /// Time of the delivery or, where that is later, of the last answer.
    since: Option<Instant>,
    /// Mean time for one event in nanoseconds, in which later turns count more.
    event_ns: Option<u64>,
    /// Count of answered events; `answer_us` is the time in microseconds that they took in all.
    answered: u64,
    answer_us: u64,
}

impl Window {
    /// Creates a window whose first event has this number.
    pub(super) fn new(first: u64) -> Self {
        Window {
            unanswered: first..first,
            bytes: 0,
            accepted: false,
            since: None,
            event_ns: None,
            answered: 0,
            answer_us: 0,
        }
    }

    /// Numbers of the unanswered events.
    pub(super) fn unanswered(&self) -> Range<u64> {
        self.unanswered.clone()
    }

    /// Number of the next event to deliver.
    pub(super) fn next(&self) -> u64 {
        self.unanswered.end
    }

    /// Counts of answered events and of the microseconds that they took.
    pub(super) fn answers(&self) -> (u64, u64) {
        (self.answered, self.answer_us)
    }

    /// Returns how long nothing was answered while an event is unanswered; zero where none is.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        let since = self.since.filter(|_| !self.unanswered.is_empty());
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Returns whether an event may be delivered that was accepted before or not.
    pub(super) fn takes(&self, accepted: bool) -> bool {
        let most = 2 * self.batch() - 1;
        let count = self.unanswered.end - self.unanswered.start;
        count == 0 || (accepted == self.accepted && count < most && self.bytes < BYTES)
    }

    /// Number of events that the app answers in [`BATCH`], at least one.
    fn batch(&self) -> u64 {
        let in_time = |ns: u64| BATCH.as_nanos() as u64 / ns.max(1);
        self.event_ns.map_or(1, in_time).clamp(1, EVENTS)
    }

    /// Notes the delivery of event `n`, of that memory in bytes.
    pub(super) fn deliver(&mut self, n: u64, bytes: usize, accepted: bool, now: Instant) {
        if self.unanswered.is_empty() {
            self.unanswered.start = n;
            self.since = Some(now);
        }
        self.unanswered.end = n + 1;
        self.bytes += bytes;
        self.accepted = accepted;
    }

    /// Notes that a turn answered all events up to `n`, of that memory in bytes. Returns their number.
    pub(super) fn answer(&mut self, n: u64, bytes: usize, now: Instant) -> u64 {
        if !self.unanswered.contains(&n) {
            return 0;
        }
        let count = n + 1 - self.unanswered.start;
        self.unanswered.start = n + 1;
        self.bytes = match self.unanswered.is_empty() {
            true => 0,
            false => self.bytes.saturating_sub(bytes),
        };
        let since = self.since.replace(now).unwrap_or(now);
        let took = now.saturating_duration_since(since);
        self.answered += count;
        self.answer_us += took.as_micros() as u64;
        let each = took.as_nanos() as u64 / count;
        self.event_ns = Some(self.event_ns.map_or(each, |mean| (3 * mean + each) / 4));
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delivers as many events as the window takes; returns their count.
    fn fill(window: &mut Window, bytes: usize, now: Instant) -> u64 {
        let before = window.next();
        while window.takes(false) {
            window.deliver(window.next(), bytes, false, now);
        }
        window.next() - before
    }

    #[test]
    fn an_app_is_given_what_it_answers_in_the_time_of_a_batch() {
        let mut now = Instant::now();
        let mut window = Window::new(1);
        assert_eq!(fill(&mut window, 100, now), 1, "nothing is known of it");
        for (each, most) in [(50_u32, 199), (1, 2047), (10_000, 1)] {
            for _ in 0..50 {
                fill(&mut window, 100, now);
                let unanswered = window.unanswered();
                let count = unanswered.end - unanswered.start;
                now += Duration::from_micros(each.into()) * count as u32;
                window.answer(unanswered.end - 1, 100 * count as usize, now);
            }
            assert_eq!(fill(&mut window, 100, now), most, "{each} us each");
        }
    }

    #[test]
    fn silence_lasts_from_the_delivery_or_the_last_answer() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut window = Window::new(1);
        assert_eq!(window.silence(at(9)), Duration::ZERO);
        window.deliver(1, 0, false, now);
        window.deliver(2, 0, false, at(5));
        assert_eq!(window.silence(at(9)), Duration::from_millis(9));
        assert_eq!(window.answer(1, 0, at(10)), 1);
        assert_eq!(window.silence(at(12)), Duration::from_millis(2));
        assert_eq!(window.answer(2, 0, at(15)), 1);
        assert_eq!(window.silence(at(99)), Duration::ZERO);
        window.deliver(3, 0, false, at(100));
        assert_eq!(window.silence(at(101)), Duration::from_millis(1));
    }

    #[test]
    fn large_events_fill_it_sooner() {
        let mut window = Window::new(1);
        let now = Instant::now();
        fill(&mut window, 100, now);
        window.answer(1, 100, now);
        assert_eq!(fill(&mut window, 100 << 10, now), 3);
        window.answer(2, 100 << 10, now);
        assert_eq!(fill(&mut window, 100 << 10, now), 1);
    }

    #[test]
    fn accepted_events_and_others_are_not_mixed() {
        let mut window = Window::new(1);
        let now = Instant::now();
        fill(&mut window, 0, now);
        window.answer(1, 0, now);
        window.deliver(2, 0, true, now);
        assert!(window.takes(true) && !window.takes(false));
        window.answer(2, 0, now);
        assert!(window.takes(true) && window.takes(false));
    }
}
