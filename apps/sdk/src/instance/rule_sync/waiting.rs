//! Rules of one switch that are to be changed there, in the order in which the changes are sent.

use std::collections::BTreeSet;

use morph_openflow::rule::{Difference, RuleBody, RuleKey};

/// Keys of the rules that wait. A rule that changes again while it waits is sent once, as it is wanted then. Additions come
/// first, then replacements, then deletions, so that no packet meets a gap.
#[derive(Debug, Clone, Default)]
pub(super) struct WaitingRules {
    add: BTreeSet<RuleKey>,
    change: BTreeSet<RuleKey>,
    remove: BTreeSet<RuleKey>,
}

impl WaitingRules {
    /// All rules of a difference.
    pub(super) fn of(difference: Difference) -> Self {
        let keys = |rules: Vec<(RuleKey, RuleBody)>| rules.into_iter().map(|(key, _)| key);
        WaitingRules {
            add: keys(difference.add).collect(),
            change: keys(difference.change).collect(),
            remove: keys(difference.remove).collect(),
        }
    }

    /// Notes a rule that may have to be changed.
    pub(super) fn note(&mut self, key: RuleKey, is_wanted: bool, is_installed: bool) {
        self.forget(&key);
        match (is_wanted, is_installed) {
            (true, false) => self.add.insert(key),
            (true, true) => self.change.insert(key),
            (false, true) => self.remove.insert(key),
            (false, false) => return,
        };
    }

    /// Takes a rule out.
    pub(super) fn forget(&mut self, key: &RuleKey) {
        self.add.remove(key);
        self.change.remove(key);
        self.remove.remove(key);
    }

    /// Removes the next rule to be changed.
    pub(super) fn pop(&mut self) -> Option<RuleKey> {
        let key = self.add.pop_first();
        let key = key.or_else(|| self.change.pop_first());
        key.or_else(|| self.remove.pop_first())
    }

    pub(super) fn contains(&self, key: &RuleKey) -> bool {
        self.add.contains(key) || self.change.contains(key) || self.remove.contains(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.change.is_empty() && self.remove.is_empty()
    }
}
