//! The embedded backend: the view is a file on disk, and its commit with an fsync is what makes a group durable.
//!
//! A group that may wait is committed without: readers see it, and the next commit with an fsync, which comes soon, makes
//! all before it durable. A crash in between takes it back, and its revisions with it. These must not come again with
//! other contents, so no group is committed without an fsync beyond a *ceiling* that is on disk; a store that finds one
//! goes on from there.

use std::sync::Arc;

use morph_api::fail;
use redb::{Durability, WriteTransaction};
use tokio::time::{Duration, Instant};

use super::backend::{News, Settled};
use super::error::EngineError;
use super::file::File;
use super::layout::META;
use super::tables::Tables;
use crate::core::State;

/// How long a group that may wait does so. What is promised is twice as long: the group in hand comes before.
const WAIT: Duration = Duration::from_millis(50);
/// Revisions until the ceiling is raised, which costs an fsync.
const STRIDE: u64 = 1 << 20;

pub(super) struct Embedded {
    file: Arc<File>,
    /// No revision beyond it was given without an fsync.
    ceiling: u64,
    /// The last revision that was committed.
    revision: u64,
    /// Since when something waits for an fsync.
    unsynced: Option<Instant>,
    /// The disk failed, and so did the attempt to go on.
    broken: bool,
    /// What was found when the file was open again.
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
            start_over: state.is_some(),
            state,
            published: Vec::new(),
        }
    }

    /// Opens the file that could not be opened when the disk failed. What is found there holds.
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

    /// With an fsync, or for one that comes later.
    pub(super) fn commit(
        &mut self,
        write: WriteTransaction,
        target: u64,
        told: u64,
        sync: bool,
    ) -> Settled {
        match self.write(write, target, sync) {
            Ok(()) => {
                self.revision = target;
                Settled::Landed
            }
            Err(error) => self.settle(error, target, told),
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

    /// When what waits for an fsync gets one.
    pub(super) fn next_sync(&self) -> Option<Instant> {
        self.unsynced.map(|since| since + WAIT)
    }

    /// Makes all durable that is committed.
    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        let revision = self.revision;
        self.sync(revision, self.ceiling)?;
        self.synced(revision);
        Ok(())
    }

    /// Nothing waits any more, and the next start goes on where this one ends.
    pub(super) fn close(&mut self) {
        if self.unsynced.is_some() || self.ceiling > 0 {
            let closed = self.sync(self.revision, 0);
            if let Err(error) = closed {
                tracing::error!(%error, "what was acknowledged last is not on disk");
            }
        }
        self.file.close();
    }

    /// The disk failed. Opens the file again and looks whether the group has landed all the same, which would end at
    /// revision `target`; if so it is made durable, else the error stands. If that fails too the outcome is unknown: no
    /// refusal may say that it is not.
    pub(super) fn settle(&mut self, error: EngineError, target: u64, told: u64) -> Settled {
        tracing::warn!(%error, "the disk failed; opening the file again");
        let found = match self.file.reopen() {
            Ok(found) => found,
            Err(error) => return self.unknown(&error),
        };
        self.unsynced = None;
        self.revision = found.revision;
        if target > told && found.revision == target {
            return match self.sync(target, self.ceiling) {
                Ok(()) => {
                    self.synced(target);
                    Settled::Landed
                }
                Err(error) => self.unknown(&error),
            };
        }
        let found = Some(found);
        Settled::Nothing { found, error }
    }

    /// A commit that changes nothing, and makes all before it durable.
    fn sync(&self, revision: u64, ceiling: u64) -> Result<(), EngineError> {
        let transaction = self.file.begin_write()?;
        let mut tables = Tables::open(&transaction)?;
        tables.touch(revision)?;
        tables.set_ceiling(ceiling)?;
        drop(tables);
        Ok(transaction.commit()?)
    }

    fn unknown(&mut self, error: &EngineError) -> Settled {
        self.broken = true;
        Settled::Unknown(EngineError::Unwritten(error.to_string()))
    }
}
