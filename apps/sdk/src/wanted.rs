//! Wanted rules of the switches, by the group that wants them.

use std::collections::{BTreeMap, BTreeSet};

use morph_openflow::rule::{RuleBody, RuleKey, RuleSet};

use crate::Dpid;

/// Rules whose wanted form may have changed, by switch.
pub(crate) type StaleRules = BTreeMap<Dpid, BTreeSet<RuleKey>>;

/// Rules of each group, and the resulting set on each switch. If two groups want a rule with the same table, priority
/// and match, the lower group's counts, and the other's once that goes.
#[derive(Debug, Clone)]
pub(crate) struct WantedRules<G> {
    /// Rules that each group wants.
    by_group: BTreeMap<G, Vec<(Dpid, RuleKey)>>,
    sets: BTreeMap<Dpid, RuleSet>,
    /// Body that each group wants, for rules that several groups want or wanted.
    shared: BTreeMap<(Dpid, RuleKey), BTreeMap<G, RuleBody>>,
}

impl<G: Ord + Clone> WantedRules<G> {
    pub(crate) fn new() -> Self {
        WantedRules {
            by_group: BTreeMap::new(),
            sets: BTreeMap::new(),
            shared: BTreeMap::new(),
        }
    }

    /// Resulting rules of each switch.
    pub(crate) fn sets(&self) -> &BTreeMap<Dpid, RuleSet> {
        &self.sets
    }

    /// Groups that want any rule.
    pub(crate) fn groups(&self) -> impl Iterator<Item = G> {
        self.by_group.keys().cloned()
    }

    /// Replaces the rules of a group. Notes the rules that this may change in `stale`.
    pub(crate) fn replace(
        &mut self,
        group: &G,
        wants: BTreeMap<Dpid, RuleSet>,
        stale: &mut StaleRules,
    ) {
        let before = self.by_group.remove(group).unwrap_or_default();
        let mut keys = Vec::with_capacity(wants.values().map(RuleSet::len).sum());
        let is_wanted = |(dpid, key): &(Dpid, RuleKey)| {
            let set = wants.get(dpid);
            set.is_some_and(|set| set.contains_key(key))
        };
        let (kept, gone): (Vec<_>, Vec<_>) = before.into_iter().partition(is_wanted);
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
        if !keys.is_empty() {
            self.by_group.insert(group.clone(), keys);
        }
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
        if let Some((other, _)) = others.find(|(_, keys)| keys.contains(id)) {
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
        stale.entry(dpid).or_default().insert(key.clone());
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
    use crate::Match;

    const S: Dpid = Dpid(1);

    fn rules(wants: &BTreeMap<u16, u64>) -> RuleSet {
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
                let by_switch = BTreeMap::from([(S, rules(&wants))]);
                let mut stale = StaleRules::new();
                wanted.replace(&group, by_switch, &mut stale);
                groups.insert(group, wants);
                let mut expected = BTreeMap::new();
                for wants in groups.values().rev() {
                    expected.extend(wants.iter().map(|(priority, cookie)| (*priority, *cookie)));
                }
                let now = wanted.sets().get(&S).cloned().unwrap_or_default();
                prop_assert_eq!(&now, &rules(&expected));
                let keys: BTreeSet<_> = before.keys().chain(now.keys()).collect();
                let changed = keys.into_iter().filter(|key| before.get(key) != now.get(key));
                let changed: BTreeSet<_> = changed.cloned().collect();
                prop_assert_eq!(stale.remove(&S).unwrap_or_default(), changed);
                let wanting = groups.iter().filter(|(_, wants)| !wants.is_empty());
                let wanting: Vec<_> = wanting.map(|(group, _)| *group).collect();
                prop_assert_eq!(wanted.groups().collect::<Vec<_>>(), wanting);
                before = now;
            }
        }
    }
}
