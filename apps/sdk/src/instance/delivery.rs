//! Events as the proxy delivers them.

use std::time::Instant;

use morph_api::store::Seq;

use crate::{Dpid, Event};

/// Control record that announces an OpenFlow message, which comes next.
#[derive(Debug, Clone)]
pub(super) enum Announcement {
    Event { dpid: u64, place: Place },
    Reply,
}

/// Place of an event among others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) seq: Seq,
    /// Nothing else is delivered before this event is durable.
    pub(super) alone: bool,
    /// Time at which the event reached the proxy.
    pub(super) arrived: Instant,
}

/// An event to be handled.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) place: Place,
    /// Event for the app; absent for a kind that this SDK does not know.
    pub(super) event: Option<Event>,
    pub(super) channel: Option<ChannelChange>,
    /// Handled before, in a turn that the store refused.
    pub(super) repeated: bool,
}

impl Delivery {
    /// Whether other events may be handled in the same turn: it changes no channel, and the proxy does not wait for this
    /// event alone.
    pub(super) fn is_plain(&self) -> bool {
        !self.place.alone
            && self.channel.is_none()
            && !matches!(self.event, Some(Event::Resync { .. }))
    }
}

/// Channel that came or went with an event.
#[derive(Debug, Clone, Copy)]
pub(super) enum ChannelChange {
    Up { dpid: Dpid, channel: u32 },
    Down { dpid: Dpid, channel: u32 },
}
