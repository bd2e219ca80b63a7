//! etcd backend: the view is in memory, and etcd keeps the data.
//!
//! ```text
//!  group --> one transaction of etcd: is the head at the revision that we know?  --yes--> committed: the view commits
//!                 |                   then write entries and the next head          |
//!                 |                                                                 no: lost the race, judged again
//!                 '-- no answer: sent again until the deadline; the next head shows whether it was committed
//!
//!  feed (watch on the head) --> heads of other daemons --> the view, watchers
//! ```
//!
//! The comparison of the head puts all groups of all daemons on one prefix in one order, so each group is judged on the
//! state that it changes. A group whose outcome is unknown can be committed only as long as the head is unchanged. It is
//! never judged again before another head was seen, so it is committed once or not at all.

mod calls;
mod feed;
mod garbage;
mod head;
mod heads;
mod keys;
mod link;
mod load;
mod options;
mod plan;
mod redo;
mod restore;
mod retry;
mod submit;

use std::sync::Arc;
use std::time::Duration;

use redb::WriteTransaction;
use tokio::time::Instant;

use super::error::EngineError;
use super::file::File;
use super::group::{Group, GroupOutcome, News};
use super::health::Health;
use super::tables::Tables;
use crate::core::State;
use calls::TxnOutcome;
use garbage::HistoryCompaction;
use head::{GroupId, Head};
use heads::Heads;
use keys::Keys;
use link::{CallError, Link};
pub use options::EtcdUrl;
use redo::Redo;
pub(super) use restore::restore;
use submit::Submission;

/// Pause between two attempts to write the same group.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Etcd {
    view: Arc<File>,
    link: Link,
    keys: Keys,
    heads: Heads,
    health: Health,
    _compaction: Option<HistoryCompaction>,
    /// Identity of the group that was submitted last.
    last_group: GroupId,
    /// Store revision that the view reflects.
    revision: u64,
    /// Parts that the head names and that are not applied yet.
    redo: Option<Redo>,
    news: News,
    /// True while etcd does not answer.
    unreachable: bool,
}

impl Etcd {
    /// Connects, makes an empty prefix a store, and loads it. Waits for etcd some seconds at most.
    pub(super) async fn open(
        url: EtcdUrl,
        health: Health,
    ) -> Result<(Etcd, State, u64), EngineError> {
        let keys = Keys::new(&url.prefix);
        let compact = url.compact;
        let mut link = Link::new(Arc::new(url))?;
        let view = Arc::new(File::in_memory()?);
        let opened = retry::retry(&mut link, async |link| {
            load::found(link, &keys).await?;
            let incarnation = load::incarnation(link, &keys).await?;
            Ok((incarnation, load::load(link, &keys, &view).await?))
        });
        let (incarnation, loaded) = Box::pin(opened).await?;
        let state = view.state()?;
        garbage::delete_rows(link.another(), loaded.garbage);
        let heads = Heads::start(link.another(), keys.head(), loaded.at, health.clone());
        let compaction =
            compact.map(|keep| HistoryCompaction::start(link.another(), keep, heads.shared_at()));
        let etcd = Etcd {
            view,
            heads,
            health,
            _compaction: compaction,
            last_group: GroupId { incarnation, n: 0 },
            revision: loaded.revision,
            redo: None,
            news: News::default(),
            unreachable: false,
            link,
            keys,
        };
        Ok((etcd, state, incarnation))
    }

    pub(super) fn view(&self) -> &Arc<File> {
        &self.view
    }

    /// Waits until another daemon has written something, or work is left from before.
    pub(super) async fn wait_for_news(&mut self) {
        if self.heads.gap.is_some() || self.redo.is_some() {
            if self.unreachable {
                tokio::time::sleep(PAUSE).await;
            }
            return;
        }
        self.heads.wait().await;
    }

    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Brings the view up to date with etcd, as far as that is known.
    pub(super) async fn prepare(&mut self, deadline: Instant) -> Result<(), EngineError> {
        self.link.set_deadline(deadline);
        let prepared = Box::pin(self.catch_up(deadline)).await;
        self.report(prepared.as_ref().err());
        if prepared.is_err() {
            // Transactions that can still wait are tried again after a pause.
            tokio::time::sleep_until(deadline.min(Instant::now() + PAUSE)).await;
        }
        prepared
    }

    async fn catch_up(&mut self, deadline: Instant) -> Result<(), EngineError> {
        self.heads.take_ready();
        if self.unreachable {
            self.probe().await?;
        }
        loop {
            if self.heads.gap.is_some() {
                self.reload(deadline).await?;
            }
            while self.heads.gap.is_none() && self.heads.has_next() {
                self.apply_next().await?;
            }
            if self.heads.gap.is_some() {
                continue;
            }
            if self.heads.is_behind() {
                self.heads.wait_until(deadline).await?;
            } else if self.redo.is_some() {
                self.finish().await?;
            } else {
                return Ok(());
            }
        }
    }

    /// Asks for the head before anything is judged, so that no group is submitted while etcd is away.
    async fn probe(&mut self) -> Result<(), EngineError> {
        let found = self.link.get(&self.keys.head()).await?.0;
        self.heads.learn(found.map(|found| found.at));
        self.unreachable = false;
        Ok(())
    }

    /// Applies the next head to the view: one of another daemon, or one of ours whose outcome was unknown.
    async fn apply_next(&mut self) -> Result<(), EngineError> {
        let Some((at, value)) = self.heads.next() else {
            return Ok(());
        };
        let mut head = Head::unseal(&self.keys.head(), value)?;
        let mut write_sets = std::mem::take(&mut head.write_sets);
        if head.redo > 0 {
            write_sets = match redo::read(&mut self.link, &self.keys, at, &head).await {
                Ok(write_sets) => write_sets,
                Err(CallError::Compacted) => {
                    self.heads.gap = Some("etcd's history was compacted".into());
                    return Ok(());
                }
                Err(trouble) => return Err(trouble.into()),
            };
        }
        if write_sets
            .first()
            .is_some_and(|write_set| write_set.revision != self.revision + 1)
        {
            self.heads.gap = Some("a head is missing".into());
            return Ok(());
        }
        let write = self.view.begin_write()?;
        let mut tables = Tables::open(&write)?;
        for write_set in &write_sets {
            tables.write(write_set)?;
            self.news.published.push(Arc::new(write_set.published()?));
        }
        drop(tables);
        write.commit()?;
        self.news.state = Some(self.view.state()?);
        self.reached(at, head.revision);
        self.redo = match head.redo {
            0 => None,
            _ => Some(Redo::of(head, &write_sets, &self.keys)?),
        };
        Ok(())
    }

    fn reached(&mut self, at: i64, revision: u64) {
        self.revision = revision;
        self.heads.reach(at);
    }

    /// Loads everything as after a start. The gap remains until that has succeeded.
    async fn reload(&mut self, deadline: Instant) -> Result<(), EngineError> {
        let why = self.heads.gap.clone().unwrap_or_default();
        tracing::warn!(why, "loading everything from etcd");
        // The deadline of a commit is too short for loading all rows.
        let load_deadline = Instant::now() + load_timeout(self.revision);
        self.link.set_deadline(deadline.max(load_deadline));
        let loaded = load::load(&mut self.link, &self.keys, &self.view).await?;
        self.link.set_deadline(deadline);
        self.reached(loaded.at, loaded.revision);
        self.redo = None;
        let link = self.link.another();
        self.heads
            .restart(link, self.keys.head(), self.health.clone());
        garbage::delete_rows(self.link.another(), loaded.garbage);
        self.news = News {
            state: Some(self.view.state()?),
            published: Vec::new(),
            restart: true,
        };
        Ok(())
    }

    /// Applies the parts that a head names.
    async fn finish(&mut self) -> Result<(), EngineError> {
        let Some(redo) = &mut self.redo else {
            return Ok(());
        };
        let answer = redo::finish(&mut self.link, &self.keys, self.heads.at(), redo).await?;
        self.redo = None;
        match answer {
            TxnOutcome::Done(at) => self.reached(at, self.revision),
            TxnOutcome::Mismatch(found) => self.heads.learn(found.map(|found| found.at)),
        }
        Ok(())
    }

    /// Makes a group durable in etcd, and lets readers see it.
    pub(super) async fn commit(
        &mut self,
        write: WriteTransaction,
        group: &Group,
        deadline: Instant,
    ) -> GroupOutcome {
        self.link.set_deadline(deadline);
        self.last_group.n += 1;
        let id = self.last_group.clone();
        let submitted = Box::pin(self.write(&id, group, deadline)).await;
        let (at, redo) = match submitted {
            Submission::Committed { at, redo } => (at, redo),
            Submission::LostRace | Submission::PartsMissing => return GroupOutcome::LostRace,
            Submission::NotCommitted(error) => {
                self.report(Some(&error));
                return GroupOutcome::NotCommitted { found: None, error };
            }
            Submission::Unknown(error) => {
                self.report(Some(&error));
                return GroupOutcome::Unknown(error);
            }
        };
        self.report(None);
        // The group is committed. Fail points can only kill the daemon here.
        let _ = morph_api::fail::point("store.group.durable");
        if redo {
            let _ = morph_api::fail::point("store.etcd.named");
        }
        self.reached(at, group.state.revision);
        if let Err(error) = write.commit() {
            self.heads.gap = Some(format!("the view failed: {error}"));
        }
        self.delete_dropped(group);
        if redo {
            // Applied before the next group, or as soon as nothing else is to be done.
            let redo = Redo::of(self.head(&id, group, 0), &group.write_sets, &self.keys);
            match redo {
                Ok(redo) => self.redo = Some(redo),
                Err(error) => self.heads.gap = Some(error.to_string()),
            }
        }
        GroupOutcome::Committed
    }

    /// Confirms that the state on which a group was judged is still current, for a group that writes nothing.
    pub(super) async fn confirm(&mut self, deadline: Instant) -> GroupOutcome {
        self.link.set_deadline(deadline);
        match self.probe().await {
            Ok(()) if self.heads.gap.is_none() && !self.heads.is_behind() => {
                GroupOutcome::Committed
            }
            Ok(()) => GroupOutcome::LostRace,
            Err(error) => {
                self.report(Some(&error));
                GroupOutcome::NotCommitted { found: None, error }
            }
        }
    }

    fn delete_dropped(&self, group: &Group) {
        let dropped = group
            .write_sets
            .iter()
            .flat_map(|write_set| &write_set.dropped);
        let prefixes: Vec<String> = dropped.map(|d| self.keys.keyspace(&d.app, d.id)).collect();
        if !prefixes.is_empty() {
            garbage::delete_rows(self.link.another(), prefixes);
        }
    }

    fn report(&mut self, error: Option<&EngineError>) {
        self.unreachable = error.is_some();
        self.health.write(error.map(ToString::to_string));
    }
}

/// Time limit for loading: ten thousand rows a second at worst.
fn load_timeout(revision: u64) -> Duration {
    Duration::from_secs(10) + Duration::from_micros(100 * revision.min(1 << 24))
}
