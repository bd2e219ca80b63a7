//! Tests of the history checker on histories with a known answer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod history;

use history::checker::{CheckOutcome, Model, Operation, check};
use history::models::{Answer, CheckpointModel, CheckpointOp, RowModel, RowOp, Value};

/// Client, time of the call, time of the answer (0: never), operation.
type Line<O> = (usize, u64, u64, O);

fn linearizable<M: Model>(model: &M, lines: Vec<Line<M::Op>>) -> bool {
    let history: Vec<Operation<M::Op>> = lines
        .into_iter()
        .map(|(client, called, answered, op)| Operation {
            client,
            called,
            answered: (answered > 0).then_some(answered),
            op,
        })
        .collect();
    match check(model, &history) {
        CheckOutcome::Linearizable => true,
        CheckOutcome::NotLinearizable { longest } => {
            assert!(longest.len() < history.len());
            false
        }
        CheckOutcome::Undecided => panic!("undecided"),
    }
}

fn rows(lines: Vec<Line<RowOp>>) -> bool {
    linearizable(&RowModel, lines)
}

fn read(value: Value) -> RowOp {
    RowOp::Read((value > 0).then_some(value))
}

fn write(value: Value) -> RowOp {
    RowOp::Write((value > 0).then_some(value))
}

fn change(from: Value, to: Value, done: Option<bool>) -> RowOp {
    RowOp::Change {
        from: (from > 0).then_some(from),
        to: (to > 0).then_some(to),
        done,
    }
}

#[test]
fn a_stale_read_is_found() {
    assert!(!rows(vec![(0, 1, 2, write(1)), (1, 3, 4, read(0))]));
    let both = |second| {
        vec![
            (0, 1, 2, write(1)),
            (0, 3, 4, write(2)),
            (1, 5, 6, read(second)),
        ]
    };
    assert!(rows(both(2)) && !rows(both(1)));
}

#[test]
fn reads_beside_a_write_see_the_old_or_the_new_but_never_go_back() {
    let during = |a, b| vec![(0, 1, 9, write(1)), (1, 2, 3, read(a)), (2, 4, 5, read(b))];
    assert!(rows(during(0, 0)) && rows(during(0, 1)) && rows(during(1, 1)));
    assert!(!rows(during(1, 0)));
}

#[test]
fn a_lost_write_is_found() {
    let lost = vec![
        (0, 1, 2, change(0, 1, Some(true))),
        (1, 3, 4, change(1, 2, Some(true))),
        (0, 5, 6, read(1)),
    ];
    assert!(!rows(lost));
}

#[test]
fn two_changes_of_one_value_are_found() {
    let two = |second| {
        vec![
            (0, 1, 9, change(0, 1, Some(true))),
            (1, 1, 9, change(0, 2, Some(second))),
        ]
    };
    assert!(rows(two(false)) && !rows(two(true)));
}

#[test]
fn a_refusal_without_a_reason_is_found() {
    assert!(!rows(vec![
        (0, 1, 2, write(1)),
        (1, 3, 4, change(1, 2, Some(false)))
    ]));
}

#[test]
fn what_was_never_answered_may_have_happened_or_not_but_not_both() {
    let history = |reads: &[Value]| {
        let mut lines = vec![(0, 1, 2, write(1)), (1, 3, 0, change(1, 2, None))];
        for (n, value) in reads.iter().enumerate() {
            let at = 10 + 2 * n as u64;
            lines.push((2, at, at + 1, read(*value)));
        }
        lines
    };
    for reads in [[1, 1, 1], [1, 1, 2], [1, 2, 2], [2, 2, 2]] {
        assert!(rows(history(&reads)), "{reads:?}");
    }
    for reads in [[2, 1, 1], [1, 2, 1], [2, 1, 2]] {
        assert!(!rows(history(&reads)), "{reads:?}");
    }
}

#[test]
fn a_write_that_came_back_from_the_dead_is_found() {
    let history = vec![
        (0, 1, 2, write(1)),
        (0, 3, 4, write(0)),
        (1, 5, 6, read(0)),
        (1, 7, 8, read(1)),
    ];
    assert!(!rows(history));
}

/// The search must terminate for many overlapping operations.
#[test]
fn many_at_once_are_decided() {
    let history = |last| {
        let mut lines: Vec<Line<RowOp>> = Vec::new();
        for n in 0..150u64 {
            let (client, at) = (n as usize % 4, n * 10);
            lines.push((client, at, at + 35, write(n + 1)));
        }
        lines.push((9, 1600, 1601, read(last)));
        lines.extend((0..4).map(|n| (10, 700 + n, 0, change(500 + n, 600 + n, None))));
        lines
    };
    assert!(rows(history(150)) && rows(history(148)));
    assert!(!rows(history(100)));
}

fn checkpoints(lines: Vec<Line<CheckpointOp>>) -> bool {
    linearizable(&CheckpointModel, lines)
}

fn turn(epoch: u64, follows: u64, answer: Option<Answer>) -> CheckpointOp {
    CheckpointOp::Turn {
        epoch,
        follows,
        answer,
    }
}

fn fence(expect: u64, answer: Answer) -> CheckpointOp {
    CheckpointOp::Fence {
        expect,
        answer: Some(answer),
    }
}

#[test]
fn a_turn_applied_twice_is_found() {
    let twice = |second| {
        vec![
            (0, 1, 2, turn(1, 0, Some(Answer::Done))),
            (0, 3, 4, turn(1, 0, Some(second))),
        ]
    };
    assert!(checkpoints(twice(Answer::Already)) && !checkpoints(twice(Answer::Done)));
}

#[test]
fn a_lost_turn_is_found() {
    assert!(!checkpoints(vec![
        (0, 1, 2, turn(1, 0, Some(Answer::Done))),
        (0, 3, 4, turn(1, 1, Some(Answer::Gap))),
    ]));
}

#[test]
fn a_turn_behind_a_fence_is_found() {
    let behind = |answer| {
        vec![
            (0, 1, 2, turn(1, 0, Some(Answer::Done))),
            (1, 3, 4, fence(1, Answer::Done)),
            (0, 5, 6, turn(1, 1, Some(answer))),
        ]
    };
    assert!(checkpoints(behind(Answer::Stale)) && !checkpoints(behind(Answer::Done)));
}

#[test]
fn a_turn_without_an_answer_counts_once_at_most() {
    let again = |answer| {
        vec![
            (0, 1, 0, turn(1, 0, None)),
            (0, 3, 4, turn(1, 0, Some(answer))),
            (0, 5, 6, turn(1, 1, Some(Answer::Done))),
        ]
    };
    assert!(checkpoints(again(Answer::Done)) && checkpoints(again(Answer::Already)));
    assert!(!checkpoints(again(Answer::Gap)));
}

#[test]
fn two_fences_of_one_epoch_are_found() {
    let two = |second| {
        vec![
            (0, 1, 9, fence(1, Answer::Done)),
            (1, 1, 9, fence(1, second)),
        ]
    };
    assert!(checkpoints(two(Answer::Stale)) && !checkpoints(two(Answer::Done)));
}
