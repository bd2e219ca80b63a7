//! `OFPT_FLOW_REMOVED` (section 7.4.2): a rule has gone.

use super::Match;
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// Why a rule has gone: `OFPRR_*`.
pub mod reason {
    /// No packet came.
    pub const IDLE_TIMEOUT: u8 = 0;
    /// Its time was over.
    pub const HARD_TIMEOUT: u8 = 1;
    /// It was deleted.
    pub const DELETE: u8 = 2;
    /// Its group was deleted.
    pub const GROUP_DELETE: u8 = 3;
}

fixed! {
    /// `ofp_flow_removed` from its header to its match.
    pub struct FlowRemovedFixed = "flow_removed" {
        pub cookie: u64,
        pub priority: u16,
        pub reason: u8,
        pub table_id: u8,
        pub duration_sec: u32,
        pub duration_nsec: u32,
        pub idle_timeout: u16,
        pub hard_timeout: u16,
        pub packet_count: u64,
        pub byte_count: u64,
    }
}

/// A rule that asked for it has gone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowRemoved {
    /// The rule's.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// The rule's.
    pub priority: u16,
    /// Why.
    pub reason: u8,
    /// Where the rule was.
    pub table_id: u8,
    /// How long the rule lived: seconds,
    pub duration_sec: u32,
    /// and nanoseconds beyond them.
    pub duration_nsec: u32,
    /// The rule's.
    pub idle_timeout: u16,
    /// The rule's.
    pub hard_timeout: u16,
    /// Packets that it handled.
    pub packet_count: u64,
    /// Bytes that it handled.
    pub byte_count: u64,
    /// The rule's.
    #[serde(rename = "match")]
    pub match_: Match,
}

impl FlowRemoved {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<FlowRemovedFixed>()?;
        Ok(FlowRemoved {
            cookie: fixed.cookie(),
            priority: fixed.priority(),
            reason: fixed.reason(),
            table_id: fixed.table_id(),
            duration_sec: fixed.duration_sec(),
            duration_nsec: fixed.duration_nsec(),
            idle_timeout: fixed.idle_timeout(),
            hard_timeout: fixed.hard_timeout(),
            packet_count: fixed.packet_count(),
            byte_count: fixed.byte_count(),
            match_: Match::decode(reader)?,
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&FlowRemovedFixed {
            cookie: self.cookie.into(),
            priority: self.priority.into(),
            reason: self.reason,
            table_id: self.table_id,
            duration_sec: self.duration_sec.into(),
            duration_nsec: self.duration_nsec.into(),
            idle_timeout: self.idle_timeout.into(),
            hard_timeout: self.hard_timeout.into(),
            packet_count: self.packet_count.into(),
            byte_count: self.byte_count.into(),
        });
        self.match_.encode(w);
    }
}
