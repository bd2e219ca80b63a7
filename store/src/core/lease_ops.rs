//! Operations on leases, and the binding of rows to them.

use std::collections::BTreeSet;

use morph_api::RECORDS;
use morph_api::store::{GrantLease, KeepLease, Reason, Refused, RevokeLease};

use super::draft::Draft;
use super::effects::Rows;
use super::keys::RowKey;
use super::lease::{KEYSPACE, Lease};
use super::refuse::{Interrupt, conflict, invalid, refuse, too_large};
use crate::limits;

impl<R: Rows> Draft<'_, R> {
    pub(super) fn grant(&mut self, grant: &GrantLease) -> Result<(), Box<Refused>> {
        let name = &grant.lease;
        if self.keyspace(RECORDS, KEYSPACE).is_none() {
            return Err(invalid(
                "leases need the keyspace of Morpheus's records, which does not exist",
            ));
        }
        if self.lease(name).is_some() {
            return Err(conflict(format!("lease {name:?} exists already")));
        }
        let lease = Lease {
            ttl_ms: grant.ttl_ms,
            ..Lease::default()
        };
        self.leases.insert(name.clone(), Some(lease));
        Ok(())
    }

    pub(super) fn keep(&mut self, keep: &KeepLease) -> Result<(), Box<Refused>> {
        // Renewing writes the lease unchanged, for the sake of its new revision.
        self.touched(&keep.lease).map(|_| ())
    }

    pub(super) fn revoke(&mut self, revoke: &RevokeLease) -> Result<(), Interrupt<R::Error>> {
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

    /// Binds a row to a lease, or unbinds it if the name is empty.
    pub(super) fn bind(&mut self, at: &RowKey, lease: &str) -> Result<(), Box<Refused>> {
        if !lease.is_empty()
            && !self
                .keyspace(&at.app, at.keyspace)
                .is_some_and(|s| s.primary)
        {
            return Err(invalid(format!(
                "row {}/{}/{}: only rows of a primary can be bound to a lease",
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
                    "lease {after:?} would have {} rows; at most {most} are allowed",
                    most + 1
                )));
            }
            self.bindings.insert(at.clone(), Some(after.to_owned()));
        }
        Ok(())
    }

    /// Unbinds all rows of a keyspace that is about to be dropped.
    pub(super) fn unbind_all(&mut self, app: &str, keyspace: u32) -> Result<(), Box<Refused>> {
        let of = |at: &&RowKey| at.app == app && at.keyspace == keyspace;
        let bound = self.state.bound.keys().filter(of);
        let new = self.bindings.keys().filter(of);
        let all: BTreeSet<RowKey> = bound.chain(new).cloned().collect();
        all.iter().try_for_each(|at| self.bind(at, ""))
    }

    /// Returns the lease as changed so far.
    fn lease(&self, name: &str) -> Option<&Lease> {
        match self.leases.get(name) {
            Some(lease) => lease.as_ref(),
            None => self.state.leases.get(name),
        }
    }

    /// Mutable variant of [`Self::lease`], which records the lease as touched.
    fn touched(&mut self, name: &str) -> Result<&mut Lease, Box<Refused>> {
        let state = self.state;
        let lease = self
            .leases
            .entry(name.to_owned())
            .or_insert_with(|| state.leases.get(name).cloned());
        lease.as_mut().ok_or_else(|| {
            refuse(
                Reason::NoLease,
                format!("there is no lease {name:?}; it was never granted, or has expired"),
            )
        })
    }
}
