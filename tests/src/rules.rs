//! Whether rules that were wanted before and after were left alone.

use crate::flows::{Flow, FlowKey};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The rules of an app, by switch and key, and when each was added.
pub type Rules = BTreeMap<(String, FlowKey), (Flow, Instant)>;

/// What a reading of `duration` may be off by: the time that a dump takes.
const BLUR: Duration = Duration::from_millis(500);

/// The rules that are in both, do the same, and are younger than before: those that were touched without need. And
/// how many are in both.
pub fn touched(before: &Rules, after: &Rules) -> (Vec<String>, usize) {
    let mut touched = Vec::new();
    let mut both = 0;
    for (key, (flow, added)) in before {
        let Some((again, added_again)) = after.get(key) else {
            continue;
        };
        if again.actions != flow.actions {
            continue;
        }
        both += 1;
        let younger = added_again.saturating_duration_since(*added);
        if younger > BLUR {
            touched.push(format!("{key:?} is younger by {younger:?}"));
        }
    }
    (touched, both)
}
