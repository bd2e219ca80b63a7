//! Reading of a switch: a question whose answer comes in parts, and what its comparison finds.

use std::collections::BTreeSet;
use std::time::Instant;

use morph_openflow::rule::{RuleKey, RuleSet};

/// Question whose answer is not complete.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) token: u32,
    pub(super) deadline: Instant,
    /// The deadline has passed once, so the next one ends the reading. Until then a late answer counts.
    pub(super) is_late: bool,
    pub(super) read: RuleSet,
    /// Rules whose removal by the switch is an event that waits for the app.
    pub(super) removed: BTreeSet<RuleKey>,
}

impl Reading {
    pub(super) fn new(token: u32, deadline: Instant) -> Self {
        Reading {
            token,
            deadline,
            is_late: false,
            read: RuleSet::new(),
            removed: BTreeSet::new(),
        }
    }
}

/// Result of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Finding {
    /// Wanted rules that were missing.
    pub(super) missing: Vec<RuleKey>,
    /// Rules with another content.
    pub(super) changed: Vec<RuleKey>,
    /// Rules that Morpheus did not add.
    pub(super) foreign: Vec<RuleKey>,
}

impl Finding {
    pub(super) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.changed.is_empty() && self.foreign.is_empty()
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &RuleKey> {
        let rules = self.missing.iter().chain(&self.changed);
        rules.chain(&self.foreign)
    }
}
