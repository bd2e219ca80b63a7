//! Groups that do not come back as they were: what going back from a migration would lose.
//!
//! A group loses nothing if each of its sides is what the other one maps to. The old release then finds all that it
//! wrote and that the new one wrote, and so does the new release when it comes again.

use std::collections::{BTreeMap, BTreeSet};

use morph_api::supervisor::Loss;
use serde_json::Value;

use crate::migration::Step;
use crate::{MigrationError, Rows};

/// Number of losses reported in full.
const REPORTED: usize = 3;
/// Bytes of a value that are reported.
const BYTES: usize = 200;

/// Groups of a shadow that lose something.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses {
    /// Step and group of each loss.
    groups: BTreeSet<(usize, String)>,
    reported: BTreeMap<(usize, String), Loss>,
}

impl Losses {
    /// Records whether a group of a step loses something now.
    pub(super) fn note(&mut self, step: usize, group: &str, found: Option<Loss>) {
        let id = (step, group.to_owned());
        self.reported.remove(&id);
        match found {
            None => {
                self.groups.remove(&id);
            }
            Some(loss) => {
                self.groups.insert(id.clone());
                if self.reported.len() < REPORTED {
                    self.reported.insert(id, loss);
                }
            }
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.groups.len() as u64
    }

    pub(super) fn first(&self) -> Vec<Loss> {
        self.reported.values().cloned().collect()
    }
}

/// Loss of a group between its rows on the two sides of a step.
pub(super) fn loss(step: Step, group: &str, source: &Rows, target: &Rows) -> Option<Loss> {
    let back = lost(group, source, step.to_source(group, target));
    back.or_else(|| lost(group, target, step.to_target(group, source)))
}

fn lost(group: &str, before: &Rows, after: Result<Rows, MigrationError>) -> Option<Loss> {
    let group = group.to_owned();
    let after = match after {
        Ok(after) => after,
        Err(error) => {
            let error = error.to_string();
            return Some(Loss {
                group,
                error,
                ..Loss::default()
            });
        }
    };
    let (before, after) = (&before.0, &after.0);
    let mut ids = before.keys().chain(after.keys());
    let id = ids.find(|id| before.get(*id) != after.get(*id))?;
    Some(Loss {
        group,
        row: format!("{}/{}", id.0, id.1),
        before: text(before.get(id)),
        after: text(after.get(id)),
        error: String::new(),
    })
}

fn text(value: Option<&Value>) -> String {
    let mut text = value.map(Value::to_string).unwrap_or_default();
    if text.len() > BYTES {
        let end = (0..=BYTES).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn loss_of(n: u32) -> Option<Loss> {
        let group = n.to_string();
        Some(Loss {
            group,
            ..Loss::default()
        })
    }

    #[test]
    fn many_are_counted_and_few_are_reported() {
        let mut losses = Losses::default();
        for n in 0..9 {
            losses.note(0, &n.to_string(), loss_of(n));
        }
        assert_eq!((losses.count(), losses.first().len()), (9, REPORTED));
        for n in 0..8 {
            losses.note(0, &n.to_string(), None);
        }
        assert_eq!((losses.count(), losses.first().len()), (1, 0));
        losses.note(0, "8", loss_of(8));
        assert_eq!((losses.count(), losses.first().len()), (1, 1));
    }

    #[test]
    fn a_long_value_is_cut_between_letters() {
        let value = json!("ä".repeat(300));
        let text = text(Some(&value));
        assert!(text.len() < 210 && text.ends_with('…'), "{text}");
    }
}
