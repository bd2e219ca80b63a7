//! Events of one app that are not yet durable.
//!
//! A waiting event gets its number when its turn to be delivered comes. From then on its place is fixed: after a hold, a crash
//! or a fence the numbered events are delivered again in their order, before any that wait, and none of them is dropped.

use std::collections::VecDeque;
use std::time::Instant;

use morph_api::store::Seq;

use super::event::{EventKind, QueuedEvent};
use super::waiting::WaitingEvents;

#[derive(Debug, Clone)]
pub(crate) struct Backlog {
    incarnation: u64,
    /// Number of the first entry of `numbered`.
    first: u64,
    numbered: VecDeque<QueuedEvent>,
    /// Bytes of the numbered events.
    bytes: usize,
    waiting: WaitingEvents,
    quota: usize,
    lost: u64,
}

impl Backlog {
    pub(crate) fn new(incarnation: u64, first: u64, quota: usize) -> Self {
        Backlog {
            incarnation,
            first,
            numbered: VecDeque::new(),
            bytes: 0,
            waiting: WaitingEvents::default(),
            quota,
            lost: 0,
        }
    }

    /// Queues an event, or a marker in its place above the quota.
    pub(crate) fn push(&mut self, channel: u32, dpid: u64, what: EventKind, now: Instant) {
        let event = QueuedEvent {
            arrived: Some(now),
            ..QueuedEvent::new(channel, dpid, what)
        };
        let cost = event.cost();
        match event.what {
            EventKind::PacketIn(_) if !self.make_room(cost) => {
                self.lost += 1;
                self.waiting.lose(channel, dpid);
            }
            EventKind::Message(_) if !self.make_room(cost) => {
                self.lost += 1;
                self.waiting.resync(channel, dpid);
            }
            EventKind::SwitchUp | EventKind::SwitchDown if self.bytes() + cost > 2 * self.quota => {
                self.lost += 1;
                self.waiting.resync_all();
            }
            EventKind::PacketIn(_)
            | EventKind::Message(_)
            | EventKind::SwitchUp
            | EventKind::SwitchDown
            | EventKind::Lost(_)
            | EventKind::Resync { .. } => self.waiting.push(event),
        }
    }

    /// Drops packet-ins that wait until there is room for a message. Returns whether there is.
    fn make_room(&mut self, cost: usize) -> bool {
        while self.bytes() + cost > self.quota {
            if !self.waiting.shed() {
                return false;
            }
            self.lost += 1;
        }
        true
    }

    /// Queues an event regardless of the quota; for markers and lists of switches, which are few.
    pub(crate) fn append_marker(&mut self, channel: u32, dpid: u64, what: EventKind) {
        self.waiting.push(QueuedEvent::new(channel, dpid, what));
    }

    /// Numbers an event that is delivered before all that wait, regardless of the quota. Returns its number.
    pub(crate) fn put_first(&mut self, channel: u32, dpid: u64, what: EventKind) -> u64 {
        self.number(QueuedEvent::new(channel, dpid, what))
    }

    /// Numbers the waiting event whose turn it is, if one waits.
    pub(crate) fn number_next(&mut self) -> Option<u64> {
        let event = self.waiting.pop()?;
        Some(self.number(event))
    }

    fn number(&mut self, event: QueuedEvent) -> u64 {
        let n = self.next();
        self.bytes += event.cost();
        self.numbered.push_back(event);
        n
    }

    /// Removes all events up to the cursor.
    pub(crate) fn forget(&mut self, cursor: Seq) {
        if cursor.incarnation != self.incarnation {
            return;
        }
        while self.first <= cursor.n {
            let Some(queued) = self.numbered.pop_front() else {
                break;
            };
            self.bytes -= queued.cost();
            self.first += 1;
        }
    }

    fn index(&self, n: u64) -> Option<usize> {
        n.checked_sub(self.first).map(|index| index as usize)
    }

    pub(crate) fn get(&self, n: u64) -> Option<&QueuedEvent> {
        self.numbered.get(self.index(n)?)
    }

    pub(crate) fn get_mut(&mut self, n: u64) -> Option<&mut QueuedEvent> {
        let index = self.index(n)?;
        self.numbered.get_mut(index)
    }

    /// Returns the number of the oldest event that is not durable.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Returns the number that the next event will have.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.numbered.len() as u64
    }

    pub(crate) fn seq(&self, n: u64) -> Seq {
        Seq {
            incarnation: self.incarnation,
            n,
        }
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(crate) fn len(&self) -> usize {
        self.numbered.len() + self.waiting.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.waiting.bytes()
    }

    /// Counts the events dropped or merged.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Counts the events that were delivered before.
    pub(crate) fn delivered(&self) -> u64 {
        self.numbered.iter().filter(|q| q.delivered).count() as u64
    }
}

#[cfg(test)]
mod tests;
