//! Flow-mods that lead from the rules installed in one switch to the wanted ones.

use std::collections::BTreeSet;

use morph_api::cookie::Cookie;
use morph_openflow::rule::{self, Difference, RuleKey, RuleSet};

/// Epoch bits within a cookie. Rules that differ only by the epoch that added them are the same.
const EPOCH: u64 = 0xFFFF << 32;

/// All differences on a switch, stamped with this epoch. `installed` becomes the wanted set.
pub(crate) fn all(installed: &mut RuleSet, wanted: &RuleSet, epoch: u64) -> Difference {
    record(installed, difference(installed, wanted), epoch)
}

/// Differences in these rules only.
pub(crate) fn some(
    installed: &mut RuleSet,
    wanted: &RuleSet,
    keys: &BTreeSet<RuleKey>,
    epoch: u64,
) -> Difference {
    let only = |set: &RuleSet| -> RuleSet {
        keys.iter()
            .filter_map(|key| Some((key.clone(), set.get(key)?.clone())))
            .collect()
    };
    record(
        installed,
        difference(&only(installed), &only(wanted)),
        epoch,
    )
}

/// Takes note of rules that the switch removed by itself. Those that are wanted all the same are added again by the next
/// difference. The others stay noted, so that it deletes them: they may have been added again in the meantime.
pub(crate) fn forget_expired(
    installed: &mut RuleSet,
    wanted: &RuleSet,
    expired: BTreeSet<RuleKey>,
) {
    for key in expired.iter().filter(|key| wanted.contains_key(key)) {
        installed.remove(key);
    }
}

/// Difference of two sets, where a rule with a timeout that is no longer wanted is removed at once: every rule of an
/// app is one that it wanted at some time.
pub(crate) fn difference(installed: &RuleSet, wanted: &RuleSet) -> Difference {
    let mut difference = rule::difference(installed, wanted, EPOCH);
    let left_alone = installed
        .iter()
        .filter(|(key, body)| body.is_transient() && !wanted.contains_key(key));
    difference
        .remove
        .extend(left_alone.map(|(key, body)| (key.clone(), body.clone())));
    difference
}

/// Stamps added rules with the epoch, and notes them as installed: a rule is later deleted by its whole cookie.
fn record(installed: &mut RuleSet, mut difference: Difference, epoch: u64) -> Difference {
    for (key, _) in &difference.remove {
        installed.remove(key);
    }
    for (key, body) in difference.add.iter_mut().chain(&mut difference.change) {
        if let Some(cookie) = Cookie::from_u64(body.cookie) {
            let epoch = epoch as u16;
            body.cookie = Cookie { epoch, ..cookie }.to_u64();
        }
        installed.insert(key.clone(), body.clone());
    }
    difference
}
