//! `OFPT_GROUP_MOD` (section 7.3.4.2): adds, changes and deletes groups.

use super::action::{self, Action};
use super::{GROUP_ANY, port};
use crate::error::{DecodeError, Problem};
use crate::wire::{ALIGN, Fixed, Reader, Writer, fixed, padding};

/// Commands of a group-mod: `OFPGC_*`.
pub mod command {
    /// Adds a group.
    pub const ADD: u16 = 0;
    /// Replaces type and buckets of a group.
    pub const MODIFY: u16 = 1;
    /// Deletes a group, or all groups.
    pub const DELETE: u16 = 2;
}

/// Group types, which select the buckets to execute: `OFPGT_*`.
pub mod kind {
    /// Executes all buckets.
    pub const ALL: u8 = 0;
    /// Executes one bucket, selected by the switch.
    pub const SELECT: u8 = 1;
    /// Executes the only bucket.
    pub const INDIRECT: u8 = 2;
    /// Fast failover: executes the first live bucket.
    pub const FF: u8 = 3;
}

/// `OFPG_MAX`: highest id of a group.
pub const MAX: u32 = 0xffff_ff00;
/// `OFPG_ALL`: all groups, in deletions and requests.
pub const ALL: u32 = 0xffff_fffc;

fixed! {
    /// `ofp_group_mod` from its header to its buckets.
    pub struct GroupModFixed = "group_mod" {
        pub command: u16,
        pub kind: u8,
        pad: u8,
        pub group_id: u32,
    }
}

fixed! {
    /// `ofp_bucket` up to its actions.
    struct BucketFixed = "bucket" {
        len: u16,
        weight: u16,
        watch_port: u32,
        watch_group: u32,
        pad: [u8; 4],
    }
}

/// Addition, change or deletion of a group.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GroupMod {
    /// Command, a constant of [`command`].
    pub command: u16,
    /// Group type, a constant of [`kind`].
    #[serde(rename = "type")]
    pub kind: u8,
    /// Group id, at most [`MAX`].
    pub group_id: u32,
    /// Action buckets of the group.
    pub buckets: Vec<Bucket>,
}

impl GroupMod {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<GroupModFixed>()?;
        Ok(GroupMod {
            command: fixed.command(),
            kind: fixed.kind(),
            group_id: fixed.group_id(),
            buckets: reader.all(Bucket::decode)?,
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&GroupModFixed {
            command: self.command.into(),
            kind: self.kind,
            pad: 0,
            group_id: self.group_id.into(),
        });
        encode_all(&self.buckets, w);
    }
}

/// Action bucket of a group.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Bucket {
    /// Share of the traffic in a select group, relative to the other buckets.
    pub weight: u16,
    /// Port whose state decides whether the bucket of a fast-failover group is live; otherwise `port::ANY`.
    pub watch_port: u32,
    /// Group whose state decides whether the bucket of a fast-failover group is live; otherwise `GROUP_ANY`.
    pub watch_group: u32,
    /// Actions executed by the bucket.
    pub actions: Vec<Action>,
}

impl Bucket {
    /// Bucket for any group type but fast failover. Its weight is 0, which a select group must change.
    pub fn new(actions: Vec<Action>) -> Bucket {
        Bucket {
            weight: 0,
            watch_port: port::ANY,
            watch_group: GROUP_ANY,
            actions,
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        let (fixed, actions) = reader.entry("bucket.len", 0, BucketFixed::len)?;
        let found = usize::from(fixed.len());
        if padding(found) != 0 {
            let unaligned = Problem::Unaligned { found, of: ALIGN };
            return Err(DecodeError::new("bucket.len", offset, unaligned));
        }
        Ok(Bucket {
            weight: fixed.weight(),
            watch_port: fixed.watch_port(),
            watch_group: fixed.watch_group(),
            actions: action::decode_all(actions)?,
        })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.fixed(&BucketFixed {
            len: 0.into(),
            weight: self.weight.into(),
            watch_port: self.watch_port.into(),
            watch_group: self.watch_group.into(),
            pad: [0; 4],
        });
        action::encode_all(&self.actions, w);
        w.set_length(BucketFixed::NAME, start, w.position() - start);
    }
}

pub(crate) fn encode_all(buckets: &[Bucket], w: &mut Writer<'_>) {
    for bucket in buckets {
        bucket.encode(w);
    }
}
