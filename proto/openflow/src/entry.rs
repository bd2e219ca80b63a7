//! Group entries and meter entries as values: their normal form, what they and rules refer to, and the messages that add,
//! change and delete them.
//!
//! 1. An entry as sent and as reported by the switch have the same normal form ([`EntryBody::normal`]).
//! 2. A group is added after the groups that its buckets refer to, and deleted before them; a rule is added after its groups and
//!    meters. A switch that deletes a group or a meter deletes the rules that use it.

use std::collections::BTreeMap;
use std::fmt;

use crate::v13::meter::flag;
use crate::v13::{
    Action, Bucket, GROUP_ANY, GroupDesc, GroupMod, Instruction, Message, MeterBand, MeterConfig,
    MeterMod, group, meter, port,
};

/// Identity of an entry within a switch. Meters come first: no meter refers to anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKey {
    /// Meter, by its id.
    Meter(u32),
    /// Group, by its id.
    Group(u32),
}

impl EntryKey {
    /// Whether the id is in one of these ranges, each from its first id to its last: of groups, or of meters.
    pub fn is_among(self, groups: (u32, u32), meters: (u32, u32)) -> bool {
        let (id, (first, last)) = match self {
            EntryKey::Group(id) => (id, groups),
            EntryKey::Meter(id) => (id, meters),
        };
        (first..=last).contains(&id)
    }
}

/// Contents of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryBody {
    /// Rate limits of a meter.
    Meter {
        /// Bits of `meter::flag`.
        flags: u16,
        /// Bands; the band with the highest exceeded rate applies.
        bands: Vec<MeterBand>,
    },
    /// Type and buckets of a group.
    Group {
        /// Group type, a constant of `group::kind`.
        kind: u8,
        /// Buckets in the order in which they are numbered.
        buckets: Vec<Bucket>,
    },
}

/// Groups and meters of one switch, by key.
pub type EntrySet = BTreeMap<EntryKey, EntryBody>;

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryKey::Meter(id) => write!(f, "meter {id}"),
            EntryKey::Group(id) => write!(f, "group {id:#x}"),
        }
    }
}

impl EntryBody {
    /// Returns the normal form: weights in select groups only, watched ports and groups in fast-failover groups only, burst sizes
    /// where the flag asks for them, and actions in normal form.
    pub fn normal(&self) -> EntryBody {
        match self {
            EntryBody::Meter { flags, bands } => {
                let mut bands = bands.clone();
                if flags & flag::BURST == 0 {
                    bands.iter_mut().for_each(no_burst);
                }
                EntryBody::Meter {
                    flags: *flags,
                    bands,
                }
            }
            EntryBody::Group { kind, buckets } => EntryBody::Group {
                kind: *kind,
                buckets: buckets.iter().map(|b| normal_bucket(*kind, b)).collect(),
            },
        }
    }

    /// Groups that the entry refers to.
    pub fn refers_to(&self) -> impl Iterator<Item = EntryKey> + '_ {
        let buckets: &[Bucket] = match self {
            EntryBody::Meter { .. } => &[],
            EntryBody::Group { buckets, .. } => buckets,
        };
        buckets.iter().flat_map(|bucket| {
            let watched = Some(bucket.watch_group).filter(|id| *id != GROUP_ANY);
            let watched = watched.map(EntryKey::Group);
            groups_of(&bucket.actions).chain(watched)
        })
    }
}

fn no_burst(band: &mut MeterBand) {
    match band {
        MeterBand::Drop { burst_size, .. }
        | MeterBand::DscpRemark { burst_size, .. }
        | MeterBand::Experimenter { burst_size, .. } => *burst_size = 0,
        MeterBand::Unknown { .. } => {}
    }
}

fn normal_bucket(kind: u8, bucket: &Bucket) -> Bucket {
    let is_watched = kind == group::kind::FF;
    Bucket {
        weight: if kind == group::kind::SELECT {
            bucket.weight
        } else {
            0
        },
        watch_port: if is_watched {
            bucket.watch_port
        } else {
            port::ANY
        },
        watch_group: if is_watched {
            bucket.watch_group
        } else {
            GROUP_ANY
        },
        actions: bucket.actions.iter().map(Action::normal).collect(),
    }
}

fn groups_of(actions: &[Action]) -> impl Iterator<Item = EntryKey> + '_ {
    actions.iter().filter_map(|action| match action {
        Action::Group(id) => Some(EntryKey::Group(*id)),
        _ => None,
    })
}

/// Groups and meters that a rule with these instructions uses.
pub fn used_by(instructions: &[Instruction]) -> impl Iterator<Item = EntryKey> + '_ {
    instructions.iter().flat_map(|instruction| {
        let (meter, actions): (_, &[Action]) = match instruction {
            Instruction::Meter(id) => (Some(EntryKey::Meter(*id)), &[]),
            Instruction::ApplyActions(actions) | Instruction::WriteActions(actions) => {
                (None, actions)
            }
            _ => (None, &[]),
        };
        groups_of(actions).chain(meter)
    })
}

/// Converts a group reported by a switch, into normal form.
pub fn from_group(desc: &GroupDesc) -> (EntryKey, EntryBody) {
    let (kind, buckets) = (desc.kind, desc.buckets.clone());
    let body = EntryBody::Group { kind, buckets };
    (EntryKey::Group(desc.group_id), body.normal())
}

/// Converts a meter reported by a switch, into normal form.
pub fn from_meter(config: &MeterConfig) -> (EntryKey, EntryBody) {
    let (flags, bands) = (config.flags, config.bands.clone());
    let body = EntryBody::Meter { flags, bands };
    (EntryKey::Meter(config.meter_id), body.normal())
}

/// Makes the message that adds an entry, or changes the one that `is_there`.
pub fn set(key: EntryKey, body: &EntryBody, is_there: bool) -> Message {
    let (EntryKey::Meter(id) | EntryKey::Group(id)) = key;
    match body.normal() {
        EntryBody::Meter { flags, bands } => Message::MeterMod(MeterMod {
            command: if is_there {
                meter::command::MODIFY
            } else {
                meter::command::ADD
            },
            flags,
            meter_id: id,
            bands,
        }),
        EntryBody::Group { kind, buckets } => Message::GroupMod(GroupMod {
            command: if is_there {
                group::command::MODIFY
            } else {
                group::command::ADD
            },
            kind,
            group_id: id,
            buckets,
        }),
    }
}

/// Makes the message that deletes an entry.
pub fn delete(key: EntryKey) -> Message {
    match key {
        EntryKey::Meter(meter_id) => Message::MeterMod(MeterMod {
            command: meter::command::DELETE,
            flags: 0,
            meter_id,
            bands: Vec::new(),
        }),
        EntryKey::Group(group_id) => Message::GroupMod(GroupMod {
            command: group::command::DELETE,
            kind: group::kind::ALL,
            group_id,
            buckets: Vec::new(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_type_does_not_use_is_no_difference() {
        let mut bucket = Bucket::new(vec![Action::Output {
            port: 1,
            max_len: 9,
        }]);
        (bucket.weight, bucket.watch_port) = (5, 2);
        let of = |kind| {
            let buckets = vec![bucket.clone()];
            match (EntryBody::Group { kind, buckets }).normal() {
                EntryBody::Group { mut buckets, .. } => buckets.remove(0),
                other => panic!("{other:?}"),
            }
        };
        let all = of(group::kind::ALL);
        assert_eq!((all.weight, all.watch_port), (0, port::ANY));
        assert_eq!(all.actions, [Action::output(1)]);
        let select = of(group::kind::SELECT);
        assert_eq!((select.weight, select.watch_port), (5, port::ANY));
        let failover = of(group::kind::FF);
        assert_eq!((failover.weight, failover.watch_port), (0, 2));
    }

    #[test]
    fn a_burst_size_counts_only_with_its_flag() {
        let (rate, burst_size) = (100, 10);
        let meter = |flags| EntryBody::Meter {
            flags,
            bands: vec![MeterBand::Drop { rate, burst_size }],
        };
        assert_eq!(meter(flag::BURST).normal(), meter(flag::BURST));
        let bands = vec![MeterBand::Drop {
            rate,
            burst_size: 0,
        }];
        let flags = flag::KBPS;
        assert_eq!(meter(flags).normal(), EntryBody::Meter { flags, bands });
    }

    #[test]
    fn rules_and_groups_say_what_they_refer_to() {
        let instructions = [
            Instruction::Meter(7),
            Instruction::ApplyActions(vec![Action::output(1), Action::Group(2)]),
            Instruction::WriteActions(vec![Action::Group(3)]),
        ];
        let used: Vec<EntryKey> = used_by(&instructions).collect();
        assert_eq!(
            used,
            [EntryKey::Meter(7), EntryKey::Group(2), EntryKey::Group(3)]
        );
        let mut bucket = Bucket::new(vec![Action::Group(4)]);
        bucket.watch_group = 5;
        let (kind, buckets) = (group::kind::FF, vec![bucket]);
        let group = EntryBody::Group { kind, buckets };
        let refers: Vec<EntryKey> = group.refers_to().collect();
        assert_eq!(refers, [EntryKey::Group(4), EntryKey::Group(5)]);
    }
}
