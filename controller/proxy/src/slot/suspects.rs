//! Suspects of a death: names the poison event, and delivers suspects singly until they are past.
//!
//! An event is to blame if the instance says that it was handling it, or if it alone was in flight (delivered and not
//! durable). Of several in-flight events the unanswered ones
//! are suspects, since the turns of the others had been accepted; where all are answered, the last one is. Each suspect is
//! delivered once all before it are durable, and nothing follows it until it is durable itself. If the app dies again before
//! that, with several in flight, one of the others is to blame (the store may reject a turn): then each of them waits until
//! the one before it is durable.

use std::collections::VecDeque;
use std::ops::Range;

use super::*;

/// Limit of remembered retries: after a restart morphd repeats only the last ones.
const RETRIES: usize = 256;

/// Live instance that was lost, and its events.
#[derive(Debug, Clone)]
struct Death {
    instance: String,
    /// Events that were delivered and not durable; those of them that were unanswered.
    in_flight: Range<u64>,
    unanswered: Range<u64>,
}

/// Deaths of live instances, and the suspected events.
#[derive(Debug, Clone, Default)]
pub(super) struct Suspects {
    /// Last event that was in flight at a death.
    last_suspect: Option<u64>,
    /// First event that is delivered singly.
    alone_from: u64,
    last_death: Option<Death>,
    /// Retried events and their sequence numbers.
    retries: VecDeque<((String, u64), Seq)>,
}

impl Suspects {
    /// Returns whether some events are delivered singly.
    pub(super) fn any(&self) -> bool {
        self.last_suspect.is_some()
    }

    /// Returns whether nothing may follow event `n` until it is durable.
    pub(super) fn is_delivered_alone(&self, n: u64) -> bool {
        self.any() && n >= self.alone_from
    }

    /// Returns whether event `n` has to wait; `first` is the oldest event that is not durable.
    pub(super) fn must_wait(&mut self, n: u64, first: u64) -> bool {
        self.last_suspect = self
            .last_suspect
            .filter(|last_suspect| first <= *last_suspect);
        self.is_delivered_alone(n) && n != first
    }

    /// Records the death of the live instance.
    pub(super) fn record_death(&mut self, live: &LiveInstance, backlog: &Backlog) {
        let in_flight = live.in_flight(backlog);
        if !in_flight.is_empty() {
            let last = in_flight.end - 1;
            let again = self
                .last_suspect
                .is_some_and(|last_suspect| in_flight.start <= last_suspect);
            let unanswered = live.window.unanswered();
            let suspect = match unanswered.is_empty() {
                true => last,
                false => unanswered.start,
            };
            self.alone_from = match again {
                true if in_flight.start < last => in_flight.start,
                true => self.alone_from.min(last),
                false => suspect,
            };
            self.last_suspect = self.last_suspect.max(Some(last));
        }
        self.last_death = Some(Death {
            instance: live.instance.clone(),
            in_flight,
            unanswered: live.window.unanswered(),
        });
    }
}

/// The one number in a range, if it has exactly one.
pub(super) fn only(in_flight: Range<u64>) -> Option<u64> {
    (in_flight.end == in_flight.start + 1).then_some(in_flight.start)
}

impl LiveInstance {
    /// Returns the events that are delivered and not durable.
    fn in_flight(&self, backlog: &Backlog) -> Range<u64> {
        backlog.first()..self.window.next()
    }
}

impl Slot {
    /// Returns the event to blame for the death of an instance, whose session may still seem open: the one that it was
    /// `handling`, where that is known (none for [`Seq::ZERO`]), else the only one in flight.
    pub(crate) fn suspect(
        &self,
        instance: &str,
        handling: Option<Seq>,
    ) -> Option<(&QueuedEvent, Seq)> {
        let (in_flight, unanswered) = self.delivered_to(instance)?;
        if handling == Some(Seq::ZERO) {
            return None;
        }
        let handled = handling.and_then(|seq| self.number_in(&unanswered, seq));
        self.queued(handled.or_else(|| only(in_flight))?)
    }

    /// Returns the place, from 1, that the event had among those that the instance had not answered, and their count.
    pub(crate) fn place(&self, instance: &str, handling: Seq) -> Option<(u64, u64)> {
        let (_, unanswered) = self.delivered_to(instance)?;
        let n = self.number_in(&unanswered, handling)?;
        Some((n + 1 - unanswered.start, unanswered.end - unanswered.start))
    }

    /// Returns the numbers of the events that were delivered to an instance and not durable, and of those that it had not
    /// answered.
    fn delivered_to(&self, instance: &str) -> Option<(Range<u64>, Range<u64>)> {
        match (&self.state, &self.suspects.last_death) {
            (SlotState::Live(live) | SlotState::Draining(live, _), _)
                if live.instance == instance =>
            {
                Some((live.in_flight(&self.backlog), live.window.unanswered()))
            }
            (_, Some(death)) if death.instance == instance => {
                Some((death.in_flight.clone(), death.unanswered.clone()))
            }
            _ => None,
        }
    }

    fn number_in(&self, numbers: &Range<u64>, seq: Seq) -> Option<u64> {
        let is_one = seq.incarnation == self.backlog.incarnation() && numbers.contains(&seq.n);
        is_one.then_some(seq.n)
    }

    pub(super) fn retry(&mut self, retry: Retry, now: Instant, out: &mut Vec<SlotOutput>) {
        let Retry {
            ticket,
            attempt,
            channel,
            dpid,
            what,
        } = retry;
        let mut before = self.suspects.retries.iter();
        let reply = match before.find(|(tried, _)| *tried == attempt) {
            Some((_, seq)) => SlotReply::Retry(*seq),
            None => {
                let n = self.backlog.put_first(channel, dpid, what);
                let seq = self.backlog.seq(n);
                self.suspects.retries.push_back((attempt, seq));
                if self.suspects.retries.len() > RETRIES {
                    self.suspects.retries.pop_front();
                }
                SlotReply::Retry(seq)
            }
        };
        out.push(SlotOutput::Reply { ticket, reply });
        self.deliver(now, out);
    }
}
