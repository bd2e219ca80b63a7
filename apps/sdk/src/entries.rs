//! Groups and meters: their ids, the order in which they are sent, and those that are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use morph_api::entry::{GROUPS, METERS, group_id, groups_of, meter_id, meters_of};
use morph_openflow::entry::{EntryBody, EntryKey, EntrySet, used_by};
use morph_openflow::rule::RuleSet;

use crate::{Action, Dpid, Instruction};

/// Id of an app's group on a switch.
pub(crate) fn group_of(app: u8, number: u32) -> Result<u32, String> {
    let most = GROUPS - 1;
    group_id(app, number)
        .ok_or_else(|| format!("no group can have the number {number}: {most} is the highest"))
}

/// Id of an app's meter on a switch.
pub(crate) fn meter_of(app: u8, number: u32) -> Result<u32, String> {
    let most = METERS - 1;
    meter_id(app, number)
        .ok_or_else(|| format!("no meter can have the number {number}: {most} is the highest"))
}

/// Replaces the app's numbers of groups by the ids that they have on the switch.
pub(crate) fn own_groups(app: u8, actions: Vec<Action>) -> Result<Vec<Action>, String> {
    let own = |action| match action {
        Action::Group(number) => group_of(app, number).map(Action::Group),
        other => Ok(other),
    };
    actions.into_iter().map(own).collect()
}

/// As [`own_groups`], for the actions of instructions.
pub(crate) fn with_own_groups(
    app: u8,
    instructions: Vec<Instruction>,
) -> Result<Vec<Instruction>, String> {
    let own = |instruction| match instruction {
        Instruction::ApplyActions(actions) => {
            own_groups(app, actions).map(Instruction::ApplyActions)
        }
        Instruction::WriteActions(actions) => {
            own_groups(app, actions).map(Instruction::WriteActions)
        }
        other => Ok(other),
    };
    instructions.into_iter().map(own).collect()
}

/// Whether an entry of a switch is the app's.
pub(crate) fn is_own(app: u8, key: EntryKey) -> bool {
    key.is_among(groups_of(app), meters_of(app))
}

/// Entries among those that wait which may be sent now: the groups that they refer to are in the switch, and do not wait.
pub(crate) fn ready(
    waiting: &BTreeSet<EntryKey>,
    installed: &EntrySet,
    wanted: &EntrySet,
) -> Vec<EntryKey> {
    let is_there = |key: EntryKey| installed.contains_key(&key) && !waiting.contains(&key);
    let is_ready = |key: &&EntryKey| {
        let body = wanted.get(key);
        body.is_some_and(|body| body.refers_to().all(is_there))
    };
    waiting.iter().filter(is_ready).copied().collect()
}

/// Entries among these that no rule and no other entry of the switch uses.
pub(crate) fn unused(
    gone: &BTreeSet<EntryKey>,
    installed: &EntrySet,
    rules: &RuleSet,
) -> Vec<EntryKey> {
    let by_rules = rules.values().flat_map(|body| used_by(&body.instructions));
    let by_groups = installed.values().flat_map(EntryBody::refers_to);
    let used: BTreeSet<EntryKey> = by_rules.chain(by_groups).collect();
    gone.difference(&used).copied().collect()
}

/// Keys of entries that differ: those to be added or changed, and those to be deleted. Both sets are in normal form.
pub(crate) fn differences(
    installed: &EntrySet,
    wanted: &EntrySet,
) -> (BTreeSet<EntryKey>, BTreeSet<EntryKey>) {
    let differs = |(key, body): &(&EntryKey, &EntryBody)| installed.get(key) != Some(*body);
    let set = wanted.iter().filter(differs).map(|(key, _)| *key);
    let gone = installed.keys().filter(|key| !wanted.contains_key(key));
    (set.collect(), gone.copied().collect())
}

/// Entries whose wanted form has changed.
pub(crate) type StaleEntries = BTreeMap<Dpid, BTreeSet<EntryKey>>;

/// Entries that groups of rules want, and the resulting ones on each switch. If two want one, the lower group's counts.
#[derive(Debug, Clone)]
pub(crate) struct WantedEntries<G> {
    by_group: BTreeMap<G, BTreeSet<(Dpid, EntryKey)>>,
    claims: BTreeMap<(Dpid, EntryKey), BTreeMap<G, Arc<EntryBody>>>,
    sets: BTreeMap<Dpid, EntrySet>,
}

impl<G: Ord + Clone> WantedEntries<G> {
    pub(crate) fn new() -> Self {
        WantedEntries {
            by_group: BTreeMap::new(),
            claims: BTreeMap::new(),
            sets: BTreeMap::new(),
        }
    }

    pub(crate) fn sets(&self) -> &BTreeMap<Dpid, EntrySet> {
        &self.sets
    }

    /// Groups of rules that want any entry.
    pub(crate) fn groups(&self) -> impl Iterator<Item = G> {
        self.by_group.keys().cloned()
    }

    /// Replaces the entries of a group of rules. Notes the entries that this changes in `stale`.
    pub(crate) fn replace(
        &mut self,
        group: &G,
        wants: BTreeMap<Dpid, EntrySet>,
        stale: &mut StaleEntries,
    ) {
        let before = self.by_group.remove(group).unwrap_or_default();
        let wants: BTreeMap<(Dpid, EntryKey), EntryBody> = wants
            .into_iter()
            .flat_map(|(dpid, set)| set.into_iter().map(move |(key, body)| ((dpid, key), body)))
            .collect();
        let keys: BTreeSet<(Dpid, EntryKey)> = wants.keys().copied().collect();
        for id in before.difference(&keys) {
            if let Some(claims) = self.claims.get_mut(id) {
                claims.remove(group);
            }
            self.resolve(*id, stale);
        }
        for (id, body) in wants {
            let claims = self.claims.entry(id).or_default();
            claims.insert(group.clone(), body.into());
            self.resolve(id, stale);
        }
        if !keys.is_empty() {
            self.by_group.insert(group.clone(), keys);
        }
    }

    fn resolve(&mut self, id: (Dpid, EntryKey), stale: &mut StaleEntries) {
        let claims = self.claims.get(&id);
        let body = claims.and_then(|claims| claims.values().next());
        let body = body.map(|body| EntryBody::clone(body));
        if body.is_none() {
            self.claims.remove(&id);
        }
        let (dpid, key) = id;
        let set = self.sets.entry(dpid).or_default();
        let before = match &body {
            Some(body) => set.insert(key, body.clone()),
            None => set.remove(&key),
        };
        if set.is_empty() {
            self.sets.remove(&dpid);
        }
        if before != body {
            stale.entry(dpid).or_default().insert(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use morph_openflow::v13::{Bucket, group};

    use super::*;

    const S: Dpid = Dpid(1);

    fn group(number: u32) -> EntryKey {
        EntryKey::Group(number)
    }

    /// Indirect group that leads to another group, or to a port.
    fn leads_to(to: Result<u32, u32>) -> EntryBody {
        let action = match to {
            Ok(group) => Action::Group(group),
            Err(port) => Action::output(port),
        };
        EntryBody::Group {
            kind: group::kind::INDIRECT,
            buckets: vec![Bucket::new(vec![action])],
        }
    }

    #[test]
    fn groups_are_sent_before_those_that_refer_to_them_and_cycles_never() {
        let wanted = EntrySet::from([
            (group(1), leads_to(Ok(2))),
            (group(2), leads_to(Ok(3))),
            (group(3), leads_to(Err(1))),
            (group(4), leads_to(Ok(5))),
            (group(5), leads_to(Ok(4))),
            (group(6), leads_to(Ok(9))),
        ]);
        let mut installed = EntrySet::new();
        let (mut waiting, gone) = differences(&installed, &wanted);
        let mut order = Vec::new();
        while let [key, ..] = ready(&waiting, &installed, &wanted)[..] {
            installed.insert(key, wanted[&key].clone());
            waiting.remove(&key);
            order.push(key);
        }
        assert_eq!(order, [group(3), group(2), group(1)]);
        assert_eq!((waiting.len(), gone.len()), (3, 0));
    }

    #[test]
    fn a_group_is_turned_round_without_a_cycle() {
        let installed = EntrySet::from([(group(1), leads_to(Ok(2))), (group(2), leads_to(Err(1)))]);
        let wanted = EntrySet::from([(group(1), leads_to(Err(1))), (group(2), leads_to(Ok(1)))]);
        let (waiting, _) = differences(&installed, &wanted);
        assert_eq!(ready(&waiting, &installed, &wanted), [group(1)]);
    }

    #[test]
    fn a_group_is_deleted_behind_all_that_uses_it() {
        let installed = EntrySet::from([(group(1), leads_to(Ok(2))), (group(2), leads_to(Err(1)))]);
        let (_, mut gone) = differences(&installed, &EntrySet::new());
        assert_eq!(unused(&gone, &installed, &RuleSet::new()), [group(1)]);
        gone.remove(&group(1));
        let left = EntrySet::from([(group(2), leads_to(Err(1)))]);
        assert_eq!(unused(&gone, &left, &RuleSet::new()), [group(2)]);
        let key = morph_openflow::rule::RuleKey::new(1, 1, &Default::default());
        let instructions = [Instruction::ApplyActions(vec![Action::Group(2)])].into();
        let body = morph_openflow::rule::RuleBody {
            instructions,
            ..Default::default()
        };
        assert_eq!(unused(&gone, &left, &RuleSet::from([(key, body)])), []);
    }

    #[test]
    fn the_lowest_group_of_rules_that_wants_an_entry_says_what_it_is() {
        let mut wanted = WantedEntries::new();
        let wants = |port| BTreeMap::from([(S, EntrySet::from([(group(1), leads_to(Err(port)))]))]);
        let mut replace = |of: u8, wants| {
            let mut stale = StaleEntries::new();
            wanted.replace(&of, wants, &mut stale);
            let now = wanted.sets().get(&S).and_then(|set| set.get(&group(1)));
            (stale.len(), now.cloned())
        };
        assert_eq!(replace(2, wants(2)), (1, Some(leads_to(Err(2)))));
        assert_eq!(replace(3, wants(3)), (0, Some(leads_to(Err(2)))));
        assert_eq!(replace(1, wants(1)), (1, Some(leads_to(Err(1)))));
        assert_eq!(replace(1, BTreeMap::new()), (1, Some(leads_to(Err(2)))));
        assert_eq!(replace(2, BTreeMap::new()), (1, Some(leads_to(Err(3)))));
        assert_eq!(replace(3, BTreeMap::new()), (1, None));
    }
}
