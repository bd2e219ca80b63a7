//! From what is wanted and what is installed on one switch to the flow-mods between the two.

use std::collections::BTreeSet;

use morph_api::cookie::Cookie;
use morph_openflow::rule::{self, Difference, RuleKey, RuleSet};

/// The epoch within a cookie: which epoch added a rule makes no difference to it.
const EPOCH: u64 = 0xFFFF << 32;

/// All that differs on a switch, to be sent in this epoch. `installed` becomes what is wanted.
pub(crate) fn all(installed: &mut RuleSet, wanted: &RuleSet, epoch: u64) -> Difference {
    record(installed, difference(installed, wanted), epoch)
}

/// What differs in these rules only.
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
    let made = difference(&only(installed), &only(wanted));
    record(installed, made, epoch)
}

/// Every rule of an app is one that it wanted at some time, also one with a timeout: what is no longer wanted goes now.
pub(crate) fn difference(installed: &RuleSet, wanted: &RuleSet) -> Difference {
    let mut made = rule::difference(installed, wanted, EPOCH);
    let left_alone = installed
        .iter()
        .filter(|(key, body)| body.is_transient() && !wanted.contains_key(key));
    made.remove
        .extend(left_alone.map(|(key, body)| (key.clone(), body.clone())));
    made
}

/// Stamps what is written with its epoch, and notes it: a rule is later deleted by its whole cookie.
fn record(installed: &mut RuleSet, mut made: Difference, epoch: u64) -> Difference {
    for (key, _) in &made.remove {
        installed.remove(key);
    }
    for (key, body) in made.add.iter_mut().chain(&mut made.change) {
        if let Some(cookie) = Cookie::from_u64(body.cookie) {
            let epoch = epoch as u16;
            body.cookie = Cookie { epoch, ..cookie }.to_u64();
        }
        installed.insert(key.clone(), body.clone());
    }
    made
}
