//! Rows that the API has no message for: what became of a request.

use morph_api::management::{ConfigEntry, Release};

use crate::schema::Table;

/// After `app install`.
pub(crate) struct Installed {
    pub(crate) release: Release,
    /// It was there before, with the same digest.
    pub(crate) already: bool,
}

/// After `app stop`.
pub(crate) struct Stopped {
    pub(crate) name: String,
}

/// After `app remove`.
pub(crate) struct Removed {
    pub(crate) name: String,
    /// From how many its rules were deleted.
    pub(crate) switches: u32,
}

/// After `store backup`.
pub(crate) struct Kept {
    pub(crate) file: String,
    pub(crate) revision: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// After `config set`.
pub(crate) struct Written {
    pub(crate) entry: ConfigEntry,
    /// The store's, of the transaction.
    pub(crate) revision: u64,
}

/// Of `schema diff`: a table in two releases.
pub(crate) struct TableChange {
    pub(crate) table: String,
    /// same, changed, added, removed.
    pub(crate) change: &'static str,
    pub(crate) old: Option<Table>,
    pub(crate) new: Option<Table>,
}
