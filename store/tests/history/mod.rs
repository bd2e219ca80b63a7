//! Clients that record their operations and answers, and conditions on these records.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

pub mod checker;
pub mod models;
pub mod run;
pub mod worker;

use std::collections::BTreeMap;
use std::fmt::Debug;

use checker::{CheckOutcome, Model, Operation, check};
use models::{CheckpointModel, CheckpointOp, RowModel, RowOp};

/// Operations of all clients, by object.
#[derive(Default)]
pub struct History {
    pub rows: BTreeMap<String, Vec<Operation<RowOp>>>,
    pub checkpoints: BTreeMap<String, Vec<Operation<CheckpointOp>>>,
    /// Revisions in the store's answers, over all objects.
    pub seen: Vec<Seen>,
}

/// Revision in an answer: that of a commit, or of the view that a read used.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub called: u64,
    pub answered: u64,
    pub revision: u64,
    pub wrote: bool,
}

impl History {
    pub fn merge(&mut self, other: History) {
        for (key, operations) in other.rows {
            self.rows.entry(key).or_default().extend(operations);
        }
        for (checkpoint, operations) in other.checkpoints {
            self.checkpoints
                .entry(checkpoint)
                .or_default()
                .extend(operations);
        }
        self.seen.extend(other.seen);
    }

    pub fn operations(&self) -> usize {
        let rows: usize = self.rows.values().map(Vec::len).sum();
        rows + self.checkpoints.values().map(Vec::len).sum::<usize>()
    }

    /// Counts operations that were never answered.
    pub fn pending(&self) -> usize {
        let rows = self.rows.values().flatten().map(|op| op.answered);
        let checkpoints = self.checkpoints.values().flatten().map(|op| op.answered);
        rows.chain(checkpoints).filter(Option::is_none).count()
    }

    /// Checks that every row and every checkpoint by itself behaves as for one client at a time.
    pub fn assert_linearizable(&self) {
        for (key, history) in &self.rows {
            explain(&RowModel, key, history);
        }
        for (checkpoint, history) in &self.checkpoints {
            explain(&CheckpointModel, checkpoint, history);
        }
    }

    /// Checks all objects together: an answer before a call has a smaller revision than the answer to that call.
    pub fn assert_one_order(&self) {
        let mut by_call = self.seen.clone();
        let mut by_answer = self.seen.clone();
        by_call.sort_unstable_by_key(|seen| seen.called);
        by_answer.sort_unstable_by_key(|seen| seen.answered);
        let (mut known, mut answers) = (0, by_answer.iter().peekable());
        for seen in &by_call {
            while let Some(answer) = answers.next_if(|answer| answer.answered < seen.called) {
                known = known.max(answer.revision);
            }
            let right = match seen.wrote {
                true => seen.revision > known,
                false => seen.revision >= known,
            };
            assert!(right, "{seen:?}, when {known} had been answered before");
        }
    }
}

fn explain<M: Model>(model: &M, name: &str, history: &[Operation<M::Op>])
where
    M::Op: Clone + Debug,
{
    match check(model, history) {
        CheckOutcome::Linearizable => {}
        CheckOutcome::Undecided => {
            panic!("{name}: no answer within the bound; use fewer operations")
        }
        CheckOutcome::NotLinearizable { longest } => {
            let order: Vec<String> = longest.iter().map(|n| line(&history[*n])).collect();
            let left = (0..history.len()).filter(|n| !longest.contains(n));
            let left: Vec<String> = left.map(|n| line(&history[n])).collect();
            panic!(
                "{name} is not linearizable; in order:\n{}\ncannot follow:\n{}",
                order.join("\n"),
                left.join("\n")
            );
        }
    }
}

fn line<O: Debug>(operation: &Operation<O>) -> String {
    let (client, called, op) = (operation.client, operation.called, &operation.op);
    match operation.answered {
        Some(answered) => format!("  client {client} [{called}, {answered}] {op:?}"),
        None => format!("  client {client} [{called}, never] {op:?}"),
    }
}
