//! Check of everything in the store, which continues where other readers stop: at damaged entries.
//!
//! 1. Checkpoints, keyspaces and used ids: their checksums, and whether they are consistent.
//! 2. Each row: its checksum, its revision, whether its value is JSON and its keyspace exists.
//! 3. Each keyspace: whether it has as many rows as it counts, and belongs to an app that a checkpoint or a record
//!    names. A shadow that claims to be current must be empty if the primary is. Each lease: whether its rows exist.
//!
//! Only the app's migration knows which rows of a shadow belong to which rows of the primary. It checks each group
//! while the shadow is filled, and `store migrations` shows the result.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use morph_api::store::{Checkpoint, Finding, Keyspace};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition};
use serde::de::IgnoredAny;

use super::error::EngineError;
use super::file::{File, meta};
use super::layout::{self, Bytes, CHECKPOINTS, KEYSPACES, ROWS, USED};
use crate::core::{KeyspaceKey, RowKey, State};

/// App and table of Morpheus's records of apps. This app has no checkpoint.
const RECORDS: (&str, &str) = ("morpheus", "apps");
/// Rows that one call checks.
const STEP: usize = 20_000;
/// Findings that are reported one by one. The rest is counted.
const MOST: usize = 1000;

/// Check in progress.
pub(crate) struct Check {
    rows: ReadOnlyTable<Bytes, Bytes>,
    after: Option<Vec<u8>>,
    /// Everything that can be read, with the leases found on the way.
    state: State,
    /// Number of rows in each keyspace, and the highest of their revisions.
    found: BTreeMap<KeyspaceKey, (u64, u64)>,
    named: BTreeSet<String>,
    findings: Vec<Finding>,
    reported: usize,
    rows_checked: u64,
    ended: bool,
}

impl File {
    /// Begins a check of everything as it is now.
    pub(crate) fn check(&self) -> Result<Check, EngineError> {
        let view = self.begin_read()?;
        let mut check = Check {
            rows: view.open_table(ROWS)?,
            after: None,
            state: State {
                revision: meta(&view, "revision")?,
                ..State::default()
            },
            found: BTreeMap::new(),
            named: BTreeSet::new(),
            findings: Vec::new(),
            reported: 0,
            rows_checked: 0,
            ended: false,
        };
        check.entries(&view)?;
        Ok(check)
    }
}

impl Check {
    pub(crate) fn revision(&self) -> u64 {
        self.state.revision
    }

    pub(crate) fn rows_checked(&self) -> u64 {
        self.rows_checked
    }

    /// Checks the next rows. Returns new findings, and whether there is more to check.
    pub(crate) fn step(&mut self) -> Result<(Vec<Finding>, bool), EngineError> {
        let from = match &self.after {
            Some(after) => Bound::Excluded(&after[..]),
            None => Bound::Unbounded,
        };
        let mut next = Vec::with_capacity(STEP);
        for entry in self
            .rows
            .range::<&[u8]>((from, Bound::Unbounded))?
            .take(STEP)
        {
            let (key, value) = entry?;
            next.push((key.value().to_vec(), value.value().to_vec()));
        }
        let more = next.len() == STEP;
        for (key, value) in &next {
            self.row(key, value);
        }
        self.after = next.pop().map(|(key, _)| key).or(self.after.take());
        if !more && !self.ended {
            self.ended = true;
            self.totals();
            self.orphans();
        }
        let mut findings = std::mem::take(&mut self.findings);
        let left = MOST.saturating_sub(self.reported);
        self.reported += findings.len();
        findings.truncate(left);
        if !more && self.reported > MOST {
            let message = format!("{} more findings are not listed", self.reported - MOST);
            findings.push(finding("everything", message));
        }
        Ok((findings, more))
    }

    fn entries(&mut self, view: &ReadTransaction) -> Result<(), EngineError> {
        for (key, checkpoint) in self.messages::<Checkpoint>(view, CHECKPOINTS, "checkpoint")? {
            if key != layout::checkpoint_key(&checkpoint.app, &checkpoint.node) {
                self.report(
                    place("checkpoint", &key),
                    "its content names another checkpoint",
                );
            }
            let key = (checkpoint.app.clone(), checkpoint.node.clone());
            self.state.checkpoints.insert(key, checkpoint);
        }
        for (key, keyspace) in self.messages::<Keyspace>(view, KEYSPACES, "keyspace")? {
            if key != layout::keyspace_key(&keyspace.app, keyspace.id) {
                self.report(
                    place("keyspace", &key),
                    "its content names another keyspace",
                );
            }
            self.state
                .keyspaces
                .insert((keyspace.app.clone(), keyspace.id), keyspace);
        }
        for entry in view.open_table(USED)?.iter()? {
            let (key, value) = entry?;
            let keyspace = layout::unseal(key.value(), value.value())
                .and_then(|_| layout::keyspace_of_key(key.value()));
            match keyspace {
                Ok(keyspace) => drop(Arc::make_mut(&mut self.state.used).insert(keyspace)),
                Err(_) => self.report(place("used id", key.value()), "it fails its checksum"),
            }
        }
        self.keyspaces();
        Ok(())
    }

    fn messages<M: prost::Message + Default>(
        &mut self,
        view: &ReadTransaction,
        table: TableDefinition<'_, Bytes, Bytes>,
        what: &str,
    ) -> Result<Vec<(Vec<u8>, M)>, EngineError> {
        let mut all = Vec::new();
        for entry in view.open_table(table)?.iter()? {
            let (key, value) = entry?;
            match layout::message(key.value(), value.value()) {
                Ok(message) => all.push((key.value().to_vec(), message)),
                Err(_) => self.report(place(what, key.value()), "it fails its checksum"),
            }
        }
        Ok(all)
    }

    fn keyspaces(&mut self) {
        let revision = self.state.revision;
        let mut wrong = Vec::new();
        let mut of_app: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for ((app, id), keyspace) in &self.state.keyspaces {
            let at = || format!("keyspace {id} of app {app}");
            if !self.state.used.contains(&(app.clone(), *id)) {
                wrong.push((at(), "its id is not among those that were used".to_owned()));
            }
            if keyspace.modified > revision || keyspace.watermark > revision {
                let what = format!("it is ahead of the store, which is at revision {revision}");
                wrong.push((at(), what));
            }
            let (primaries, shadows) = of_app.entry(app).or_default();
            *(if keyspace.primary { primaries } else { shadows }) += 1;
        }
        for (app, (primaries, shadows)) in of_app {
            if primaries != 1 || shadows > 1 {
                let what = format!(
                    "it has {primaries} primaries and {shadows} shadows, not 1 and at most 1"
                );
                wrong.push((format!("app {app}"), what));
            }
        }
        for (at, what) in wrong {
            self.report(at, what);
        }
    }

    /// Reports keyspaces and checkpoints that nobody can use.
    fn orphans(&mut self) {
        let state = &self.state;
        let checkpoints: BTreeSet<&str> = state
            .checkpoints
            .keys()
            .map(|(app, _)| app.as_str())
            .collect();
        let mut wrong = Vec::new();
        for ((app, id), keyspace) in &state.keyspaces {
            let at = format!("keyspace {id} of app {app}");
            if app != RECORDS.0 && !checkpoints.contains(app.as_str()) && !self.named.contains(app)
            {
                let rows = keyspace.keys;
                let what = format!(
                    "it is orphaned with {rows} rows: no checkpoint and no record names its app"
                );
                wrong.push((at.clone(), what));
            }
            let Some(primary) = state.primary(app).filter(|_| !keyspace.primary) else {
                continue;
            };
            if keyspace.owner.is_empty() {
                wrong.push((
                    at.clone(),
                    "it is a shadow that nobody may write".to_owned(),
                ));
            }
            let (rows, current) = (keyspace.keys, keyspace.watermark >= primary.modified);
            if current && primary.keys == 0 && rows > 0 {
                let what = format!(
                    "its {rows} rows are orphaned: it claims to be current, and the primary has none"
                );
                wrong.push((at, what));
            }
        }
        for ((app, node), _) in state
            .checkpoints
            .iter()
            .filter(|((app, _), _)| state.primary(app).is_none())
        {
            let what = "its app has no primary: its turns have nowhere to write".to_owned();
            wrong.push((format!("checkpoint {app}@{node}"), what));
        }
        for (at, what) in wrong {
            self.report(at, what);
        }
    }

    fn row(&mut self, key: &[u8], value: &[u8]) {
        self.rows_checked += 1;
        let Ok(at) = layout::at_of_key(key) else {
            return self.report(place("row", key), "its key cannot be decoded");
        };
        let keyspace = (at.app.clone(), at.keyspace);
        let name = format!(
            "row {}/{}/{} of keyspace {}",
            at.app, at.table, at.key, at.keyspace
        );
        match (
            self.state.keyspaces.contains_key(&keyspace),
            self.state.used.contains(&keyspace),
        ) {
            (true, _) => {}
            // Rows of a dropped keyspace are deleted later.
            (false, true) => return,
            (false, false) => self.report(
                name.clone(),
                "it is orphaned: there was never such a keyspace",
            ),
        }
        if (at.app.as_str(), at.table.as_str()) == RECORDS {
            self.named.insert(at.key.clone());
        }
        let found = self.found.entry(keyspace).or_default();
        found.0 += 1;
        let (revision, json) = match layout::split_row(key, value) {
            Ok(split) => split,
            Err(_) => return self.report(
                name,
                "it fails its checksum: reading it is refused, put it again or restore a backup",
            ),
        };
        found.1 = found.1.max(revision);
        if revision > self.state.revision {
            let now = self.state.revision;
            self.report(
                name.clone(),
                format!("it is of revision {revision}, ahead of the store at {now}"),
            );
        }
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(json) {
            return self.report(name, format!("its value is no JSON document: {error}"));
        }
        let json = str::from_utf8(json).unwrap_or_default();
        if let Err(error) = self.state.take_row(&at, Some((revision, json))) {
            self.report(name, format!("it is no lease: {error}"));
        }
    }

    /// Reports what can be said once all rows were seen.
    fn totals(&mut self) {
        let mut wrong = Vec::new();
        for (key, keyspace) in &self.state.keyspaces {
            let (rows, newest) = self.found.get(key).copied().unwrap_or_default();
            let at = || format!("keyspace {} of app {}", key.1, key.0);
            if rows != keyspace.keys {
                wrong.push((
                    at(),
                    format!("it has {rows} rows, and counts {}", keyspace.keys),
                ));
            }
            if newest > keyspace.modified {
                let modified = keyspace.modified;
                wrong.push((at(), format!("a row is of revision {newest}, after the last change it knows of, {modified}")));
            }
        }
        for (at, name) in self.state.bound.iter() {
            if !self.there(at).unwrap_or(false) {
                let what = format!(
                    "row {}/{}/{}, which is bound to it, is not there",
                    at.app, at.table, at.key
                );
                wrong.push((format!("lease {name}"), what));
            }
        }
        for (at, what) in wrong {
            self.report(at, what);
        }
    }

    fn there(&self, at: &RowKey) -> Result<bool, EngineError> {
        Ok(self.rows.get(&layout::row_key(at)[..])?.is_some())
    }

    fn report(&mut self, at: impl Into<String>, message: impl Into<String>) {
        // Findings beyond the limit are only counted.
        match self.reported + self.findings.len() < MOST {
            true => self.findings.push(finding(at, message)),
            false => self.reported += 1,
        }
    }
}

fn finding(at: impl Into<String>, message: impl Into<String>) -> Finding {
    Finding {
        r#where: at.into(),
        message: message.into(),
    }
}

fn place(what: &str, key: &[u8]) -> String {
    format!("{what} {}", key.escape_ascii())
}
