//! The sources of the view: the app's own keyspace, and the primaries of the apps that it reads.
//!
//! A watch that broke goes on after the revision that the view has got to, if the store still knows what came since;
//! else (`COMPACTED`) the rows are loaded again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use morph_api::store::ended::Why;
use morph_api::store::watch_request::Which;
use morph_api::store::{
    Change, Keyspace, StatusReply, Synced, WatchReply, WatchRequest, watch_reply,
};
use serde_json::Value;

use super::layers::Touched;
use super::primary::{self, Write};
use super::{Fatal, Instance, Now, Output, Role, Source};
use crate::migration::Hop;
use crate::turn::RowId;
use crate::{App, ChangedRow, Changes};

/// How soon a keyspace that is not there is looked for again.
const ABSENT: Duration = Duration::from_millis(200);
/// How long an instance that starts waits for another app's tables in the schema version that it reads, where there is not even a
/// shadow to be made: morphd has one made where it can.
const OTHER_SCHEMA: Duration = Duration::from_secs(8);
/// How soon a store that is away is tried again, at first and at most.
const AWAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

#[derive(Debug, Clone, Default)]
enum State {
    /// To be started.
    #[default]
    Idle,
    /// The store was asked which keyspace to follow.
    Asking,
    Watching,
    /// To be started at this time.
    Waiting(Instant),
}

/// How far one source is followed.
#[derive(Debug, Clone, Default)]
pub(super) struct Follow {
    state: State,
    generation: u64,
    /// Its rows are in the view.
    loaded: bool,
    /// The store said that there is no such keyspace.
    absent: bool,
    /// Since when it is there in other schema versions only.
    other_since: Option<Instant>,
    /// How soon it is tried again when the store is away.
    patience: Duration,
    /// How far the view has it, and in which incarnation of the store: where its next watch goes on.
    reached: Option<(u64, u64)>,
    /// Another app's rows, while a snapshot is on its way.
    snapshot: BTreeMap<RowId, Value>,
}

impl Follow {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(at) => Some(at),
            State::Idle | State::Asking | State::Watching => None,
        }
    }

    /// The rows are in the view, or there are none.
    fn is_settled(&self) -> bool {
        self.loaded || self.absent
    }

    fn is_due(&self, now: Instant) -> bool {
        match self.state {
            State::Idle => true,
            State::Waiting(at) => at <= now,
            State::Asking | State::Watching => false,
        }
    }

    /// All of `which`, or what came since it was last followed.
    fn watch(&mut self, source: Source, app: String, which: Option<Which>) -> Output {
        self.generation += 1;
        self.state = State::Watching;
        self.snapshot.clear();
        let reached = self.reached.filter(|_| self.loaded);
        let (from_revision, incarnation) = reached.unwrap_or_default();
        let request = WatchRequest {
            app,
            which,
            from_revision,
            incarnation,
            ..WatchRequest::default()
        };
        Output::Watch {
            source,
            generation: self.generation,
            request,
        }
    }

    /// The rows at this point are in the view.
    fn synced(&mut self, synced: &Synced) {
        self.loaded = true;
        self.absent = false;
        self.other_since = None;
        self.patience = Duration::ZERO;
        self.reached = Some((synced.revision, synced.incarnation));
    }

    /// So is all that changed up to this revision.
    fn progress(&mut self, revision: u64) {
        if let Some((reached, _)) = &mut self.reached {
            *reached = revision.max(*reached);
        }
    }

    /// The next watch starts with a snapshot.
    fn forget(&mut self) {
        self.reached = None;
        self.state = State::Idle;
    }

    /// The store is away.
    fn retry(&mut self, now: Instant) {
        let (least, most) = AWAY;
        self.patience = (self.patience * 2).clamp(least, most);
        self.state = State::Waiting(now + self.patience);
    }

    fn look_again(&mut self, now: Instant) {
        self.absent = true;
        self.state = State::Waiting(now + ABSENT);
    }
}

impl<A: App> Instance<A> {
    /// Starts what is due.
    pub(super) fn follow_due(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.own.is_due(now.instant) {
            self.own.state = State::Asking;
            out.push(Output::Status);
        }
        for (app, follow) in &mut self.others {
            if follow.is_due(now.instant) {
                let schema = self.config.manifest.reads.get(app).copied();
                let (source, which) = (Source::Other(app.clone()), schema.map(Which::Schema));
                out.push(follow.watch(source, app.clone(), which));
            }
        }
    }

    /// Asks the store again which keyspace is the primary, and follows that.
    pub(super) fn look_for_primary(&mut self) {
        if !matches!(self.own.state, State::Asking) {
            self.own.state = State::Idle;
        }
    }

    /// Loads the own rows again.
    pub(super) fn reload(&mut self) {
        self.own.loaded = false;
        self.look_for_primary();
    }

    /// The view has all that was durable at this revision.
    pub(super) fn view_reached(&self, revision: u64) -> bool {
        self.own.loaded && self.primary.revision >= revision
    }

    /// The own rows are in the view.
    pub(super) fn own_loaded(&self) -> bool {
        self.own.loaded
    }

    /// The keyspace that the store was last asked about is in the view.
    pub(super) fn follows_primary(&self) -> bool {
        self.own.loaded && matches!(self.own.state, State::Watching)
    }

    /// All of the view is there, as far as the store has it.
    pub(super) fn view_settled(&self) -> bool {
        self.own.is_settled() && self.others_settled()
    }

    /// So are the tables of other apps.
    pub(super) fn others_settled(&self) -> bool {
        self.others.values().all(Follow::is_settled)
    }

    /// The answer to [`Output::Status`]: which keyspace to follow.
    pub(super) fn status(
        &mut self,
        status: Result<StatusReply, String>,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), Fatal> {
        if !matches!(self.own.state, State::Asking) {
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
        let keyspaces = || {
            status
                .keyspaces
                .iter()
                .filter(|keyspace| &keyspace.app == app)
        };
        let asked = self.config.keyspace;
        let asked = asked.and_then(|id| keyspaces().find(|keyspace| keyspace.id == id));
        let Some(keyspace) = asked.or_else(|| keyspaces().find(|keyspace| keyspace.primary)) else {
            if !self.own.absent {
                tracing::info!("the store has no keyspace of {app} yet");
            }
            self.own.look_again(now.instant);
            return Ok(());
        };
        let keyspace = keyspace.clone();
        let instance = &self.config.instance;
        let followed = self.primary.keyspace.as_ref().map(|keyspace| keyspace.id);
        let mut kept =
            keyspaces().filter(|keyspace| !keyspace.primary && keyspace.owner == *instance);
        let kept = kept.find(|keyspace| Some(keyspace.id) == followed).cloned();
        let way = match self.way_to(&keyspace) {
            Ok(way) => way,
            Err(fatal) if matches!(self.role, Role::Waiting) && !self.ready_said => {
                return Err(fatal);
            }
            Err(Fatal(message)) => {
                // Paused: about to be retired, or the primary about to come back.
                tracing::debug!("{message}");
                self.own.look_again(now.instant);
                return Ok(());
            }
        };
        let id = keyspace.id;
        self.adopt(keyspace, way, kept, out);
        let app = self.config.manifest.name.clone();
        let which = Some(Which::Keyspace(id));
        out.push(self.own.watch(Source::Own, app, which));
        Ok(())
    }

    /// The steps over which a keyspace is read; none: natively.
    fn way_to(&self, keyspace: &Keyspace) -> Result<Vec<Hop>, Fatal> {
        let manifest = &self.config.manifest;
        let (own, schema) = (manifest.schema, keyspace.schema);
        let may = schema == own || manifest.migrates.contains(&schema);
        if let Some(way) = self.primary.way(schema).filter(|_| may) {
            return Ok(way);
        }
        Err(Fatal(format!(
            "the tables of {} have schema version {}, and release {} understands {}{}",
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

    /// Follows a keyspace over these steps. `kept`: the one that was followed, if it stays as a shadow of this instance.
    fn adopt(
        &mut self,
        keyspace: Keyspace,
        way: Vec<Hop>,
        kept: Option<Keyspace>,
        out: &mut Vec<Output>,
    ) {
        let before = self.primary.keyspace.as_ref().map(|keyspace| keyspace.id);
        if before != Some(keyspace.id) {
            let how = match way.len() {
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
        let former = self.primary.follow(keyspace, way, &self.engine.tables);
        if let Some(kept) = kept.filter(|_| former.len() > 0) {
            self.keep_shadow(&kept, former, out);
        }
    }

    /// What a watch says.
    pub(super) fn watch(
        &mut self,
        source: Source,
        generation: u64,
        reply: Result<WatchReply, String>,
        now: Now,
    ) -> Result<(), Fatal> {
        let follow = match &source {
            Source::Own => Some(&mut self.own),
            Source::Other(app) => self.others.get_mut(app),
        };
        let current = |follow: &&mut Follow| {
            follow.generation == generation && matches!(follow.state, State::Watching)
        };
        let Some(follow) = follow.filter(current) else {
            return Ok(());
        };
        let reply = match reply {
            Ok(reply) => reply.reply,
            Err(broken) => {
                tracing::debug!("watch of {source:?}: {broken}");
                follow.retry(now.instant);
                return Ok(());
            }
        };
        match reply {
            Some(watch_reply::Reply::Ended(ended)) => {
                let why = ended.why();
                tracing::debug!(
                    "watch of {source:?} ended: {}: {}",
                    why.as_str_name(),
                    ended.message
                );
                match (why, &source) {
                    (Why::KeyspaceGone, Source::Other(app)) => {
                        if !follow.absent {
                            tracing::warn!("{app} cannot be read yet: {}", ended.message);
                        }
                        follow.look_again(now.instant);
                    }
                    (Why::NotWhole | Why::OtherSchema, Source::Other(app)) => {
                        let app = app.clone();
                        return self.other_schema(&app, why, &ended.message, now);
                    }
                    (Why::KeyspaceGone | Why::NotWhole | Why::OtherSchema, Source::Own) => {
                        follow.state = State::Idle;
                    }
                    (Why::TooSlow | Why::Compacted, _) => follow.forget(),
                    (Why::Shutdown | Why::Unspecified, _) => follow.retry(now.instant),
                }
                Ok(())
            }
            Some(reply) => match source {
                Source::Own if self.must_wait(&reply) => {
                    if matches!(reply, watch_reply::Reply::Synced(_)) {
                        self.hands.doubt();
                    }
                    self.deferred = Some((generation, reply));
                    Ok(())
                }
                Source::Own => self.own_reply(reply),
                Source::Other(app) => {
                    self.other_reply(&app, reply);
                    Ok(())
                }
            },
            None => Ok(()),
        }
    }

    /// Another app's tables are there, and not as this one reads them. One that starts does not take that for no rows: it waits for
    /// a shadow that is being made, and says what is wrong where none is.
    fn other_schema(&mut self, app: &str, why: Why, message: &str, now: Now) -> Result<(), Fatal> {
        let starts = !self.ready_said;
        let Some(follow) = self.others.get_mut(app) else {
            return Ok(());
        };
        if follow.other_since.is_none() {
            tracing::warn!("{app} cannot be read yet: {message}");
        }
        if why == Why::NotWhole {
            follow.other_since = Some(now.instant);
        }
        let since = *follow.other_since.get_or_insert(now.instant);
        follow.look_again(now.instant);
        follow.absent &= !starts;
        if !starts || why == Why::NotWhole || now.instant < since + OTHER_SCHEMA {
            return Ok(());
        }
        let manifest = &self.config.manifest;
        let schema = manifest.reads.get(app).copied().unwrap_or_default();
        let (name, version) = (&manifest.name, &manifest.version);
        Err(Fatal(format!(
            "{name}@{version} reads schema {schema} of {app}, and {message}: upgrade {name} to a release that reads what \
             there is, or {app} to one that migrates from {schema} (`reads` and `migrates` in app.toml)"
        )))
    }

    /// A snapshot may or may not have what turns in flight wrote; and what others wrote to the same groups counts before or after
    /// them. Both are clear once the turns are durable.
    fn must_wait(&self, reply: &watch_reply::Reply) -> bool {
        match reply {
            watch_reply::Reply::Synced(synced) => !synced.resumed && !self.hands.is_empty(),
            watch_reply::Reply::Changes(changes) => {
                let foreign = changes.changes.iter().filter(|change| !self.is_own(change));
                let mut rows = foreign.flat_map(|change| &change.rows);
                rows.any(|row| match self.primary.group_of(row) {
                    Some(group) => self.hands.changed(0, &group),
                    None => !self.hands.is_empty(),
                })
            }
            watch_reply::Reply::Snapshot(_) | watch_reply::Reply::Ended(_) => false,
        }
    }

    /// Whether a change is a turn of this instance.
    fn is_own(&self, change: &Change) -> bool {
        change
            .origin
            .as_ref()
            .is_some_and(|turn| turn.node == self.config.node && self.lived.contains(&turn.epoch))
    }

    /// Takes up what had to wait.
    pub(super) fn undefer(&mut self) -> Result<(), Fatal> {
        if !self.hands.is_empty() {
            return Ok(());
        }
        match self.deferred.take() {
            Some((generation, reply)) if generation == self.own.generation => self.own_reply(reply),
            _ => Ok(()),
        }
    }

    fn own_reply(&mut self, reply: watch_reply::Reply) -> Result<(), Fatal> {
        match reply {
            watch_reply::Reply::Snapshot(rows) => self.primary.load(rows.rows),
            watch_reply::Reply::Synced(synced) if synced.resumed => self.own.synced(&synced),
            watch_reply::Reply::Synced(synced) => {
                let modified = synced
                    .keyspace
                    .as_ref()
                    .map_or(0, |keyspace| keyspace.modified);
                let tables = &self.engine.tables;
                let writes = self.primary.loaded(synced.revision, modified, tables)?;
                self.own.synced(&synced);
                self.hands.begin_anew();
                self.apply_own(writes, None);
                if let Some(shadow) = &mut self.shadow {
                    shadow.look_again(&self.primary);
                }
            }
            watch_reply::Reply::Changes(changes) => {
                for change in changes.changes {
                    if self.is_own(&change) {
                        self.primary.echoed(change.revision, &change.rows);
                        continue;
                    }
                    let (writes, touched) = self.primary.changed(change.revision, change.rows)?;
                    self.apply_own(writes, Some(touched));
                }
                self.primary.progress(changes.revision);
                self.own.progress(changes.revision);
                self.hands.synced(changes.durable);
            }
            watch_reply::Reply::Ended(_) => {}
        }
        Ok(())
    }

    /// Rows of the view that others changed, and the groups that this touches, where they are more than these rows'.
    fn apply_own(&mut self, writes: Vec<Write>, touched: Option<Touched>) {
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
            self.tell_later(None, table, key);
        }
    }

    fn other_reply(&mut self, app: &str, reply: watch_reply::Reply) {
        let Some(follow) = self.others.get_mut(app) else {
            return;
        };
        let mut writes = Vec::new();
        match reply {
            watch_reply::Reply::Snapshot(rows) => {
                let rows = rows.rows.iter();
                let rows = rows.filter_map(|row| Some((primary::id(row), primary::value(row)?)));
                follow.snapshot.extend(rows);
            }
            watch_reply::Reply::Synced(synced) if synced.resumed => follow.synced(&synced),
            watch_reply::Reply::Synced(synced) => {
                follow.synced(&synced);
                let rows = std::mem::take(&mut follow.snapshot);
                writes = primary::differences(self.engine.tables.keyspace(Some(app)), rows);
            }
            watch_reply::Reply::Changes(changes) => {
                follow.progress(changes.revision);
                let rows = changes.changes.iter().flat_map(|change| &change.rows);
                writes = rows
                    .map(|row| (primary::id(row), primary::value(row)))
                    .collect();
            }
            watch_reply::Reply::Ended(_) => {}
        }
        for ((table, key), value) in writes {
            if self.engine.set_row(Some(app), &table, &key, value) {
                self.tell_later(Some(app), table, key);
            }
        }
    }

    /// The app is to be told of a changed row, if it is live: whoever becomes live is told that all may have changed.
    fn tell_later(&mut self, app: Option<&str>, table: String, key: String) {
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
