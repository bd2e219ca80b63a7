//! A configuration whose end morphd waits for: what has to be true before it goes on with a move of tables.

use std::collections::BTreeSet;

/// Confirmations that are missing until a configuration is carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settling {
    /// Number by which morphd knows the configuration.
    pub(super) serial: u64,
    /// Apps whose live instance has not reported that all switches confirmed its rules.
    pub(super) apps: BTreeSet<u8>,
}

impl Settling {
    /// Notes the report of an app's live instance.
    pub(super) fn ready(&mut self, app: u8, serial: u64) {
        if serial == self.serial {
            self.apps.remove(&app);
        }
    }
}
