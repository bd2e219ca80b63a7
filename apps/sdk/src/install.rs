//! From what is wanted and what is installed on one switch to the flow-mods between the two.

use std::collections::BTreeSet;

use morph_openflow::rule::{Difference, RuleKey, RuleSet, difference};

/// The epoch within a cookie: which epoch added a rule makes no difference to it.
pub(crate) const EPOCH: u64 = 0xFFFF << 32;

/// All that differs on a switch. `installed` becomes what is wanted.
pub(crate) fn all(installed: &mut RuleSet, wanted: &RuleSet) -> Difference {
    let made = managed(installed, wanted);
    record(installed, &made);
    made
}

/// Every rule of an app is one that it wanted at some time, also one with a timeout: what is no longer wanted goes now.
fn managed(installed: &RuleSet, wanted: &RuleSet) -> Difference {
    let mut made = difference(installed, wanted, EPOCH);
    let left_alone = installed
        .iter()
        .filter(|(key, body)| body.is_transient() && !wanted.contains_key(key));
    made.remove
        .extend(left_alone.map(|(key, body)| (key.clone(), body.clone())));
    made
}

/// What differs in these rules only.
pub(crate) fn some(
    installed: &mut RuleSet,
    wanted: &RuleSet,
    keys: &BTreeSet<RuleKey>,
) -> Difference {
    let only = |set: &RuleSet| -> RuleSet {
        keys.iter()
            .filter_map(|key| Some((key.clone(), set.get(key)?.clone())))
            .collect()
    };
    let made = managed(&only(installed), &only(wanted));
    record(installed, &made);
    made
}

fn record(installed: &mut RuleSet, made: &Difference) {
    for (key, _) in &made.remove {
        installed.remove(key);
    }
    let written = made.add.iter().chain(&made.change);
    installed.extend(written.cloned());
}
