//! One write transaction of the engine, as the core reads it and its effects are written.

use morph_api::store::{Lane, Space};
use prost::Message;
use redb::{ReadableTable, Table, WriteTransaction};

use super::error::EngineError;
use super::layout::{self, Bytes, LANES, META, ROWS, SPACES, USED};
use crate::core::{At, Effects, Rows};

/// The tables within one write transaction: reads see what was written before in it.
pub(super) struct Tables<'t> {
    meta: Table<'t, &'static str, u64>,
    rows: Table<'t, Bytes, Bytes>,
    lanes: Table<'t, Bytes, Bytes>,
    spaces: Table<'t, Bytes, Bytes>,
    used: Table<'t, Bytes, Bytes>,
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
            lanes: transaction.open_table(LANES)?,
            spaces: transaction.open_table(SPACES)?,
            used: transaction.open_table(USED)?,
        })
    }

    /// An error in the middle is no harm: the engine's transaction is then given up as a whole.
    pub(super) fn write(&mut self, effects: &Effects) -> Result<(), EngineError> {
        for (at, value) in &effects.rows {
            self.row(at, effects.revision, value.as_deref())?;
        }
        for (app, id) in &effects.dropped {
            self.drop_space(app, *id)?;
        }
        for lane in &effects.lanes {
            self.lane(lane)?;
        }
        for space in &effects.spaces {
            self.space(space)?;
        }
        for (app, id) in &effects.used {
            let key = layout::space_key(app, *id);
            self.used.insert(&key[..], &layout::seal(&key, &[])[..])?;
        }
        self.meta.insert("revision", effects.revision)?;
        Ok(())
    }

    /// Writes the revision that is there already, so that a commit makes all before it durable.
    pub(super) fn touch(&mut self, revision: u64) -> Result<(), EngineError> {
        self.meta.insert("revision", revision)?;
        Ok(())
    }

    fn row(&mut self, at: &At, revision: u64, value: Option<&str>) -> Result<(), EngineError> {
        let key = layout::row_key(at);
        match value {
            Some(value) => {
                let sealed = layout::seal_row(&key, revision, value);
                self.rows.insert(&key[..], &sealed[..])?;
            }
            None => {
                self.rows.remove(&key[..])?;
            }
        }
        Ok(())
    }

    fn lane(&mut self, lane: &Lane) -> Result<(), EngineError> {
        let key = layout::lane_key(&lane.app, &lane.node);
        let sealed = layout::seal(&key, &lane.encode_to_vec());
        self.lanes.insert(&key[..], &sealed[..])?;
        Ok(())
    }

    fn space(&mut self, space: &Space) -> Result<(), EngineError> {
        let key = layout::space_key(&space.app, space.id);
        let sealed = layout::seal(&key, &space.encode_to_vec());
        self.spaces.insert(&key[..], &sealed[..])?;
        Ok(())
    }

    /// Its rows stay until they are swept: nobody can name them any more, as an id is never used again.
    fn drop_space(&mut self, app: &str, id: u32) -> Result<(), EngineError> {
        self.spaces.remove(&layout::space_key(app, id)[..])?;
        Ok(())
    }

    /// Takes away up to `most` rows of a space that was dropped; how many.
    pub(super) fn sweep(&mut self, app: &str, id: u32, most: usize) -> Result<usize, EngineError> {
        let first = layout::space_key(app, id);
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
