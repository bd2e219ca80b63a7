//! Flow-mods that lead from the rules installed in one switch to the wanted ones.

use morph_api::cookie::Cookie;
use morph_api::supervisor::RuleDifference;
use morph_openflow::rule::{self, Difference, RuleBody, RuleKey, RuleSet};
use morph_openflow::v13::FlowMod;

/// Epoch bits within a cookie. Rules that differ only by the epoch that added them are the same.
const EPOCH: u64 = 0xFFFF << 32;

/// All differences on a switch, stamped with this epoch. `installed` becomes the wanted set.
pub(crate) fn all(installed: &mut RuleSet, wanted: &RuleSet, epoch: u64) -> Difference {
    record(installed, difference(installed, wanted), epoch)
}

/// Flow-mod that brings one rule in line with the wanted one, stamped with this epoch; none if it is so already.
/// `installed` has the wanted rule then. Both sets are in normal form.
pub(crate) fn one(
    installed: &mut RuleSet,
    wanted: &RuleSet,
    key: &RuleKey,
    epoch: u64,
) -> Option<FlowMod> {
    match (installed.get(key), wanted.get(key)) {
        (None, None) => None,
        (Some(there), None) => {
            let flow_mod = FlowMod::delete_strict(key, there.cookie);
            installed.remove(key);
            Some(flow_mod)
        }
        (Some(there), Some(body)) if there.is_same(body, EPOCH) => None,
        (_, Some(body)) => {
            let body = stamped(body.clone(), epoch);
            let flow_mod = FlowMod::add(key, &body);
            installed.insert(key.clone(), body);
            Some(flow_mod)
        }
    }
}

/// Whether two rules differ by no more than the epoch that added them.
pub(crate) fn is_same(one: &RuleBody, other: &RuleBody) -> bool {
    one.is_same(other, EPOCH)
}

/// Takes note of a rule that the switch removed by itself. One that is wanted all the same is added again by the next
/// difference. Another stays noted, so that it is deleted: it may have been added again in the meantime.
pub(crate) fn forget_expired(installed: &mut RuleSet, wanted: &RuleSet, key: &RuleKey) {
    if wanted.contains_key(key) {
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
        *body = stamped(std::mem::take(body), epoch);
        installed.insert(key.clone(), body.clone());
    }
    difference
}

fn stamped(mut body: RuleBody, epoch: u64) -> RuleBody {
    if let Some(cookie) = Cookie::from_u64(body.cookie) {
        let epoch = epoch as u16;
        body.cookie = Cookie { epoch, ..cookie }.to_u64();
    }
    body
}

/// Numbers of rules in a difference, for reports.
pub(crate) fn counts(difference: &Difference) -> RuleDifference {
    RuleDifference {
        added: difference.add.len() as u64,
        changed: difference.change.len() as u64,
        removed: difference.remove.len() as u64,
        unchanged: difference.unchanged as u64,
    }
}
