//! Alarms of apps, as they stand in the store. The SDK writes them and morphd reads them.
//!
//! ```text
//! _alarms/KIND/SUBJECT = {"kind", "switch", "port", "host", "text", "mend", "since"}
//! ```

use serde::{Deserialize, Serialize};

/// Name of the table, which every app has in every schema version. An app cannot write it by itself.
pub const TABLE: &str = "_alarms";

/// Kind of the alarm which says that an app has more alarms than are kept.
pub const MORE: &str = "more";

/// Kind of the alarm which says that a table has as many rows as it may have. The subject is the table's name.
pub const TABLE_FULL: &str = "table-full";

/// Row of an alarm. Members are only ever added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmRow {
    /// Name of the condition, as in the key.
    pub kind: String,
    /// Datapath id, as 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<String>,
    /// Number of a port of the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// Hardware address of a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Sentence about the condition.
    pub text: String,
    /// Action that ends it.
    pub mend: String,
    /// Time at which it began, in milliseconds since 1970.
    pub since: u64,
}
