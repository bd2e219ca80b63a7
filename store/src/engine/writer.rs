//! The one writer: takes all that waits, judges it within one transaction of the view, has the backend make that
//! durable, answers.
//!
//! ```text
//!  jobs (bounded) --> waiting --> group: core::apply each --> view --> Backend::commit --> watchers told --> answers
//!                        ^                   |                             |
//!                        +-- no room --------'                             |
//!                        '-- overtaken by another daemon ------------------'
//! ```

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use morph_api::fail;
use morph_api::store::op::Op as Kind;
use morph_api::store::{
    CommitReply, Committed, Durability, Op, Reason, Refused, Transaction, WatchRequest,
    commit_reply,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::backend::{Backend, Group, Settled};
use super::error::EngineError;
use super::expiry::Expiry;
use super::mailbox::Published;
use super::step::Step;
use super::sweep::Sweep;
use super::tables::Tables;
use super::watchers::{Started, Watchers};
use crate::core::{State, Verdict, apply};

/// Transactions of one group. Beyond some hundreds a group gains nothing and its first one waits longer.
const GROUP: usize = 512;
/// Without a job for so long, some of what was dropped is swept up. Whoever was just answered hears of it first, and others
/// find the disk and the processor free as often as not.
const REST: Duration = Duration::from_millis(5);

/// What the writer is asked.
pub(super) enum Job {
    Commit(Commit),
    Watch(Watch),
    /// Nothing after this.
    End,
}

pub(super) struct Commit {
    pub(super) transaction: Transaction,
    pub(super) answer: oneshot::Sender<Result<CommitReply, EngineError>>,
    /// Its share of the memory that waiting transactions may take; let go with the answer.
    pub(super) _share: Option<OwnedSemaphorePermit>,
    /// When it was asked for.
    pub(super) since: Instant,
}

pub(super) struct Watch {
    pub(super) request: WatchRequest,
    pub(super) answer: oneshot::Sender<Result<Started, EngineError>>,
}

pub(super) struct Writer {
    backend: Backend,
    state: State,
    watchers: Watchers,
    leases: Expiry,
    /// Taken from the queue and not judged yet; a group at most.
    waiting: VecDeque<Commit>,
    sweep: Sweep,
    open: bool,
}

impl Writer {
    pub(super) fn new(backend: Backend, state: State, incarnation: u64) -> Self {
        Writer {
            backend,
            watchers: Watchers::new(incarnation, state.revision),
            leases: Expiry::default(),
            sweep: Sweep::everything(&state),
            state,
            waiting: VecDeque::new(),
            open: true,
        }
    }

    /// Works until it is told to end or every sender is gone, then closes the backend.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while self.open {
            self.leases
                .follow(&self.state.leases, Instant::now().into_std());
            let mut first = None;
            if self.waiting.is_empty() {
                match self.next(&mut jobs).await {
                    Woken::Job(job) => first = Some(job),
                    Woken::Gone => break,
                    Woken::Deadline => {}
                    Woken::News => self.catch_up().await,
                    Woken::Idle => self.sweep(),
                }
            }
            let watches = self.gather(first, &mut jobs);
            self.expire();
            self.flush_if_due();
            self.group().await;
            for watch in watches {
                let started = self.watch(watch.request);
                // Whoever asked may have gone; then its mailbox goes with the answer.
                let _ = watch.answer.send(started);
            }
        }
        while !self.waiting.is_empty() {
            self.group().await;
        }
        self.watchers.shut_down();
        self.backend.close();
    }

    /// Others have written. If the view cannot follow, the next group says why.
    async fn catch_up(&mut self) {
        let deadline = Instant::now() + self.backend.patience();
        let _ = self.backend.prepare(deadline).await;
        self.take_news();
    }

    /// Leases whose time is over are revoked, as if someone had asked for it.
    fn expire(&mut self) {
        for transaction in self.leases.due(Instant::now().into_std()) {
            self.waiting.push_back(Commit {
                transaction,
                answer: oneshot::channel().0,
                _share: None,
                since: Instant::now(),
            });
        }
    }

    /// What was acknowledged and has waited for long enough gets on disk.
    fn flush_if_due(&mut self) {
        if self
            .backend
            .next_sync()
            .is_none_or(|at| at > Instant::now())
        {
            return;
        }
        match self.flush() {
            Ok(()) => {
                let durable = self.backend.durable(self.state.revision);
                self.watchers.synced(durable);
            }
            Err(error) => {
                tracing::error!(%error, "what was acknowledged last is not on disk");
                self.give_up(error);
            }
        }
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        fail::point("store.flush.due")?;
        self.backend.flush()
    }

    /// The next job, or what else is to be done where there is none.
    async fn next(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Woken {
        let over = self.leases.next_deadline();
        let sync = self.backend.next_sync().map(Instant::into_std);
        let deadline = over.into_iter().chain(sync).min();
        let over = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => pending().await,
            }
        };
        let sweeps = !self.backend.is_broken() && !self.sweep.is_done();
        let idle = async {
            match sweeps {
                true => tokio::time::sleep(REST).await,
                false => pending().await,
            }
        };
        tokio::select! {
            job = jobs.recv() => job.map_or(Woken::Gone, Woken::Job),
            () = over => Woken::Deadline,
            () = self.backend.wait_for_news() => Woken::News,
            () = idle => Woken::Idle,
        }
    }

    fn sweep(&mut self) {
        if let Err(error) = self.sweep.idle(self.backend.view()) {
            self.not_swept(error);
        }
    }

    /// Nothing of a group is concerned, but the backend has to go on. The rest waits for the next transaction.
    fn not_swept(&mut self, error: EngineError) {
        tracing::warn!(%error, "cannot sweep up what was dropped");
        self.give_up(error);
        self.sweep = Sweep::everything(&self.state);
    }

    fn give_up(&mut self, error: EngineError) {
        let told = self.watchers.told();
        match self.backend.give_up(error, told, told) {
            Settled::Nothing { found, .. } => self.find(found),
            Settled::Landed | Settled::Overtaken | Settled::Unknown(_) => {}
        }
    }

    /// What the backend still has, after something failed.
    fn find(&mut self, found: Option<State>) {
        let Some(mut state) = found else {
            return;
        };
        let told = self.watchers.told();
        if state.revision < told {
            // Acknowledged without an fsync, and gone. Its revisions are not given again.
            state.revision = told + 1;
            let message = "the disk failed; what was acknowledged before it was on disk is gone";
            self.watchers.start_over(state.revision, message);
        }
        self.sweep = Sweep::everything(&state);
        self.state = state;
    }

    /// Takes what is there without waiting, up to a group.
    fn gather(&mut self, first: Option<Job>, jobs: &mut mpsc::Receiver<Job>) -> Vec<Watch> {
        let mut watches = Vec::new();
        let mut next = first.or_else(|| jobs.try_recv().ok());
        while let Some(job) = next {
            match job {
                Job::Commit(commit) => self.waiting.push_back(commit),
                Job::Watch(watch) => watches.push(watch),
                Job::End => {
                    self.open = false;
                    break;
                }
            }
            next = match self.waiting.len() < GROUP && watches.len() < GROUP {
                true => jobs.try_recv().ok(),
                false => None,
            };
        }
        watches
    }

    /// Judges what waits, as much as goes into one group, and answers it.
    async fn group(&mut self) {
        let Some(oldest) = self.waiting.front() else {
            return;
        };
        let deadline = oldest.since + self.backend.patience();
        let mut judged = Vec::with_capacity(self.waiting.len());
        match self.write(&mut judged, deadline).await {
            Ok(Some(verdicts)) => {
                let durable = self.backend.durable(self.state.revision);
                let replies: Vec<_> = verdicts.iter().map(|v| reply(v, durable)).collect();
                self.publish(verdicts);
                // Whether they are told or not, it has happened.
                let _ = fail::point("store.group.told");
                for (commit, reply) in judged.into_iter().zip(replies) {
                    let _ = commit.answer.send(Ok(reply)); // the caller may have given up
                }
            }
            Ok(None) => {
                judged
                    .into_iter()
                    .rev()
                    .for_each(|commit| self.waiting.push_front(commit));
                if Instant::now() >= deadline {
                    self.fail(Vec::new(), &EngineError::Overtaken);
                }
            }
            Err(error) => self.fail(judged, &error),
        }
    }

    /// Tells those judged, and those not reached who have waited for long enough: the next group would find the same
    /// trouble.
    fn fail(&mut self, mut judged: Vec<Commit>, error: &EngineError) {
        let (now, patience) = (Instant::now(), self.backend.patience());
        while let Some(commit) = self
            .waiting
            .pop_front_if(|commit| commit.since + patience <= now)
        {
            judged.push(commit);
        }
        if !judged.is_empty() {
            tracing::error!(%error, transactions = judged.len(), "nothing was written");
        }
        // Nor could anyone keep a lease.
        self.leases.start_over();
        for commit in judged {
            let _ = commit.answer.send(failed(error));
        }
    }

    /// All of the group is durable, or nothing of it has happened. None: it is to be judged again.
    async fn write(
        &mut self,
        judged: &mut Vec<Commit>,
        deadline: Instant,
    ) -> Result<Option<Vec<Verdict>>, EngineError> {
        let prepared = self.backend.prepare(deadline).await;
        self.take_news();
        prepared?;
        let mut group = Group::after(self.state.clone(), self.waiting.len());
        let settled = match self.attempt(judged, &mut group, deadline).await {
            Ok(settled) => settled,
            Err(error @ EngineError::Damaged(_)) => return Err(error),
            Err(error) => {
                let (target, told) = (group.state.revision, self.watchers.told());
                self.backend.give_up(error, target, told)
            }
        };
        match settled {
            Settled::Landed => {
                self.state = group.state;
                Ok(Some(group.verdicts))
            }
            Settled::Overtaken => Ok(None),
            Settled::Nothing { found, error } => {
                self.find(found);
                Err(error)
            }
            Settled::Unknown(error) => Err(error),
        }
    }

    async fn attempt(
        &mut self,
        judged: &mut Vec<Commit>,
        group: &mut Group,
        deadline: Instant,
    ) -> Result<Settled, EngineError> {
        let write = self.backend.view().begin_write()?;
        let mut tables = Tables::open(&write)?;
        let mut sync = false;
        while let Some(next) = self.waiting.front()
            && (group.verdicts.is_empty() || self.backend.has_room(group, &next.transaction))
            && let Some(mut commit) = self.waiting.pop_front()
        {
            let transaction = match self.backend.is_shared() {
                true => commit.transaction.clone(),
                false => std::mem::take(&mut commit.transaction),
            };
            judged.push(commit);
            sync |= !may_wait(&transaction);
            let verdict = apply(&group.state, transaction, &tables)?;
            if let Verdict::Accepted(effects) = &verdict
                && effects.changed
            {
                let step = Step::of(effects);
                tables.write(&step)?;
                group.state.advance(effects);
                self.backend.add(group, step);
            }
            group.verdicts.push(verdict);
        }
        if group.state.revision == self.state.revision {
            drop(tables);
            write.abort()?;
            if sync && self.backend.next_sync().is_some() {
                // An answer may tell of what came before: that it was applied already.
                self.flush()?;
            }
            return Ok(self.backend.confirm(deadline).await);
        }
        self.sweep.along(&mut tables)?;
        drop(tables);
        fail::point("store.group.judged")?;
        let told = self.watchers.told();
        Ok(self
            .backend
            .commit(write, group, told, sync, deadline)
            .await)
    }

    /// What others have done holds; who watches and cannot be told of it has to load again.
    fn take_news(&mut self) {
        let news = self.backend.take_news();
        let Some(mut state) = news.state else {
            return;
        };
        if state.revision < self.watchers.told() {
            state.revision = self.watchers.told() + 1; // see `find`
        }
        self.state = state;
        if news.start_over || news.published.iter().any(|p| !p.dropped.is_empty()) {
            self.sweep = Sweep::everything(&self.state);
        }
        let revision = self.state.revision;
        if !news.start_over {
            let durable = self.backend.durable(revision);
            self.watchers.publish(&news.published, revision, durable);
        } else if revision != self.watchers.told() {
            let message = "the store was away; what came of it meanwhile is not known";
            self.watchers.start_over(revision, message);
        }
    }

    fn publish(&mut self, verdicts: Vec<Verdict>) {
        for verdict in &verdicts {
            if let Verdict::Accepted(effects) = verdict {
                self.sweep.add(effects);
            }
        }
        let published: Vec<Arc<Published>> = verdicts
            .into_iter()
            .filter_map(|verdict| match verdict {
                Verdict::Accepted(effects) if effects.changed => Some(Arc::new(effects.into())),
                Verdict::Accepted(_) | Verdict::Refused(_) => None,
            })
            .collect();
        let durable = self.backend.durable(self.state.revision);
        self.watchers
            .publish(&published, self.state.revision, durable);
    }

    fn watch(&mut self, request: WatchRequest) -> Result<Started, EngineError> {
        if self.backend.is_broken() {
            return Err(EngineError::Storage(redb::Error::PreviousIo));
        }
        self.watchers
            .begin(self.backend.view(), &self.state, request)
    }
}

/// What the writer wakes up with.
enum Woken {
    Job(Job),
    /// Nobody can ask any more.
    Gone,
    /// A lease may be over.
    Deadline,
    /// Another daemon has written.
    News,
    /// Nobody has asked for a moment, and something is to be swept up.
    Idle,
}

/// Whether a transaction is acknowledged before it is on disk. Only what its sender can send again, or do without.
fn may_wait(transaction: &Transaction) -> bool {
    let keeps = |op: &Op| matches!(op.op, Some(Kind::Keep(_)));
    let of_its_kind = transaction.turn.is_some() || transaction.ops.iter().all(keeps);
    transaction.durability() == Durability::Async && of_its_kind
}

fn reply(verdict: &Verdict, durable: u64) -> CommitReply {
    CommitReply {
        result: Some(match verdict {
            Verdict::Accepted(effects) => commit_reply::Result::Committed(Committed {
                revision: effects.revision,
                checkpoints: effects.checkpoints.clone(),
                durable,
            }),
            Verdict::Refused(refused) => commit_reply::Result::Refused(refused.clone()),
        }),
    }
}

/// A full disk is the store's "no", not an outage.
fn failed(error: &EngineError) -> Result<CommitReply, EngineError> {
    match error {
        EngineError::DiskFull | EngineError::EtcdFull => Ok(CommitReply {
            result: Some(commit_reply::Result::Refused(Refused {
                reason: Reason::DiskFull.into(),
                message: error.to_string(),
                checkpoint: None,
            })),
        }),
        EngineError::Damaged(entry) => Err(EngineError::Damaged(entry.clone())),
        other => Err(EngineError::Unwritten(other.to_string())),
    }
}
