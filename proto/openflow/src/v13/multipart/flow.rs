//! `OFPMP_FLOW` and `OFPMP_AGGREGATE` (sections 7.3.5.2 and 7.3.5.3): rules, one by one and summed up.

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
    struct FlowStatsFixed = "multipart.flow" {
        length: u16,
        table_id: u8,
        pad: u8,
        duration_sec: u32,
        duration_nsec: u32,
        priority: u16,
        idle_timeout: u16,
        hard_timeout: u16,
        flags: u16,
        pad2: [u8; 4],
        cookie: u64,
        packet_count: u64,
        byte_count: u64,
    }
}

/// Which rules to tell of: those that all of this is true of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowStatsRequest {
    /// In this table, or `TABLE_ALL`.
    pub table_id: u8,
    /// With an output to this port, or `port::ANY`.
    pub out_port: u32,
    /// Pointing at this group, or `GROUP_ANY`.
    pub out_group: u32,
    /// With this cookie where the mask has ones.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// Which bits of the cookie.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie_mask: u64,
    /// Selecting no packets but these.
    #[serde(rename = "match")]
    pub match_: Match,
}

impl FlowStatsRequest {
    /// All rules.
    pub fn all() -> Self {
        Self::by_cookie(0, 0)
    }

    /// All rules with this cookie where the mask has ones.
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

/// A rule as a switch has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowStats {
    /// Where it is.
    pub table_id: u8,
    /// How long it lives: seconds,
    pub duration_sec: u32,
    /// and nanoseconds beyond them.
    pub duration_nsec: u32,
    /// Rules of a higher one are looked at first.
    pub priority: u16,
    /// Seconds without a packet until it goes.
    pub idle_timeout: u16,
    /// Seconds until it goes.
    pub hard_timeout: u16,
    /// `flow_mod::flag::*`.
    pub flags: u16,
    /// Its cookie.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// Packets that it handled.
    pub packet_count: u64,
    /// Bytes that it handled.
    pub byte_count: u64,
    /// Which packets.
    #[serde(rename = "match")]
    pub match_: Match,
    /// What happens to them.
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
