//! Events as they are queued.

use std::time::Instant;

use bytes::Bytes;

/// Memory of an event in bytes, beside its message: the event, its place in the queue, and the part of the queue that is free.
pub(super) const ENTRY: usize = 136;

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
    /// News that the switch is gone for good.
    Forgotten,
}

#[derive(Debug, Clone)]
pub(crate) struct QueuedEvent {
    /// Channel of the switch; 0: none.
    pub(crate) channel: u32,
    /// Datapath id of the switch; 0: all switches.
    pub(crate) dpid: u64,
    pub(crate) what: EventKind,
    /// Time at which it reached the proxy; absent for an event of the proxy's own.
    pub(crate) arrived: Option<Instant>,
    /// Some instance has received it.
    pub(crate) delivered: bool,
    /// A turn for it was accepted, so its packet-outs were sent.
    pub(crate) accepted: bool,
}

impl QueuedEvent {
    pub(super) fn new(channel: u32, dpid: u64, what: EventKind) -> Self {
        QueuedEvent {
            channel,
            dpid,
            what,
            arrived: None,
            delivered: false,
            accepted: false,
        }
    }

    /// Whether it is about all switches.
    pub(super) fn is_of_no_switch(&self) -> bool {
        self.dpid == 0 && matches!(self.what, EventKind::Resync { .. })
    }

    /// Memory of the event in bytes.
    pub(super) fn cost(&self) -> usize {
        ENTRY
            + match &self.what {
                EventKind::PacketIn(bytes) | EventKind::Message(bytes) => bytes.len(),
                EventKind::SwitchUp
                | EventKind::SwitchDown
                | EventKind::Lost(_)
                | EventKind::Forgotten
                | EventKind::Resync { .. } => 0,
            }
    }
}
