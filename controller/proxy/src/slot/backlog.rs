//! Events of one app that are not yet durable.
//!
//! A waiting event gets its number when its turn to be delivered comes. From then on its place is fixed: after a hold, a crash
//! or a fence the numbered events are delivered again in their order, before any that wait, and none of them is dropped.
//! Packet-ins that wait are dropped when they are too old ([`AgeLimit`]), and beyond the quota.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use morph_api::store::Seq;
use morph_api::supervisor::Flood;
use morph_openflow::MessageType;

use super::age::AgeLimit;
use super::event::{EventKind, QueuedEvent};
use super::overload::Overload;
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
    /// Those of the lost ones that were too old.
    too_old: u64,
    pub(super) overload: Overload,
}

impl Backlog {
    pub(crate) fn new(incarnation: u64, first: u64, quota: usize, limit: AgeLimit) -> Self {
        Backlog {
            incarnation,
            first,
            numbered: VecDeque::new(),
            bytes: 0,
            waiting: WaitingEvents::new(limit),
            quota,
            lost: 0,
            too_old: 0,
            overload: Overload::default(),
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
            EventKind::PacketIn(_) if !self.make_room(cost, now) => {
                self.lose(dpid, 1, now);
                self.waiting.lose(channel, dpid, now);
            }
            EventKind::Message(_) if !self.make_room(cost, now) => {
                self.lose(dpid, 1, now);
                self.waiting.resync(channel, dpid, now);
            }
            EventKind::SwitchUp | EventKind::SwitchDown if self.bytes() + cost > 2 * self.quota => {
                self.lose(dpid, 1, now);
                self.waiting.resync_all(now);
            }
            EventKind::PacketIn(_)
            | EventKind::Message(_)
            | EventKind::SwitchUp
            | EventKind::SwitchDown
            | EventKind::Lost(_)
            | EventKind::Forgotten
            | EventKind::Resync { .. } => self.waiting.push(event, now),
        }
    }

    /// Drops packet-ins that wait until there is room for a message. Returns whether there is.
    fn make_room(&mut self, cost: usize, now: Instant) -> bool {
        while self.bytes() + cost > self.quota {
            let Some(dpid) = self.waiting.shed(now) else {
                return false;
            };
            self.lose(dpid, 1, now);
        }
        true
    }

    /// Counts dropped or merged events of a switch.
    fn lose(&mut self, dpid: u64, count: u64, now: Instant) {
        self.lost += count;
        self.overload.lose(dpid, count, now);
    }

    /// Notes that the waiting events had to wait until now, for another reason than their number.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.waiting.pause(now);
    }

    /// Queues an event regardless of the quota; for markers and lists of switches, which are few.
    pub(crate) fn append_marker(&mut self, channel: u32, dpid: u64, what: EventKind, now: Instant) {
        self.waiting
            .push(QueuedEvent::new(channel, dpid, what), now);
    }

    /// Numbers an event that is delivered before all that wait, regardless of the quota. Returns its number.
    pub(crate) fn put_first(&mut self, channel: u32, dpid: u64, what: EventKind) -> u64 {
        self.number(QueuedEvent::new(channel, dpid, what))
    }

    /// Numbers the waiting event whose turn it is, if one waits, or a `Lost` in the place of packet-ins that are too old.
    pub(crate) fn number_next(&mut self, now: Instant) -> Option<u64> {
        let event = match self.waiting.drop_old(now) {
            Some((told, count)) => {
                self.too_old += count;
                self.lose(told.dpid, count, now);
                told
            }
            None => self.waiting.pop(now)?,
        };
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

    /// Counts the packet-ins that were dropped because they had waited for too long.
    pub(crate) fn too_old(&self) -> u64 {
        self.too_old
    }

    /// Returns the longest wait of a packet-in; zero if none is too long.
    pub(crate) fn target(&self) -> Duration {
        self.waiting.limit().target()
    }

    /// Describes the overload of the app, if there is one: the switch that has lost most events.
    pub(crate) fn flood(&self, now: Instant) -> Option<Flood> {
        let (dpid, lasts) = self.overload.flooding(now)?;
        Some(Flood {
            dpid,
            percent: self.waiting.percent(dpid) as u32,
            lasts_ms: lasts.as_millis() as u64,
        })
    }

    /// Returns the flow-removed messages of a channel, oldest first.
    pub(crate) fn removals(&self, channel: u32) -> impl Iterator<Item = &Bytes> {
        let events = self.numbered.iter().chain(self.waiting.iter());
        events.filter_map(move |event| match &event.what {
            EventKind::Message(message) if event.channel == channel => {
                let is_removal = message.get(1) == Some(&MessageType::FLOW_REMOVED.0);
                is_removal.then_some(message)
            }
            _ => None,
        })
    }

    /// Counts the events that were delivered before.
    pub(crate) fn delivered(&self) -> u64 {
        self.numbered.iter().filter(|q| q.delivered).count() as u64
    }
}

#[cfg(test)]
mod tests;
