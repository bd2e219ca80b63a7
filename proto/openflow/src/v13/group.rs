//! `OFPT_GROUP_MOD` (section 7.3.4.2): adds, changes and deletes groups.

use super::action::{self, Action};
use super::{GROUP_ANY, port};
use crate::error::{DecodeError, Problem};
use crate::wire::{ALIGN, Fixed, Reader, Writer, fixed, padding};

/// What a group-mod does: `OFPGC_*`.
pub mod command {
    /// Adds a group.
    pub const ADD: u16 = 0;
    /// Replaces the type and buckets of a group.
    pub const MODIFY: u16 = 1;
    /// Deletes a group, or all.
    pub const DELETE: u16 = 2;
}

/// Which of its buckets a group carries out: `OFPGT_*`.
pub mod kind {
    /// All.
    pub const ALL: u8 = 0;
    /// One that the switch selects.
    pub const SELECT: u8 = 1;
    /// The only one.
    pub const INDIRECT: u8 = 2;
    /// The first that is live.
    pub const FF: u8 = 3;
}

/// `OFPG_MAX`: the highest id that a group can have.
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

/// Adds, changes or deletes a group.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GroupMod {
    /// `command::*`.
    pub command: u16,
    /// `kind::*`.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Which group.
    pub group_id: u32,
    /// What it can do.
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

/// One of the lists of actions that a group has.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Bucket {
    /// Of a select group: its share.
    pub weight: u16,
    /// Of a fast-failover group: live while this port is, or `port::ANY`.
    pub watch_port: u32,
    /// Of a fast-failover group: live while this group is, or `GROUP_ANY`.
    pub watch_group: u32,
    /// What is done to a packet.
    pub actions: Vec<Action>,
}

impl Bucket {
    /// Of all types but fast failover, with weight 0: a select group's needs one.
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
