//! `OFPMP_GROUP`, `OFPMP_GROUP_DESC` and `OFPMP_GROUP_FEATURES` (sections 7.3.5.9 to 7.3.5.11): counters of groups, groups, and
//! what they can be.

use crate::error::DecodeError;
use crate::v13::group::{self, Bucket};
use crate::wire::{Fixed, Reader, Writer, fixed, plain};

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

/// What groups a switch can have: `OFPGFC_*`.
pub mod capability {
    /// Select groups have weights.
    pub const SELECT_WEIGHT: u32 = 1;
    /// Select groups look whether a bucket is live.
    pub const SELECT_LIVENESS: u32 = 1 << 1;
    /// Groups can point at groups.
    pub const CHAINING: u32 = 1 << 2;
    /// The switch refuses loops of groups.
    pub const CHAINING_CHECKS: u32 = 1 << 3;
}

plain! {
    /// What groups a switch can have. Arrays are by type of group: all, select, indirect, fast failover.
    pub struct GroupFeatures: GroupFeaturesFixed = "multipart.group_features" {
        /// Bit n for type n.
        types: u32;
        /// `capability::*`.
        capabilities: u32;
        /// How many groups, at most.
        max_groups: [u32; 4];
        /// Bit n for action n.
        actions: [u32; 4];
    }
}

plain! {
    /// Counters of a bucket.
    pub struct BucketCounter: BucketCounterFixed = "multipart.bucket_counter" {
        /// Packets that it handled.
        packet_count: u64;
        /// Bytes that it handled.
        byte_count: u64;
    }
}

/// Counters of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct GroupStats {
    /// Which.
    pub group_id: u32,
    /// How many rules and groups point at it.
    pub ref_count: u32,
    /// Packets that it handled.
    pub packet_count: u64,
    /// Bytes that it handled.
    pub byte_count: u64,
    /// How long it lives: seconds,
    pub duration_sec: u32,
    /// and nanoseconds beyond them.
    pub duration_nsec: u32,
    /// Of its buckets.
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

/// A group as a switch has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GroupDesc {
    /// `group::kind::*`.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Which.
    pub group_id: u32,
    /// What it can do.
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
