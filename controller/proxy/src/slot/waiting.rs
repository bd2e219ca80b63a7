//! Events of one app that wait for delivery: a queue for each switch, served in turn, within a quota of bytes.
//!
//! An event takes an app about as long whatever its size, so each switch in its turn gets one event delivered: a switch
//! that floods delays nobody but itself. The order of a switch's own events is kept. An event of no switch (a `Resync` of
//! all) comes after everything that was queued before it, and before everything that came later.
//!
//! Once the head of a queue has waited for too long, the packet-ins at the head that are too old are dropped, and a `Lost`
//! is delivered in their place ([`AgeLimit`] decides). A port with few packet-ins loses none, and each port keeps the last one.
//!
//! Above the quota one of the longest queues loses its oldest packet-in, of one of its ports with the most, and a `Lost` in
//! its place counts it. Where no packet-in is left, port-status and flow-removed merge into a `Resync` of their switch; above twice
//! the quota, connects and disconnects of switches merge into a `Resync` of all.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::age::{AgeLimit, QueueAge};
use super::event::{EventKind, QueuedEvent};
use super::shares::Shares;
use super::switch_queue::SwitchQueue;

#[derive(Debug, Clone)]
pub(super) struct WaitingEvents {
    limit: AgeLimit,
    /// The event, where only one waits: most events of an app that keeps up are never queued.
    only: Option<QueuedEvent>,
    /// Sections that end with an event of no switch, oldest first.
    closed: VecDeque<Section>,
    /// Events behind the last one of no switch.
    last: Section,
    /// Bytes of the waiting packet-ins, by switch.
    packet_ins: Shares<u64>,
    len: usize,
    bytes: usize,
}

/// Events up to the next one of no switch.
#[derive(Debug, Clone, Default)]
struct Section {
    queues: BTreeMap<u64, SwitchQueue>,
    /// Switches with events, the one whose turn it is first.
    turns: VecDeque<u64>,
    /// Event of no switch that ends the section.
    end: Option<QueuedEvent>,
}

impl WaitingEvents {
    pub(super) fn new(limit: AgeLimit) -> Self {
        WaitingEvents {
            limit,
            only: None,
            closed: VecDeque::new(),
            last: Section::default(),
            packet_ins: Shares::default(),
            len: 0,
            bytes: 0,
        }
    }

    pub(super) fn limit(&self) -> &AgeLimit {
        &self.limit
    }

    /// Notes that the waiting events had to wait until now, for another reason than their number.
    pub(super) fn pause(&mut self, now: Instant) {
        self.limit.pause(self.len, now);
    }

    /// Returns the part of the waiting packet-ins that are of this switch, in percent of their bytes.
    pub(super) fn percent(&self, dpid: u64) -> usize {
        if let Some(only) = &self.only {
            let is_all = only.dpid == dpid && matches!(only.what, EventKind::PacketIn(_));
            return if is_all { 100 } else { 0 };
        }
        let all = self.packet_ins.total().max(1);
        self.packet_ins.amount(dpid) * 100 / all
    }

    /// Returns all waiting events; those of one switch in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &QueuedEvent> {
        let sections = self.closed.iter().chain([&self.last]);
        let queued = sections.flat_map(|section| {
            let queues = section.queues.values();
            queues.flat_map(SwitchQueue::iter).chain(&section.end)
        });
        self.only.iter().chain(queued)
    }

    /// Returns the number of waiting events.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the memory of the waiting events in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an event behind those of its switch.
    pub(super) fn push(&mut self, event: QueuedEvent, now: Instant) {
        if self.len == 0 && !event.is_of_no_switch() {
            self.count(&event);
            self.only = Some(event);
        } else {
            self.queue(event, now);
        }
    }

    /// Adds an event to the queue of its switch.
    fn queue(&mut self, event: QueuedEvent, now: Instant) {
        self.spill(now);
        self.count(&event);
        self.insert(event, now);
        if self.limit.is_overload(self.len) {
            self.end_catch_up(now);
        }
    }

    /// Adds the event that is not queued to the queue of its switch.
    fn spill(&mut self, now: Instant) {
        if let Some(event) = self.only.take() {
            self.insert(event, now);
        }
    }

    fn insert(&mut self, event: QueuedEvent, now: Instant) {
        if let EventKind::PacketIn(_) = event.what {
            self.packet_ins.add(event.dpid, event.cost());
        }
        if event.is_of_no_switch() {
            self.last.end = Some(event);
            self.closed.push_back(std::mem::take(&mut self.last));
        } else {
            let age = match self.closed.is_empty() {
                true => AgeLimit::in_time(now),
                // Earlier events of the switch may wait before the one of no switch.
                false => AgeLimit::behind(),
            };
            self.last.push(event, age);
        }
    }

    /// No longer waits for the app to catch up with a long queue.
    fn end_catch_up(&mut self, now: Instant) {
        if let Some(dpid) = self.packet_ins.large() {
            let queues = self.queues_of(dpid);
            queues.for_each(|queue| AgeLimit::end_catch_up(&mut queue.age, now));
        }
    }

    /// Drops the packet-ins that are too old at the head of the queue whose turn it is. Returns the `Lost` to deliver in
    /// their place, which counts them.
    pub(super) fn drop_old(&mut self, now: Instant) -> Option<(QueuedEvent, u64)> {
        if self.len < 2 {
            // A port keeps its last packet-in.
            return None;
        }
        let first = self.closed.front_mut().unwrap_or(&mut self.last);
        let dpid = *first.turns.front()?;
        let queue = first.queues.get_mut(&dpid)?;
        let dropped = queue.drop_old(&self.limit, now)?;
        self.packet_ins.subtract(dpid, dropped.bytes);
        self.bytes -= dropped.bytes;
        self.len -= dropped.count as usize;
        // The turn remains with the switch: a packet-in follows its Lost.
        let what = EventKind::Lost(dropped.count);
        let lost = QueuedEvent::new(dropped.channel, dpid, what);
        Some((lost, dropped.count))
    }

    /// Takes the next event in turn, however old.
    pub(super) fn pop(&mut self, now: Instant) -> Option<QueuedEvent> {
        if let Some(event) = self.only.take() {
            self.uncount(&event);
            return Some(event);
        }
        let event = match self.closed.front_mut() {
            None => self.last.pop(&self.limit, now)?,
            Some(first) => match first.pop(&self.limit, now) {
                Some(event) => event,
                None => self.closed.pop_front()?.end?,
            },
        };
        self.uncount(&event);
        if let EventKind::PacketIn(_) = event.what {
            self.packet_ins.subtract(event.dpid, event.cost());
        }
        Some(event)
    }

    /// Drops the oldest packet-in of a long queue and counts it there. Returns its switch, if there was one.
    pub(super) fn shed(&mut self, now: Instant) -> Option<u64> {
        self.spill(now);
        let dpid = self.packet_ins.large()?;
        let (dropped, marker) = self.queues_of(dpid).find_map(|queue| {
            AgeLimit::end_catch_up(&mut queue.age, now);
            queue.shed()
        })?;
        self.packet_ins.subtract(dpid, dropped.cost());
        self.uncount(&dropped);
        if let Some(marker) = marker {
            self.count(&marker);
        }
        Some(dpid)
    }

    /// Queues of a switch in all sections, oldest first.
    fn queues_of(&mut self, dpid: u64) -> impl Iterator<Item = &mut SwitchQueue> {
        let last = std::iter::once(&mut self.last);
        let sections = self.closed.iter_mut().chain(last);
        sections.filter_map(move |section| section.queues.get_mut(&dpid))
    }

    /// Counts a packet-in that is not queued at all.
    pub(super) fn lose(&mut self, channel: u32, dpid: u64, now: Instant) {
        self.spill(now);
        if !self.newest(dpid).is_some_and(SwitchQueue::count_loss) {
            let what = EventKind::Lost(1);
            self.queue(QueuedEvent::new(channel, dpid, what), now);
            if let Some(queue) = self.newest(dpid) {
                queue.note_lost();
            }
        }
    }

    /// Queues a `Resync` of a switch in the place of an event, unless one waits already.
    pub(super) fn resync(&mut self, channel: u32, dpid: u64, now: Instant) {
        self.spill(now);
        if self.newest(dpid).is_some_and(SwitchQueue::has_resync) {
            return;
        }
        let what = EventKind::Resync { list: false };
        self.queue(QueuedEvent::new(channel, dpid, what), now);
        if let Some(queue) = self.newest(dpid) {
            queue.note_resync();
        }
        // SwitchUp is described at delivery, so it covers all that merges meanwhile.
        self.queue(QueuedEvent::new(channel, dpid, EventKind::SwitchUp), now);
    }

    /// Queues a `Resync` of all switches in the place of an event, unless one waits already.
    pub(super) fn resync_all(&mut self, now: Instant) {
        let lists = |section: &Section| {
            let end = section.end.as_ref();
            end.is_some_and(|end| end.what == EventKind::Resync { list: true })
        };
        if !self.closed.iter().any(lists) {
            let what = EventKind::Resync { list: true };
            self.queue(QueuedEvent::new(0, 0, what), now);
        }
    }

    /// Queue of a switch in the last section, if it has events there.
    fn newest(&mut self, dpid: u64) -> Option<&mut SwitchQueue> {
        self.last.queues.get_mut(&dpid)
    }

    fn count(&mut self, event: &QueuedEvent) {
        self.len += 1;
        self.bytes += event.cost();
    }

    fn uncount(&mut self, event: &QueuedEvent) {
        self.len -= 1;
        self.bytes -= event.cost();
    }
}

impl Section {
    /// Queues an event; `age` is the state of a queue that begins with it.
    fn push(&mut self, event: QueuedEvent, age: QueueAge) {
        let dpid = event.dpid;
        let new = || SwitchQueue::new(age);
        let queue = self.queues.entry(dpid).or_insert_with(new);
        if queue.is_empty() {
            self.turns.push_back(dpid);
        }
        queue.push(event);
    }

    fn pop(&mut self, limit: &AgeLimit, now: Instant) -> Option<QueuedEvent> {
        let dpid = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&dpid)?;
        let event = queue.pop()?;
        match event.what {
            EventKind::PacketIn(_) => limit.deliver(&mut queue.age, event.arrived, now),
            EventKind::Lost(_) => AgeLimit::tell(&mut queue.age),
            EventKind::Message(_)
            | EventKind::SwitchUp
            | EventKind::SwitchDown
            | EventKind::Forgotten
            | EventKind::Resync { .. } => {}
        }
        if queue.is_empty() {
            self.queues.remove(&dpid);
        } else {
            self.turns.push_back(dpid);
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests;
