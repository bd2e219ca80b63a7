//! `OFPMP_GROUP`, `OFPMP_GROUP_DESC` and `OFPMP_GROUP_FEATURES` (sections 7.3.5.9 to 7.3.5.11): counters,
//! descriptions and capabilities of groups.

use crate::error::DecodeError;
use crate::v13::group::{self, Bucket};
use crate::wire::{Fixed, Reader, Writer, fixed, fixed_only};

fixed! {
    /// `ofp_group_stats` up to its buckets.
    struct GroupStatsFixed = "multipart.group" {
        length: u16,
        pad: [u8; 2],
        group_id: u32,
        ref_count: u32,
        pad2: [u8; 4],
        packet_count: u64,
        byte_count: u64,
        duration_sec: u32,
        duration_nsec: u32,
    }
}

fixed! {
    /// `ofp_group_desc` up to its buckets.
    struct GroupDescFixed = "multipart.group_desc" {
        length: u16,
        kind: u8,
        pad: u8,
        group_id: u32,
    }
}

/// Capability bits of a switch for groups: `OFPGFC_*`.
pub mod capability {
    /// Select groups support weights.
    pub const SELECT_WEIGHT: u32 = 1;
    /// Select groups skip buckets that are not live.
    pub const SELECT_LIVENESS: u32 = 1 << 1;
    /// Groups can be chained.
    pub const CHAINING: u32 = 1 << 2;
    /// Switch refuses chains that form a loop.
    pub const CHAINING_CHECKS: u32 = 1 << 3;
}

fixed_only! {
    /// Group capabilities of a switch. Arrays are indexed by group type: all, select, indirect, fast failover.
    pub struct GroupFeatures: GroupFeaturesFixed = "multipart.group_features" {
        /// Supported group types: bit n for type n.
        types: u32;
        /// Bits of `group_capability`.
        capabilities: u32;
        /// Maximum number of groups.
        max_groups: [u32; 4];
        /// Supported actions: bit n for action type n.
        actions: [u32; 4];
    }
}

fixed_only! {
    /// Counters of a bucket.
    pub struct BucketCounter: BucketCounterFixed = "multipart.bucket_counter" {
        /// Packets processed by the bucket.
        packet_count: u64;
        /// Bytes processed by the bucket.
        byte_count: u64;
    }
}

/// Counters of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct GroupStats {
    /// Group id within the switch.
    pub group_id: u32,
    /// Number of rules and groups that refer to the group.
    pub ref_count: u32,
    /// Packets processed by the group.
    pub packet_count: u64,
    /// Bytes processed by the group.
    pub byte_count: u64,
    /// Time that the group has existed, in whole seconds.
    pub duration_sec: u32,
    /// Nanoseconds beyond `duration_sec`.
    pub duration_nsec: u32,
    /// Counters of its buckets.
    pub buckets: Vec<BucketCounter>,
}

impl GroupStats {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = GroupStatsFixed::length;
        let (fixed, mut buckets) = reader.entry("multipart.group.length", 0, length)?;
        Ok(GroupStats {
            group_id: fixed.group_id(),
            ref_count: fixed.ref_count(),
            packet_count: fixed.packet_count(),
            byte_count: fixed.byte_count(),
            duration_sec: fixed.duration_sec(),
            duration_nsec: fixed.duration_nsec(),
            buckets: buckets.all(BucketCounter::decode)?,
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.fixed(&GroupStatsFixed {
            length: 0.into(),
            pad: [0; 2],
            group_id: self.group_id.into(),
            ref_count: self.ref_count.into(),
            pad2: [0; 4],
            packet_count: self.packet_count.into(),
            byte_count: self.byte_count.into(),
            duration_sec: self.duration_sec.into(),
            duration_nsec: self.duration_nsec.into(),
        });
        self.buckets.iter().for_each(|bucket| bucket.encode(w));
        w.set_length(GroupStatsFixed::NAME, start, w.position() - start);
    }
}

/// Description of a group.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GroupDesc {
    /// Group type, a constant of `group::kind`.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Group id within the switch.
    pub group_id: u32,
    /// Action buckets of the group.
    pub buckets: Vec<Bucket>,
}

impl GroupDesc {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = GroupDescFixed::length;
        let (fixed, mut buckets) = reader.entry("multipart.group_desc.length", 0, length)?;
        Ok(GroupDesc {
            kind: fixed.kind(),
            group_id: fixed.group_id(),
            buckets: buckets.all(Bucket::decode)?,
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.fixed(&GroupDescFixed {
            length: 0.into(),
            kind: self.kind,
            pad: 0,
            group_id: self.group_id.into(),
        });
        group::encode_all(&self.buckets, w);
        w.set_length(GroupDescFixed::NAME, start, w.position() - start);
    }
}
