//! Rules that a release would remove from a switch, told before it takes over.

use std::collections::BTreeMap;

use morph_api::supervisor::RuleLoss;
use morph_openflow::rule::{RuleKey, RuleSet};

use crate::{Dpid, install};

/// Rules that are named, of each switch.
const EXAMPLES: usize = 5;

/// Rules of one switch that would be removed, with how many there are and would be added; `None` if there are none. A rule that is
/// added in another table with the same priority and match has only moved.
pub(crate) fn of_switch(dpid: Dpid, installed: &RuleSet, wanted: &RuleSet) -> Option<RuleLoss> {
    let difference = install::difference(installed, wanted);
    let mut added: BTreeMap<_, usize> = BTreeMap::new();
    for (key, _) in &difference.add {
        *added.entry((key.priority, &key.match_)).or_default() += 1;
    }
    let mut moved = 0;
    let mut removed: Vec<&RuleKey> = Vec::new();
    for (key, _) in &difference.remove {
        match added.get_mut(&(key.priority, &key.match_)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                moved += 1;
            }
            _ => removed.push(key),
        }
    }
    if removed.is_empty() {
        return None;
    }
    let mut emptied: Vec<u32> = removed.iter().map(|key| key.table.into()).collect();
    emptied.sort_unstable();
    emptied.dedup();
    emptied.retain(|table| wanted.keys().all(|key| u32::from(key.table) != *table));
    let example = |key: &&RuleKey| {
        let RuleKey {
            table,
            priority,
            match_,
        } = key;
        format!("table {table}, priority {priority}, {match_}")
    };
    Some(RuleLoss {
        dpid: dpid.0,
        present: installed.len() as u64,
        added: (difference.add.len() - moved) as u64,
        removed: removed.len() as u64,
        emptied,
        examples: removed.iter().take(EXAMPLES).map(example).collect(),
    })
}

#[cfg(test)]
mod tests {
    use morph_openflow::rule::RuleBody;

    use super::*;
    use crate::Match;

    fn rules(keys: &[(u8, u16)]) -> RuleSet {
        let key = |(table, priority): &(u8, u16)| RuleKey::new(*table, *priority, &Match::new());
        keys.iter()
            .map(|at| (key(at), RuleBody::default()))
            .collect()
    }

    fn loss(installed: &[(u8, u16)], wanted: &[(u8, u16)]) -> Option<RuleLoss> {
        of_switch(Dpid(1), &rules(installed), &rules(wanted))
    }

    #[test]
    fn removed_rules_are_counted_and_named_and_emptied_tables_too() {
        let loss = loss(&[(3, 1), (3, 2), (4, 3)], &[(3, 1), (3, 9)]).unwrap();
        assert_eq!((loss.present, loss.added, loss.removed), (3, 1, 2));
        assert_eq!(loss.emptied, [4]);
        assert_eq!(
            loss.examples,
            ["table 3, priority 2, any", "table 4, priority 3, any"]
        );
        assert!(of_switch(Dpid(1), &rules(&[(3, 1)]), &rules(&[(3, 1), (4, 1)])).is_none());
    }

    #[test]
    fn a_rule_that_moves_to_another_table_is_no_loss() {
        assert_eq!(loss(&[(3, 1), (3, 2)], &[(4, 1), (4, 2)]), None);
        // The rule in table 5 stands for one of the two.
        let loss = loss(&[(3, 1), (4, 1)], &[(5, 1)]).unwrap();
        assert_eq!((loss.added, loss.removed, loss.emptied.len()), (0, 1, 1));
    }
}
