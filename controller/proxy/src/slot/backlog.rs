//! Events of one app that are not yet durable, in order, within a quota of bytes.
//!
//! Above the quota packet-ins are dropped and reported as `Lost`. Port-status and flow-removed merge into a `Resync` of their
//! switch; above twice the quota, connects and disconnects of switches merge into a `Resync` of all.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use morph_api::store::Seq;

/// Memory of an event in bytes, beside its message.
const ENTRY: usize = 96;

/// Content of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// Packet-in, which may be dropped.
    PacketIn(Bytes),
    /// Port-status or flow-removed, which must not be lost.
    Message(Bytes),
    /// Connected switch; its description is read at delivery.
    SwitchUp,
    SwitchDown,
    /// Count of dropped packet-ins of the switch.
    Lost(u64),
    /// Request to compare the stored state of the switch (0: of all) with the present.
    Resync {
        /// Set until the connected switches are queued after it.
        list: bool,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct QueuedEvent {
    /// Channel of the switch; 0: none.
    pub(crate) channel: u32,
    /// Datapath id of the switch; 0: all switches.
    pub(crate) dpid: u64,
    pub(crate) what: EventKind,
    /// Some instance has received it.
    pub(crate) delivered: bool,
    /// A turn for it was accepted, so its packet-outs were sent.
    pub(crate) accepted: bool,
}

impl QueuedEvent {
    fn cost(&self) -> usize {
        ENTRY
            + match &self.what {
                EventKind::PacketIn(bytes) | EventKind::Message(bytes) => bytes.len(),
                EventKind::SwitchUp
                | EventKind::SwitchDown
                | EventKind::Lost(_)
                | EventKind::Resync { .. } => 0,
            }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Backlog {
    incarnation: u64,
    /// Number of the first entry.
    first: u64,
    entries: VecDeque<QueuedEvent>,
    bytes: usize,
    quota: usize,
    /// Numbers of the markers, by switch, to which further losses are added until delivery.
    open_lost: BTreeMap<u64, u64>,
    open_resync: BTreeMap<u64, u64>,
    lost: u64,
}

impl Backlog {
    pub(crate) fn new(incarnation: u64, first: u64, quota: usize) -> Self {
        Backlog {
            incarnation,
            first,
            entries: VecDeque::new(),
            bytes: 0,
            quota,
            open_lost: BTreeMap::new(),
            open_resync: BTreeMap::new(),
            lost: 0,
        }
    }

    /// Queues an event, or a marker in its place above the quota.
    pub(crate) fn push(&mut self, channel: u32, dpid: u64, what: EventKind) {
        let queued = QueuedEvent {
            channel,
            dpid,
            what,
            delivered: false,
            accepted: false,
        };
        let after = self.bytes + queued.cost();
        match queued.what {
            EventKind::PacketIn(_) if after > self.quota => self.shed(channel, dpid),
            EventKind::Message(_) if after > self.quota => self.resync(channel, dpid),
            EventKind::SwitchUp | EventKind::SwitchDown if after > 2 * self.quota => {
                self.resync(0, 0)
            }
            _ => self.append(queued),
        }
    }

    fn shed(&mut self, channel: u32, dpid: u64) {
        self.lost += 1;
        let open = self.open_lost.get(&dpid).copied();
        if let Some(queued) = open.and_then(|n| self.get_mut(n)).filter(|q| !q.delivered)
            && let EventKind::Lost(count) = &mut queued.what
        {
            *count += 1;
            return;
        }
        self.open_lost.insert(dpid, self.next());
        self.append_marker(channel, dpid, EventKind::Lost(1));
    }

    fn resync(&mut self, channel: u32, dpid: u64) {
        self.lost += 1;
        let open = self.open_resync.get(&dpid).copied();
        if open.and_then(|n| self.get(n)).is_some_and(|q| !q.delivered) {
            return;
        }
        self.open_resync.insert(dpid, self.next());
        self.append_marker(channel, dpid, EventKind::Resync { list: dpid == 0 });
        if dpid != 0 {
            // SwitchUp is described at delivery, so it covers all that merges meanwhile.
            self.append_marker(channel, dpid, EventKind::SwitchUp);
        }
    }

    /// Queues an event regardless of the quota; for markers and lists of switches, which are few.
    pub(crate) fn append_marker(&mut self, channel: u32, dpid: u64, what: EventKind) {
        self.append(QueuedEvent {
            channel,
            dpid,
            what,
            delivered: false,
            accepted: false,
        });
    }

    fn append(&mut self, queued: QueuedEvent) {
        self.bytes += queued.cost();
        self.entries.push_back(queued);
    }

    /// Removes all events up to the cursor.
    pub(crate) fn forget(&mut self, cursor: Seq) {
        if cursor.incarnation != self.incarnation {
            return;
        }
        while self.first <= cursor.n {
            let Some(queued) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= queued.cost();
            self.first += 1;
        }
        self.open_lost.retain(|_, n| *n >= self.first);
        self.open_resync.retain(|_, n| *n >= self.first);
    }

    fn index(&self, n: u64) -> Option<usize> {
        n.checked_sub(self.first).map(|index| index as usize)
    }

    pub(crate) fn get(&self, n: u64) -> Option<&QueuedEvent> {
        self.entries.get(self.index(n)?)
    }

    pub(crate) fn get_mut(&mut self, n: u64) -> Option<&mut QueuedEvent> {
        let index = self.index(n)?;
        self.entries.get_mut(index)
    }

    /// Returns the number of the oldest event that is not durable.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Returns the number of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
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
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether packet-ins are dropped.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes + ENTRY > self.quota
            || !self.open_lost.is_empty()
            || !self.open_resync.is_empty()
    }

    /// Counts the events dropped or merged.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Counts the events that were delivered before.
    pub(crate) fn delivered(&self) -> u64 {
        self.entries.iter().filter(|q| q.delivered).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Bytes {
        Bytes::from(vec![0; length])
    }

    fn kinds(backlog: &Backlog) -> Vec<(u64, EventKind)> {
        backlog
            .entries
            .iter()
            .map(|q| (q.dpid, q.what.clone()))
            .collect()
    }

    #[test]
    fn packet_ins_beyond_the_quota_are_counted_by_switch() {
        let mut backlog = Backlog::new(1, 1, 2 * (ENTRY + 100));
        for dpid in [1, 1, 1, 2, 1, 2] {
            backlog.push(dpid as u32, dpid, EventKind::PacketIn(message(100)));
        }
        assert_eq!(
            kinds(&backlog)[2..],
            [(1, EventKind::Lost(2)), (2, EventKind::Lost(2))]
        );
        assert_eq!(backlog.lost(), 4);
        assert!(backlog.is_full());
    }

    #[test]
    fn a_delivered_marker_is_not_added_to() {
        let mut backlog = Backlog::new(1, 1, 0);
        backlog.push(1, 1, EventKind::PacketIn(message(1)));
        backlog.get_mut(1).unwrap().delivered = true;
        backlog.push(1, 1, EventKind::PacketIn(message(1)));
        assert_eq!(
            kinds(&backlog),
            [(1, EventKind::Lost(1)), (1, EventKind::Lost(1))]
        );
    }

    #[test]
    fn events_that_must_not_be_lost_merge_into_one_resync() {
        let mut backlog = Backlog::new(1, 1, 0);
        for _ in 0..3 {
            backlog.push(7, 1, EventKind::Message(message(80)));
        }
        assert_eq!(
            kinds(&backlog),
            [
                (1, EventKind::Resync { list: false }),
                (1, EventKind::SwitchUp)
            ]
        );
        backlog.push(7, 1, EventKind::SwitchDown);
        assert_eq!(
            kinds(&backlog)[2..],
            [(0, EventKind::Resync { list: true })]
        );
    }

    #[test]
    fn events_up_to_the_cursor_are_removed_in_their_own_incarnation_only() {
        let mut backlog = Backlog::new(4, 1, 1 << 20);
        for _ in 0..5 {
            backlog.push(1, 1, EventKind::PacketIn(message(10)));
        }
        backlog.forget(Seq {
            incarnation: 3,
            n: 5,
        });
        assert_eq!((backlog.first(), backlog.len()), (1, 5));
        backlog.forget(Seq {
            incarnation: 4,
            n: 2,
        });
        assert_eq!((backlog.first(), backlog.len(), backlog.next()), (3, 3, 6));
        assert!(backlog.get(2).is_none() && backlog.get(3).is_some() && backlog.get(6).is_none());
        backlog.forget(Seq {
            incarnation: 4,
            n: 99,
        });
        assert_eq!((backlog.bytes(), backlog.first()), (0, 6));
    }
}
