//! Leases: rows that vanish with their owner.
//!
//! A lease is stored as a row of Morpheus's own records, `leases/NAME`: a JSON document that lists the rows bound to
//! it. So every backend that keeps rows keeps leases too, and every daemon on it sees a renewal as a new revision of
//! that row. The driver, which has a clock, decides when a lease has expired. It then revokes the lease at the
//! revision that it saw, in an ordinary transaction.

use std::collections::BTreeSet;

use morph_api::RECORDS;
use serde::{Deserialize, Serialize};

use super::keys::RowKey;

/// Table of the records that holds the leases.
pub const LEASES: &str = "leases";
/// Keyspace of the records, whose schema never changes.
pub(super) const KEYSPACE: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease {
    /// Time from the last renewal to the end of the lease.
    pub ttl_ms: u32,
    /// Revision at which it was last granted, kept or changed.
    pub revision: u64,
    pub rows: BTreeSet<RowKey>,
}

#[derive(Serialize, Deserialize)]
struct LeaseRow {
    ttl_ms: u32,
    rows: Vec<LeaseRowKey>,
}

#[derive(Serialize, Deserialize)]
struct LeaseRowKey {
    app: String,
    /// Named `space` in format 2.
    #[serde(rename = "space")]
    keyspace: u32,
    table: String,
    key: String,
}

impl Lease {
    pub(super) fn to_json(&self) -> String {
        let row = |at: &RowKey| serde_json::json!({"app": at.app, "space": at.keyspace, "table": at.table, "key": at.key});
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        serde_json::json!({"ttl_ms": self.ttl_ms, "rows": rows}).to_string()
    }

    pub(super) fn from_json(json: &str, revision: u64) -> Result<Lease, String> {
        let stored: LeaseRow = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let rows = stored.rows.into_iter().map(|row| RowKey {
            app: row.app,
            keyspace: row.keyspace,
            table: row.table,
            key: row.key,
        });
        Ok(Lease {
            ttl_ms: stored.ttl_ms,
            revision,
            rows: rows.collect(),
        })
    }
}

/// Address of the row that stores a lease.
pub(super) fn at(name: &str) -> RowKey {
    RowKey {
        app: RECORDS.to_owned(),
        keyspace: KEYSPACE,
        table: LEASES.to_owned(),
        key: name.to_owned(),
    }
}

pub(super) fn is_at(at: &RowKey) -> bool {
    at.app == RECORDS && at.table == LEASES
}

#[cfg(test)]
mod tests;
