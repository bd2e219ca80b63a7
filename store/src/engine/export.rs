//! Backup in progress: one view, written part by part, so that it delays nobody and takes little memory.

use std::collections::VecDeque;

use redb::ReadTransaction;

use super::error::EngineError;
use super::file::{File, load};
use super::read::Scan;
use crate::backup::{BackupWriter, Entry};
use crate::core::{KeyspaceKey, RowKey};

const ROWS: usize = 1000;

pub(crate) struct Export {
    view: ReadTransaction,
    writer: BackupWriter,
    /// Entries that come before the rows.
    first: Vec<Entry>,
    keyspaces: VecDeque<KeyspaceKey>,
    /// Keyspace that is being written.
    scan: Option<(KeyspaceKey, Scan)>,
    revision: u64,
    rows: u64,
    ended: bool,
}

impl File {
    /// Begins a backup of everything as it is now.
    pub(crate) fn export(&self) -> Result<Export, EngineError> {
        let view = self.begin_read()?;
        let state = load(&view)?;
        let mut first = vec![Entry::Begin {
            revision: state.revision,
        }];
        first.extend(state.checkpoints.into_values().map(Entry::Checkpoint));
        first.extend(state.used.iter().cloned().map(Entry::Used));
        first.extend(state.keyspaces.values().cloned().map(Entry::Keyspace));
        Ok(Export {
            view,
            writer: BackupWriter::default(),
            first,
            keyspaces: state.keyspaces.into_keys().collect(),
            scan: None,
            revision: state.revision,
            rows: 0,
            ended: false,
        })
    }
}

impl Export {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the next bytes of the file, or `None` after the last.
    pub(crate) fn part(&mut self) -> Result<Option<Vec<u8>>, EngineError> {
        let mut out = Vec::new();
        for entry in std::mem::take(&mut self.first) {
            self.write(entry, &mut out)?;
        }
        while out.is_empty() && !self.ended {
            match self.page()? {
                Some(rows) => {
                    for row in rows {
                        self.write(row, &mut out)?;
                    }
                }
                None => {
                    self.write(Entry::End, &mut out)?;
                    self.ended = true;
                }
            }
        }
        Ok(Some(out).filter(|out| !out.is_empty()))
    }

    /// Returns the next rows, or `None` after the last keyspace.
    fn page(&mut self) -> Result<Option<Vec<Entry>>, EngineError> {
        let ((app, id), mut scan) = match self.scan.take() {
            Some(walking) => walking,
            None => {
                let Some((app, id)) = self.keyspaces.pop_front() else {
                    return Ok(None);
                };
                let scan = Scan::tables(&self.view, &app, id, &[])?;
                ((app, id), scan)
            }
        };
        let (rows, more) = scan.page(ROWS)?;
        let entry = |row: morph_api::store::RowValue| {
            let at = RowKey {
                app: app.clone(),
                keyspace: id,
                table: row.table,
                key: row.key,
            };
            Entry::Row(at, row.revision, row.value.unwrap_or_default())
        };
        let rows: Vec<Entry> = rows.into_iter().map(entry).collect();
        self.rows += rows.len() as u64;
        if more {
            self.scan = Some(((app, id), scan));
        }
        Ok(Some(rows))
    }

    fn write(&mut self, entry: Entry, out: &mut Vec<u8>) -> Result<(), EngineError> {
        let written = self.writer.write(entry, out);
        written.map_err(|error| EngineError::WriteFailed(error.to_string()))
    }
}
