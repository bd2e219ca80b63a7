//! Timers of apps, as they stand in the store.
//!
//! ```text
//! _timers/KIND/KEY = {"due"}
//! ```

use serde::{Deserialize, Serialize};

/// Name of the table, which every app has in every schema version. An app cannot write it by itself.
pub const TABLE: &str = "_timers";

/// Row of a timer. Members are only ever added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerRow {
    /// Time at which it is due, in milliseconds since 1970.
    pub due: u64,
}
