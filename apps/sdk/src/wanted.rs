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
    by_group: BTreeMap<G, BTreeMap<Dpid, BTreeSet<RuleKey>>>,
    claims: BTreeMap<Dpid, BTreeMap<RuleKey, BTreeMap<G, RuleBody>>>,
    sets: BTreeMap<Dpid, RuleSet>,
}

impl<G: Ord + Clone> WantedRules<G> {
    pub(crate) fn new() -> Self {
        WantedRules {
            by_group: BTreeMap::new(),
            claims: BTreeMap::new(),
            sets: BTreeMap::new(),
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
        let keys: BTreeMap<Dpid, BTreeSet<RuleKey>> = wants
            .iter()
            .map(|(dpid, set)| (*dpid, set.keys().cloned().collect()))
            .collect();
        let before = if keys.is_empty() {
            self.by_group.remove(group)
        } else {
            self.by_group.insert(group.clone(), keys)
        };
        for (dpid, keys) in before.into_iter().flatten() {
            let still = wants.get(&dpid);
            for key in keys {
                if !still.is_some_and(|set| set.contains_key(&key)) {
                    self.claim(dpid, key, group, None, stale);
                }
            }
        }
        for (dpid, set) in wants {
            for (key, body) in set {
                self.claim(dpid, key, group, Some(body), stale);
            }
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
        let on_switch = self.claims.entry(dpid).or_default();
        let claims = on_switch.entry(key.clone()).or_default();
        match body {
            Some(body) => claims.insert(group.clone(), body),
            None => claims.remove(group),
        };
        let first = claims.values().next().cloned();
        if claims.is_empty() {
            on_switch.remove(&key);
        }
        let set = self.sets.entry(dpid).or_default();
        if set.get(&key) == first.as_ref() {
            return;
        }
        stale.entry(dpid).or_default().insert(key.clone());
        match first {
            Some(body) => set.insert(key, body),
            None => set.remove(&key),
        };
    }
}
