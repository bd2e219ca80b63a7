//! The etcd backend: the view lies in memory, etcd is what lasts.
//!
//! ```text
//!  group --> one transaction of etcd: the head is at the revision that we know?  --yes--> landed: the view commits
//!                 |                   then entries and the next head               |
//!                 |                                                                no: overtaken, judged again
//!                 '-- no answer: sent again, the same, until the deadline; the head after ours says whether it landed
//!
//!  feed (watch on the head) --> heads of other daemons --> the view, watchers
//! ```
//!
//! The comparison with the head makes all groups of all daemons on one prefix follow each other, so each is judged
//! on the state that it changes. A group that is in doubt can land only as long as the head is what it was: it is never
//! judged again before another head is seen, so it happens once or not at all.

mod calls;
mod feed;
mod head;
mod health;
mod keys;
mod link;
mod load;
mod options;
mod plan;
mod redo;
mod restore;
mod submit;
mod sweep;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use redb::WriteTransaction;
use tokio::time::{Instant, timeout_at};

use super::backend::{Group, News, Settled};
use super::error::EngineError;
use super::file::File;
use super::tables::Tables;
use crate::core::State;
use calls::{Answer, Found};
use feed::{Fed, Feed};
use head::{GroupId, Head};
pub(super) use health::Health;
use keys::Keys;
use link::{Link, Trouble};
pub use options::EtcdUrl;
pub(super) use plan::Weight;
use redo::Redo;
pub(super) use restore::restore;
use submit::Submitted;
use sweep::History;

/// Between two attempts to write the same.
const PAUSE: Duration = Duration::from_millis(100);
/// How long heads that must be there may be on their way before the watch is made anew.
const NEWS: Duration = Duration::from_secs(1);

pub(super) struct Etcd {
    view: Arc<File>,
    link: Link,
    keys: Keys,
    feed: Feed,
    health: Health,
    _history: Option<History>,
    incarnation: u64,
    groups: u64,
    /// The revision of etcd whose head the view reflects, and the store's revision there.
    known: i64,
    revision: u64,
    /// The same, for the compaction.
    known_to_all: Arc<AtomicI64>,
    /// The head at `known` names parts that are not applied yet.
    redo: Option<Redo>,
    /// Heads that were seen and are not in the view yet.
    seen: VecDeque<(i64, Vec<u8>)>,
    /// A head of this revision of etcd is known to be there: nothing is judged before it is in the view.
    behind: Option<i64>,
    /// Heads are missing, so everything is to be loaded.
    gap: Option<String>,
    news: News,
    /// The last call brought no answer.
    away: bool,
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
        let opened = load::patiently(&mut link, async |link| {
            load::found(link, &keys).await?;
            let incarnation = load::incarnation(link, &keys).await?;
            Ok((incarnation, load::load(link, &keys, &view).await?))
        });
        let (incarnation, loaded) = Box::pin(opened).await?;
        let state = view.state()?;
        let known_to_all = Arc::new(AtomicI64::new(loaded.at));
        let history =
            compact.map(|keep| History::start(link.another(), keep, Arc::clone(&known_to_all)));
        sweep::rows(link.another(), loaded.strays);
        let feed = Feed::start(link.another(), keys.head(), loaded.at, health.clone());
        let etcd = Etcd {
            view,
            feed,
            health,
            _history: history,
            incarnation,
            groups: 0,
            known: loaded.at,
            revision: loaded.revision,
            known_to_all,
            redo: None,
            seen: VecDeque::new(),
            behind: None,
            gap: None,
            news: News::default(),
            away: false,
            link,
            keys,
        };
        Ok((etcd, state, incarnation))
    }

    pub(super) fn view(&self) -> &Arc<File> {
        &self.view
    }

    /// Waits until another daemon has written something, or there is something to be done here.
    pub(super) async fn wait_for_news(&mut self) {
        if self.gap.is_some() || self.redo.is_some() {
            if self.away {
                tokio::time::sleep(PAUSE).await;
            }
            return;
        }
        loop {
            let fed = self.feed.next().await;
            self.take(fed);
            if self.gap.is_some() || !self.seen.is_empty() {
                return;
            }
        }
    }

    /// What other daemons have written and the view has by now.
    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Brings the view to where etcd is, as far as that is known.
    pub(super) async fn prepare(&mut self, deadline: Instant) -> Result<(), EngineError> {
        self.link.set_deadline(deadline);
        let prepared = Box::pin(self.catch_up(deadline)).await;
        self.tell(prepared.as_ref().err());
        if prepared.is_err() {
            // Those who can still wait are tried again at once.
            tokio::time::sleep_until(deadline.min(Instant::now() + PAUSE)).await;
        }
        prepared
    }

    async fn catch_up(&mut self, deadline: Instant) -> Result<(), EngineError> {
        while let Some(fed) = self.feed.ready() {
            self.take(fed);
        }
        if self.away {
            self.probe().await?;
        }
        loop {
            if self.gap.is_some() {
                self.reload(deadline).await?;
            }
            while self.gap.is_none() && !self.seen.is_empty() {
                self.apply_next().await?;
            }
            match self.behind {
                _ if self.gap.is_some() => {}
                Some(target) if self.known < target => self.wait_fed(deadline).await?,
                Some(_) => self.behind = None,
                None if self.redo.is_some() => self.finish().await?,
                None => return Ok(()),
            }
        }
    }

    fn take(&mut self, fed: Fed) {
        match fed {
            // What we have written ourselves comes back.
            Fed::Head(at, _) if at <= self.known => {}
            Fed::Head(at, value) => self.seen.push_back((at, value)),
            Fed::Gap(why) => self.gap = Some(why),
        }
    }

    /// Is it there again? Asked before anything is judged, so that nothing is in doubt while it is not.
    async fn probe(&mut self) -> Result<(), EngineError> {
        let found = self.link.get(&self.keys.head()).await?.0;
        match found {
            Some(found) if found.at > self.known => self.behind = Some(found.at),
            Some(found) if found.at == self.known => {}
            Some(_) | None => self.gap = Some("etcd has lost what it had".into()),
        }
        self.away = false;
        Ok(())
    }

    async fn wait_fed(&mut self, deadline: Instant) -> Result<(), EngineError> {
        let until = (Instant::now() + NEWS).min(deadline);
        match timeout_at(until, self.feed.next()).await {
            Ok(fed) => self.take(fed),
            Err(_) => self.feed.connect_anew(),
        }
        match Instant::now() < deadline {
            true => Ok(()),
            false => Err(EngineError::Away(
                "what other daemons have written does not arrive".into(),
            )),
        }
    }

    /// One head of another daemon, or one of ours that was in doubt, into the view.
    async fn apply_next(&mut self) -> Result<(), EngineError> {
        let Some((at, value)) = self.seen.front() else {
            return Ok(());
        };
        let at = *at;
        if at <= self.known {
            self.seen.pop_front();
            return Ok(());
        }
        let mut head = Head::unseal(&self.keys.head(), value)?;
        let mut steps = std::mem::take(&mut head.steps);
        if head.redo > 0 {
            steps = match redo::read(&mut self.link, &self.keys, at, &head).await {
                Ok(steps) => steps,
                Err(Trouble::Compacted) => {
                    self.gap = Some("etcd's history was compacted".into());
                    return Ok(());
                }
                Err(trouble) => return Err(trouble.into()),
            };
        }
        if steps
            .first()
            .is_some_and(|step| step.revision != self.revision + 1)
        {
            self.gap = Some("a head is missing".into());
            return Ok(());
        }
        let write = self.view.begin_write()?;
        let mut tables = Tables::open(&write)?;
        for step in &steps {
            tables.write(step)?;
            self.news.published.push(Arc::new(step.published()?));
        }
        drop(tables);
        write.commit()?;
        self.news.state = Some(self.view.state()?);
        self.seen.pop_front();
        self.reached(at, head.revision);
        self.redo = match head.redo {
            0 => None,
            _ => Some(Redo::of(head, &steps, &self.keys)?),
        };
        Ok(())
    }

    fn reached(&mut self, at: i64, revision: u64) {
        (self.known, self.revision) = (at, revision);
        self.known_to_all.store(at, Ordering::Relaxed);
    }

    /// Everything anew, as after a start. The gap stays until that has succeeded.
    async fn reload(&mut self, deadline: Instant) -> Result<(), EngineError> {
        let why = self.gap.clone().unwrap_or_default();
        tracing::warn!(why, "loading everything from etcd");
        // It takes as long as it takes: a deadline for a commit is none for all rows.
        let patience = Instant::now() + load_patience(self.revision);
        self.link.set_deadline(deadline.max(patience));
        let loaded = load::load(&mut self.link, &self.keys, &self.view).await?;
        self.link.set_deadline(deadline);
        self.reached(loaded.at, loaded.revision);
        (self.redo, self.behind, self.gap) = (None, None, None);
        self.seen.clear();
        let link = self.link.another();
        self.feed = Feed::start(link, self.keys.head(), loaded.at, self.health.clone());
        sweep::rows(self.link.another(), loaded.strays);
        self.news = News {
            state: Some(self.view.state()?),
            published: Vec::new(),
            start_over: true,
        };
        Ok(())
    }

    /// Applies what a head has named.
    async fn finish(&mut self) -> Result<(), EngineError> {
        let Some(redo) = &mut self.redo else {
            return Ok(());
        };
        let answer = redo::finish(&mut self.link, &self.keys, self.known, redo).await?;
        self.redo = None;
        match answer {
            Answer::Done(at) => self.reached(at, self.revision),
            Answer::Behind(found) => self.fall_behind(found.as_ref()),
        }
        Ok(())
    }

    fn fall_behind(&mut self, found: Option<&Found>) {
        match found {
            Some(found) if found.at > self.known => self.behind = Some(found.at),
            Some(_) | None => self.gap = Some("etcd has lost what it had".into()),
        }
    }

    /// Makes a group last, and lets readers see it.
    pub(super) async fn commit(
        &mut self,
        write: WriteTransaction,
        group: &Group,
        deadline: Instant,
    ) -> Settled {
        self.link.set_deadline(deadline);
        self.groups += 1;
        let id = GroupId {
            incarnation: self.incarnation,
            n: self.groups,
        };
        let submitted = Box::pin(self.write(&id, group, deadline)).await;
        let (at, redo) = match submitted {
            Submitted::Landed { at, redo } => (at, redo),
            Submitted::Overtaken | Submitted::Torn => return Settled::Overtaken,
            Submitted::Nothing(error) => {
                self.tell(Some(&error));
                return Settled::Nothing { found: None, error };
            }
            Submitted::Unknown(error) => {
                self.tell(Some(&error));
                return Settled::Unknown(error);
            }
        };
        self.tell(None);
        // It has happened: the places are for those who die here.
        let _ = morph_api::fail::point("store.group.durable");
        if redo {
            let _ = morph_api::fail::point("store.etcd.named");
        }
        self.reached(at, group.state.revision);
        if let Err(error) = write.commit() {
            self.gap = Some(format!("the view failed: {error}"));
        }
        self.sweep(group);
        if redo {
            // Applied before the next group, or as soon as nothing else is to be done.
            let redo = Redo::of(self.head(&id, group, 0), &group.steps, &self.keys);
            match redo {
                Ok(redo) => self.redo = Some(redo),
                Err(error) => self.gap = Some(error.to_string()),
            }
        }
        Settled::Landed
    }

    /// Is what was judged on still what holds? Asked where nothing is written that would tell.
    pub(super) async fn confirm(&mut self, deadline: Instant) -> Settled {
        self.link.set_deadline(deadline);
        let known = self.known;
        match self.probe().await {
            Ok(()) if self.gap.is_none() && self.behind.is_none_or(|at| at <= known) => {
                Settled::Landed
            }
            Ok(()) => Settled::Overtaken,
            Err(error) => {
                self.tell(Some(&error));
                Settled::Nothing { found: None, error }
            }
        }
    }

    fn sweep(&self, group: &Group) {
        let dropped = group.steps.iter().flat_map(|step| &step.dropped);
        let prefixes: Vec<String> = dropped.map(|d| self.keys.keyspace(&d.app, d.id)).collect();
        if !prefixes.is_empty() {
            sweep::rows(self.link.another(), prefixes);
        }
    }

    fn tell(&mut self, error: Option<&EngineError>) {
        self.away = error.is_some();
        self.health.write(error.map(ToString::to_string));
    }
}

/// For all rows: some ten thousand a second at worst.
fn load_patience(revision: u64) -> Duration {
    Duration::from_secs(10) + Duration::from_micros(100 * revision.min(1 << 24))
}
