//! A walk over everything, that goes on where others stop: at what is damaged.
//!
//! 1. Checkpoints, keyspaces and used ids: their checksums, and that they fit together.
//! 2. Each row: its checksum, its revision, that its value is JSON and its keyspace is there.
//! 3. Each keyspace: as many rows as it counts, of an app that a checkpoint or a record names; a shadow that says that it is current has
//!    none where the primary has none. Each lease: that its rows are there.
//!
//! Which rows of a shadow belong to which of the primary only the app's migration knows: it looks at each group while the shadow is
//! made, and `store migrations` tells.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use morph_api::store::{Checkpoint, Finding, Keyspace};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition};
use serde::de::IgnoredAny;

use super::error::EngineError;
use super::file::{File, meta};
use super::layout::{self, Bytes, CHECKPOINTS, KEYSPACES, ROWS, USED};
use crate::core::{At, KeyspaceKey, State};

/// Morpheus's own records: no app of it has a checkpoint there, and its table with a row for each app.
const RECORDS: (&str, &str) = ("morpheus", "apps");
/// Rows that are looked at before something is told.
const STEP: usize = 20_000;
/// Findings that are told; the rest is counted.
const MOST: usize = 1000;

/// A walk under way.
pub(crate) struct Check {
    rows: ReadOnlyTable<Bytes, Bytes>,
    after: Option<Vec<u8>>,
    /// What is there, as far as it can be read; with the leases found on the way.
    state: State,
    /// Rows found, and the highest of their revisions.
    found: BTreeMap<KeyspaceKey, (u64, u64)>,
    /// Apps that a record names.
    named: BTreeSet<String>,
    findings: Vec<Finding>,
    told: usize,
    looked_at: u64,
    ended: bool,
}

impl File {
    /// Begins to look at everything as it is now.
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
            told: 0,
            looked_at: 0,
            ended: false,
        };
        check.heads(&view)?;
        Ok(check)
    }
}

impl Check {
    /// The revision of what is looked at.
    pub(crate) fn revision(&self) -> u64 {
        self.state.revision
    }

    /// How many rows were looked at.
    pub(crate) fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Looks further: what was found, and whether there is more to look at.
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
            self.sums();
            self.orphans();
        }
        let mut findings = std::mem::take(&mut self.findings);
        let left = MOST.saturating_sub(self.told);
        self.told += findings.len();
        findings.truncate(left);
        if !more && self.told > MOST {
            let message = format!("{} more findings are not told", self.told - MOST);
            findings.push(finding("everything", message));
        }
        Ok((findings, more))
    }

    fn heads(&mut self, view: &ReadTransaction) -> Result<(), EngineError> {
        for (key, checkpoint) in self.messages::<Checkpoint>(view, CHECKPOINTS, "checkpoint")? {
            if key != layout::checkpoint_key(&checkpoint.app, &checkpoint.node) {
                self.tell(
                    place("checkpoint", &key),
                    "it says that it is another checkpoint",
                );
            }
            let key = (checkpoint.app.clone(), checkpoint.node.clone());
            self.state.checkpoints.insert(key, checkpoint);
        }
        for (key, keyspace) in self.messages::<Keyspace>(view, KEYSPACES, "keyspace")? {
            if key != layout::keyspace_key(&keyspace.app, keyspace.id) {
                self.tell(
                    place("keyspace", &key),
                    "it says that it is another keyspace",
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
                Err(_) => self.tell(place("used id", key.value()), "it fails its checksum"),
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
                Err(_) => self.tell(place(what, key.value()), "it fails its checksum"),
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
            self.tell(at, what);
        }
    }

    /// Keyspaces and checkpoints that nobody can use.
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
                    "it dangles with {rows} rows: no checkpoint and no record names its app"
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
                    "its {rows} rows dangle: it says that it is current, and the primary has none"
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
            self.tell(at, what);
        }
    }

    fn row(&mut self, key: &[u8], value: &[u8]) {
        self.looked_at += 1;
        let Ok(at) = layout::at_of_key(key) else {
            return self.tell(place("row", key), "its key makes no sense");
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
            // Of a keyspace that was dropped: it goes by itself.
            (false, true) => return,
            (false, false) => {
                self.tell(name.clone(), "it dangles: there was never such a keyspace")
            }
        }
        if (at.app.as_str(), at.table.as_str()) == RECORDS {
            self.named.insert(at.key.clone());
        }
        let found = self.found.entry(keyspace).or_default();
        found.0 += 1;
        let (revision, json) = match layout::split_row(key, value) {
            Ok(split) => split,
            Err(_) => return self.tell(
                name,
                "it fails its checksum: reading it is refused, put it again or restore a backup",
            ),
        };
        found.1 = found.1.max(revision);
        if revision > self.state.revision {
            let now = self.state.revision;
            self.tell(
                name.clone(),
                format!("it is of revision {revision}, ahead of the store at {now}"),
            );
        }
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(json) {
            return self.tell(name, format!("its value is no JSON document: {error}"));
        }
        let json = str::from_utf8(json).unwrap_or_default();
        if let Err(error) = self.state.take_row(&at, Some((revision, json))) {
            self.tell(name, format!("it is no lease: {error}"));
        }
    }

    /// What can be said once all rows were seen.
    fn sums(&mut self) {
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
            self.tell(at, what);
        }
    }

    fn there(&self, at: &At) -> Result<bool, EngineError> {
        Ok(self.rows.get(&layout::row_key(at)[..])?.is_some())
    }

    fn tell(&mut self, at: impl Into<String>, message: impl Into<String>) {
        // Beyond what will be told, only how many there are.
        match self.told + self.findings.len() < MOST {
            true => self.findings.push(finding(at, message)),
            false => self.told += 1,
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
