//! Whether rules that were wanted before and after were left alone.

use crate::flows::{Flow, FlowKey};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Rules of an app by switch and key, with the time at which each was added.
pub type Rules = BTreeMap<(String, FlowKey), (Flow, Instant)>;

/// Error of a rule's age: the time that a dump takes.
const AGE_ERROR: Duration = Duration::from_millis(500);

/// Describes the rules that are in both, have equal actions, and were added again. The second value counts the rules
/// in both.
pub fn touched(before: &Rules, after: &Rules) -> (Vec<String>, usize) {
    let mut touched = Vec::new();
    let mut in_both = 0;
    for (key, (flow, added)) in before {
        let Some((again, added_again)) = after.get(key) else {
            continue;
        };
        if again.actions != flow.actions {
            continue;
        }
        in_both += 1;
        let younger = added_again.saturating_duration_since(*added);
        if younger > AGE_ERROR {
            touched.push(format!("{key:?} was added again, {younger:?} later"));
        }
    }
    (touched, in_both)
}
