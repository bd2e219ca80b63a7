//! Leases: rows that vanish with their owner.
//!
//! A lease is stored as a row of Morpheus's own records, `leases/NAME`, a JSON document that lists the rows bound to it.
//! So any backend keeps leases that keeps rows, and every daemon on it sees when one is kept: the row has a new
//! revision. When a lease's time is over is for the driver to say, who has a clock; it then revokes the lease at the
//! revision that it saw, in a transaction like any other.

use std::collections::BTreeSet;

use morph_api::RECORDS;
use morph_api::store::{GrantLease, KeepLease, Reason, Refused, RevokeLease};
use serde::{Deserialize, Serialize};

use super::draft::Draft;
use super::refuse::{Stop, conflict, invalid, refuse, too_large};
use super::{At, Rows};
use crate::limits;

/// The table of the records that leases are rows of.
pub const LEASES: &str = "leases";
/// The keyspace of the records: they never change their schema.
const KEYSPACE: u32 = 1;

/// A lease as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease {
    /// How long it lasts from when it was last kept, in milliseconds.
    pub ttl_ms: u32,
    /// When it was last granted, kept or changed.
    pub revision: u64,
    /// What is bound to it.
    pub rows: BTreeSet<At>,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    ttl_ms: u32,
    rows: Vec<StoredRow>,
}

#[derive(Serialize, Deserialize)]
struct StoredRow {
    app: String,
    /// Called `space` in format 2.
    #[serde(rename = "space")]
    keyspace: u32,
    table: String,
    key: String,
}

impl Lease {
    pub(super) fn to_json(&self) -> String {
        let row = |at: &At| serde_json::json!({"app": at.app, "space": at.keyspace, "table": at.table, "key": at.key});
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        serde_json::json!({"ttl_ms": self.ttl_ms, "rows": rows}).to_string()
    }

    pub(super) fn from_json(json: &str, revision: u64) -> Result<Lease, String> {
        let stored: Stored = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let rows = stored.rows.into_iter().map(|row| At {
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

/// Where a lease is stored.
pub(super) fn at(name: &str) -> At {
    At {
        app: RECORDS.to_owned(),
        keyspace: KEYSPACE,
        table: LEASES.to_owned(),
        key: name.to_owned(),
    }
}

pub(super) fn is_at(at: &At) -> bool {
    at.app == RECORDS && at.table == LEASES
}

impl<R: Rows> Draft<'_, R> {
    pub(super) fn grant(&mut self, grant: &GrantLease) -> Result<(), Box<Refused>> {
        let name = &grant.lease;
        if self.keyspace(RECORDS, KEYSPACE).is_none() {
            return Err(invalid("there are no records to keep leases in"));
        }
        if self.lease(name).is_some() {
            return Err(conflict(format!("there is a lease {name:?}")));
        }
        let lease = Lease {
            ttl_ms: grant.ttl_ms,
            ..Lease::default()
        };
        self.leases.insert(name.clone(), Some(lease));
        Ok(())
    }

    pub(super) fn keep(&mut self, keep: &KeepLease) -> Result<(), Box<Refused>> {
        // Written as it is: what counts is the revision.
        self.touched(&keep.lease).map(|_| ())
    }

    pub(super) fn revoke(&mut self, revoke: &RevokeLease) -> Result<(), Stop<R::Error>> {
        let (name, expected) = (&revoke.lease, revoke.revision);
        if expected != 0 {
            let now = self
                .state
                .leases
                .get(name)
                .map_or(0, |lease| lease.revision);
            if now != expected || self.leases.contains_key(name) {
                return Err(conflict(format!(
                    "lease {name:?} is at revision {now}, not {expected}"
                ))
                .into());
            }
        }
        let Some(lease) = self.lease(name).cloned() else {
            return Ok(());
        };
        for at in lease.rows {
            self.bindings.insert(at.clone(), None);
            self.set(at, None)?;
        }
        self.leases.insert(name.clone(), None);
        Ok(())
    }

    /// Binds a row to a lease, or to none (empty).
    pub(super) fn bind(&mut self, at: &At, lease: &str) -> Result<(), Box<Refused>> {
        if !lease.is_empty()
            && !self
                .keyspace(&at.app, at.keyspace)
                .is_some_and(|s| s.primary)
        {
            return Err(invalid(format!(
                "row {}/{}/{}: only rows of a primary are bound to a lease",
                at.app, at.table, at.key
            )));
        }
        let before = match self.bindings.get(at) {
            Some(bound) => bound.clone(),
            None => self.state.bound.get(at).cloned(),
        };
        let after = Some(lease).filter(|lease| !lease.is_empty());
        if before.as_deref() == after {
            return Ok(());
        }
        if let Some(before) = before {
            self.touched(&before)?.rows.remove(at);
            self.bindings.insert(at.clone(), None);
        }
        if let Some(after) = after {
            let lease = self.touched(after)?;
            lease.rows.insert(at.clone());
            if lease.rows.len() > limits::LEASED {
                let most = limits::LEASED;
                return Err(too_large(format!(
                    "lease {after:?} would have {} rows; at most {most} are taken",
                    most + 1
                )));
            }
            self.bindings.insert(at.clone(), Some(after.to_owned()));
        }
        Ok(())
    }

    /// The keyspace goes, and with it what was bound of it.
    pub(super) fn unbind_all(&mut self, app: &str, keyspace: u32) -> Result<(), Box<Refused>> {
        let of = |at: &&At| at.app == app && at.keyspace == keyspace;
        let bound = self.state.bound.keys().filter(of);
        let new = self.bindings.keys().filter(of);
        let all: BTreeSet<At> = bound.chain(new).cloned().collect();
        all.iter().try_for_each(|at| self.bind(at, ""))
    }

    /// As the transaction has it by now.
    fn lease(&self, name: &str) -> Option<&Lease> {
        match self.leases.get(name) {
            Some(lease) => lease.as_ref(),
            None => self.state.leases.get(name),
        }
    }

    /// The same, to be changed.
    fn touched(&mut self, name: &str) -> Result<&mut Lease, Box<Refused>> {
        let state = self.state;
        let lease = self
            .leases
            .entry(name.to_owned())
            .or_insert_with(|| state.leases.get(name).cloned());
        lease.as_mut().ok_or_else(|| {
            refuse(
                Reason::NoLease,
                format!("there is no lease {name:?}; it was never granted, or its time is over"),
            )
        })
    }
}

#[cfg(test)]
mod tests;
