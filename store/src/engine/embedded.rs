//! Embedded backend: the view is a file on disk, and its commit with an fsync makes a group durable.
//!
//! A group of asynchronous turns is committed without an fsync. Readers see it, and the next commit with an fsync,
//! which follows soon, makes everything before it durable. A crash in between takes the group back together with its
//! revisions. Those must not appear again with other contents. So no group without an fsync goes beyond a *ceiling*
//! that is on disk, and a store that finds a ceiling at its start continues above it.

use std::sync::Arc;

use morph_api::fail;
use redb::{Durability, WriteTransaction};
use tokio::time::{Duration, Instant};

use super::error::EngineError;
use super::file::File;
use super::group::{GroupOutcome, News};
use super::layout::META;
use super::tables::Tables;
use crate::core::State;

/// Time that a group may stay without an fsync. The documented bound is twice as long, since the current group is
/// finished first.
const WAIT: Duration = Duration::from_millis(50);
/// Number of revisions by which the ceiling is raised, which costs an fsync.
const STRIDE: u64 = 1 << 20;

pub(super) struct Embedded {
    file: Arc<File>,
    /// Highest revision that may be given without an fsync.
    ceiling: u64,
    revision: u64,
    /// Time since which a commit waits for an fsync.
    unsynced: Option<Instant>,
    /// True after the disk failed and the file could not be opened again.
    broken: bool,
    /// State found when the file was opened again.
    found: Option<State>,
}

impl Embedded {
    pub(super) fn new(file: Arc<File>, revision: u64) -> Self {
        Embedded {
            file,
            ceiling: 0,
            revision,
            unsynced: None,
            broken: false,
            found: None,
        }
    }

    pub(super) fn view(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn take_news(&mut self) -> News {
        let state = self.found.take();
        News {
            restart: state.is_some(),
            state,
            published: Vec::new(),
        }
    }

    /// Opens the file again if that failed before. The state in it is valid.
    pub(super) fn prepare(&mut self) -> Result<(), EngineError> {
        if self.broken {
            let found = self.file.reopen()?;
            tracing::info!(revision = found.revision, "the file is open again");
            self.unsynced = None;
            self.revision = found.revision;
            self.found = Some(found);
            self.broken = false;
        }
        Ok(())
    }

    /// Commits with an fsync, or leaves that to a later commit.
    pub(super) fn commit(
        &mut self,
        write: WriteTransaction,
        target: u64,
        last_published: u64,
        sync: bool,
    ) -> GroupOutcome {
        match self.write(write, target, sync) {
            Ok(()) => {
                self.revision = target;
                GroupOutcome::Committed
            }
            Err(error) => self.recover(error, target, last_published),
        }
    }

    fn write(
        &mut self,
        mut write: WriteTransaction,
        target: u64,
        sync: bool,
    ) -> Result<(), EngineError> {
        if !sync && target <= self.ceiling {
            write.set_durability(Durability::None)?;
            write.commit()?;
            self.unsynced.get_or_insert_with(Instant::now);
            return Ok(());
        }
        if !sync {
            write.open_table(META)?.insert("ceiling", target + STRIDE)?;
        }
        write.commit()?;
        fail::point("store.group.durable")?;
        if !sync {
            self.ceiling = target + STRIDE;
        }
        self.synced(target);
        Ok(())
    }

    fn synced(&mut self, revision: u64) {
        self.unsynced = None;
        self.file.set_durable(revision);
    }

    /// Time at which waiting commits get an fsync.
    pub(super) fn next_sync(&self) -> Option<Instant> {
        self.unsynced.map(|since| since + WAIT)
    }

    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        let revision = self.revision;
        self.sync(revision, self.ceiling)?;
        self.synced(revision);
        Ok(())
    }

    /// Makes waiting commits durable. Resets the ceiling, so that the next start continues at this revision.
    pub(super) fn close(&mut self) {
        if self.unsynced.is_some() || self.ceiling > 0 {
            let closed = self.sync(self.revision, 0);
            if let Err(error) = closed {
                tracing::error!(%error, "the last acknowledged turns are not on disk");
            }
        }
        self.file.close();
    }

    /// Handles a failure of the disk. Opens the file again and looks whether the group, which would end at revision
    /// `target`, was committed after all. If so it is made durable, otherwise the error stands. If this fails too,
    /// the outcome is unknown, and no refusal may claim otherwise.
    pub(super) fn recover(
        &mut self,
        error: EngineError,
        target: u64,
        last_published: u64,
    ) -> GroupOutcome {
        tracing::warn!(%error, "the disk failed; opening the file again");
        let found = match self.file.reopen() {
            Ok(found) => found,
            Err(error) => return self.unknown(&error),
        };
        self.unsynced = None;
        self.revision = found.revision;
        if target > last_published && found.revision == target {
            return match self.sync(target, self.ceiling) {
                Ok(()) => {
                    self.synced(target);
                    GroupOutcome::Committed
                }
                Err(error) => self.unknown(&error),
            };
        }
        let found = Some(found);
        GroupOutcome::NotCommitted { found, error }
    }

    /// Commits without a change, which makes everything before it durable.
    fn sync(&self, revision: u64, ceiling: u64) -> Result<(), EngineError> {
        let transaction = self.file.begin_write()?;
        let mut tables = Tables::open(&transaction)?;
        tables.touch(revision)?;
        tables.set_ceiling(ceiling)?;
        drop(tables);
        Ok(transaction.commit()?)
    }

    fn unknown(&mut self, error: &EngineError) -> GroupOutcome {
        self.broken = true;
        GroupOutcome::Unknown(EngineError::WriteFailed(error.to_string()))
    }
}
