//! Storage of the books in each schema version, and the migration between them.
//!
//! ```text
//! schema 1: books/DPID       = [[first, last], ...]
//! schema 2: runs/DPID/INDEX  = {"first": N, "last": N}     one row a run
//! ```

use std::collections::BTreeMap;

use morph_sdk::{Dpid, Migration, MigrationError, Rows, Table, Turn};
use serde::{Deserialize, Serialize};

/// First and last of consecutive numbers, both included.
pub type Run = (u64, u64);

pub(crate) const BOOKS: Table<Dpid, Vec<Run>> = Table::new("books");
const RUNS: Table<(Dpid, u32), RunRow> = Table::new("runs");

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunRow {
    first: u64,
    last: u64,
}

/// Counts of other events by switch and kind: `up`, `down`, `lost`, `resync`; switch 0 stands for all switches.
pub const COUNTS: Table<(Dpid, String), u64> = Table::new("told");

/// Losses by switch and the last number in its book when they were told; 0: none yet.
pub const LOSSES: Table<(Dpid, u64), u64> = Table::new("losses");

/// Storage of books.
pub trait Books: Send + 'static {
    /// Returns the number at the end of a switch's book; 0 if that is empty.
    fn last(&self, dpid: Dpid, turn: &Turn<'_>) -> u64;

    /// Writes a number to the end of a switch's book.
    fn write(&self, dpid: Dpid, number: u64, turn: &mut Turn<'_>);
}

#[derive(Debug)]
pub struct Rows1;

#[derive(Debug)]
pub struct Rows2;

impl Books for Rows1 {
    fn last(&self, dpid: Dpid, turn: &Turn<'_>) -> u64 {
        let runs = turn.get(&BOOKS, &dpid).unwrap_or_default();
        runs.last().map_or(0, |(_, last)| *last)
    }

    fn write(&self, dpid: Dpid, number: u64, turn: &mut Turn<'_>) {
        let mut runs = turn.get(&BOOKS, &dpid).unwrap_or_default();
        append(&mut runs, number);
        turn.put(&BOOKS, &dpid, &runs);
    }
}

impl Books for Rows2 {
    fn last(&self, dpid: Dpid, turn: &Turn<'_>) -> u64 {
        let rows = turn.view().prefix(&RUNS, &format!("{dpid}/"));
        let last = rows.max_by_key(|((_, index), _)| *index);
        last.map_or(0, |(_, row)| row.last)
    }

    fn write(&self, dpid: Dpid, number: u64, turn: &mut Turn<'_>) {
        let rows = turn.view().prefix(&RUNS, &format!("{dpid}/"));
        // The rows are in the order of their text, not of their numbers.
        let last = rows.max_by_key(|((_, index), _)| *index);
        let (index, row) = match last {
            Some(((_, index), row)) if row.last.checked_add(1) == Some(number) => {
                let first = row.first;
                let last = number;
                (index, RunRow { first, last })
            }
            Some(((_, index), _)) => (index + 1, RunRow::of(number)),
            None => (0, RunRow::of(number)),
        };
        turn.put(&RUNS, &(dpid, index), &row);
    }
}

impl RunRow {
    fn of(number: u64) -> Self {
        RunRow {
            first: number,
            last: number,
        }
    }
}

/// Adds a number to a book: to the last run if it follows it, otherwise as a run of its own.
pub fn append(runs: &mut Vec<Run>, number: u64) {
    match runs.last_mut() {
        Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
        Some(_) | None => runs.push((number, number)),
    }
}

/// Migration of release 2.0.0.
#[derive(Debug)]
pub struct V1ToV2;

impl Migration for V1ToV2 {
    const OLD: u32 = 1;
    const NEW: u32 = 2;

    fn group_of_old(table: &str, key: &str) -> String {
        if table == BOOKS.name() {
            return format!("book/{key}");
        }
        format!("{table}/{key}")
    }

    fn group_of_new(table: &str, key: &str) -> String {
        match key.split_once('/') {
            Some((dpid, _)) if table == RUNS.name() => format!("book/{dpid}"),
            Some(_) | None => format!("{table}/{key}"),
        }
    }

    fn up(old: &Rows) -> Result<Rows, MigrationError> {
        let mut new = Rows::new();
        new.pass(old, COUNTS.name());
        new.pass(old, LOSSES.name());
        for (dpid, runs) in old.of(&BOOKS)? {
            for (index, (first, last)) in (0..).zip(runs) {
                new.put(&RUNS, &(dpid, index), &RunRow { first, last })?;
            }
        }
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut books: BTreeMap<Dpid, BTreeMap<u32, Run>> = BTreeMap::new();
        for ((dpid, index), row) in new.of(&RUNS)? {
            let book = books.entry(dpid).or_default();
            book.insert(index, (row.first, row.last));
        }
        let mut old = Rows::new();
        old.pass(new, COUNTS.name());
        old.pass(new, LOSSES.name());
        for (dpid, runs) in books {
            old.put(&BOOKS, &dpid, &runs.into_values().collect())?;
        }
        Ok(old)
    }
}
