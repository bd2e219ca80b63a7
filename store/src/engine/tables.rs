//! One write transaction of the engine: the core reads it, and its effects are written to it.

use redb::{ReadableTable, WriteTransaction};

use super::error::EngineError;
use super::layout::{self, Bytes, CHECKPOINTS, KEYSPACES, META, ROWS, USED};
use super::write_set::{Table, WriteSet};
use crate::core::{RowKey, Rows};

/// Tables of one write transaction. Reads see earlier writes of the same transaction.
pub(super) struct Tables<'t> {
    meta: redb::Table<'t, &'static str, u64>,
    rows: redb::Table<'t, Bytes, Bytes>,
    checkpoints: redb::Table<'t, Bytes, Bytes>,
    keyspaces: redb::Table<'t, Bytes, Bytes>,
    used: redb::Table<'t, Bytes, Bytes>,
}

impl Rows for Tables<'_> {
    type Error = EngineError;

    fn revision(&self, at: &RowKey) -> Result<Option<u64>, EngineError> {
        let key = layout::row_key(at);
        match self.rows.get(&key[..])? {
            Some(value) => layout::row_revision(&key, value.value()).map(Some),
            None => Ok(None),
        }
    }
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, EngineError> {
        Ok(Tables {
            meta: transaction.open_table(META)?,
            rows: transaction.open_table(ROWS)?,
            checkpoints: transaction.open_table(CHECKPOINTS)?,
            keyspaces: transaction.open_table(KEYSPACES)?,
            used: transaction.open_table(USED)?,
        })
    }

    /// Writes the changes of a transaction. After an error the engine's transaction is abandoned as a whole. Rows of
    /// a dropped keyspace stay until they are collected: nobody can name them, as its id is never used again.
    pub(super) fn write(&mut self, write_set: &WriteSet) -> Result<(), EngineError> {
        for write in &write_set.writes {
            self.entry(write.table(), &write.key, write.value.as_deref())?;
        }
        self.meta.insert("revision", write_set.revision)?;
        Ok(())
    }

    /// Writes or deletes an entry as it is.
    pub(super) fn entry(
        &mut self,
        table: Table,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), EngineError> {
        let table = match table {
            Table::Rows => &mut self.rows,
            Table::Checkpoints => &mut self.checkpoints,
            Table::Keyspaces => &mut self.keyspaces,
            Table::Used => &mut self.used,
        };
        match value {
            Some(value) => drop(table.insert(key, value)?),
            None => drop(table.remove(key)?),
        }
        Ok(())
    }

    /// Writes the current revision again, so that a commit makes everything before it durable.
    pub(super) fn touch(&mut self, revision: u64) -> Result<(), EngineError> {
        self.meta.insert("revision", revision)?;
        Ok(())
    }

    /// Sets the highest revision that may be given without an fsync.
    pub(super) fn set_ceiling(&mut self, ceiling: u64) -> Result<(), EngineError> {
        self.meta.insert("ceiling", ceiling)?;
        Ok(())
    }

    pub(super) fn clear(&mut self) -> Result<(), EngineError> {
        for table in [
            &mut self.rows,
            &mut self.checkpoints,
            &mut self.keyspaces,
            &mut self.used,
        ] {
            table.retain(|_, _| false)?;
        }
        Ok(())
    }

    /// Deletes up to `most` rows of a dropped keyspace. Returns their number.
    pub(super) fn remove_rows_of(
        &mut self,
        app: &str,
        id: u32,
        most: usize,
    ) -> Result<usize, EngineError> {
        let first = layout::keyspace_key(app, id);
        let mut last = None;
        let mut count = 0;
        for entry in self.rows.range::<&[u8]>(&first[..]..)?.take(most) {
            let (key, _) = entry?;
            if !key.value().starts_with(&first) {
                break;
            }
            last = Some(key.value().to_vec());
            count += 1;
        }
        if let Some(last) = last {
            self.rows.retain_in(&first[..]..=&last[..], |_, _| false)?;
        }
        Ok(count)
    }
}
