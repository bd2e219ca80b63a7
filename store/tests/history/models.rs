//! Sequential models of a row and of a checkpoint.

use super::checker::Model;

/// Number of a value; every write uses a new one.
pub type Value = u64;

/// Operation on a row with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOp {
    Read(Option<Value>),
    /// Write by an app's turn, which expects nothing; `None` deletes.
    Write(Option<Value>),
    /// Compare-and-set from one value to another; `done` is `None` if it was not answered.
    Change {
        from: Option<Value>,
        to: Option<Value>,
        done: Option<bool>,
    },
}

/// Row with the number of its value.
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

/// Answer to a fence or a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Done,
    Stale,
    Gap,
    Already,
}

/// Operation on a checkpoint with its answer, if there was one.
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

/// Checkpoint with its epoch and number of turns.
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
