//! Waiting events of one switch: a queue, and in it a chain of the packet-ins of each ingress port, oldest first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use morph_openflow::v13::PacketInView;

use super::age::{AgeLimit, QueueAge};
use super::event::{EventKind, QueuedEvent};
use super::shares::Shares;

/// Most packet-ins that are dropped by age before something is delivered; bounds the time of one delivery.
const DROPPED_AT_ONCE: u64 = 1000;

/// Events of one switch.
#[derive(Debug, Clone)]
pub(super) struct SwitchQueue {
    pub(super) age: QueueAge,
    events: Places,
    /// Packet-ins by ingress port: the places of the oldest and of the newest one.
    chains: BTreeMap<u32, (u64, u64)>,
    /// Number of packet-ins by ingress port.
    ports: Shares<u32>,
    /// Place of a marker that counts further losses while it waits.
    lost: Option<u64>,
    /// Place of a marker that covers further merged events while it waits.
    resync: Option<u64>,
}

/// Events by place. Places are numbered in the order of arrival, and may be empty behind the first one.
#[derive(Debug, Clone, Default)]
struct Places {
    /// Place of the first event.
    first: u64,
    events: VecDeque<Option<Waiting>>,
}

#[derive(Debug, Clone)]
struct Waiting {
    event: QueuedEvent,
    /// Ingress port of a packet-in.
    port: Option<u32>,
    /// Place of the next packet-in of the same port, if there is one.
    next: Option<u64>,
}

/// Packet-ins that were dropped from the head of a queue.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// Channel of the last one.
    pub(super) channel: u32,
    pub(super) count: u64,
    pub(super) bytes: usize,
}

impl Places {
    /// Place of the next event that is pushed.
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn push(&mut self, event: Waiting) {
        self.events.push_back(Some(event));
    }

    fn front(&self) -> Option<&Waiting> {
        self.events.front()?.as_ref()
    }

    fn slot(&mut self, place: u64) -> Option<&mut Option<Waiting>> {
        let index = place.checked_sub(self.first)?;
        self.events.get_mut(index as usize)
    }

    fn get_mut(&mut self, place: u64) -> Option<&mut Waiting> {
        self.slot(place)?.as_mut()
    }

    /// Puts another event, or none, in the place of one. Returns that one.
    fn replace(&mut self, place: u64, with: Option<Waiting>) -> Option<Waiting> {
        let before = std::mem::replace(self.slot(place)?, with);
        self.trim();
        before
    }

    fn pop(&mut self) -> Option<Waiting> {
        self.replace(self.first, None)
    }

    /// Removes the empty places in front.
    fn trim(&mut self) {
        while let Some(None) = self.events.front() {
            self.events.pop_front();
            self.first += 1;
        }
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
    pub(super) fn new(age: QueueAge) -> Self {
        SwitchQueue {
            age,
            events: Places::default(),
            chains: BTreeMap::new(),
            ports: Shares::default(),
            lost: None,
            resync: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.front().is_none()
    }

    /// Returns the events in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &QueuedEvent> {
        let waiting = self.events.events.iter().flatten();
        waiting.map(|waiting| &waiting.event)
    }

    /// Queues an event behind the others.
    pub(super) fn push(&mut self, event: QueuedEvent) {
        let (place, port) = (self.events.next(), port(&event));
        let next = None;
        self.events.push(Waiting { event, port, next });
        if let Some(port) = port {
            self.ports.add(port, 1);
            self.chain(port, place);
        }
    }

    /// Adds a packet-in to the chain of its port.
    fn chain(&mut self, port: u32, place: u64) {
        let (_, newest) = self.chains.entry(port).or_insert((place, place));
        let before = std::mem::replace(newest, place);
        if before != place
            && let Some(before) = self.events.get_mut(before)
        {
            before.next = Some(place);
        }
    }

    /// Removes the oldest packet-in of a port from its chain; `next` is the place of the one behind it.
    fn unchain(&mut self, port: u32, next: Option<u64>) {
        self.ports.subtract(port, 1);
        match (next, self.chains.get_mut(&port)) {
            (Some(next), Some((oldest, _))) => *oldest = next,
            (Some(_), None) => {}
            (None, _) => drop(self.chains.remove(&port)),
        }
    }

    /// Takes the first event.
    pub(super) fn pop(&mut self) -> Option<QueuedEvent> {
        // A packet-in at the head of the queue is the oldest of its port.
        let Waiting { event, port, next } = self.events.pop()?;
        if let Some(port) = port {
            self.unchain(port, next);
        }
        Some(event)
    }

    /// Drops the packet-ins at the head that are too old, if dropping is to begin.
    pub(super) fn drop_old(&mut self, limit: &AgeLimit, now: Instant) -> Option<Dropped> {
        let head = &self.events.front()?.event;
        if !limit.begins(self.age, self.ports.total(), head.arrived, now) {
            return None;
        }
        let mut all = Dropped::default();
        while all.count < DROPPED_AT_ONCE
            && let Some(head) = self.events.front()
            && let Some(port) = head.port
            && limit.is_too_old(head.event.arrived, now)
            && self.ports.amount(port) > 1
            && self.ports.is_large(port)
        {
            let dropped = self.pop()?;
            all.channel = dropped.channel;
            all.count += 1;
            all.bytes += dropped.cost();
        }
        if all.count == 0 {
            return None;
        }
        AgeLimit::tell(&mut self.age);
        Some(all)
    }

    /// Drops the oldest packet-in of a port with many. Returns it, and the marker that is new in its place.
    pub(super) fn shed(&mut self) -> Option<(QueuedEvent, Option<QueuedEvent>)> {
        let port = self.ports.large()?;
        let (place, _) = *self.chains.get(&port)?;
        let marker = match self.count_loss() {
            true => None,
            false => {
                let QueuedEvent { channel, dpid, .. } = self.events.get_mut(place)?.event;
                self.lost = Some(place);
                Some(QueuedEvent::new(channel, dpid, EventKind::Lost(1)))
            }
        };
        let in_its_place = marker.clone().map(|event| Waiting {
            event,
            port: None,
            next: None,
        });
        let dropped = self.events.replace(place, in_its_place)?;
        self.unchain(port, dropped.next);
        Some((dropped.event, marker))
    }

    /// Adds a loss to the marker that waits. Returns whether there is one.
    pub(super) fn count_loss(&mut self) -> bool {
        let marker = self.lost.and_then(|place| self.events.get_mut(place));
        match marker.map(|marker| &mut marker.event.what) {
            Some(EventKind::Lost(count)) => {
                *count += 1;
                true
            }
            _ => false,
        }
    }

    /// Notes that the newest event counts further losses.
    pub(super) fn note_lost(&mut self) {
        self.lost = self.events.next().checked_sub(1);
    }

    /// Notes that the newest event covers further merged events.
    pub(super) fn note_resync(&mut self) {
        self.resync = self.events.next().checked_sub(1);
    }

    /// Whether a marker waits that covers merged events.
    pub(super) fn has_resync(&mut self) -> bool {
        let place = self.resync;
        place.is_some_and(|place| self.events.get_mut(place).is_some())
    }
}
