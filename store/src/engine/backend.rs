//! Interface between the engine and what keeps its data.
//!
//! The writer judges a group of transactions within one write transaction of the *view*, the [`File`] that all
//! readers read. A backend makes the group durable, which makes the view valid, and reports what became of a group
//! that failed. Everything else exists once: grouping, judging, watchers, answers, reads.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use morph_api::store::Transaction;
use redb::WriteTransaction;
use tokio::time::Instant;

use super::embedded::Embedded;
use super::error::EngineError;
use super::etcd::Etcd;
use super::file::File;
use super::group::{Group, GroupOutcome, News};
use super::write_set::WriteSet;

/// Time that a commit waits for etcd. A new leader is elected sooner, and clients wait longer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) enum Backend {
    /// The view is a file on disk.
    Embedded(Embedded),
    /// The data is in etcd, and the view in memory.
    Etcd(Box<Etcd>),
}

impl Backend {
    pub(super) fn view(&self) -> &Arc<File> {
        match self {
            Backend::Embedded(embedded) => embedded.view(),
            Backend::Etcd(etcd) => etcd.view(),
        }
    }

    /// Returns true if other daemons write as well, so that a group may have to be judged again.
    pub(super) fn is_shared(&self) -> bool {
        match self {
            Backend::Embedded(_) => false,
            Backend::Etcd(_) => true,
        }
    }

    /// Returns true while the view cannot be trusted.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Backend::Embedded(embedded) => embedded.is_broken(),
            Backend::Etcd(_) => false,
        }
    }

    /// Time that a commit waits while the backend is unreachable. Zero means that it fails at once.
    pub(super) fn write_timeout(&self) -> Duration {
        match self {
            Backend::Embedded(_) => Duration::ZERO,
            Backend::Etcd(_) => WRITE_TIMEOUT,
        }
    }

    /// Waits until there may be news. Never completes where nobody else writes.
    pub(super) async fn wait_for_news(&mut self) {
        match self {
            Backend::Embedded(_) => pending().await,
            Backend::Etcd(etcd) => etcd.wait_for_news().await,
        }
    }

    /// Returns what has happened since the last call.
    pub(super) fn take_news(&mut self) -> News {
        match self {
            Backend::Embedded(embedded) => embedded.take_news(),
            Backend::Etcd(etcd) => etcd.take_news(),
        }
    }

    /// Brings the view up to date before a group is judged. There may be news even after an error.
    pub(super) async fn prepare(&mut self, deadline: Instant) -> Result<(), EngineError> {
        match self {
            Backend::Embedded(embedded) => embedded.prepare(),
            Backend::Etcd(etcd) => etcd.prepare(deadline).await,
        }
    }

    /// Returns true if the transaction may join the group. The first one of a group always may.
    pub(super) fn has_room(&self, group: &Group, next: &Transaction) -> bool {
        match self {
            Backend::Embedded(_) => true,
            Backend::Etcd(_) => group.weight.has_room(next),
        }
    }

    /// Adds the changes of a transaction to the group. The view contains them already.
    pub(super) fn add(&self, group: &mut Group, write_set: WriteSet) {
        match self {
            Backend::Embedded(_) => {}
            Backend::Etcd(_) => {
                group.weight.add(&write_set);
                group.write_sets.push(write_set);
            }
        }
    }

    /// Makes the group in `write` durable, and lets readers see it. Watchers have been told everything up to revision
    /// `last_published`.
    pub(super) async fn commit(
        &mut self,
        write: WriteTransaction,
        group: &Group,
        last_published: u64,
        sync: bool,
        deadline: Instant,
    ) -> GroupOutcome {
        match self {
            Backend::Embedded(embedded) => {
                embedded.commit(write, group.state.revision, last_published, sync)
            }
            Backend::Etcd(etcd) => etcd.commit(write, group, deadline).await,
        }
    }

    /// Confirms the state on which a group that changes nothing was judged: a refusal is as definite as a commit.
    pub(super) async fn confirm(&mut self, deadline: Instant) -> GroupOutcome {
        match self {
            Backend::Embedded(_) => GroupOutcome::Committed,
            Backend::Etcd(etcd) => etcd.confirm(deadline).await,
        }
    }

    /// Handles an error before [`commit`](Self::commit) of a group that would have ended at revision `target`.
    pub(super) fn give_up(
        &mut self,
        error: EngineError,
        target: u64,
        last_published: u64,
    ) -> GroupOutcome {
        match self {
            Backend::Embedded(embedded) => embedded.recover(error, target, last_published),
            Backend::Etcd(_) => GroupOutcome::NotCommitted { found: None, error },
        }
    }

    /// Time at which [`flush`](Self::flush) is due.
    pub(super) fn next_sync(&self) -> Option<Instant> {
        match self {
            Backend::Embedded(embedded) => embedded.next_sync(),
            Backend::Etcd(_) => None,
        }
    }

    /// Makes commits durable that were acknowledged before.
    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        match self {
            Backend::Embedded(embedded) => embedded.flush(),
            Backend::Etcd(_) => Ok(()),
        }
    }

    /// Returns the revision up to which everything is durable, given that `revision` is committed.
    pub(super) fn durable(&self, revision: u64) -> u64 {
        match self {
            Backend::Embedded(embedded) => embedded.view().durable().min(revision),
            Backend::Etcd(_) => revision,
        }
    }

    pub(super) fn close(&mut self) {
        match self {
            Backend::Embedded(embedded) => embedded.close(),
            Backend::Etcd(_) => self.view().close(),
        }
    }
}
