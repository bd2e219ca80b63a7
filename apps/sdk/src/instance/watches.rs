//! Sources of the view: the app's own keyspace, and those of the apps that it reads.
//!
//! A broken watch goes on after the revision that the view has reached, if the store still knows what came since.
//! Otherwise (`COMPACTED`) the rows are loaded again.

use std::time::Duration;

use morph_api::store::ended::Why;
use morph_api::store::watch_request::Which;
use morph_api::store::{self, Change, Ended, Keyspace, StatusReply, WatchReply, watch_reply};

use super::rows::{RowWrite, TouchedGroups, differences, row_id, row_value};
use super::source_watch::{SourceWatch, WatchState};
use super::{FatalError, Instance, Now, Output, Role, RowSource};
use crate::migration::Step;
use crate::{App, ChangedRow, Changes};

/// Time that a starting instance waits for another app's tables in the schema version that it reads, where not even a
/// shadow is being built: morphd has one built where it can.
const OTHER_SCHEMA: Duration = Duration::from_secs(8);

impl<A: App> Instance<A> {
    /// Starts the watches that are due.
    pub(super) fn follow_due(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.own.is_due(now.instant) {
            self.own.state = WatchState::Asking;
            out.push(Output::Status);
        }
        for (app, watched) in &mut self.others {
            if watched.is_due(now.instant) {
                let schema = self.config.manifest.reads.get(app).copied();
                let (source, which) = (RowSource::Other(app.clone()), schema.map(Which::Schema));
                out.push(watched.watch(source, app.clone(), which));
            }
        }
    }

    /// Asks the store again which keyspace is the primary, and follows it.
    pub(super) fn look_for_primary(&mut self) {
        if !matches!(self.own.state, WatchState::Asking) {
            self.own.state = WatchState::Idle;
        }
    }

    /// Loads the own rows again.
    pub(super) fn reload(&mut self) {
        self.own.loaded = false;
        self.look_for_primary();
    }

    /// Whether the view has all that was durable at this revision.
    pub(super) fn view_reached(&self, revision: u64) -> bool {
        self.own.loaded && self.primary.revision >= revision
    }

    pub(super) fn own_loaded(&self) -> bool {
        self.own.loaded
    }

    /// Whether the keyspace that the store last called the primary is in the view.
    pub(super) fn follows_primary(&self) -> bool {
        self.own.loaded && matches!(self.own.state, WatchState::Watching)
    }

    /// Whether the view is complete, as far as the store has its rows.
    pub(super) fn view_settled(&self) -> bool {
        self.own.is_settled() && self.others_settled()
    }

    pub(super) fn others_settled(&self) -> bool {
        self.others.values().all(SourceWatch::is_settled)
    }

    /// Handles the answer to [`Output::Status`]: chooses the keyspace to follow.
    pub(super) fn status(
        &mut self,
        status: Result<StatusReply, String>,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), FatalError> {
        if !matches!(self.own.state, WatchState::Asking) {
            return Ok(());
        }
        let status = match status {
            Ok(status) => status,
            Err(away) => {
                tracing::debug!("{away}");
                self.own.retry(now.instant);
                return Ok(());
            }
        };
        let app = &self.config.manifest.name;
        let all = status.keyspaces.iter();
        let keyspaces = || all.clone().filter(|keyspace| &keyspace.app == app);
        let chosen = self.config.keyspace;
        let chosen = chosen.and_then(|id| keyspaces().find(|keyspace| keyspace.id == id));
        let Some(keyspace) = chosen.or_else(|| keyspaces().find(|keyspace| keyspace.primary))
        else {
            if !self.own.absent {
                tracing::info!("the store has no keyspace of {app} yet");
            }
            self.own.retry_absent(now.instant);
            return Ok(());
        };
        let keyspace = keyspace.clone();
        let instance = &self.config.instance;
        let followed = self.primary.keyspace.as_ref().map(|keyspace| keyspace.id);
        let mut kept =
            keyspaces().filter(|keyspace| !keyspace.primary && keyspace.owner == *instance);
        let kept = kept.find(|keyspace| Some(keyspace.id) == followed).cloned();
        let steps = match self.steps_to(&keyspace) {
            Ok(steps) => steps,
            Err(fatal) if matches!(self.role, Role::Waiting) && !self.ready_reported => {
                return Err(fatal);
            }
            Err(FatalError(message)) => {
                // Paused: about to be stopped, or its primary is about to be swapped back.
                tracing::debug!("{message}");
                self.own.retry_absent(now.instant);
                return Ok(());
            }
        };
        let id = keyspace.id;
        self.follow_keyspace(keyspace, steps, kept, out);
        let app = self.config.manifest.name.clone();
        let which = Some(Which::Keyspace(id));
        out.push(self.own.watch(RowSource::Own, app, which));
        Ok(())
    }

    /// Steps over which a keyspace is read; empty if natively.
    fn steps_to(&self, keyspace: &Keyspace) -> Result<Vec<Step>, FatalError> {
        let manifest = &self.config.manifest;
        let (own, schema) = (manifest.schema, keyspace.schema);
        let may = schema == own || manifest.migrates.contains(&schema);
        if let Some(steps) = self.primary.path_to(schema).filter(|_| may) {
            return Ok(steps);
        }
        Err(FatalError(format!(
            "the tables of {} have schema version {}, and release {} understands {}{}: install a release that understands \
             them",
            manifest.name,
            keyspace.schema,
            manifest.version,
            manifest.schema,
            match manifest.migrates.len() {
                0 => String::new(),
                _ => format!(" and, through its migrations, {:?}", manifest.migrates),
            },
        )))
    }

    /// Follows a keyspace over these steps. `kept` is the former one, if it stays as a shadow of this instance.
    fn follow_keyspace(
        &mut self,
        keyspace: Keyspace,
        steps: Vec<Step>,
        kept: Option<Keyspace>,
        out: &mut Vec<Output>,
    ) {
        let before = self.primary.keyspace.as_ref().map(|keyspace| keyspace.id);
        if before != Some(keyspace.id) {
            let how = match steps.len() {
                0 => "natively",
                1 => "through its migration",
                _ => "through its migrations",
            };
            let (id, schema) = (keyspace.id, keyspace.schema);
            tracing::info!("follows keyspace {id} of schema version {schema}, {how}");
            self.own.loaded = false;
            if keyspace.primary && before.is_some() {
                // The shadow has become the primary, or its primary is gone.
                self.shadow = None;
                self.shadow_order = None;
            }
        }
        let former = self.primary.follow(keyspace, steps, &self.engine.tables);
        if let Some(kept) = kept.filter(|_| former.len() > 0) {
            self.keep_shadow(&kept, former, out);
        }
    }

    /// Handles a reply of a watch.
    pub(super) fn watch(
        &mut self,
        source: RowSource,
        generation: u64,
        reply: Result<WatchReply, String>,
        now: Now,
    ) -> Result<(), FatalError> {
        let watched = self.source_watch(&source);
        let current = |watched: &&mut SourceWatch| {
            watched.generation == generation && matches!(watched.state, WatchState::Watching)
        };
        let Some(watched) = watched.filter(current) else {
            return Ok(());
        };
        let reply = match reply {
            Ok(reply) => reply.reply,
            Err(broken) => {
                tracing::debug!("watch of {source:?}: {broken}");
                watched.retry(now.instant);
                return Ok(());
            }
        };
        match reply {
            Some(watch_reply::Reply::Ended(ended)) => self.watch_ended(&source, &ended, now),
            Some(reply) => match source {
                RowSource::Own if self.must_wait(&reply) => {
                    if matches!(reply, watch_reply::Reply::Synced(_)) {
                        self.in_flight.forget_outcomes();
                    }
                    self.deferred = Some((generation, reply));
                    Ok(())
                }
                RowSource::Own => self.own_reply(reply),
                RowSource::Other(app) => {
                    self.other_reply(&app, reply);
                    Ok(())
                }
            },
            None => Ok(()),
        }
    }

    fn source_watch(&mut self, source: &RowSource) -> Option<&mut SourceWatch> {
        match source {
            RowSource::Own => Some(&mut self.own),
            RowSource::Other(app) => self.others.get_mut(app),
        }
    }

    fn watch_ended(
        &mut self,
        source: &RowSource,
        ended: &Ended,
        now: Now,
    ) -> Result<(), FatalError> {
        let (why, message) = (ended.why(), &ended.message);
        tracing::debug!(
            "watch of {source:?} ended: {}: {message}",
            why.as_str_name()
        );
        if let (Why::NotWhole | Why::OtherSchema, RowSource::Other(app)) = (why, source) {
            return self.other_schema(app, why, message, now);
        }
        let Some(watched) = self.source_watch(source) else {
            return Ok(());
        };
        match (why, source) {
            (Why::KeyspaceGone, RowSource::Other(app)) => {
                if !watched.absent {
                    tracing::warn!("the tables of {app} cannot be read yet: {message}");
                }
                watched.retry_absent(now.instant);
            }
            (Why::KeyspaceGone | Why::NotWhole | Why::OtherSchema, _) => {
                watched.state = WatchState::Idle;
            }
            (Why::TooSlow | Why::Compacted, _) => watched.forget(),
            (Why::Shutdown | Why::Unspecified, _) => watched.retry(now.instant),
        }
        Ok(())
    }

    /// Another app's tables exist, but not in the schema version that this release reads. A starting instance does not
    /// take that for empty tables: it waits for a shadow that is being built, and fails with a reason if there is none.
    fn other_schema(
        &mut self,
        app: &str,
        why: Why,
        message: &str,
        now: Now,
    ) -> Result<(), FatalError> {
        let starts = !self.ready_reported;
        let Some(watched) = self.others.get_mut(app) else {
            return Ok(());
        };
        if watched.other_since.is_none() {
            tracing::warn!("the tables of {app} cannot be read yet: {message}");
        }
        if why == Why::NotWhole {
            watched.other_since = Some(now.instant);
        }
        let since = *watched.other_since.get_or_insert(now.instant);
        watched.retry_absent(now.instant);
        watched.absent &= !starts;
        if !starts || why == Why::NotWhole || now.instant < since + OTHER_SCHEMA {
            return Ok(());
        }
        let manifest = &self.config.manifest;
        let schema = manifest.reads.get(app).copied().unwrap_or_default();
        let (name, version) = (&manifest.name, &manifest.version);
        Err(FatalError(format!(
            "{name}@{version} reads schema {schema} of {app}, and {message}: upgrade {name} to a release that reads what \
             there is, or {app} to one that migrates from {schema} (`reads` and `migrates` in app.toml)"
        )))
    }

    /// Whether a reply has to wait until the in-flight turns are durable. A snapshot may or may not have their rows,
    /// and changes by others to the same groups count before or after them.
    fn must_wait(&self, reply: &watch_reply::Reply) -> bool {
        match reply {
            watch_reply::Reply::Synced(synced) => !synced.resumed && !self.in_flight.is_empty(),
            watch_reply::Reply::Changes(changes) => {
                let foreign = changes.changes.iter().filter(|change| !self.is_own(change));
                let mut rows = foreign.flat_map(|change| &change.rows);
                rows.any(|row| match self.primary.group_of(row) {
                    Some(group) => self.in_flight.changed(0, &group),
                    None => !self.in_flight.is_empty(),
                })
            }
            watch_reply::Reply::Snapshot(_) | watch_reply::Reply::Ended(_) => false,
        }
    }

    /// Whether a change is a turn of this instance.
    fn is_own(&self, change: &Change) -> bool {
        let is_own = |turn: &store::Turn| {
            turn.node == self.config.node && self.live_epochs.contains(&turn.epoch)
        };
        change.origin.as_ref().is_some_and(is_own)
    }

    /// Applies the deferred reply, once all turns are durable.
    pub(super) fn apply_deferred(&mut self) -> Result<(), FatalError> {
        if !self.in_flight.is_empty() {
            return Ok(());
        }
        match self.deferred.take() {
            Some((generation, reply)) if generation == self.own.generation => self.own_reply(reply),
            _ => Ok(()),
        }
    }

    fn own_reply(&mut self, reply: watch_reply::Reply) -> Result<(), FatalError> {
        match reply {
            watch_reply::Reply::Snapshot(rows) => self.primary.load(rows.rows),
            watch_reply::Reply::Synced(synced) if synced.resumed => self.own.synced(&synced),
            watch_reply::Reply::Synced(synced) => {
                let modified = synced.keyspace.as_ref();
                let modified = modified.map_or(0, |keyspace| keyspace.modified);
                let tables = &self.engine.tables;
                let writes = self.primary.loaded(synced.revision, modified, tables)?;
                self.own.synced(&synced);
                self.in_flight.forget_revisions();
                self.apply_own(writes, None);
                if let Some(shadow) = &mut self.shadow {
                    shadow.reloaded(&self.primary);
                }
            }
            watch_reply::Reply::Changes(changes) => {
                for change in changes.changes {
                    if self.is_own(&change) {
                        self.primary.note_own(change.revision, &change.rows);
                        continue;
                    }
                    let (writes, touched) = self.primary.changed(change.revision, change.rows)?;
                    self.apply_own(writes, Some(touched));
                }
                self.primary.progress(changes.revision);
                self.own.progress(changes.revision);
                self.in_flight.synced(changes.durable);
            }
            watch_reply::Reply::Ended(_) => {}
        }
        Ok(())
    }

    /// Applies changes of the view by others. `touched` are the groups, where they are more than those of the rows.
    fn apply_own(&mut self, writes: Vec<RowWrite>, touched: Option<TouchedGroups>) {
        let mut ids = Vec::new();
        for ((table, key), value) in writes {
            if self.engine.set_row(None, &table, &key, value) {
                ids.push((table, key));
            }
        }
        self.primary.note(ids.iter(), &self.engine.tables);
        if let Some(shadow) = &mut self.shadow {
            shadow.touch(&touched.unwrap_or_else(|| vec![self.primary.groups_of(ids.iter())]));
        }
        for (table, key) in ids {
            self.note_change(None, table, key);
        }
    }

    fn other_reply(&mut self, app: &str, reply: watch_reply::Reply) {
        let Some(watched) = self.others.get_mut(app) else {
            return;
        };
        let mut writes = Vec::new();
        match reply {
            watch_reply::Reply::Snapshot(rows) => {
                let rows = rows.rows.iter();
                let rows = rows.filter_map(|row| Some((row_id(row), row_value(row)?)));
                watched.snapshot.extend(rows);
            }
            watch_reply::Reply::Synced(synced) if synced.resumed => watched.synced(&synced),
            watch_reply::Reply::Synced(synced) => {
                watched.synced(&synced);
                let rows = std::mem::take(&mut watched.snapshot);
                writes = differences(self.engine.tables.of(Some(app)), rows);
            }
            watch_reply::Reply::Changes(changes) => {
                watched.progress(changes.revision);
                let rows = changes.changes.iter().flat_map(|change| &change.rows);
                writes = rows.map(|row| (row_id(row), row_value(row))).collect();
            }
            watch_reply::Reply::Ended(_) => {}
        }
        for ((table, key), value) in writes {
            if self.engine.set_row(Some(app), &table, &key, value) {
                self.note_change(Some(app), table, key);
            }
        }
    }

    /// Notes a changed row for the app if it is live; an app that becomes live is told that anything may have changed.
    fn note_change(&mut self, app: Option<&str>, table: String, key: String) {
        if !matches!(self.role, Role::Live(_)) {
            return;
        }
        let changes = self.changes.get_or_insert_with(Changes::default);
        if !changes.all {
            changes.rows.push(ChangedRow {
                app: app.map(str::to_owned),
                table,
                key,
            });
        }
    }
}
