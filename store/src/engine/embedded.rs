//! The embedded backend: the view is a file on disk, and its commit with an fsync is what makes a group durable.

use std::sync::Arc;

use morph_api::fail;
use redb::WriteTransaction;

use super::backend::{News, Settled};
use super::error::EngineError;
use super::file::File;
use super::tables::Tables;
use crate::core::State;

pub(super) struct Embedded {
    file: Arc<File>,
    /// The disk failed, and so did the attempt to go on.
    broken: bool,
    /// What was found when the file was open again.
    found: Option<State>,
}

impl Embedded {
    pub(super) fn new(file: Arc<File>) -> Self {
        Embedded {
            file,
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
            self.found = Some(found);
            self.broken = false;
        }
        Ok(())
    }

    pub(super) fn commit(&mut self, write: WriteTransaction, target: u64, told: u64) -> Settled {
        let written = write.commit().map_err(EngineError::from);
        match written.and_then(|()| Ok(fail::point("store.group.durable")?)) {
            Ok(()) => Settled::Landed,
            Err(error) => self.settle(error, target, told),
        }
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
        if target > told && found.revision == target {
            return match self.sync(target) {
                Ok(()) => Settled::Landed,
                Err(error) => self.unknown(&error),
            };
        }
        let found = Some(found);
        Settled::Nothing { found, error }
    }

    /// A commit that changes nothing, and makes all before it durable.
    fn sync(&self, revision: u64) -> Result<(), EngineError> {
        let transaction = self.file.begin_write()?;
        let mut tables = Tables::open(&transaction)?;
        tables.touch(revision)?;
        drop(tables);
        Ok(transaction.commit()?)
    }

    fn unknown(&mut self, error: &EngineError) -> Settled {
        self.broken = true;
        Settled::Unknown(EngineError::Unwritten(error.to_string()))
    }
}
