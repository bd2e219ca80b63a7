//! The only writer: takes all waiting jobs, judges them within one transaction of the view, lets the backend make that
//! durable, and answers.
//!
//! ```text
//!  jobs (bounded) --> waiting --> group: core::apply each --> view --> Backend::commit --> watchers told --> answers
//!                        ^                   |                             |
//!                        +-- no room --------'                             |
//!                        '-- lost the race against another daemon ---------'
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

use super::backend::Backend;
use super::error::EngineError;
use super::expiry::Expiry;
use super::garbage::GarbageCollector;
use super::group::{Group, GroupOutcome};
use super::subscriber_queue::Publication;
use super::tables::Tables;
use super::watchers::{WatchStart, Watchers};
use super::write_set::WriteSet;
use crate::core::{Decision, State, apply};

/// Transactions of one group. Beyond some hundreds a group gains nothing, and its first transaction waits longer.
const GROUP: usize = 512;
/// Time without a job after which garbage is collected. Clients that were just answered get their answers first, and
/// often find disk and processor free.
const IDLE_AFTER: Duration = Duration::from_millis(5);

pub(super) enum Job {
    Commit(CommitJob),
    Watch(WatchJob),
    /// Last job.
    End,
}

pub(super) struct CommitJob {
    pub(super) transaction: Transaction,
    pub(super) answer: oneshot::Sender<Result<CommitReply, EngineError>>,
    /// Share of the memory that waiting transactions may take, released with the answer.
    pub(super) _share: Option<OwnedSemaphorePermit>,
    pub(super) since: Instant,
}

pub(super) struct WatchJob {
    pub(super) request: WatchRequest,
    pub(super) answer: oneshot::Sender<Result<WatchStart, EngineError>>,
}

pub(super) struct Writer {
    backend: Backend,
    state: State,
    watchers: Watchers,
    leases: Expiry,
    /// Transactions that were taken from the queue and are not judged yet, one group at most.
    waiting: VecDeque<CommitJob>,
    garbage: GarbageCollector,
    open: bool,
}

impl Writer {
    pub(super) fn new(backend: Backend, state: State, incarnation: u64) -> Self {
        Writer {
            backend,
            watchers: Watchers::new(incarnation, state.revision),
            leases: Expiry::default(),
            garbage: GarbageCollector::full(&state),
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
                    WakeUp::Job(job) => first = Some(job),
                    WakeUp::Gone => break,
                    WakeUp::Deadline => {}
                    WakeUp::News => self.catch_up().await,
                    WakeUp::Idle => self.collect_garbage(),
                }
            }
            let watches = self.gather(first, &mut jobs);
            self.expire();
            self.flush_if_due();
            self.group().await;
            for watch in watches {
                let started = self.watch(watch.request);
                // The client may be gone; then its subscriber queue is dropped with the answer.
                let _ = watch.answer.send(started);
            }
        }
        while !self.waiting.is_empty() {
            self.group().await;
        }
        self.watchers.shut_down();
        self.backend.close();
    }

    /// Takes over what other daemons have written. If that fails, the next group reports it.
    async fn catch_up(&mut self) {
        let deadline = Instant::now() + self.backend.write_timeout();
        let _ = self.backend.prepare(deadline).await;
        self.take_news();
    }

    /// Revokes expired leases, as if a client had asked for it.
    fn expire(&mut self) {
        for transaction in self.leases.due(Instant::now().into_std()) {
            self.waiting.push_back(CommitJob {
                transaction,
                answer: oneshot::channel().0,
                _share: None,
                since: Instant::now(),
            });
        }
    }

    /// Makes asynchronous commits durable whose time has come.
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
                tracing::error!(%error, "the last acknowledged turns are not on disk");
                self.give_up(error);
            }
        }
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        fail::point("store.flush.due")?;
        self.backend.flush()
    }

    /// Waits for the next job, or for what else is to be done.
    async fn next(&mut self, jobs: &mut mpsc::Receiver<Job>) -> WakeUp {
        let over = self.leases.next_deadline();
        let sync = self.backend.next_sync().map(Instant::into_std);
        let deadline = over.into_iter().chain(sync).min();
        let over = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => pending().await,
            }
        };
        let collects = !self.backend.is_broken() && !self.garbage.is_done();
        let idle = async {
            match collects {
                true => tokio::time::sleep(IDLE_AFTER).await,
                false => pending().await,
            }
        };
        tokio::select! {
            job = jobs.recv() => job.map_or(WakeUp::Gone, WakeUp::Job),
            () = over => WakeUp::Deadline,
            () = self.backend.wait_for_news() => WakeUp::News,
            () = idle => WakeUp::Idle,
        }
    }

    fn collect_garbage(&mut self) {
        if let Err(error) = self.garbage.collect_when_idle(self.backend.view()) {
            self.collection_failed(error);
        }
    }

    /// Continues after an error that concerns no group. Collection resumes with the next transaction.
    fn collection_failed(&mut self, error: EngineError) {
        tracing::warn!(%error, "cannot delete the rows of a dropped keyspace; this is tried again");
        self.give_up(error);
        self.garbage = GarbageCollector::full(&self.state);
    }

    fn give_up(&mut self, error: EngineError) {
        let last_published = self.watchers.last_published();
        match self.backend.give_up(error, last_published, last_published) {
            GroupOutcome::NotCommitted { found, .. } => self.adopt(found),
            GroupOutcome::Committed | GroupOutcome::LostRace | GroupOutcome::Unknown(_) => {}
        }
    }

    /// Takes over what the backend still has after a failure.
    fn adopt(&mut self, found: Option<State>) {
        let Some(mut state) = found else {
            return;
        };
        let last_published = self.watchers.last_published();
        if state.revision < last_published {
            // Commits acknowledged without an fsync are lost. Their revisions are not given again.
            state.revision = last_published + 1;
            let message =
                "the disk failed, and turns that were not on disk yet are lost: load again";
            self.watchers.restart(state.revision, message);
        }
        self.garbage = GarbageCollector::full(&state);
        self.state = state;
    }

    /// Takes the jobs that are there, up to one group, without waiting.
    fn gather(&mut self, first: Option<Job>, jobs: &mut mpsc::Receiver<Job>) -> Vec<WatchJob> {
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

    /// Judges, commits and answers one group of the waiting transactions.
    async fn group(&mut self) {
        let Some(oldest) = self.waiting.front() else {
            return;
        };
        let deadline = oldest.since + self.backend.write_timeout();
        let mut judged = Vec::with_capacity(self.waiting.len());
        match self.write(&mut judged, deadline).await {
            Ok(Some(decisions)) => {
                let durable = self.backend.durable(self.state.revision);
                let replies: Vec<_> = decisions.iter().map(|v| reply(v, durable)).collect();
                self.publish(decisions);
                // The group is committed, whether its clients are told or not.
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
                    self.fail(Vec::new(), &EngineError::LostRace);
                }
            }
            Err(error) => self.fail(judged, &error),
        }
    }

    /// Fails those that were judged, and waiting ones whose time is over: the next group would meet the same problem.
    fn fail(&mut self, mut judged: Vec<CommitJob>, error: &EngineError) {
        let (now, timeout) = (Instant::now(), self.backend.write_timeout());
        while let Some(commit) = self
            .waiting
            .pop_front_if(|commit| commit.since + timeout <= now)
        {
            judged.push(commit);
        }
        if !judged.is_empty() {
            tracing::error!(%error, transactions = judged.len(), "the group of transactions was not committed");
        }
        // Nobody could renew a lease either.
        self.leases.restart();
        for commit in judged {
            let _ = commit.answer.send(failed(error));
        }
    }

    /// Commits a group as a whole or not at all. `None` means that it has to be judged again.
    async fn write(
        &mut self,
        judged: &mut Vec<CommitJob>,
        deadline: Instant,
    ) -> Result<Option<Vec<Decision>>, EngineError> {
        let prepared = self.backend.prepare(deadline).await;
        self.take_news();
        prepared?;
        let mut group = Group::after(self.state.clone(), self.waiting.len());
        let outcome = match self.attempt(judged, &mut group, deadline).await {
            Ok(outcome) => outcome,
            Err(error @ EngineError::Corrupt(_)) => return Err(error),
            Err(error) => {
                let (target, last_published) =
                    (group.state.revision, self.watchers.last_published());
                self.backend.give_up(error, target, last_published)
            }
        };
        match outcome {
            GroupOutcome::Committed => {
                self.state = group.state;
                Ok(Some(group.decisions))
            }
            GroupOutcome::LostRace => Ok(None),
            GroupOutcome::NotCommitted { found, error } => {
                self.adopt(found);
                Err(error)
            }
            GroupOutcome::Unknown(error) => Err(error),
        }
    }

    async fn attempt(
        &mut self,
        judged: &mut Vec<CommitJob>,
        group: &mut Group,
        deadline: Instant,
    ) -> Result<GroupOutcome, EngineError> {
        let write = self.backend.view().begin_write()?;
        let mut tables = Tables::open(&write)?;
        let mut sync = false;
        while let Some(next) = self.waiting.front()
            && (group.decisions.is_empty() || self.backend.has_room(group, &next.transaction))
            && let Some(mut commit) = self.waiting.pop_front()
        {
            let transaction = match self.backend.is_shared() {
                true => commit.transaction.clone(),
                false => std::mem::take(&mut commit.transaction),
            };
            judged.push(commit);
            sync |= !may_wait(&transaction);
            let decision = apply(&group.state, transaction, &tables)?;
            if let Decision::Accepted(effects) = &decision
                && effects.changed
            {
                let write_set = WriteSet::of(effects);
                tables.write(&write_set)?;
                group.state.advance(effects);
                self.backend.add(group, write_set);
            }
            group.decisions.push(decision);
        }
        if group.state.revision == self.state.revision {
            drop(tables);
            write.abort()?;
            if sync && self.backend.next_sync().is_some() {
                // An answer such as `ALREADY` may refer to earlier commits, so these must be durable.
                self.flush()?;
            }
            return Ok(self.backend.confirm(deadline).await);
        }
        self.garbage.collect_with_group(&mut tables)?;
        drop(tables);
        fail::point("store.group.judged")?;
        let last_published = self.watchers.last_published();
        Ok(self
            .backend
            .commit(write, group, last_published, sync, deadline)
            .await)
    }

    /// Takes over what other daemons have written. Watchers that cannot be told of it have to load again.
    fn take_news(&mut self) {
        let news = self.backend.take_news();
        let Some(mut state) = news.state else {
            return;
        };
        if state.revision < self.watchers.last_published() {
            state.revision = self.watchers.last_published() + 1; // see `adopt`
        }
        self.state = state;
        if news.restart || news.published.iter().any(|p| !p.dropped.is_empty()) {
            self.garbage = GarbageCollector::full(&self.state);
        }
        let revision = self.state.revision;
        if !news.restart {
            let durable = self.backend.durable(revision);
            self.watchers.publish(&news.published, revision, durable);
        } else if revision != self.watchers.last_published() {
            let message = "changes in etcd were missed: load again";
            self.watchers.restart(revision, message);
        }
    }

    fn publish(&mut self, decisions: Vec<Decision>) {
        for decision in &decisions {
            if let Decision::Accepted(effects) = decision {
                self.garbage.add(effects);
            }
        }
        let published: Vec<Arc<Publication>> = decisions
            .into_iter()
            .filter_map(|decision| match decision {
                Decision::Accepted(effects) if effects.changed => Some(Arc::new(effects.into())),
                Decision::Accepted(_) | Decision::Refused(_) => None,
            })
            .collect();
        let durable = self.backend.durable(self.state.revision);
        self.watchers
            .publish(&published, self.state.revision, durable);
    }

    fn watch(&mut self, request: WatchRequest) -> Result<WatchStart, EngineError> {
        if self.backend.is_broken() {
            return Err(EngineError::Storage(redb::Error::PreviousIo));
        }
        self.watchers
            .begin(self.backend.view(), &self.state, request)
    }
}

enum WakeUp {
    Job(Job),
    /// All senders are gone.
    Gone,
    /// A lease may have expired.
    Deadline,
    /// Another daemon has written.
    News,
    /// No job came for a moment, and there is garbage.
    Idle,
}

/// Returns true if a transaction may be acknowledged before it is on disk. Only turns, which can be sent again, and
/// renewals of leases may.
fn may_wait(transaction: &Transaction) -> bool {
    let keeps = |op: &Op| matches!(op.op, Some(Kind::Keep(_)));
    let of_its_kind = transaction.turn.is_some() || transaction.ops.iter().all(keeps);
    transaction.durability() == Durability::Async && of_its_kind
}

fn reply(decision: &Decision, durable: u64) -> CommitReply {
    CommitReply {
        result: Some(match decision {
            Decision::Accepted(effects) => commit_reply::Result::Committed(Committed {
                revision: effects.revision,
                checkpoints: effects.checkpoints.clone(),
                durable,
            }),
            Decision::Refused(refused) => commit_reply::Result::Refused(refused.clone()),
        }),
    }
}

/// Answers a transaction that failed. A full disk is a refusal, not an outage.
fn failed(error: &EngineError) -> Result<CommitReply, EngineError> {
    match error {
        EngineError::DiskFull | EngineError::EtcdFull => Ok(CommitReply {
            result: Some(commit_reply::Result::Refused(Refused {
                reason: Reason::DiskFull.into(),
                message: error.to_string(),
                checkpoint: None,
            })),
        }),
        EngineError::Corrupt(entry) => Err(EngineError::Corrupt(entry.clone())),
        other => Err(EngineError::WriteFailed(other.to_string())),
    }
}
