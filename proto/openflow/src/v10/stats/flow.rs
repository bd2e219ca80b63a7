//! `OFPST_FLOW` and `OFPST_AGGREGATE`: individual rules, and sums over rules.

use crate::error::{DecodeError, Problem};
use crate::v10::action::{self, Action};
use crate::v10::{Match, TABLE_ALL, port};
use crate::wire::{Fixed, Reader, Writer, fixed};

fixed! {
    /// `ofp_flow_stats_request` and `ofp_aggregate_stats_request` after their match.
    struct RequestFixed = "stats.flow_request" {
        table_id: u8,
        pad: u8,
        out_port: u16,
    }
}

fixed! {
    /// `ofp_flow_stats` up to its match.
    struct FlowStatsStart = "stats.flow" {
        length: u16,
        table_id: u8,
        pad: u8,
    }
}

fixed! {
    /// `ofp_flow_stats` from its match to its actions.
    struct FlowStatsFixed = "stats.flow" {
        duration_sec: u32,
        duration_nsec: u32,
        priority: u16,
        idle_timeout: u16,
        hard_timeout: u16,
        pad2: [u8; 6],
        cookie: u64,
        packet_count: u64,
        byte_count: u64,
    }
}

/// Selection of rules for statistics; a rule must satisfy all conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct FlowStatsRequest {
    /// Match that the rule's match must be a subset of.
    #[serde(rename = "match")]
    pub match_: Match,
    /// Table number, or `TABLE_ALL`.
    pub table_id: u8,
    /// Output port that the rule must use, or `port::NONE`.
    pub out_port: u16,
}

impl FlowStatsRequest {
    /// Selects all rules.
    pub fn all() -> Self {
        FlowStatsRequest {
            match_: Match::default(),
            table_id: TABLE_ALL,
            out_port: port::NONE,
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let match_ = Match::decode(reader)?;
        let fixed = reader.fixed::<RequestFixed>()?;
        Ok(FlowStatsRequest {
            match_,
            table_id: fixed.table_id(),
            out_port: fixed.out_port(),
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        self.match_.encode(w);
        w.fixed(&RequestFixed {
            table_id: self.table_id,
            pad: 0,
            out_port: self.out_port.into(),
        });
    }
}

/// Installed rule, with its counters.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowStats {
    /// Table that holds the rule.
    pub table_id: u8,
    /// Selection of packets.
    #[serde(rename = "match")]
    pub match_: Match,
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
    /// Opaque number chosen by the controller.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// Packets matched by the rule.
    pub packet_count: u64,
    /// Bytes matched by the rule.
    pub byte_count: u64,
    /// Actions on matching packets.
    pub actions: Vec<Action>,
}

/// Length of `ofp_flow_stats` without actions, in bytes.
const LEAST: usize = 88;

impl FlowStats {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        let mut ahead = *reader;
        let start = ahead.fixed::<FlowStatsStart>()?;
        let found = usize::from(start.length());
        if found < LEAST {
            let least = LEAST;
            let small = Problem::TooSmall { found, least };
            return Err(DecodeError::new("stats.flow.length", offset, small));
        }
        let mut entry = reader.sub("stats.flow.length", found)?;
        entry.skip(FlowStatsStart::NAME, size_of::<FlowStatsStart>())?;
        let match_ = Match::decode(&mut entry)?;
        let fixed = entry.fixed::<FlowStatsFixed>()?;
        Ok(FlowStats {
            table_id: start.table_id(),
            match_,
            duration_sec: fixed.duration_sec(),
            duration_nsec: fixed.duration_nsec(),
            priority: fixed.priority(),
            idle_timeout: fixed.idle_timeout(),
            hard_timeout: fixed.hard_timeout(),
            cookie: fixed.cookie(),
            packet_count: fixed.packet_count(),
            byte_count: fixed.byte_count(),
            actions: action::decode_all(entry)?,
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.fixed(&FlowStatsStart {
            length: 0.into(),
            table_id: self.table_id,
            pad: 0,
        });
        self.match_.encode(w);
        w.fixed(&FlowStatsFixed {
            duration_sec: self.duration_sec.into(),
            duration_nsec: self.duration_nsec.into(),
            priority: self.priority.into(),
            idle_timeout: self.idle_timeout.into(),
            hard_timeout: self.hard_timeout.into(),
            pad2: [0; 6],
            cookie: self.cookie.into(),
            packet_count: self.packet_count.into(),
            byte_count: self.byte_count.into(),
        });
        action::encode_all(&self.actions, w);
        w.set_length(FlowStatsStart::NAME, start, w.position() - start);
    }
}
