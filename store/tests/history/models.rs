//! What one row and one checkpoint answer to one client at a time.

use super::checker::Model;

/// A value's number; every write writes another.
pub type Value = u64;

/// What was asked of a row, and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOp {
    Read(Option<Value>),
    /// By an app's turn, which expects nothing. `None` deletes.
    Write(Option<Value>),
    /// From what is expected to what it shall be; whether it was done, if that was answered.
    Change {
        from: Option<Value>,
        to: Option<Value>,
        done: Option<bool>,
    },
}

/// A row, by the number of its value.
pub struct RowModel;

impl Model for RowModel {
    type State = Option<Value>;
    type Op = RowOp;

    fn start(&self) -> Option<Value> {
        None
    }

    fn step(&self, state: &Option<Value>, op: &RowOp) -> Option<Option<Value>> {
        match op {
            RowOp::Read(found) => (found == state).then_some(*state),
            RowOp::Write(value) => Some(*value),
            RowOp::Change { from, to, done } => {
                let can = from == state;
                let answered_so = done.is_none_or(|done| done == can);
                answered_so.then_some(if can { *to } else { *state })
            }
        }
    }
}

/// What was answered to a fence or a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Done,
    Stale,
    Gap,
    Already,
}

/// What was asked of a checkpoint, and what was answered, if anything was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointOp {
    Fence {
        expect: u64,
        answer: Option<Answer>,
    },
    Turn {
        epoch: u64,
        follows: u64,
        answer: Option<Answer>,
    },
}

/// A checkpoint: its epoch, and how many turns it has.
pub struct CheckpointModel;

impl Model for CheckpointModel {
    type State = (u64, u64);
    type Op = CheckpointOp;

    fn start(&self) -> (u64, u64) {
        (1, 0)
    }

    fn step(&self, (epoch, turns): &(u64, u64), op: &CheckpointOp) -> Option<(u64, u64)> {
        let (found, after, answer) = match op {
            CheckpointOp::Fence { expect, answer } => match expect == epoch {
                true => (Answer::Done, (epoch + 1, *turns), answer),
                false => (Answer::Stale, (*epoch, *turns), answer),
            },
            CheckpointOp::Turn {
                epoch: of,
                follows,
                answer,
            } => {
                let found = match follows.cmp(turns) {
                    _ if of != epoch => Answer::Stale,
                    std::cmp::Ordering::Less => Answer::Already,
                    std::cmp::Ordering::Greater => Answer::Gap,
                    std::cmp::Ordering::Equal => Answer::Done,
                };
                let more = u64::from(found == Answer::Done);
                (found, (*epoch, turns + more), answer)
            }
        };
        answer.is_none_or(|answer| answer == found).then_some(after)
    }
}
