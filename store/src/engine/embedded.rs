//! The embedded backend: the view is a file on disk, and its commit with an fsync is what makes a group durable.

use std::sync::Arc;

use super::backend::Settled;
use super::error::EngineError;
use super::file::File;
use super::tables::Tables;
use crate::core::State;

pub(super) struct Embedded {
    file: Arc<File>,
}

impl Embedded {
    pub(super) fn new(file: Arc<File>) -> Self {
        Embedded { file }
    }

    pub(super) fn view(&self) -> &File {
        &self.file
    }

    /// The disk failed. Opens the file again and looks whether the group has landed all the same; if so it is made
    /// durable, else the error stands. If that fails too the outcome is unknown: no refusal may say that it is not.
    pub(super) fn settle(&mut self, error: EngineError, target: u64, told: u64) -> Settled {
        tracing::warn!(%error, "the disk failed; opening the file again");
        let found = match self.file.reopen() {
            Ok(found) => found,
            Err(error) => return unknown(&error),
        };
        if target > told && found.revision == target {
            return match self.sync(target) {
                Ok(()) => Settled::Landed,
                Err(error) => unknown(&error),
            };
        }
        Settled::Nothing(found, error)
    }

    /// Opens the file that could not be opened when the disk failed. What is found there holds.
    pub(super) fn recover(&mut self) -> Result<State, EngineError> {
        let found = self.file.reopen()?;
        tracing::info!(revision = found.revision, "the file is open again");
        Ok(found)
    }

    /// A commit that changes nothing, and makes all before it durable.
    fn sync(&self, revision: u64) -> Result<(), EngineError> {
        let transaction = self.file.begin_write()?;
        let mut tables = Tables::open(&transaction)?;
        tables.touch(revision)?;
        drop(tables);
        Ok(transaction.commit()?)
    }
}

fn unknown(error: &EngineError) -> Settled {
    Settled::Unknown(EngineError::Unwritten(error.to_string()))
}
