//! Events of one app that wait for delivery: a queue for each switch, served in turn, within a quota of bytes.
//!
//! An event takes an app about as long whatever its size, so each switch in its turn gets one event delivered: a switch
//! that floods delays nobody but itself. The order of a switch's own events is kept. An event of no switch (a `Resync` of
//! all) comes after everything that was queued before it, and before everything that came later.
//!
//! Above the quota one of the longest queues loses its oldest packet-in, of one of its ports with the most, and a `Lost` in
//! its place counts it. Where no packet-in is left, port-status and flow-removed merge into a `Resync` of their switch; above twice
//! the quota, connects and disconnects of switches merge into a `Resync` of all.

use std::collections::{BTreeMap, VecDeque};

use morph_openflow::v13::PacketInView;

use super::event::{EventKind, QueuedEvent};
use super::shares::Shares;

#[derive(Debug, Clone, Default)]
pub(super) struct WaitingEvents {
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

/// Events of one switch.
#[derive(Debug, Clone, Default)]
struct SwitchQueue {
    /// Events by place, oldest first, with the ingress port of a packet-in.
    events: BTreeMap<u64, (QueuedEvent, Option<u32>)>,
    /// Place of the next event.
    next: u64,
    /// Places of the packet-ins by ingress port, oldest first.
    places: BTreeMap<u32, VecDeque<u64>>,
    /// Number of packet-ins by ingress port.
    ports: Shares<u32>,
    /// Place of a marker that counts further losses while it waits.
    lost: Option<u64>,
    /// Place of a marker that covers further merged events while it waits.
    resync: Option<u64>,
}

impl WaitingEvents {
    /// Returns the number of waiting events.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the memory of the waiting events in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues an event behind those of its switch.
    pub(super) fn push(&mut self, event: QueuedEvent) {
        self.count(&event);
        if let EventKind::PacketIn(_) = event.what {
            self.packet_ins.add(event.dpid, event.cost());
        }
        if event.is_of_no_switch() {
            self.last.end = Some(event);
            self.closed.push_back(std::mem::take(&mut self.last));
        } else {
            self.last.push(event);
        }
    }

    /// Takes the next event in turn.
    pub(super) fn pop(&mut self) -> Option<QueuedEvent> {
        let event = match self.closed.front_mut() {
            None => self.last.pop()?,
            Some(first) => match first.pop() {
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

    /// Drops the oldest packet-in of a long queue and counts it there. Returns whether there was one.
    pub(super) fn shed(&mut self) -> bool {
        let Some(dpid) = self.packet_ins.large() else {
            return false;
        };
        let sections = self
            .closed
            .iter_mut()
            .chain(std::iter::once(&mut self.last));
        let mut queues = sections.filter_map(|section| section.queues.get_mut(&dpid));
        let Some((dropped, marker)) = queues.find_map(SwitchQueue::shed) else {
            return false;
        };
        self.packet_ins.subtract(dpid, dropped.cost());
        self.uncount(&dropped);
        if let Some(marker) = marker {
            self.count(&marker);
        }
        true
    }

    /// Counts a packet-in that is not queued at all.
    pub(super) fn lose(&mut self, channel: u32, dpid: u64) {
        if !self.newest(dpid).is_some_and(SwitchQueue::count_loss) {
            let what = EventKind::Lost(1);
            self.push(QueuedEvent::new(channel, dpid, what));
            if let Some(queue) = self.newest(dpid) {
                queue.lost = queue.next.checked_sub(1);
            }
        }
    }

    /// Queues a `Resync` of a switch in the place of an event, unless one waits already.
    pub(super) fn resync(&mut self, channel: u32, dpid: u64) {
        let waits = |queue: &mut SwitchQueue| {
            let place = queue.resync;
            place.is_some_and(|place| queue.events.contains_key(&place))
        };
        if self.newest(dpid).is_some_and(waits) {
            return;
        }
        let what = EventKind::Resync { list: false };
        self.push(QueuedEvent::new(channel, dpid, what));
        if let Some(queue) = self.newest(dpid) {
            queue.resync = queue.next.checked_sub(1);
        }
        // SwitchUp is described at delivery, so it covers all that merges meanwhile.
        self.push(QueuedEvent::new(channel, dpid, EventKind::SwitchUp));
    }

    /// Queues a `Resync` of all switches in the place of an event, unless one waits already.
    pub(super) fn resync_all(&mut self) {
        let lists = |section: &Section| {
            let end = section.end.as_ref();
            end.is_some_and(|end| end.what == EventKind::Resync { list: true })
        };
        if !self.closed.iter().any(lists) {
            let what = EventKind::Resync { list: true };
            self.push(QueuedEvent::new(0, 0, what));
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
    fn push(&mut self, event: QueuedEvent) {
        let dpid = event.dpid;
        let queue = self.queues.entry(dpid).or_default();
        if queue.events.is_empty() {
            self.turns.push_back(dpid);
        }
        queue.push(event);
    }

    fn pop(&mut self) -> Option<QueuedEvent> {
        let dpid = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&dpid)?;
        let event = queue.pop();
        if queue.events.is_empty() {
            self.queues.remove(&dpid);
        } else {
            self.turns.push_back(dpid);
        }
        event
    }
}

/// Ingress port of a packet-in; 0 where it names none.
fn port(event: &QueuedEvent) -> Option<u32> {
    let EventKind::PacketIn(message) = &event.what else {
        return None;
    };
    let view = PacketInView::new(message).ok();
    Some(view.and_then(|view| view.in_port()).unwrap_or(0))
}

impl SwitchQueue {
    fn push(&mut self, event: QueuedEvent) {
        let port = port(&event);
        if let Some(port) = port {
            self.places.entry(port).or_default().push_back(self.next);
            self.ports.add(port, 1);
        }
        self.events.insert(self.next, (event, port));
        self.next += 1;
    }

    fn pop(&mut self) -> Option<QueuedEvent> {
        let (_, (event, port)) = self.events.pop_first()?;
        if let Some(port) = port {
            self.forget_oldest(port);
        }
        Some(event)
    }

    /// Forgets the place of the oldest packet-in of a port, and returns it.
    fn forget_oldest(&mut self, port: u32) -> Option<u64> {
        let places = self.places.get_mut(&port)?;
        let place = places.pop_front();
        if places.is_empty() {
            self.places.remove(&port);
        }
        self.ports.subtract(port, 1);
        place
    }

    /// Drops the oldest packet-in of a port with many. Returns it, and the marker that is new in its place.
    fn shed(&mut self) -> Option<(QueuedEvent, Option<QueuedEvent>)> {
        let port = self.ports.large()?;
        let place = self.forget_oldest(port)?;
        let (dropped, _) = self.events.remove(&place)?;
        if self.count_loss() {
            return Some((dropped, None));
        }
        let marker = QueuedEvent::new(dropped.channel, dropped.dpid, EventKind::Lost(1));
        self.events.insert(place, (marker.clone(), None));
        self.lost = Some(place);
        Some((dropped, Some(marker)))
    }

    /// Adds a loss to the marker that waits. Returns whether there is one.
    fn count_loss(&mut self) -> bool {
        let marker = self.lost.and_then(|place| self.events.get_mut(&place));
        match marker.map(|(marker, _)| &mut marker.what) {
            Some(EventKind::Lost(count)) => {
                *count += 1;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
