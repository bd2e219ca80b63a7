//! `OFPMP_FLOW` and `OFPMP_AGGREGATE` (sections 7.3.5.2 and 7.3.5.3): individual rules, and sums over rules.

use crate::error::DecodeError;
use crate::v13::instruction::{self, Instruction};
use crate::v13::{GROUP_ANY, Match, TABLE_ALL, port};
use crate::wire::{Fixed, Reader, Writer, fixed};

fixed! {
    /// `ofp_flow_stats_request` and `ofp_aggregate_stats_request` up to their match.
    struct RequestFixed = "multipart.flow_request" {
        table_id: u8,
        pad: [u8; 3],
        out_port: u32,
        out_group: u32,
        pad2: [u8; 4],
        cookie: u64,
        cookie_mask: u64,
    }
}

fixed! {
    /// `ofp_flow_stats` up to its match.
    pub(crate) struct FlowStatsFixed = "multipart.flow" {
        pub(crate) length: u16,
        pub(crate) table_id: u8,
        pad: u8,
        duration_sec: u32,
        duration_nsec: u32,
        priority: u16,
        idle_timeout: u16,
        hard_timeout: u16,
        flags: u16,
        pad2: [u8; 4],
        pub(crate) cookie: u64,
        packet_count: u64,
        byte_count: u64,
    }
}

/// Selection of rules for statistics; a rule must satisfy all conditions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowStatsRequest {
    /// Table number, or `TABLE_ALL`.
    pub table_id: u8,
    /// Output port that the rule must use, or `port::ANY`.
    pub out_port: u32,
    /// Group that the rule must use, or `GROUP_ANY`.
    pub out_group: u32,
    /// Cookie that the rule must have in the bits of `cookie_mask`.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// Cookie bits to compare.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie_mask: u64,
    /// Match that the rule's match must be a subset of.
    #[serde(rename = "match")]
    pub match_: Match,
}

impl FlowStatsRequest {
    /// Selects all rules.
    pub fn all() -> Self {
        Self::by_cookie(0, 0)
    }

    /// Selects the rules whose cookie equals this one in the bits of the mask.
    pub fn by_cookie(cookie: u64, cookie_mask: u64) -> Self {
        FlowStatsRequest {
            table_id: TABLE_ALL,
            out_port: port::ANY,
            out_group: GROUP_ANY,
            cookie,
            cookie_mask,
            match_: Match::new(),
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<RequestFixed>()?;
        Ok(FlowStatsRequest {
            table_id: fixed.table_id(),
            out_port: fixed.out_port(),
            out_group: fixed.out_group(),
            cookie: fixed.cookie(),
            cookie_mask: fixed.cookie_mask(),
            match_: Match::decode(reader)?,
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&RequestFixed {
            table_id: self.table_id,
            pad: [0; 3],
            out_port: self.out_port.into(),
            out_group: self.out_group.into(),
            pad2: [0; 4],
            cookie: self.cookie.into(),
            cookie_mask: self.cookie_mask.into(),
        });
        self.match_.encode(w);
    }
}

/// Installed rule, with its counters.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowStats {
    /// Table that holds the rule.
    pub table_id: u8,
    /// Time since installation, in whole seconds.
    pub duration_sec: u32,
    /// Nanoseconds beyond `duration_sec`.
    pub duration_nsec: u32,
    /// Priority; a packet takes the matching rule with the highest one.
    pub priority: u16,
    /// Seconds without a matching packet until the switch removes the rule; 0 for never.
    pub idle_timeout: u16,
    /// Seconds after installation until the switch removes the rule; 0 for never.
    pub hard_timeout: u16,
    /// Bits of `flow_mod::flag`.
    pub flags: u16,
    /// Opaque number chosen by the controller.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// Packets matched by the rule.
    pub packet_count: u64,
    /// Bytes matched by the rule.
    pub byte_count: u64,
    /// Selection of packets.
    #[serde(rename = "match")]
    pub match_: Match,
    /// Instructions for matching packets.
    pub instructions: Vec<Instruction>,
}

impl FlowStats {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = FlowStatsFixed::length;
        let (fixed, mut entry) = reader.entry("multipart.flow.length", 0, length)?;
        let match_ = Match::decode(&mut entry)?;
        Ok(FlowStats {
            table_id: fixed.table_id(),
            duration_sec: fixed.duration_sec(),
            duration_nsec: fixed.duration_nsec(),
            priority: fixed.priority(),
            idle_timeout: fixed.idle_timeout(),
            hard_timeout: fixed.hard_timeout(),
            flags: fixed.flags(),
            cookie: fixed.cookie(),
            packet_count: fixed.packet_count(),
            byte_count: fixed.byte_count(),
            match_,
            instructions: instruction::decode_all(entry)?,
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.fixed(&FlowStatsFixed {
            length: 0.into(),
            table_id: self.table_id,
            pad: 0,
            duration_sec: self.duration_sec.into(),
            duration_nsec: self.duration_nsec.into(),
            priority: self.priority.into(),
            idle_timeout: self.idle_timeout.into(),
            hard_timeout: self.hard_timeout.into(),
            flags: self.flags.into(),
            pad2: [0; 4],
            cookie: self.cookie.into(),
            packet_count: self.packet_count.into(),
            byte_count: self.byte_count.into(),
        });
        self.match_.encode(w);
        instruction::encode_all(&self.instructions, w);
        w.set_length(FlowStatsFixed::NAME, start, w.position() - start);
    }
}
