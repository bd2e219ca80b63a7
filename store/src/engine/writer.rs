//! The one writer: takes all that waits, judges it within one transaction of the view, has the backend make that
//! durable, answers.
//!
//! ```text
//!  jobs (bounded) --> waiting --> group: core::apply each --> view --> Backend::commit --> watchers told --> answers
//!                        ^                   |                             |
//!                        '-- no room --------'                           error --> Backend::settle: which was it?
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use morph_api::fail;
use morph_api::store::{
    CommitReply, Committed, Reason, Refused, Transaction, WatchRequest, commit_reply,
};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::backend::{Backend, Group, Settled};
use super::error::EngineError;
use super::expiry::Expiry;
use super::mailbox::Published;
use super::sweep::Sweep;
use super::tables::Tables;
use super::watchers::{Started, Watchers};
use crate::core::{State, Verdict, apply};

/// Transactions of one group. Beyond some hundreds a group gains nothing and its first one waits longer.
const GROUP: usize = 512;

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
    /// Its share of the memory that waiting transactions may take.
    pub(super) share: Option<OwnedSemaphorePermit>,
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
    /// The backend failed, and so did the attempt to go on.
    broken: bool,
    open: bool,
}

/// Who waits for the verdict on a transaction.
type Waiter = (
    oneshot::Sender<Result<CommitReply, EngineError>>,
    Option<OwnedSemaphorePermit>,
);

impl Writer {
    pub(super) fn new(backend: Backend, state: State, incarnation: u64) -> Self {
        Writer {
            backend,
            watchers: Watchers::new(incarnation, state.revision),
            leases: Expiry::default(),
            sweep: Sweep::everything(&state),
            state,
            waiting: VecDeque::new(),
            broken: false,
            open: true,
        }
    }

    /// Works until it is told to end or every sender is gone, then closes the backend.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while self.open {
            self.leases.follow(&self.state.leases, Instant::now());
            let watches = match self.waiting.is_empty() {
                true => match self.next(&mut jobs).await {
                    Woken::Job(first) => self.gather(Some(first), &mut jobs),
                    Woken::Gone => break,
                    Woken::Deadline => Vec::new(),
                },
                false => self.gather(None, &mut jobs),
            };
            self.expire();
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
        self.backend.close().await;
    }

    /// Leases whose time is over are revoked, as if someone had asked for it.
    fn expire(&mut self) {
        for transaction in self.leases.due(Instant::now()) {
            self.waiting.push_back(Commit {
                transaction,
                answer: oneshot::channel().0,
                share: None,
            });
        }
    }

    /// The next job. While there is none, what was dropped is swept up.
    async fn next(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Woken {
        let deadline = self.leases.next_deadline();
        while !self.broken
            && !self.sweep.is_done()
            && deadline.is_none_or(|deadline| Instant::now() < deadline)
        {
            match jobs.try_recv() {
                Ok(job) => return Woken::Job(job),
                Err(TryRecvError::Disconnected) => return Woken::Gone,
                Err(TryRecvError::Empty) => {}
            }
            if let Err(error) = self.sweep.idle(self.backend.view()) {
                self.not_swept(error).await;
                break;
            }
        }
        next(jobs, deadline).await
    }

    /// Nothing of a group is concerned, but the backend has to go on. The rest waits for the next transaction.
    async fn not_swept(&mut self, error: EngineError) {
        tracing::warn!(%error, "cannot sweep up what was dropped");
        let told = self.watchers.told();
        match self.backend.settle(error, told, told).await {
            Settled::Landed => {}
            Settled::Nothing(state, _) => self.state = state,
            Settled::Unknown(_) => self.broken = true,
        }
        self.sweep = Sweep::everything(&self.state);
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
        if self.waiting.is_empty() {
            return;
        }
        let mut waiters = Vec::with_capacity(self.waiting.len());
        match self.write(&mut waiters).await {
            Ok(verdicts) => {
                let replies: Vec<_> = verdicts.iter().map(reply).collect();
                self.publish(verdicts);
                // Whether they are told or not, it has happened.
                let _ = fail::point("store.group.told");
                for ((answer, _), reply) in waiters.into_iter().zip(replies) {
                    let _ = answer.send(Ok(reply)); // the caller may have given up
                }
            }
            Err(error) => {
                // What was not reached fails the same way: the next group would find the same trouble.
                waiters.extend(self.waiting.drain(..).map(|c| (c.answer, c.share)));
                tracing::error!(%error, transactions = waiters.len(), "nothing was written");
                // Nor could anyone keep a lease.
                self.leases.start_over();
                for (answer, _) in waiters {
                    let _ = answer.send(failed(&error));
                }
            }
        }
    }

    /// All of the group is durable, or nothing of it has happened.
    async fn write(&mut self, waiters: &mut Vec<Waiter>) -> Result<Vec<Verdict>, EngineError> {
        if self.broken {
            self.recover().await?;
        }
        let mut group = Group::after(self.state.clone(), self.waiting.len());
        match self.attempt(waiters, &mut group).await {
            Ok(()) => {}
            Err(error @ EngineError::Damaged(_)) => return Err(error),
            Err(error) => {
                let (target, told) = (group.state.revision, self.watchers.told());
                match self.backend.settle(error, target, told).await {
                    Settled::Landed => {}
                    Settled::Nothing(state, error) => {
                        self.sweep = Sweep::everything(&state);
                        self.state = state;
                        return Err(error);
                    }
                    Settled::Unknown(error) => {
                        self.broken = true;
                        return Err(error);
                    }
                }
            }
        }
        self.state = group.state;
        Ok(group.verdicts)
    }

    async fn attempt(
        &mut self,
        waiters: &mut Vec<Waiter>,
        group: &mut Group,
    ) -> Result<(), EngineError> {
        let write = self.backend.view().begin_write()?;
        let mut tables = Tables::open(&write)?;
        while let Some(next) = self.waiting.front()
            && (group.verdicts.is_empty() || self.backend.has_room(group, &next.transaction))
            && let Some(commit) = self.waiting.pop_front()
        {
            let (transaction, waiter) = (commit.transaction, (commit.answer, commit.share));
            waiters.push(waiter);
            let verdict = apply(&group.state, transaction, &tables)?;
            if let Verdict::Accepted(effects) = &verdict
                && effects.changed
            {
                tables.write(effects)?;
            }
            group.take(verdict);
        }
        if group.state.revision == self.state.revision {
            drop(tables);
            return Ok(write.abort()?);
        }
        self.sweep.along(&mut tables)?;
        drop(tables);
        fail::point("store.group.judged")?;
        self.backend.commit(write, group).await?;
        Ok(fail::point("store.group.durable")?)
    }

    /// What is found holds; who watches and was not told of it has to load again.
    async fn recover(&mut self) -> Result<(), EngineError> {
        self.state = self.backend.recover().await?;
        self.sweep = Sweep::everything(&self.state);
        self.broken = false;
        if self.state.revision != self.watchers.told() {
            let message = "the disk failed; what came of it is not known";
            self.watchers.start_over(self.state.revision, message);
        }
        Ok(())
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
        self.watchers.publish(&published, self.state.revision);
    }

    fn watch(&mut self, request: WatchRequest) -> Result<Started, EngineError> {
        if self.broken {
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
    Deadline,
}

async fn next(jobs: &mut mpsc::Receiver<Job>, deadline: Option<Instant>) -> Woken {
    let job = match deadline {
        Some(deadline) => match tokio::time::timeout_at(deadline.into(), jobs.recv()).await {
            Ok(job) => job,
            Err(_) => return Woken::Deadline,
        },
        None => jobs.recv().await,
    };
    job.map_or(Woken::Gone, Woken::Job)
}

fn reply(verdict: &Verdict) -> CommitReply {
    CommitReply {
        result: Some(match verdict {
            Verdict::Accepted(effects) => commit_reply::Result::Committed(Committed {
                revision: effects.revision,
                lanes: effects.lanes.clone(),
                durable: effects.revision,
            }),
            Verdict::Refused(refused) => commit_reply::Result::Refused(refused.clone()),
        }),
    }
}

/// A full disk is the store's "no", not an outage.
fn failed(error: &EngineError) -> Result<CommitReply, EngineError> {
    match error {
        EngineError::NoSpace => Ok(CommitReply {
            result: Some(commit_reply::Result::Refused(Refused {
                reason: Reason::NoSpace.into(),
                message: error.to_string(),
                lane: None,
            })),
        }),
        EngineError::Damaged(entry) => Err(EngineError::Damaged(entry.clone())),
        other => Err(EngineError::Unwritten(other.to_string())),
    }
}
