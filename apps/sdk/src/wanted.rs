//! Wanted rules of the switches, by the group that wants them.

use std::collections::{BTreeMap, BTreeSet};

use morph_openflow::rule::{RuleBody, RuleKey, RuleSet};

use crate::Dpid;
use crate::entries::WantedEntries;
use crate::rank::{Ranks, RuleId, StaleRules};
use crate::rules::{RuleFaults, Rules};

/// Rules that one group wants.
#[derive(Debug, Clone, Default)]
struct GroupRules {
    keys: Vec<RuleId>,
    /// Ranks of rules that have any.
    ranks: BTreeMap<RuleId, Ranks>,
    /// Number of the group, if its changes are ordered.
    order: Option<u64>,
    faults: RuleFaults,
}

/// Rules of each group, and the resulting set on each switch. If two groups want a rule with the same table, priority
/// and match, the lower group's counts, and the other's once that goes.
#[derive(Debug, Clone)]
pub(crate) struct WantedRules<G> {
    /// Rules that each group wants.
    by_group: BTreeMap<G, GroupRules>,
    sets: BTreeMap<Dpid, RuleSet>,
    /// Body that each group wants, for rules that several groups want or wanted.
    shared: BTreeMap<RuleId, BTreeMap<G, RuleBody>>,
    /// Rules of these that groups want with different bodies.
    disputed: BTreeSet<RuleId>,
    /// Faults within all groups.
    faults: RuleFaults,
    /// Number of the next group whose changes are ordered.
    next_order: u64,
    /// Groups and meters of OpenFlow that each group wants.
    entries: WantedEntries<G>,
}

impl<G: Ord + Clone> WantedRules<G> {
    pub(crate) fn new() -> Self {
        WantedRules {
            by_group: BTreeMap::new(),
            sets: BTreeMap::new(),
            shared: BTreeMap::new(),
            disputed: BTreeSet::new(),
            faults: RuleFaults::default(),
            next_order: 0,
            entries: WantedEntries::new(),
        }
    }

    /// Resulting rules of each switch.
    pub(crate) fn sets(&self) -> &BTreeMap<Dpid, RuleSet> {
        &self.sets
    }

    /// Resulting groups and meters of each switch.
    pub(crate) fn entries(&self) -> &WantedEntries<G> {
        &self.entries
    }

    /// Numbers of rules that are stated wrongly now.
    pub(crate) fn faults(&self) -> RuleFaults {
        RuleFaults {
            disputed: self.faults.disputed + self.disputed.len() as u64,
            ..self.faults
        }
    }

    /// Groups that want any rule, group or meter.
    pub(crate) fn groups(&self) -> impl Iterator<Item = G> {
        let of_rules = self.by_group.keys().cloned();
        of_rules.chain(self.entries.groups())
    }

    /// Replaces the rules of a group. Notes the rules that this may change in `stale`.
    pub(crate) fn replace(&mut self, group: &G, rules: Rules, stale: &mut StaleRules) {
        let Rules {
            by_switch: wants,
            ranks,
            entries,
            faults,
            ..
        } = rules;
        self.entries.replace(group, entries, &mut stale.entries);
        let before = self.by_group.remove(group).unwrap_or_default();
        self.faults.left_out = self.faults.left_out - before.faults.left_out + faults.left_out;
        self.faults.disputed = self.faults.disputed - before.faults.disputed + faults.disputed;
        let is_ordered = before.order.is_some() || !ranks.is_empty();
        let order = is_ordered.then(|| before.order.unwrap_or_else(|| self.take_order()));
        let mut keys = Vec::with_capacity(wants.values().map(RuleSet::len).sum());
        let is_wanted = |(dpid, key): &RuleId| {
            let set = wants.get(dpid);
            set.is_some_and(|set| set.contains_key(key))
        };
        let (kept, gone): (Vec<_>, Vec<_>) = before.keys.into_iter().partition(is_wanted);
        if let Some(order) = order {
            let stages = stale.orders.entry(order).or_default();
            let ranks_before = |id: &RuleId| before.ranks.get(id).copied().unwrap_or_default();
            stages.extend(
                gone.iter()
                    .map(|id| (id.clone(), ranks_before(id).deletion())),
            );
        }
        for (dpid, key) in gone {
            self.claim(dpid, key, group, None, stale);
        }
        let kept: BTreeSet<_> = kept.into_iter().collect();
        for (dpid, set) in wants {
            for (key, body) in set {
                let id = (dpid, key);
                if !kept.contains(&id) {
                    self.share(&id);
                }
                keys.push(id.clone());
                self.claim(dpid, id.1, group, Some(body), stale);
            }
        }
        if let Some(order) = order {
            let stages = stale.orders.entry(order).or_default();
            let rank = |id: &RuleId| ranks.get(id).copied().unwrap_or_default();
            stages.extend(keys.iter().map(|id| (id.clone(), rank(id).addition())));
        }
        if !keys.is_empty() || !faults.is_none() {
            let rules = GroupRules {
                keys,
                ranks,
                order,
                faults,
            };
            self.by_group.insert(group.clone(), rules);
        }
    }

    fn take_order(&mut self) -> u64 {
        let order = self.next_order;
        self.next_order += 1;
        order
    }

    /// Notes the group that wants a rule which another one comes to want, if there is one. That is rare, so it may look at
    /// all groups.
    fn share(&mut self, id: &(Dpid, RuleKey)) {
        let Some(body) = self.sets.get(&id.0).and_then(|set| set.get(&id.1)) else {
            return;
        };
        if self.shared.contains_key(id) {
            return;
        }
        let mut others = self.by_group.iter();
        if let Some((other, _)) = others.find(|(_, rules)| rules.keys.contains(id)) {
            let claims = BTreeMap::from([(other.clone(), body.clone())]);
            self.shared.insert(id.clone(), claims);
        }
    }

    fn claim(
        &mut self,
        dpid: Dpid,
        key: RuleKey,
        group: &G,
        body: Option<RuleBody>,
        stale: &mut StaleRules,
    ) {
        let id = (dpid, key);
        let body = match self.shared.get_mut(&id) {
            None => body,
            Some(claims) => {
                match body {
                    Some(body) => claims.insert(group.clone(), body),
                    None => claims.remove(group),
                };
                let first = claims.values().next().cloned();
                match claims.values().all(|body| Some(body) == first.as_ref()) {
                    true => self.disputed.remove(&id),
                    false => self.disputed.insert(id.clone()),
                };
                if claims.is_empty() {
                    self.shared.remove(&id);
                }
                first
            }
        };
        let key = id.1;
        let set = self.sets.entry(dpid).or_default();
        if set.get(&key) == body.as_ref() {
            return;
        }
        stale.note(dpid, key.clone());
        match body {
            Some(body) => set.insert(key, body),
            None => set.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rank::Stage;
    use crate::rules::Layout;
    use crate::{Match, Pipeline};

    const S: Dpid = Dpid(1);

    const PIPELINE: Pipeline = Pipeline {
        app: 7,
        first: 1,
        exit: 3,
    };

    fn no_rules() -> Rules {
        Rules::new(&Layout::new(PIPELINE, None, &BTreeMap::new()).into())
    }

    fn set(wants: &BTreeMap<u16, u64>) -> RuleSet {
        let rule = |(priority, cookie): (&u16, &u64)| {
            let body = RuleBody {
                cookie: *cookie,
                ..RuleBody::default()
            };
            (RuleKey::new(1, *priority, &Match::new()), body)
        };
        wants.iter().map(rule).collect()
    }

    proptest! {
        /// Groups want rules, by priority, with a cookie, and change their minds.
        #[test]
        fn the_lowest_group_that_wants_a_rule_says_what_it_is(
            steps in prop::collection::vec((0..4u8, prop::collection::btree_map(0..3u16, 0..3u64, 0..3)), 1..20)
        ) {
            let mut wanted = WantedRules::new();
            let mut groups: BTreeMap<u8, BTreeMap<u16, u64>> = BTreeMap::new();
            let mut before = RuleSet::new();
            for (group, wants) in steps {
                let mut rules = no_rules();
                rules.by_switch.insert(S, set(&wants));
                let mut stale = StaleRules::new();
                wanted.replace(&group, rules, &mut stale);
                groups.insert(group, wants);
                let mut expected = BTreeMap::new();
                for wants in groups.values().rev() {
                    expected.extend(wants.iter().map(|(priority, cookie)| (*priority, *cookie)));
                }
                let now = wanted.sets().get(&S).cloned().unwrap_or_default();
                prop_assert_eq!(&now, &set(&expected));
                let keys: BTreeSet<_> = before.keys().chain(now.keys()).collect();
                let changed = keys.into_iter().filter(|key| before.get(key) != now.get(key));
                let changed: BTreeSet<_> = changed.cloned().collect();
                prop_assert_eq!(stale.rules.remove(&S).unwrap_or_default(), changed);
                let wanting = groups.iter().filter(|(_, wants)| !wants.is_empty());
                let wanting: Vec<_> = wanting.map(|(group, _)| *group).collect();
                prop_assert_eq!(wanted.groups().collect::<Vec<_>>(), wanting);
                before = now;
            }
        }
    }

    /// Rules of one group by switch, with the rank of each.
    fn ranked(wants: &[(u64, u16, u16)]) -> Rules {
        let mut rules = no_rules();
        for (dpid, priority, rank) in wants {
            let rule = rules.on(Dpid(*dpid)).priority(*priority);
            rule.rank(*rank).punt();
        }
        rules
    }

    fn stages(wanted: &mut WantedRules<u8>, rules: Rules) -> Vec<(u64, u16, Stage)> {
        let mut stale = StaleRules::new();
        wanted.replace(&1, rules, &mut stale);
        let stages = stale.orders.into_values().flatten();
        let of = stages.map(|((dpid, key), stage)| (dpid.0, key.priority, stage));
        of.collect()
    }

    #[test]
    fn a_group_of_which_any_rule_has_a_rank_is_ordered_and_deletes_last() {
        let mut wanted = WantedRules::new();
        let first = Stage::Rank(0);
        assert_eq!(
            stages(&mut wanted, ranked(&[(1, 5, 0), (2, 5, 3)])),
            [(1, 5, first), (2, 5, Stage::Rank(3))]
        );
        let mut rules = ranked(&[(1, 5, 2)]);
        rules.on(Dpid(3)).priority(5).removal_rank(1).punt();
        assert_eq!(
            stages(&mut wanted, rules),
            [(1, 5, Stage::Rank(2)), (2, 5, Stage::Last), (3, 5, first)]
        );
        let gone = [(1, 5, Stage::Last), (3, 5, Stage::Removal(1))];
        assert_eq!(stages(&mut wanted, ranked(&[])), gone);
        let mut unranked = no_rules();
        unranked.on(S).punt();
        assert_eq!(stages(&mut wanted, unranked), []);
    }

    #[test]
    fn a_rule_that_differs_by_its_rank_alone_has_not_changed() {
        let mut wanted = WantedRules::new();
        wanted.replace(&1, ranked(&[(1, 5, 1)]), &mut StaleRules::new());
        let mut stale = StaleRules::new();
        wanted.replace(&1, ranked(&[(1, 5, 2)]), &mut stale);
        assert!(stale.rules.is_empty(), "{stale:?}");
    }

    #[test]
    fn rules_that_are_left_out_or_disputed_count_as_long_as_they_are_stated() {
        let mut wanted = WantedRules::new();
        let faults = |wanted: &WantedRules<u8>| {
            let RuleFaults { left_out, disputed } = wanted.faults();
            (left_out, disputed)
        };
        let replace = |wanted: &mut WantedRules<u8>, group: u8, rules: Rules| {
            wanted.replace(&group, rules, &mut StaleRules::new());
        };
        let mut rules = no_rules();
        rules.on(S).table(9).drop_();
        rules.on(S).drop_();
        rules.on(S).drop_();
        replace(&mut wanted, 1, rules);
        assert_eq!(faults(&wanted), (1, 0), "equal bodies are no dispute");
        let mut rules = no_rules();
        rules.on(S).drop_();
        rules.on(S).next();
        replace(&mut wanted, 1, rules);
        assert_eq!(faults(&wanted), (0, 1));
        replace(&mut wanted, 1, no_rules());
        assert_eq!(faults(&wanted), (0, 0));
        let with = |own: u32| {
            let mut rules = no_rules();
            rules.on(S).own(own).drop_();
            rules
        };
        replace(&mut wanted, 1, with(1));
        replace(&mut wanted, 2, with(2));
        assert_eq!(faults(&wanted), (0, 1), "two groups differ");
        replace(&mut wanted, 2, with(1));
        assert_eq!(faults(&wanted), (0, 0));
        replace(&mut wanted, 2, with(2));
        replace(&mut wanted, 1, no_rules());
        assert_eq!(faults(&wanted), (0, 0));
    }
}
