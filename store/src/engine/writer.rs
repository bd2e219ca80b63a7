//! The one writer: takes all that waits, applies it within one transaction of the engine, makes that durable, answers.
//!
//! ```text
//!  jobs (bounded) --> group --> core::apply each --> write effects --> commit + fsync --> watchers told --> answers
//!                                                         |                 |
//!                                                         +---- error ------+--> open again, look which it was
//! ```

use std::sync::Arc;

use morph_api::store::ended::Why;
use morph_api::store::{
    CommitReply, Committed, Ended, Reason, Refused, Synced, Transaction, WatchRequest,
    commit_reply, watch_request,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::error::EngineError;
use super::file::File;
use super::mailbox::{Mailbox, Published, Selection, ended};
use super::reader::Walk;
use super::tables::Tables;
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
    pub(super) share: OwnedSemaphorePermit,
}

pub(super) struct Watch {
    pub(super) request: WatchRequest,
    pub(super) answer: oneshot::Sender<Result<Started, EngineError>>,
}

/// A watch begins, or ends at once.
pub(super) type Started = Result<Watching, Ended>;

/// A watch that has begun: the walk over the snapshot, and the mailbox with all that comes after it.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) walk: Walk,
    pub(crate) synced: Synced,
    pub(crate) mailbox: Arc<Mailbox>,
}

pub(super) struct Writer {
    file: Arc<File>,
    state: State,
    incarnation: u64,
    watchers: Vec<Arc<Mailbox>>,
    /// Up to where watchers have been told.
    told: u64,
    /// The disk failed, and so did the attempt to go on.
    broken: bool,
}

/// What a group comes to, one verdict a transaction.
struct Group {
    verdicts: Vec<Verdict>,
    state: State,
}

impl Writer {
    pub(super) fn new(file: Arc<File>, state: State, incarnation: u64) -> Self {
        Writer {
            file,
            told: state.revision,
            state,
            incarnation,
            watchers: Vec::new(),
            broken: false,
        }
    }

    /// Works until it is told to end or every sender is gone, then closes the file.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut open = true;
        while open && let Some(first) = jobs.blocking_recv() {
            let mut commits = Vec::new();
            let mut watches = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Commit(commit) => commits.push(commit),
                    Job::Watch(watch) => watches.push(watch),
                    Job::End => {
                        open = false;
                        break;
                    }
                }
                next = match commits.len() < GROUP && watches.len() < GROUP {
                    true => jobs.try_recv().ok(),
                    false => None,
                };
            }
            if !commits.is_empty() {
                self.group(commits);
            }
            for watch in watches {
                let started = self.watch(watch.request);
                // Whoever asked may have gone; then its mailbox goes with the answer.
                let _ = watch.answer.send(started);
            }
        }
        for watcher in &self.watchers {
            watcher.end(Why::Shutdown, "the store is shutting down");
        }
        self.file.close();
    }

    fn group(&mut self, commits: Vec<Commit>) {
        let mut answers = Vec::with_capacity(commits.len());
        let mut transactions = Vec::with_capacity(commits.len());
        for commit in commits {
            transactions.push(commit.transaction);
            answers.push((commit.answer, commit.share));
        }
        match self.write(transactions) {
            Ok(verdicts) => {
                let replies: Vec<_> = verdicts.iter().map(reply).collect();
                self.publish(verdicts);
                for ((answer, _), reply) in answers.into_iter().zip(replies) {
                    let _ = answer.send(Ok(reply)); // the caller may have given up
                }
            }
            Err(error) => {
                tracing::error!(%error, transactions = answers.len(), "nothing was written");
                for (answer, _) in answers {
                    let _ = answer.send(failed(&error));
                }
            }
        }
    }

    /// All of the group is durable, or nothing of it has happened.
    fn write(&mut self, transactions: Vec<Transaction>) -> Result<Vec<Verdict>, EngineError> {
        if self.broken {
            self.recover()?;
        }
        let mut group = Group {
            verdicts: Vec::with_capacity(transactions.len()),
            state: self.state.clone(),
        };
        match attempt(&self.file, transactions, &mut group) {
            Ok(()) => {}
            Err(error @ EngineError::Damaged(_)) => return Err(error),
            Err(error) => self.mend(error, group.state.revision)?,
        }
        self.state = group.state;
        Ok(group.verdicts)
    }

    /// The disk failed. Opens the file again and looks whether the group has landed all the same; if so it is made
    /// durable, else the error stands. If that fails too the outcome is unknown: no refusal may say that it is not.
    fn mend(&mut self, error: EngineError, target: u64) -> Result<(), EngineError> {
        tracing::warn!(%error, "the disk failed; opening the file again");
        self.broken = true;
        let unknown = |error: EngineError| EngineError::Unwritten(error.to_string());
        let found = self.file.reopen().map_err(unknown)?;
        if target > self.told && found.revision == target {
            self.sync(target).map_err(unknown)?;
            self.broken = false;
            return Ok(());
        }
        self.state = found;
        self.broken = false;
        Err(error)
    }

    /// A commit that changes nothing, and makes all before it durable.
    fn sync(&self, revision: u64) -> Result<(), EngineError> {
        let transaction = self.file.begin_write()?;
        let mut tables = Tables::open(&transaction)?;
        tables.touch(revision)?;
        drop(tables);
        Ok(transaction.commit()?)
    }

    /// Opens the file that could not be opened when the disk failed. What is found there holds; who watches and was
    /// not told of it has to load again.
    fn recover(&mut self) -> Result<(), EngineError> {
        let found = self.file.reopen()?;
        self.state = found;
        self.broken = false;
        tracing::info!(revision = self.state.revision, "the file is open again");
        if self.state.revision != self.told {
            self.told = self.state.revision;
            for watcher in self.watchers.drain(..) {
                watcher.end(
                    Why::TooSlow,
                    "the disk failed; what came of it is not known",
                );
            }
        }
        Ok(())
    }

    fn publish(&mut self, verdicts: Vec<Verdict>) {
        let published: Vec<Arc<Published>> = verdicts
            .into_iter()
            .filter_map(|verdict| match verdict {
                Verdict::Accepted(effects) if effects.changed => Some(Arc::new(effects.into())),
                Verdict::Accepted(_) | Verdict::Refused(_) => None,
            })
            .collect();
        self.forget_the_gone();
        self.told = self.state.revision;
        if !published.is_empty() {
            for watcher in &self.watchers {
                watcher.push(&published, self.state.revision);
            }
        }
    }

    /// A watcher is gone when its task has let go of the mailbox.
    fn forget_the_gone(&mut self) {
        self.watchers
            .retain(|watcher| Arc::strong_count(watcher) > 1);
    }

    /// Between two groups the state, the file and the mailbox agree on the revision: nothing is seen twice or missed.
    fn watch(&mut self, request: WatchRequest) -> Result<Started, EngineError> {
        if self.broken {
            return Err(EngineError::Storage(redb::Error::PreviousIo));
        }
        let app = &request.app;
        let truth = self.state.truth(app);
        let space = match request.which {
            None | Some(watch_request::Which::Space(0)) => {
                truth.ok_or_else(|| format!("app {app:?} has no truth"))
            }
            Some(watch_request::Which::Space(id)) => {
                let space = self.state.spaces.get(&(app.clone(), id));
                space.ok_or_else(|| format!("app {app:?} has no space {id}"))
            }
            Some(watch_request::Which::Schema(schema)) => match truth {
                Some(truth) if truth.schema == schema => Ok(truth),
                Some(truth) => {
                    let now = truth.schema;
                    Err(format!(
                        "the truth of app {app:?} has schema {now}, not {schema}"
                    ))
                }
                None => Err(format!("app {app:?} has no truth")),
            },
        };
        let space = match space {
            Ok(space) => space.clone(),
            Err(message) => return Ok(Err(ended(Why::SpaceGone, message))),
        };
        let view = self.file.begin_read()?;
        let walk = Walk::tables(&view, app, space.id, &request.tables)?;
        let selection = Selection {
            app: request.app,
            space: space.id,
            tables: request.tables,
        };
        let mailbox = Arc::new(Mailbox::new(selection, self.state.revision));
        self.forget_the_gone();
        self.watchers.push(Arc::clone(&mailbox));
        let synced = Synced {
            revision: self.state.revision,
            incarnation: self.incarnation,
            space: Some(space),
        };
        Ok(Ok(Watching {
            walk,
            synced,
            mailbox,
        }))
    }
}

fn attempt(
    file: &File,
    transactions: Vec<Transaction>,
    group: &mut Group,
) -> Result<(), EngineError> {
    let before = group.state.revision;
    let write = file.begin_write()?;
    let mut tables = Tables::open(&write)?;
    for transaction in transactions {
        let verdict = apply(&group.state, transaction, &tables)?;
        if let Verdict::Accepted(effects) = &verdict
            && effects.changed
        {
            tables.write(effects)?;
            group.state.advance(effects);
        }
        group.verdicts.push(verdict);
    }
    drop(tables);
    match group.state.revision > before {
        true => write.commit()?,
        false => write.abort()?,
    }
    Ok(())
}

fn reply(verdict: &Verdict) -> CommitReply {
    CommitReply {
        result: Some(match verdict {
            Verdict::Accepted(effects) => commit_reply::Result::Committed(Committed {
                revision: effects.revision,
                lanes: effects.lanes.clone(),
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
