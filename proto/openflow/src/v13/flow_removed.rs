//! `OFPT_FLOW_REMOVED` (section 7.4.2): a rule was removed.

use super::Match;
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// Reasons for the removal of a rule: `OFPRR_*`.
pub mod reason {
    /// Idle timeout passed without a matching packet.
    pub const IDLE_TIMEOUT: u8 = 0;
    /// Hard timeout has passed.
    pub const HARD_TIMEOUT: u8 = 1;
    /// Deleted by a flow-mod.
    pub const DELETE: u8 = 2;
    /// Deleted with its group.
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

/// Removal of a rule that was installed with the flag `SEND_FLOW_REM`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowRemoved {
    /// Cookie of the rule.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// Priority of the rule.
    pub priority: u16,
    /// Cause of the removal, a constant of [`reason`].
    pub reason: u8,
    /// Table that held the rule.
    pub table_id: u8,
    /// Lifetime of the rule, in whole seconds.
    pub duration_sec: u32,
    /// Nanoseconds of the lifetime beyond `duration_sec`.
    pub duration_nsec: u32,
    /// Idle timeout of the rule, in seconds.
    pub idle_timeout: u16,
    /// Hard timeout of the rule, in seconds.
    pub hard_timeout: u16,
    /// Packets matched by the rule.
    pub packet_count: u64,
    /// Bytes matched by the rule.
    pub byte_count: u64,
    /// Match of the rule.
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
