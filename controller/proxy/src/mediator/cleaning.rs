//! Removal of what an app has in the switches: rules first, then its groups and meters.
//!
//! ```text
//!   rules deleted, barrier --> groups told --> meters told --> both deleted, barrier --> done
//! ```
//!
//! A switch that refuses to tell its groups or meters has none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use morph_api::entry::{groups_of, meters_of};
use morph_openflow::entry::{self, EntryBody, EntryKey, EntrySet};
use morph_openflow::v13::{Message, MultipartBody, MultipartReply, MultipartRequest, meter};

#[derive(Debug, Clone)]
enum Step {
    Groups(EntrySet),
    Meters(EntrySet),
    /// Layers that are still to be deleted, each behind those that refer to it.
    Deletion(VecDeque<Vec<Message>>),
}

/// Removal of one app's rules, groups and meters.
#[derive(Debug, Clone)]
pub(super) struct Cleaning {
    pub(super) app: String,
    id: u8,
    /// Number of switches that take part.
    pub(super) switches: u32,
    /// Steps of the switches whose rules are deleted.
    steps: BTreeMap<u32, Step>,
}

impl Cleaning {
    pub(super) fn new(app: String, id: u8, switches: u32) -> Self {
        Cleaning {
            app,
            id,
            switches,
            steps: BTreeMap::new(),
        }
    }

    /// Whether a switch has deleted the rules.
    pub(super) fn has_no_rules(&self, conn: u32) -> bool {
        self.steps.contains_key(&conn)
    }

    /// Handles what a switch says, or `None` where that cannot be decoded. Returns what is to be sent there, of which the last
    /// message is answered; `None` once the switch is done.
    pub(super) fn next(&mut self, conn: u32, message: Option<&Message>) -> Option<Vec<Message>> {
        let Some(step) = self.steps.remove(&conn) else {
            self.steps.insert(conn, Step::Groups(EntrySet::new()));
            return Some(vec![Message::MultipartRequest(MultipartRequest::GroupDesc)]);
        };
        let reply = match message {
            Some(Message::MultipartReply(reply)) => Some(reply),
            _ => None,
        };
        let more = reply.is_some_and(|reply| reply.more);
        // A switch that is done stays so, whatever it says.
        self.steps.insert(conn, Step::Deletion(VecDeque::new()));
        let (step, messages) = match step {
            Step::Groups(mut found) => {
                found.extend(self.own(reply));
                match more {
                    true => (Step::Groups(found), Vec::new()),
                    false => {
                        let meter_id = meter::ALL;
                        let ask = MultipartRequest::MeterConfig { meter_id };
                        (Step::Meters(found), vec![Message::MultipartRequest(ask)])
                    }
                }
            }
            Step::Meters(mut found) => {
                found.extend(self.own(reply));
                match more {
                    true => (Step::Meters(found), Vec::new()),
                    false => Self::delete(layers(found))?,
                }
            }
            Step::Deletion(left) => Self::delete(left)?,
        };
        self.steps.insert(conn, step);
        Some(messages)
    }

    /// Deletes the next layer. None if there is none.
    fn delete(mut left: VecDeque<Vec<Message>>) -> Option<(Step, Vec<Message>)> {
        let layer = left.pop_front()?;
        Some((Step::Deletion(left), layer))
    }

    fn own(&self, reply: Option<&MultipartReply>) -> EntrySet {
        let found: EntrySet = match reply.map(|reply| &reply.body) {
            Some(MultipartBody::GroupDesc(groups)) => {
                groups.iter().map(entry::from_group).collect()
            }
            Some(MultipartBody::MeterConfig(meters)) => {
                meters.iter().map(entry::from_meter).collect()
            }
            _ => EntrySet::new(),
        };
        let (groups, meters) = (groups_of(self.id), meters_of(self.id));
        let is_own = |(key, _): &(EntryKey, EntryBody)| key.is_among(groups, meters);
        found.into_iter().filter(is_own).collect()
    }
}

/// Messages that delete entries, in layers: those first that no other one refers to.
fn layers(mut entries: EntrySet) -> VecDeque<Vec<Message>> {
    let mut layers = VecDeque::new();
    while !entries.is_empty() {
        let used: BTreeSet<EntryKey> = entries.values().flat_map(EntryBody::refers_to).collect();
        let unused = entries.keys().filter(|key| !used.contains(key));
        let mut layer: Vec<EntryKey> = unused.copied().collect();
        if layer.is_empty() {
            // A circle, which no switch should have taken.
            layer = entries.keys().copied().collect();
        }
        layer.iter().for_each(|key| drop(entries.remove(key)));
        let deletions = layer.into_iter().map(entry::delete);
        layers.push_back(deletions.chain([Message::BarrierRequest]).collect());
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;
    use morph_openflow::v13::{Action, Bucket, GroupDesc, MeterConfig, MultipartBody, group};

    fn part(body: MultipartBody, more: bool) -> Message {
        Message::MultipartReply(MultipartReply { more, body })
    }

    fn leads_to(group_id: u32, to: u32) -> GroupDesc {
        GroupDesc {
            kind: group::kind::INDIRECT,
            group_id,
            buckets: vec![Bucket::new(vec![Action::Group(to)])],
        }
    }

    fn meter(meter_id: u32) -> MeterConfig {
        MeterConfig {
            flags: 1,
            meter_id,
            bands: Vec::new(),
        }
    }

    #[test]
    fn groups_and_meters_of_the_app_are_deleted_behind_its_rules() {
        let mut cleaning = Cleaning::new("spreader".into(), 3, 1);
        assert!(!cleaning.has_no_rules(7));
        let asked = cleaning.next(7, Some(&Message::BarrierReply)).unwrap();
        assert_eq!(asked.len(), 1);
        assert!(cleaning.has_no_rules(7));
        let (own, next, foreign) = (0x0300_0001, 0x0300_0002, 0x0400_0001);
        let first = MultipartBody::GroupDesc(vec![leads_to(next, 0), leads_to(foreign, 0)]);
        assert_eq!(cleaning.next(7, Some(&part(first, true))), Some(Vec::new()));
        let last = MultipartBody::GroupDesc(vec![leads_to(own, next)]);
        assert_eq!(cleaning.next(7, Some(&part(last, false))).unwrap().len(), 1);
        let meters = MultipartBody::MeterConfig(vec![meter(3 * 1024 + 1), meter(4 * 1024)]);
        let ids = |messages: Option<Vec<Message>>| -> Vec<Option<u32>> {
            let messages = messages.unwrap_or_default().into_iter();
            let id = |message| match message {
                Message::GroupMod(group) => Some(group.group_id),
                Message::MeterMod(meter) => Some(meter.meter_id),
                _ => None,
            };
            messages.map(id).collect()
        };
        let first = ids(cleaning.next(7, Some(&part(meters, false))));
        assert_eq!(first, [Some(3 * 1024 + 1), Some(own), None]);
        let second = ids(cleaning.next(7, Some(&Message::BarrierReply)));
        assert_eq!(second, [Some(next), None]);
        assert_eq!(cleaning.next(7, Some(&Message::BarrierReply)), None);
    }

    #[test]
    fn a_switch_that_refuses_or_garbles_has_neither() {
        let mut cleaning = Cleaning::new("spreader".into(), 3, 1);
        cleaning.next(7, Some(&Message::BarrierReply));
        assert_eq!(cleaning.next(7, None).unwrap().len(), 1);
        assert_eq!(cleaning.next(7, None), None);
    }
}
