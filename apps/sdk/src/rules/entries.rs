//! Groups and meters as an app states them.

use morph_openflow::entry::{EntryBody, EntryKey};
use morph_openflow::v13::{Bucket, check_bucket, group, meter};

use super::Rules;
use crate::entries::{group_of, meter_of, own_groups};
use crate::{Action, Dpid, MeterBand};

impl Rules {
    /// Begins a group of a switch, with a number of the app's own, below 2^24. Rules and packets use it by `Action::Group(number)`.
    ///
    /// Groups are stated like rules: what no group of rules states any more is deleted, behind the rules that use it. Buckets may lead
    /// to other groups, not in a circle.
    pub fn group(&mut self, dpid: Dpid, number: u32) -> GroupBuilder<'_> {
        GroupBuilder {
            rules: self,
            dpid,
            number,
        }
    }

    /// Begins a meter of a switch, with a number of the app's own, below 1024. Rules use it by
    /// [`RuleBuilder::meter`](crate::RuleBuilder::meter).
    pub fn meter(&mut self, dpid: Dpid, number: u32) -> MeterBuilder<'_> {
        MeterBuilder {
            rules: self,
            dpid,
            number,
        }
    }

    /// Id of the app.
    fn app(&self) -> u8 {
        self.layout.app
    }

    /// Adds a group or a meter, unless something is wrong with it.
    fn entry(&mut self, dpid: Dpid, name: String, made: Result<(EntryKey, EntryBody), String>) {
        let made = match self.layout.short.get(&dpid) {
            Some(0) => Err("a switch of OpenFlow 1.0 has neither groups nor meters".into()),
            _ => made,
        };
        match made {
            Ok((key, body)) => {
                let set = self.entries.entry(dpid).or_default();
                set.insert(key, body.normal());
            }
            Err(why) => {
                self.faults.left_out += 1;
                tracing::error!(switch = %dpid, "{name} of the app is left out: {why}");
            }
        }
    }
}

/// Port or group whose state decides whether packets take a bucket of a fast-failover group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Port of the switch.
    Port(u32),
    /// The app's group with this number, which is live while one of its buckets is.
    Group(u32),
}

/// A group in the making; the last method says how packets take its buckets.
#[derive(Debug)]
#[must_use = "a group counts only once it has a type"]
pub struct GroupBuilder<'a> {
    rules: &'a mut Rules,
    dpid: Dpid,
    number: u32,
}

impl GroupBuilder<'_> {
    /// Executes all buckets, each with a copy of the packet.
    pub fn all(self, buckets: Vec<Vec<Action>>) {
        let buckets = buckets.into_iter().map(Bucket::new).collect();
        self.end(group::kind::ALL, Ok(buckets));
    }

    /// Executes one bucket, which the switch chooses for each connection, in proportion to the weights.
    pub fn select(self, buckets: Vec<(u16, Vec<Action>)>) {
        let bucket = |(weight, actions)| match weight {
            0 => Err("a bucket of a select group has the weight 0".to_owned()),
            _ => Ok(Bucket {
                weight,
                ..Bucket::new(actions)
            }),
        };
        let buckets = buckets.into_iter().map(bucket).collect();
        self.end(group::kind::SELECT, buckets);
    }

    /// Executes these actions: many rules that lead to one group are changed by one message.
    pub fn indirect(self, actions: Vec<Action>) {
        self.end(group::kind::INDIRECT, Ok(vec![Bucket::new(actions)]));
    }

    /// Executes the first bucket whose port or group is live. The switch changes over by itself.
    pub fn fast_failover(self, buckets: Vec<(Watch, Vec<Action>)>) {
        let app = self.rules.app();
        let bucket = |(watch, actions)| {
            let mut bucket = Bucket::new(actions);
            match watch {
                Watch::Port(port) => bucket.watch_port = port,
                Watch::Group(number) => bucket.watch_group = group_of(app, number)?,
            }
            Ok(bucket)
        };
        let buckets = buckets.into_iter().map(bucket).collect();
        self.end(group::kind::FF, buckets);
    }

    fn end(self, kind: u8, buckets: Result<Vec<Bucket>, String>) {
        let (app, number) = (self.rules.app(), self.number);
        let made = buckets.and_then(|mut buckets| {
            for bucket in &mut buckets {
                bucket.actions = own_groups(app, std::mem::take(&mut bucket.actions))?;
                check_bucket(&bucket.actions).map_err(|problem| problem.to_string())?;
            }
            let key = EntryKey::Group(group_of(app, number)?);
            Ok((key, EntryBody::Group { kind, buckets }))
        });
        self.rules.entry(self.dpid, format!("group {number}"), made);
    }
}

/// A meter in the making; the last method gives it its bands.
#[derive(Debug)]
#[must_use = "a meter counts only once it has bands"]
pub struct MeterBuilder<'a> {
    rules: &'a mut Rules,
    dpid: Dpid,
    number: u32,
}

impl MeterBuilder<'_> {
    /// Measures in kilobits a second. Of the bands whose rate is exceeded the one with the highest rate applies.
    pub fn kilobits(self, bands: Vec<MeterBand>) {
        self.end(meter::flag::KBPS, bands);
    }

    /// Measures in packets a second.
    pub fn packets(self, bands: Vec<MeterBand>) {
        self.end(meter::flag::PKTPS, bands);
    }

    fn end(self, mut flags: u16, bands: Vec<MeterBand>) {
        let (app, number) = (self.rules.app(), self.number);
        let rates = bands.iter().map(|band| match *band {
            MeterBand::Drop { rate, burst_size }
            | MeterBand::DscpRemark {
                rate, burst_size, ..
            }
            | MeterBand::Experimenter {
                rate, burst_size, ..
            } => (rate, burst_size),
            MeterBand::Unknown { .. } => (1, 0),
        });
        let rates: Vec<(u32, u32)> = rates.collect();
        if rates.iter().any(|(_, burst)| *burst != 0) {
            flags |= meter::flag::BURST;
        }
        let made = if rates.is_empty() {
            Err("it has no band".into())
        } else if rates.iter().any(|(rate, _)| *rate == 0) {
            Err("a band has the rate 0".into())
        } else {
            meter_of(app, number).map(|id| (EntryKey::Meter(id), EntryBody::Meter { flags, bands }))
        };
        self.rules.entry(self.dpid, format!("meter {number}"), made);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use morph_openflow::entry::EntrySet;

    use super::*;
    use crate::rules::Layout;
    use crate::{Instruction, Pipeline, Switch};

    const S: Dpid = Dpid(1);
    const PIPELINE: Pipeline = Pipeline {
        app: 7,
        first: 3,
        exit: 5,
    };
    const GROUP: u32 = 7 << 24;

    /// Rules, groups and meters of a switch with so many tables.
    fn made(in_switch: u8, second: Option<u8>, make: impl FnOnce(&mut Rules)) -> Rules {
        let mut switch = Switch::new(S, [1]);
        switch.in_switch = in_switch;
        let layout = Layout::new(PIPELINE, second, &BTreeMap::from([(S, switch)]));
        let mut rules = Rules::new(&layout.into());
        make(&mut rules);
        rules
    }

    fn keys(rules: &Rules) -> Vec<EntryKey> {
        let sets = rules.entries.values();
        sets.flat_map(EntrySet::keys).copied().collect()
    }

    fn out() -> Vec<Action> {
        vec![Action::output(1)]
    }

    fn drop_above(rate: u32) -> Vec<MeterBand> {
        let burst_size = 0;
        vec![MeterBand::Drop { rate, burst_size }]
    }

    #[test]
    fn numbers_of_the_app_become_ids_of_the_switch() {
        let rules = made(254, None, |rules| {
            rules.meter(S, 5).packets(drop_above(9));
            rules.group(S, 2).indirect(vec![Action::Group(1)]);
            let failover = vec![(Watch::Group(2), out()), (Watch::Port(1), out())];
            rules.group(S, 3).fast_failover(failover);
            rules.on(S).meter(5).actions(vec![Action::Group(3)]);
        });
        let groups = [2, 3].map(|number| EntryKey::Group(GROUP | number));
        let meter = 7 * 1024 + 5;
        assert_eq!(
            keys(&rules),
            [&[EntryKey::Meter(meter)], &groups[..]].concat()
        );
        let refers = |key| rules.entries[&S][&key].refers_to().collect::<Vec<_>>();
        assert_eq!(refers(groups[0]), [EntryKey::Group(GROUP | 1)]);
        assert_eq!(refers(groups[1]), [groups[0]]);
        let apply = Instruction::ApplyActions(vec![Action::Group(GROUP | 3)]);
        let rule = rules.by_switch[&S].values().next().unwrap();
        assert_eq!(*rule.instructions, [Instruction::Meter(meter), apply]);
    }

    #[test]
    fn while_tables_are_moved_the_rules_of_both_ranges_share_a_group() {
        let rules = made(254, Some(8), |rules| {
            rules.group(S, 1).indirect(out());
            rules.on(S).actions(vec![Action::Group(1)]);
        });
        assert_eq!((keys(&rules).len(), rules.by_switch[&S].len()), (1, 2));
    }

    #[test]
    fn what_no_switch_would_take_is_left_out() {
        let rules = made(254, None, |rules| {
            rules.group(S, 1 << 24).indirect(out());
            rules.group(S, 1).select(vec![(0, out())]);
            rules.group(S, 2).indirect(vec![Action::Group(1 << 24)]);
            rules.group(S, 3).all(vec![vec![Action::output(0)]]);
            rules.meter(S, 1024).packets(drop_above(9));
            rules.meter(S, 1).packets(drop_above(0));
            rules.meter(S, 2).kilobits(Vec::new());
            rules
                .on(S)
                .priority(1)
                .actions(vec![Action::Group(1 << 24)]);
            rules.on(S).priority(2).meter(1024).drop_();
        });
        assert!(
            rules.entries.is_empty() && rules.by_switch.is_empty(),
            "{rules:?}"
        );
    }

    #[test]
    fn a_switch_of_openflow_10_gets_neither_groups_and_meters_nor_rules_that_use_them() {
        let rules = made(0, None, |rules| {
            rules.group(S, 1).indirect(out());
            rules.meter(S, 1).packets(drop_above(9));
            rules.on(S).priority(1).actions(vec![Action::Group(1)]);
            rules.on(S).priority(2).meter(1).actions(out());
            rules.on(S).priority(3).actions(out());
        });
        assert!(rules.entries.is_empty());
        let priorities = rules.by_switch[&S].keys().map(|key| key.priority);
        assert_eq!(priorities.collect::<Vec<_>>(), [3]);
    }
}
