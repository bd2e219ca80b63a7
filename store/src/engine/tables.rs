//! One write transaction of the engine, as the core reads it and its effects are written.

use redb::{ReadableTable, WriteTransaction};

use super::error::EngineError;
use super::layout::{self, Bytes, CHECKPOINTS, KEYSPACES, META, ROWS, USED};
use super::step::{Step, Table};
use crate::core::{At, Rows};

/// The tables within one write transaction: reads see what was written before in it.
pub(super) struct Tables<'t> {
    meta: redb::Table<'t, &'static str, u64>,
    rows: redb::Table<'t, Bytes, Bytes>,
    checkpoints: redb::Table<'t, Bytes, Bytes>,
    keyspaces: redb::Table<'t, Bytes, Bytes>,
    used: redb::Table<'t, Bytes, Bytes>,
}

impl Rows for Tables<'_> {
    type Error = EngineError;

    fn revision(&self, at: &At) -> Result<Option<u64>, EngineError> {
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

    /// An error in the middle is no harm: the engine's transaction is then given up as a whole. The rows of a dropped
    /// keyspace stay until they are swept: nobody can name them any more, as an id is never used again.
    pub(super) fn write(&mut self, step: &Step) -> Result<(), EngineError> {
        for write in &step.writes {
            self.entry(write.table(), &write.key, write.value.as_deref())?;
        }
        self.meta.insert("revision", step.revision)?;
        Ok(())
    }

    /// Writes an entry as it is, or deletes it.
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

    /// Writes the revision that is there already, so that a commit makes all before it durable.
    pub(super) fn touch(&mut self, revision: u64) -> Result<(), EngineError> {
        self.meta.insert("revision", revision)?;
        Ok(())
    }

    /// No revision beyond it is given before it is raised.
    pub(super) fn set_ceiling(&mut self, ceiling: u64) -> Result<(), EngineError> {
        self.meta.insert("ceiling", ceiling)?;
        Ok(())
    }

    /// Deletes all entries of all tables.
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

    /// Takes away up to `most` rows of a keyspace that was dropped; how many.
    pub(super) fn sweep(&mut self, app: &str, id: u32, most: usize) -> Result<usize, EngineError> {
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
