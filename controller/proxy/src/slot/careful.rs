//! After a death: which event it is counted against, and events one by one until those that may have done it are past.
//!
//! An event is to blame where it alone had been delivered and was not yet durable. Where there were several it was most likely
//! the last one, since the turns of the others had been accepted: that one is delivered once all before it are durable, and what
//! follows it once it is durable itself. Should the app die again before that, with several in hand, it was one of the others (the
//! store may refuse a turn): then each of them waits so for the one before it.

use std::collections::VecDeque;

use super::*;

/// Tries that are remembered: morphd asks again only for the last ones, after its own death.
const TRIES: usize = 256;

/// What a slot knows of deaths.
#[derive(Debug, Clone, Default)]
pub(super) struct Careful {
    /// The last event that an instance which died had got and that was not durable.
    until: Option<u64>,
    /// From this one on events are delivered one by one.
    from: u64,
    /// The live instance that was lost last, and the one event in its hands.
    died: Option<(String, Option<u64>)>,
    /// Events that came back, and where they are queued.
    tries: VecDeque<((String, u64), Seq)>,
}

impl Careful {
    /// Some events are delivered one by one.
    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Nothing follows event `n` before it is durable.
    pub(super) fn is_alone(&self, n: u64) -> bool {
        self.is_on() && n >= self.from
    }

    /// Whether event `n` waits, where `first` is the oldest one that is not durable.
    pub(super) fn waits(&mut self, n: u64, first: u64) -> bool {
        self.until = self.until.filter(|until| first <= *until);
        self.is_alone(n) && n != first
    }

    /// The live instance is lost.
    pub(super) fn died(&mut self, live: &Live, backlog: &Backlog) {
        let in_flight = live.in_flight(backlog);
        if !in_flight.is_empty() {
            let last = in_flight.end - 1;
            let again = self.until.is_some_and(|until| in_flight.start <= until);
            self.from = match again {
                true if in_flight.start < last => in_flight.start,
                true => self.from.min(last),
                false => last,
            };
            self.until = self.until.max(Some(last));
        }
        self.died = Some((live.instance.clone(), only(in_flight)));
    }
}

fn only(in_flight: std::ops::Range<u64>) -> Option<u64> {
    (in_flight.end == in_flight.start + 1).then_some(in_flight.start)
}

impl Live {
    /// The events that it got and that are not durable.
    fn in_flight(&self, backlog: &Backlog) -> std::ops::Range<u64> {
        backlog.first()..self.next
    }
}

impl Slot {
    /// The event to blame for the death of an instance. That its session has ended need not be known yet.
    pub(crate) fn suspect(&self, instance: &str) -> Option<(&Queued, Seq)> {
        let n = match (&self.state, &self.careful.died) {
            (State::Live(live) | State::Draining(live, _), _) if live.instance == instance => {
                only(live.in_flight(&self.backlog))
            }
            (_, Some((died, n))) if died == instance => *n,
            _ => None,
        };
        self.queued(n?)
    }

    pub(super) fn retry(&mut self, retry: Retry, now: Instant, out: &mut Vec<Output>) {
        let Retry {
            ticket,
            try_,
            channel,
            dpid,
            what,
        } = retry;
        let mut before = self.careful.tries.iter();
        let answer = match before.find(|(tried, _)| *tried == try_) {
            Some((_, seq)) => Answer::Retry(*seq),
            None if self.backlog.is_full() => Answer::Refused(format!(
                "the backlog of {} is full: try again when it has caught up",
                self.app
            )),
            None => {
                let seq = self.backlog.seq(self.backlog.next());
                self.backlog.append_what(channel, dpid, what);
                self.careful.tries.push_back((try_, seq));
                if self.careful.tries.len() > TRIES {
                    self.careful.tries.pop_front();
                }
                Answer::Retry(seq)
            }
        };
        out.push(Output::Answer { ticket, answer });
        self.deliver(now, out);
    }
}
