//! Garbage collection: rows of dropped keyspaces are deleted later and little by little, so that a swap takes as long
//! with a million rows as with none.
//!
//! Nothing on disk says what is still to be deleted. Ids of keyspaces are never used again, so rows of a keyspace
//! that was used and no longer exists are garbage. After a start every such keyspace is looked at, and most of them
//! are empty.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::error::EngineError;
use super::file::File;
use super::tables::Tables;
use crate::core::{Effects, KeyspaceKey, State};

/// Rows that are deleted along with a group: they add a fraction of a millisecond to its fsync.
const ROWS_WITH_GROUP: usize = 64;
/// Time without a pause after which groups take garbage along. A single transaction, such as a fence, is not to pay
/// for a drop.
const BUSY_AFTER: Duration = Duration::from_millis(100);
/// Rows that are deleted at once while nothing else is to be done. A transaction that arrives meanwhile waits some
/// milliseconds.
const ROWS_WHEN_IDLE: usize = 512;

/// DroppedKeyspace keyspaces that may still have rows.
#[derive(Debug)]
pub(super) struct GarbageCollector {
    keyspaces: VecDeque<KeyspaceKey>,
    /// End of the last pause, or the last time when there was no garbage.
    last_pause: Instant,
}

impl GarbageCollector {
    /// Collects everything: after a start, or when the outcome of the last group is unknown.
    pub(super) fn full(state: &State) -> GarbageCollector {
        let gone = state.used.iter();
        let gone = gone.filter(|key| !state.keyspaces.contains_key(key));
        GarbageCollector {
            keyspaces: gone.cloned().collect(),
            last_pause: Instant::now(),
        }
    }

    pub(super) fn add(&mut self, effects: &Effects) {
        if self.is_done() {
            self.last_pause = Instant::now();
        }
        self.keyspaces.extend(effects.dropped.iter().cloned());
    }

    pub(super) fn is_done(&self) -> bool {
        self.keyspaces.is_empty()
    }

    /// Deletes some rows within a group, which may or may not be committed.
    pub(super) fn collect_with_group(
        &mut self,
        tables: &mut Tables<'_>,
    ) -> Result<(), EngineError> {
        match self.last_pause.elapsed() < BUSY_AFTER {
            true => Ok(()),
            false => self.collect(tables, ROWS_WITH_GROUP).map(|_| ()),
        }
    }

    /// Deletes some rows in a transaction of its own.
    pub(super) fn collect_when_idle(&mut self, file: &File) -> Result<(), EngineError> {
        self.last_pause = Instant::now();
        morph_api::fail::point("store.garbage.begun")?;
        let transaction = file.begin_write()?;
        let mut tables = Tables::open(&transaction)?;
        let collected = self.collect(&mut tables, ROWS_WHEN_IDLE)?;
        drop(tables);
        match collected > 0 {
            true => transaction.commit()?,
            false => transaction.abort()?,
        }
        Ok(())
    }

    /// Deletes some rows. A keyspace is finished when a scan finds it empty, not when its last row was deleted, since
    /// that deletion may be rolled back.
    fn collect(&mut self, tables: &mut Tables<'_>, most: usize) -> Result<usize, EngineError> {
        let mut collected = 0;
        while collected < most
            && let Some((app, id)) = self.keyspaces.front()
        {
            let found = tables.remove_rows_of(app, *id, most - collected)?;
            collected += found;
            if found == 0 {
                self.keyspaces.pop_front();
            }
        }
        Ok(collected)
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::ROWS;
    use super::super::write_set::WriteSet;
    use super::*;
    use crate::core::{Decision, apply};
    use crate::op;
    use redb::ReadableTableMetadata;

    /// Applies a test's operations as the writer would.
    fn commit(file: &File, state: &mut State, ops: Vec<morph_api::store::Op>) -> Effects {
        let write = file.begin_write().unwrap();
        let mut tables = Tables::open(&write).unwrap();
        let decision = apply(state, op::shared([], ops), &tables).unwrap();
        let Decision::Accepted(effects) = decision else {
            panic!("{decision:?}");
        };
        tables.write(&WriteSet::of(&effects)).unwrap();
        drop(tables);
        write.commit().unwrap();
        state.advance(&effects);
        effects
    }

    fn rows(file: &File) -> u64 {
        let view = file.begin_read().unwrap();
        view.open_table(ROWS).unwrap().len().unwrap()
    }

    fn keyspace(id: u32, keys: usize) -> Vec<morph_api::store::Op> {
        let mut ops = vec![op::create_shadow("a", id, id, "me")];
        let put = |n| op::put(op::row_in("a", id, "t", format!("{n:05}")), "1");
        ops.extend((0..keys).map(put));
        ops.push(op::watermark("a", id, "me", 1));
        ops
    }

    #[test]
    fn what_was_dropped_before_a_crash_is_collected_after_it_and_nothing_else() {
        let directory = tempfile::TempDir::new().unwrap();
        let (file, mut state, _) = File::open(directory.path()).unwrap();
        commit(&file, &mut state, vec![op::create_primary("a", 1, 1)]);
        for id in [2, 3] {
            commit(&file, &mut state, keyspace(id, ROWS_WHEN_IDLE + 200));
            commit(&file, &mut state, vec![op::drop_keyspace("a", id)]);
        }
        commit(&file, &mut state, keyspace(4, 10));
        assert_eq!(rows(&file), 2 * (ROWS_WHEN_IDLE as u64 + 200) + 10);
        drop(file);
        let (file, state, _) = File::open(directory.path()).unwrap();
        let mut collector = GarbageCollector::full(&state);
        let mut left = Vec::new();
        while !collector.is_done() {
            collector.collect_when_idle(&file).unwrap();
            left.push(rows(&file));
        }
        // One call deletes up to the limit, also across the border of two keyspaces.
        assert_eq!(left, [400 + ROWS_WHEN_IDLE as u64 + 10, 400 + 10, 10]);
    }

    #[test]
    fn a_group_takes_a_little_along_where_there_is_no_rest() {
        let directory = tempfile::TempDir::new().unwrap();
        let (file, mut state, _) = File::open(directory.path()).unwrap();
        commit(&file, &mut state, vec![op::create_primary("a", 1, 1)]);
        commit(&file, &mut state, keyspace(2, 2 * ROWS_WITH_GROUP));
        let mut collector = GarbageCollector::full(&state);
        assert!(collector.is_done());
        let dropped = commit(&file, &mut state, vec![op::drop_keyspace("a", 2)]);
        collector.add(&dropped);
        let write = file.begin_write().unwrap();
        let mut tables = Tables::open(&write).unwrap();
        collector.collect_with_group(&mut tables).unwrap();
        assert_eq!(collector.keyspaces.len(), 1);
        collector.last_pause -= BUSY_AFTER;
        collector.collect_with_group(&mut tables).unwrap();
        drop(tables);
        write.commit().unwrap();
        assert_eq!(rows(&file), ROWS_WITH_GROUP as u64, "once, not twice");
        assert!(!collector.is_done());
    }
}
