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

/// Further rules of a switch, which only tests ask for: their number, and the port that they send packets to.
pub const FLOWS: Table<Dpid, (u32, u32)> = Table::new("flows");

/// Further packets of a switch for each numbered one, which only tests ask for: their number, and their size in bytes.
pub const COPIES: Table<Dpid, (u32, u32)> = Table::new("copies");
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
        last_run(dpid, turn).map_or(0, |(_, row)| row.last)
    }

    fn write(&self, dpid: Dpid, number: u64, turn: &mut Turn<'_>) {
        let last = last_run(dpid, turn);
        let (index, row) = match last {
            Some((index, row)) if row.last.checked_add(1) == Some(number) => {
                let first = row.first;
                let last = number;
                (index, RunRow { first, last })
            }
            Some((index, _)) => (index + 1, RunRow::of(number)),
            None => (0, RunRow::of(number)),
        };
        turn.put(&RUNS, &(dpid, index), &row);
    }
}

/// Last run of a book and its index. Indexes are consecutive from 0, so it is found without a look at each: by steps that
/// double as long as there are rows, and then halve.
fn last_run(dpid: Dpid, turn: &Turn<'_>) -> Option<(u32, RunRow)> {
    let run = |index| turn.get(&RUNS, &(dpid, index));
    let mut last = (0, run(0)?);
    let (mut step, mut doubles) = (1, true);
    while step > 0 {
        let next = last.0 + step;
        match run(next) {
            Some(row) => last = (next, row),
            None => doubles = false,
        }
        step = if doubles { step * 2 } else { step / 2 };
    }
    Some(last)
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
        new.pass(old, FLOWS.name());
        new.pass(old, COPIES.name());
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
        old.pass(new, FLOWS.name());
        old.pass(new, COPIES.name());
        old.pass(new, LOSSES.name());
        for (dpid, runs) in books {
            old.put(&BOOKS, &dpid, &runs.into_values().collect())?;
        }
        Ok(old)
    }
}
