//! What was dropped is swept up later, a little at a time: a swap takes as long with a million rows as with none.
//!
//! Nothing on disk says what is still to be swept. Ids of keyspaces are never used again, so rows of a keyspace that was used
//! and is not there any more are rubbish, whoever finds them; after a start that is every such keyspace, most of them empty.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::error::EngineError;
use super::file::File;
use super::tables::Tables;
use crate::core::{Effects, KeyspaceKey, State};

/// Rows that go along with a group: a fraction of a millisecond on top of its fsync.
const ALONG: usize = 64;
/// Rows go along only where there was no rest for so long: a lone transaction, as a fence, is not to pay for what was dropped.
const BUSY: Duration = Duration::from_millis(100);
/// Rows at a time while nothing else is to be done: a transaction that comes meanwhile waits some milliseconds.
const IDLE: usize = 512;

/// Keyspaces whose rows are still there, or may be.
#[derive(Debug)]
pub(super) struct Sweep {
    keyspaces: VecDeque<KeyspaceKey>,
    /// The last rest, or when there was nothing to be swept.
    rested: Instant,
}

impl Sweep {
    /// After a start, or when it is not known what became of the last group.
    pub(super) fn everything(state: &State) -> Sweep {
        let gone = state.used.iter();
        let gone = gone.filter(|key| !state.keyspaces.contains_key(key));
        Sweep {
            keyspaces: gone.cloned().collect(),
            rested: Instant::now(),
        }
    }

    pub(super) fn add(&mut self, effects: &Effects) {
        if self.is_done() {
            self.rested = Instant::now();
        }
        self.keyspaces.extend(effects.dropped.iter().cloned());
    }

    pub(super) fn is_done(&self) -> bool {
        self.keyspaces.is_empty()
    }

    /// As part of a group, which is committed or not.
    pub(super) fn along(&mut self, tables: &mut Tables<'_>) -> Result<(), EngineError> {
        match self.rested.elapsed() < BUSY {
            true => Ok(()),
            false => self.some(tables, ALONG).map(|_| ()),
        }
    }

    /// In a transaction of its own.
    pub(super) fn idle(&mut self, file: &File) -> Result<(), EngineError> {
        self.rested = Instant::now();
        morph_api::fail::point("store.sweep.begun")?;
        let transaction = file.begin_write()?;
        let mut tables = Tables::open(&transaction)?;
        let swept = self.some(&mut tables, IDLE)?;
        drop(tables);
        match swept > 0 {
            true => transaction.commit()?,
            false => transaction.abort()?,
        }
        Ok(())
    }

    /// A keyspace is done with when a walk finds it empty, not when its last row was taken: that may come to nothing.
    fn some(&mut self, tables: &mut Tables<'_>, most: usize) -> Result<usize, EngineError> {
        let mut swept = 0;
        while swept < most
            && let Some((app, id)) = self.keyspaces.front()
        {
            let found = tables.sweep(app, *id, most - swept)?;
            swept += found;
            if found == 0 {
                self.keyspaces.pop_front();
            }
        }
        Ok(swept)
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::ROWS;
    use super::super::step::Step;
    use super::*;
    use crate::core::{Verdict, apply};
    use crate::op;
    use redb::ReadableTableMetadata;

    /// Applies what a test wants, as the writer would.
    fn commit(file: &File, state: &mut State, ops: Vec<morph_api::store::Op>) -> Effects {
        let write = file.begin_write().unwrap();
        let mut tables = Tables::open(&write).unwrap();
        let verdict = apply(state, op::shared([], ops), &tables).unwrap();
        let Verdict::Accepted(effects) = verdict else {
            panic!("{verdict:?}");
        };
        tables.write(&Step::of(&effects)).unwrap();
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
    fn what_was_dropped_before_a_crash_is_swept_after_it_and_nothing_else() {
        let directory = tempfile::TempDir::new().unwrap();
        let (file, mut state, _) = File::open(directory.path()).unwrap();
        commit(&file, &mut state, vec![op::create_primary("a", 1, 1)]);
        for id in [2, 3] {
            commit(&file, &mut state, keyspace(id, IDLE + 200));
            commit(&file, &mut state, vec![op::drop_keyspace("a", id)]);
        }
        commit(&file, &mut state, keyspace(4, 10));
        assert_eq!(rows(&file), 2 * (IDLE as u64 + 200) + 10);
        drop(file);
        let (file, state, _) = File::open(directory.path()).unwrap();
        let mut sweep = Sweep::everything(&state);
        let mut left = Vec::new();
        while !sweep.is_done() {
            sweep.idle(&file).unwrap();
            left.push(rows(&file));
        }
        // A bound at a time, over the border of two keyspaces too.
        assert_eq!(left, [400 + IDLE as u64 + 10, 400 + 10, 10]);
    }

    #[test]
    fn a_group_takes_a_little_along_where_there_is_no_rest() {
        let directory = tempfile::TempDir::new().unwrap();
        let (file, mut state, _) = File::open(directory.path()).unwrap();
        commit(&file, &mut state, vec![op::create_primary("a", 1, 1)]);
        commit(&file, &mut state, keyspace(2, 2 * ALONG));
        let mut sweep = Sweep::everything(&state);
        assert!(sweep.is_done());
        let dropped = commit(&file, &mut state, vec![op::drop_keyspace("a", 2)]);
        sweep.add(&dropped);
        let write = file.begin_write().unwrap();
        let mut tables = Tables::open(&write).unwrap();
        sweep.along(&mut tables).unwrap();
        assert_eq!(sweep.keyspaces.len(), 1);
        sweep.rested -= BUSY;
        sweep.along(&mut tables).unwrap();
        drop(tables);
        write.commit().unwrap();
        assert_eq!(rows(&file), ALONG as u64, "once, not twice");
        assert!(!sweep.is_done());
    }
}
