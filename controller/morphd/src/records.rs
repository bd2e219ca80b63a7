//! Morpheus's own records in the store: which apps there are, which releases, and the last upgrade of each app.
//!
//! They stand outside any app's schema, and every write names the revision that it replaces. The supervisor is their
//! only writer (its lock says so); a write whose outcome is unknown is read back. What a morphd that was killed has
//! still on its way to the store is void once the next one has taken the records over.

mod claim;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use morph_api::store::{Checkpoint, Committed, Expect, Op, Reason, Row, Seq, Transaction};
use morph_store::{Client, Refusal, Unavailable, op};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use self::claim::Claim;
use crate::app::InstanceId;
use crate::boot::Moment;
use crate::suspicion::Suspicion;

/// Table of [`AppRow`], by name.
pub const APPS: &str = "apps";
/// Table of [`ReleaseRow`], by `NAME/VERSION`.
pub const RELEASES: &str = "releases";
/// Table of [`UpgradeRow`], the last one of each app, by the app's name.
pub const UPGRADES: &str = "upgrades";

/// Table of [`UpgradeRow`], of upgrades that ended: the app's name, the start's time and the id are the key.
pub const HISTORY: &str = "history";

/// Table of [`crate::suspicion::EventRow`], events that were set aside, by id.
pub const EVENTS: &str = "events";

/// Between two tries while the store is away.
const AGAIN: Duration = Duration::from_millis(100);
/// How often a refused expectation is read again before it is taken as a refusal.
const CONFLICTS: u32 = 5;

/// What is wanted of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// An instance is live.
    Running,
    /// Its rules and state stay.
    Stopped,
    /// Its state stays.
    Removed,
}

/// An app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRow {
    /// In its manifest.
    pub id: u8,
    /// The permanent release.
    pub release: semver::Version,
    /// What is wanted.
    pub desired: Desired,
    /// Let in by the last fence.
    #[serde(default)]
    pub instance: String,
    /// Of the last fence.
    #[serde(default)]
    pub epoch: u64,
    /// The release that was permanent before: an app that keeps dying goes back to it.
    #[serde(default)]
    pub former: Option<semver::Version>,
    /// It kept dying.
    #[serde(default)]
    pub trouble: Option<Trouble>,
    /// The event that its instances die of, perhaps.
    #[serde(default)]
    pub suspicion: Option<Suspicion>,
}

/// A crash loop, and what was done about it. It stays on record until another release is committed, or somebody starts the
/// app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When it was given up.
    pub unix_ms: u64,
    /// Which release kept dying.
    pub release: String,
    /// The release that runs instead; none: the app is stopped.
    pub to: Option<String>,
    /// For people.
    pub why: String,
}

/// How far a release has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseStatus {
    /// Installed.
    Staged,
    /// In probation.
    Current,
    /// It runs, and is started again.
    Permanent,
    /// It was permanent.
    Old,
}

impl ReleaseStatus {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            ReleaseStatus::Staged => "staged",
            ReleaseStatus::Current => "current",
            ReleaseStatus::Permanent => "permanent",
            ReleaseStatus::Old => "old",
        }
    }
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRow {
    /// How far it has come.
    pub status: ReleaseStatus,
    /// SHA-256 of the bundle, hex.
    pub digest: String,
    /// Of its tables.
    pub schema: u32,
    /// When.
    pub installed_unix_ms: u64,
    /// In `STATE_DIR/bundles`.
    pub folder: String,
}

/// An upgrade.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpgradeRow {
    /// Unique.
    pub id: String,
    /// Several apps are upgraded as one: the same in the record of each. Empty: it is upgraded alone.
    pub group: String,
    /// The other apps of the group.
    pub with: Vec<String>,
    /// From which release.
    pub from: String,
    /// To which.
    pub to: String,
    /// `Step`, by name.
    pub step: String,
    /// When it was staged.
    pub started_unix_ms: u64,
    /// When the step was reached.
    pub step_unix_ms: u64,
    /// The same, for counting: the wall clock may be set.
    pub step_at: Option<Moment>,
    /// How long after the start.
    pub since_start_us: u64,
    /// `plain`, `online` or `backfill`.
    pub mode: String,
    /// Schema of the old release.
    pub old_schema: u32,
    /// Schema of the new one.
    pub new_schema: u32,
    /// How long the probation lasts.
    pub probation_ms: u64,
    /// At its end the upgrade goes back, unless it was committed.
    pub confirm: bool,
    /// An older release may lose rows.
    pub allow_loss: bool,
    /// How long the steps may take, in milliseconds, by name.
    pub deadlines_ms: BTreeMap<String, u64>,
    /// Who asked for it.
    pub who: String,
    /// The fence for the newcomer is done.
    pub fenced: bool,
    /// That fence swapped primary and shadow.
    pub swapped: bool,
    /// The newcomer.
    pub newcomer: String,
    /// The instance that it follows.
    pub old: String,
    /// The shadow.
    #[serde(alias = "space")]
    pub keyspace: u32,
    /// What the new release was before: it is that again after a rollback.
    pub was: Option<ReleaseStatus>,
    /// For people.
    pub message: String,
    /// Who ended it.
    pub by: String,
    /// From the hold to the resume.
    pub handover_us: u64,
    /// Events that waited.
    pub events_held: u64,
    /// Of them, delivered before.
    pub events_replayed: u64,
    /// The same of the way back.
    pub back_handover_us: u64,
    /// Groups of rows of its shadow that were mapped there and back.
    pub groups_checked: u64,
    /// Of them, those that did not come back as they were.
    #[serde(alias = "groups_losing")]
    pub groups_lossy: u64,
    /// The first of these, for people.
    pub losses: Vec<String>,
    /// Rules, by what was done with them.
    pub rules_added: u64,
    /// Rules, by what was done with them.
    pub rules_changed: u64,
    /// Rules, by what was done with them.
    pub rules_removed: u64,
    /// Rules, by what was done with them.
    pub rules_unchanged: u64,
}

/// One row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    table: &'static str,
    key: String,
    /// None: the row goes.
    value: Option<String>,
}

impl Write {
    /// A row and its new value.
    pub fn new(table: &'static str, key: impl Into<String>, value: &impl Serialize) -> Self {
        // The rows above are made of texts and numbers; those always become JSON.
        let value = serde_json::to_string(value).unwrap_or_default();
        Write {
            table,
            key: key.into(),
            value: Some(value),
        }
    }

    /// A row that goes.
    pub fn gone(table: &'static str, key: impl Into<String>) -> Self {
        Write {
            table,
            key: key.into(),
            value: None,
        }
    }

    fn row(&self) -> Row {
        op::row(morph_api::RECORDS, self.table, self.key.as_str())
    }
}

/// What a fence answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fenced {
    /// Who may write from now on.
    pub epoch: u64,
    /// From where.
    pub cursor: Seq,
    /// After which turn.
    pub turn: u64,
    /// Nothing of an older epoch lands after it.
    pub revision: u64,
}

/// A fence to be made.
#[derive(Debug, Clone)]
pub struct Fencing {
    /// Whose checkpoint.
    pub app: String,
    /// On which node.
    pub node: String,
    /// For which release.
    pub release: String,
    /// The checkpoint's epoch as far as is known.
    pub epoch: u64,
    /// Go on from whatever epoch is found; otherwise another one is a refusal.
    pub force: bool,
    /// Swap the primary to this shadow.
    pub swap: Option<u32>,
    /// Move the cursor from here to there: what is between is set aside.
    pub skip: Option<(Seq, Seq)>,
}

/// The records and the revisions at which they were last seen.
#[derive(Debug)]
pub struct Records {
    store: Client,
    /// Of the rows that are there: what is gone is forgotten.
    revisions: Mutex<HashMap<(&'static str, String), u64>>,
    /// Tables whose rows are all known, as nobody else writes them.
    whole: Mutex<BTreeSet<&'static str>>,
    claim: Claim,
}

impl Records {
    /// Of this store.
    pub fn new(store: Client) -> Self {
        Records {
            store,
            revisions: Mutex::default(),
            whole: Mutex::default(),
            claim: Claim::default(),
        }
    }

    /// All rows of a table, as far as they can be read; those that cannot are told.
    pub async fn load<T: DeserializeOwned>(
        &self,
        table: &'static str,
    ) -> Result<Vec<(String, T)>, Unavailable> {
        let rows = self.store.list(morph_api::RECORDS, table, "").await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            self.revisions()
                .insert((table, row.key.clone()), row.revision);
            match serde_json::from_str(row.value.as_deref().unwrap_or_default()) {
                Ok(value) => found.push((row.key, value)),
                Err(error) => {
                    tracing::error!(table, key = row.key, %error, "cannot read this record")
                }
            }
        }
        Ok(found)
    }

    /// The keys of a table, in order. The store is asked the first time only.
    pub async fn keys(&self, table: &'static str) -> Result<Vec<String>, Unavailable> {
        if !self.whole().contains(table) {
            self.load::<IgnoredAny>(table).await?;
            self.whole().insert(table);
        }
        let revisions = self.revisions();
        let of = revisions.keys().filter(|(known, _)| *known == table);
        let mut keys: Vec<String> = of.map(|(_, key)| key.clone()).collect();
        keys.sort();
        Ok(keys)
    }

    /// Writes rows, with more in the same transaction, for as long as it takes; returns the revision.
    pub async fn write(&self, writes: &[Write], more: &[Op]) -> Result<Committed, Refusal> {
        let mut conflicts = 0;
        loop {
            let claim = self.hold().await?;
            let transaction = self.transaction(writes, more, claim);
            match self.store.commit(transaction).await {
                Ok(Ok(committed)) => {
                    self.seen(writes, committed.revision);
                    return Ok(committed);
                }
                Ok(Err(refusal)) if refusal.reason == Reason::Conflict && conflicts < CONFLICTS => {
                    conflicts += 1;
                    self.still_ours().await?;
                }
                Ok(Err(refusal)) => return Err(refusal),
                Err(away) => {
                    tracing::warn!(error = %away, "the records are not written yet");
                    tokio::time::sleep(AGAIN).await;
                }
            }
            if let Some(revision) = self.read_back(writes).await {
                return Ok(Committed {
                    revision,
                    durable: revision,
                    checkpoints: Vec::new(),
                });
            }
        }
    }

    /// Raises the epochs of checkpoints together with the rows that `writes` makes of them, in one transaction, for as long as
    /// it takes. The answers are in the order of the checkpoints that were asked for.
    pub async fn fence(
        &self,
        mut fencings: Vec<Fencing>,
        writes: impl Fn(&[u64]) -> Vec<Write>,
    ) -> Result<Vec<Fenced>, Refusal> {
        loop {
            let epochs: Vec<u64> = fencings.iter().map(|fencing| fencing.epoch + 1).collect();
            let rows = writes(&epochs);
            let more = self.fence_ops(&fencings).await?;
            match self.write(&rows, &more).await {
                Ok(committed) if committed.checkpoints.len() == fencings.len() => {
                    let checkpoints = fenced(&fencings, &committed.checkpoints, committed.revision);
                    return checkpoints.map_err(no_checkpoint);
                }
                Ok(committed) => return self.fenced_before(&fencings, committed.revision).await,
                Err(refusal) if refusal.reason == Reason::StaleEpoch => {
                    if let Some(revision) = self.read_back(&rows).await {
                        return self.fenced_before(&fencings, revision).await;
                    }
                    let stale = refusal.checkpoint.as_ref();
                    let is_it = |f: &&mut Fencing| {
                        f.force && stale.is_none_or(|l| l.app == f.app && l.node == f.node)
                    };
                    let epoch = stale.map_or(0, |checkpoint| checkpoint.epoch);
                    match fencings.iter_mut().find(is_it) {
                        Some(fencing) if fencing.epoch != epoch => fencing.epoch = epoch,
                        Some(_) | None => return Err(refusal),
                    }
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    async fn fence_ops(&self, fencings: &[Fencing]) -> Result<Vec<Op>, Refusal> {
        let mut ops = Vec::new();
        for fencing in fencings {
            let Fencing {
                app, node, release, ..
            } = fencing;
            ops.push(op::fence(app, node, fencing.epoch, release));
            if let Some((from, to)) = fencing.skip {
                ops.push(op::skip(app, node, from, to));
            }
            if let Some(shadow) = fencing.swap {
                ops.push(self.swap(app, shadow, "").await?);
            }
        }
        Ok(ops)
    }

    /// The operation that swaps an app's primary to a shadow. The former primary is dropped, or kept as a shadow of the instance `keep`.
    pub async fn swap(&self, app: &str, shadow: u32, keep: &str) -> Result<Op, Refusal> {
        let status = self.status().await;
        let primary = status
            .keyspaces
            .iter()
            .find(|keyspace| keyspace.app == app && keyspace.primary);
        match primary {
            Some(primary) => Ok(op::swap_keeping(app, primary.id, shadow, keep)),
            None => Err(Refusal {
                reason: Reason::Invalid,
                message: format!("{app} has no primary"),
                checkpoint: None,
            }),
        }
    }

    /// The operations that swap the primaries of those apps that a shadow is named of. Whose former primary is read is kept.
    pub async fn swaps(
        &self,
        apps: &[(String, Option<u32>)],
        keeps: &BTreeMap<String, InstanceId>,
    ) -> Result<Vec<Op>, Refusal> {
        let mut ops = Vec::new();
        for (app, shadow) in apps {
            if let Some(shadow) = shadow {
                let keep = keeps.get(app).map_or("", String::as_str);
                ops.push(self.swap(app, *shadow, keep).await?);
            }
        }
        Ok(ops)
    }

    /// The schema versions of these apps' primaries, for as long as it takes.
    pub async fn primaries(&self, apps: &[String]) -> Vec<Option<u32>> {
        let keyspaces = self.status().await.keyspaces;
        let primary = |app: &String| {
            keyspaces
                .iter()
                .find(|keyspace| keyspace.primary && keyspace.app == *app)
        };
        apps.iter()
            .map(|app| primary(app).map(|t| t.schema))
            .collect()
    }

    /// The store's status, for as long as it takes.
    pub async fn status(&self) -> morph_api::store::StatusReply {
        loop {
            match self.store.status().await {
                Ok(status) => return status,
                Err(away) => tracing::warn!(error = %away, "the store does not answer"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The fence is there, though its answer was lost: what the checkpoints say now.
    async fn fenced_before(
        &self,
        fencings: &[Fencing],
        revision: u64,
    ) -> Result<Vec<Fenced>, Refusal> {
        fenced(fencings, &self.status().await.checkpoints, revision).map_err(no_checkpoint)
    }

    fn transaction(&self, writes: &[Write], more: &[Op], claim: Option<Expect>) -> Transaction {
        let revisions = self.revisions();
        let known = |w: &Write| {
            revisions
                .get(&(w.table, w.key.clone()))
                .copied()
                .unwrap_or(0)
        };
        let expects = writes.iter().map(|w| op::expect(&w.row(), known(w)));
        let expects = claim.into_iter().chain(expects).collect::<Vec<_>>();
        let puts = writes.iter().map(|w| match &w.value {
            Some(value) => op::put(w.row(), value.as_str()),
            None => op::delete(w.row()),
        });
        op::shared(
            expects,
            more.iter().cloned().chain(puts).collect::<Vec<_>>(),
        )
    }

    fn seen(&self, writes: &[Write], revision: u64) {
        for write in writes {
            self.know(write, write.value.as_ref().map(|_| revision));
        }
    }

    /// At which revision the row is; `None`: it is not there.
    fn know(&self, write: &Write, revision: Option<u64>) {
        let (mut revisions, row) = (self.revisions(), (write.table, write.key.clone()));
        match revision {
            Some(revision) => revisions.insert(row, revision),
            None => revisions.remove(&row),
        };
    }

    /// Reads the rows again; if they are what was to be written, the revision at which they are.
    async fn read_back(&self, writes: &[Write]) -> Option<u64> {
        let mut newest = (!writes.is_empty()).then_some(0);
        for write in writes {
            let found = self.look(write.table, &write.key).await;
            let there = found.as_ref().map(|(_, revision)| *revision);
            self.know(write, there);
            let revision = there.unwrap_or(0);
            let same = match (&found, &write.value) {
                (Some((found, _)), Some(value)) => same_json(found, value),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            newest = newest.filter(|_| same).map(|n| n.max(revision));
        }
        newest
    }

    /// A row and its revision, for as long as it takes.
    async fn look(&self, table: &str, key: &str) -> Option<(String, u64)> {
        loop {
            match self.store.get(morph_api::RECORDS, table, key).await {
                Ok(found) => return found,
                Err(away) => tracing::warn!(error = %away, "the records cannot be read yet"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn whole(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revisions(&self) -> MutexGuard<'_, HashMap<(&'static str, String), u64>> {
        self.revisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What these checkpoints say of those that were fenced; the first that has none is the error.
fn fenced<'a>(
    fencings: &'a [Fencing],
    checkpoints: &[Checkpoint],
    revision: u64,
) -> Result<Vec<Fenced>, &'a Fencing> {
    let of = |fencing: &'a Fencing| {
        let mut checkpoints = checkpoints.iter();
        let found = checkpoints
            .find(|checkpoint| checkpoint.app == fencing.app && checkpoint.node == fencing.node);
        let checkpoint = found.ok_or(fencing)?;
        Ok(Fenced {
            epoch: checkpoint.epoch,
            cursor: checkpoint.cursor.unwrap_or_default(),
            turn: checkpoint.turn,
            revision,
        })
    };
    fencings.iter().map(of).collect()
}

fn no_checkpoint(fencing: &Fencing) -> Refusal {
    Refusal {
        reason: Reason::Invalid,
        message: format!("{} has no checkpoint on {}", fencing.app, fencing.node),
        checkpoint: None,
    }
}

/// The store may keep a document in another form than it was given.
fn same_json(a: &str, b: &str) -> bool {
    let parse = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    a == b || parse(a).is_some_and(|a| Some(a) == parse(b))
}
