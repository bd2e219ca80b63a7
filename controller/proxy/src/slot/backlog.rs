//! The events of one app that are not yet durable, in order, within a quota of bytes.
//!
//! Above the quota packet-ins are shed and told as `Lost`; port-status and flow-removed collapse into `Resync` of their
//! switch, and above twice the quota switches coming and going collapse into `Resync` of all.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use morph_api::store::Seq;

/// What an event costs beside its message: the entry itself and its share of the queue.
const ENTRY: usize = 96;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A packet-in, which may be shed.
    PacketIn(Bytes),
    /// A port-status or flow-removed, which may not be lost.
    Message(Bytes),
    /// The switch is there; how it is, is taken at delivery.
    SwitchUp,
    /// The switch is gone.
    SwitchDown,
    /// Packet-ins of this switch were shed.
    Lost(u64),
    /// Compare what is stored about this switch (0: any) with what is. `list`: those connected have to be queued after it.
    Resync {
        /// The switches there are not queued yet.
        list: bool,
    },
}

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    /// Of which channel; 0: of none.
    pub(crate) channel: u32,
    /// Of which switch; 0: of all.
    pub(crate) dpid: u64,
    /// What happened.
    pub(crate) what: What,
    /// Some instance has got it.
    pub(crate) delivered: bool,
    /// A turn that answers it was accepted: its packet-outs are out.
    pub(crate) accepted: bool,
}

impl Queued {
    fn cost(&self) -> usize {
        ENTRY
            + match &self.what {
                What::PacketIn(bytes) | What::Message(bytes) => bytes.len(),
                What::SwitchUp | What::SwitchDown | What::Lost(_) | What::Resync { .. } => 0,
            }
    }
}

/// The queue.
#[derive(Debug, Clone)]
pub(crate) struct Backlog {
    incarnation: u64,
    /// The number of the first entry.
    first: u64,
    entries: VecDeque<Queued>,
    bytes: usize,
    quota: usize,
    /// Numbers of the markers that further losses are added to while they are undelivered, by switch.
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

    /// Queues an event, or what is left of it.
    pub(crate) fn push(&mut self, channel: u32, dpid: u64, what: What) {
        let queued = Queued {
            channel,
            dpid,
            what,
            delivered: false,
            accepted: false,
        };
        let after = self.bytes + queued.cost();
        match queued.what {
            What::PacketIn(_) if after > self.quota => self.shed(channel, dpid),
            What::Message(_) if after > self.quota => self.resync(channel, dpid),
            What::SwitchUp | What::SwitchDown if after > 2 * self.quota => self.resync(0, 0),
            _ => self.append(queued),
        }
    }

    fn shed(&mut self, channel: u32, dpid: u64) {
        self.lost += 1;
        let open = self.open_lost.get(&dpid).copied();
        if let Some(queued) = open.and_then(|n| self.get_mut(n)).filter(|q| !q.delivered)
            && let What::Lost(count) = &mut queued.what
        {
            *count += 1;
            return;
        }
        self.open_lost.insert(dpid, self.next());
        self.append_what(channel, dpid, What::Lost(1));
    }

    fn resync(&mut self, channel: u32, dpid: u64) {
        self.lost += 1;
        let open = self.open_resync.get(&dpid).copied();
        if open.and_then(|n| self.get(n)).is_some_and(|q| !q.delivered) {
            return;
        }
        self.open_resync.insert(dpid, self.next());
        self.append_what(channel, dpid, What::Resync { list: dpid == 0 });
        if dpid != 0 {
            // What the switch is like is taken at delivery, so this covers all that collapses meanwhile.
            self.append_what(channel, dpid, What::SwitchUp);
        }
    }

    /// Queues without regard to the quota: for markers and lists of switches, which are few.
    pub(crate) fn append_what(&mut self, channel: u32, dpid: u64, what: What) {
        self.append(Queued {
            channel,
            dpid,
            what,
            delivered: false,
            accepted: false,
        });
    }

    fn append(&mut self, queued: Queued) {
        self.bytes += queued.cost();
        self.entries.push_back(queued);
    }

    /// Lets go of all events up to this one.
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

    pub(crate) fn get(&self, n: u64) -> Option<&Queued> {
        self.entries.get(self.index(n)?)
    }

    pub(crate) fn get_mut(&mut self, n: u64) -> Option<&mut Queued> {
        let index = self.index(n)?;
        self.entries.get_mut(index)
    }

    /// The number of the oldest event that is not durable.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The number that the next event gets.
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

    /// Packet-ins are shed.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes + ENTRY > self.quota
            || !self.open_lost.is_empty()
            || !self.open_resync.is_empty()
    }

    /// Events shed or collapsed.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Events that were delivered before.
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

    fn kinds(backlog: &Backlog) -> Vec<(u64, What)> {
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
            backlog.push(dpid as u32, dpid, What::PacketIn(message(100)));
        }
        assert_eq!(
            kinds(&backlog)[2..],
            [(1, What::Lost(2)), (2, What::Lost(2))]
        );
        assert_eq!(backlog.lost(), 4);
        assert!(backlog.is_full());
    }

    #[test]
    fn a_delivered_marker_is_not_added_to() {
        let mut backlog = Backlog::new(1, 1, 0);
        backlog.push(1, 1, What::PacketIn(message(1)));
        backlog.get_mut(1).unwrap().delivered = true;
        backlog.push(1, 1, What::PacketIn(message(1)));
        assert_eq!(kinds(&backlog), [(1, What::Lost(1)), (1, What::Lost(1))]);
    }

    #[test]
    fn what_must_not_be_lost_collapses_into_one_resync() {
        let mut backlog = Backlog::new(1, 1, 0);
        for _ in 0..3 {
            backlog.push(7, 1, What::Message(message(80)));
        }
        assert_eq!(
            kinds(&backlog),
            [(1, What::Resync { list: false }), (1, What::SwitchUp)]
        );
        backlog.push(7, 1, What::SwitchDown);
        assert_eq!(kinds(&backlog)[2..], [(0, What::Resync { list: true })]);
    }

    #[test]
    fn forgets_up_to_the_cursor_of_its_own_stream_only() {
        let mut backlog = Backlog::new(4, 1, 1 << 20);
        for _ in 0..5 {
            backlog.push(1, 1, What::PacketIn(message(10)));
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
