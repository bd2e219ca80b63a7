//! Every refusal, and the accepted transactions that come close to it.

use std::collections::BTreeMap;
use std::convert::Infallible;

use morph_api::store::op::Op as Kind;
use morph_api::store::{Op, Reason, Refused, Row, Seq, Transaction, Turn};
use prost::Message;

use super::*;
use crate::{limits, op};

/// Rows in a map, with the core above them.
#[derive(Clone, Default)]
pub(super) struct Memory {
    pub(super) state: State,
    pub(super) rows: BTreeMap<RowKey, (u64, String)>,
}

impl Rows for BTreeMap<RowKey, (u64, String)> {
    type Error = Infallible;

    fn revision(&self, at: &RowKey) -> Result<Option<u64>, Infallible> {
        Ok(self.get(at).map(|(revision, _)| *revision))
    }
}

impl Memory {
    pub(super) fn commit(&mut self, transaction: Transaction) -> Decision {
        let Ok(decision) = apply(&self.state, transaction, &self.rows);
        if let Decision::Accepted(effects) = &decision {
            for (at, value) in effects.rows.clone() {
                match value {
                    Some(value) => self.rows.insert(at, (effects.revision, value)),
                    None => self.rows.remove(&at),
                };
            }
            let gone = |at: &RowKey| effects.dropped.contains(&(at.app.clone(), at.keyspace));
            self.rows.retain(|at, _| !gone(at));
            self.state.advance(effects);
        }
        decision
    }

    fn accept(&mut self, transaction: Transaction) -> Effects {
        match self.commit(transaction) {
            Decision::Accepted(effects) => effects,
            Decision::Refused(refused) => panic!("{refused:?}"),
        }
    }

    fn shared(&mut self, ops: impl IntoIterator<Item = Op>) -> Effects {
        self.accept(op::shared([], ops))
    }
}

/// App `a`: primary 1 with row t/k at revision 2, shadow 2 of owner `o`, checkpoint at epoch 2 after turn 1 with cursor 1:5.
fn world() -> Memory {
    let mut world = Memory::default();
    world.shared([
        op::create_primary("a", 1, 1),
        op::fence("a", "n", 0, "1.0.0"),
    ]);
    world.accept(op::turn(turn(1, 0, Some((1, 5))), [put("k")]));
    world.shared([
        op::fence("a", "n", 1, "1.1.0"),
        op::create_shadow("a", 2, 2, "o"),
    ]);
    world.shared([op::create_primary("b", 1, 1)]);
    world
}

fn turn(epoch: u64, follows: u64, cursor: Option<(u64, u64)>) -> Turn {
    Turn {
        app: "a".into(),
        node: "n".into(),
        epoch,
        follows,
        cursor: cursor.map(|(incarnation, n)| Seq { incarnation, n }),
    }
}

fn row(key: &str) -> Row {
    op::row("a", "t", key)
}

fn put(key: &str) -> Op {
    op::put(row(key), "1")
}

fn in_shadow(key: &str) -> Op {
    op::put(op::row_in("a", 2, "t", key), "1")
}

fn json(length: usize) -> String {
    format!("\"{}\"", "x".repeat(length - 2))
}

fn now(ops: impl IntoIterator<Item = Op>) -> Transaction {
    op::turn(turn(2, 1, None), ops)
}

fn shared(ops: impl IntoIterator<Item = Op>) -> Transaction {
    op::shared([], ops)
}

fn wrong_rows() -> Vec<(&'static str, Transaction)> {
    let no_row = Op {
        op: Some(Kind::Put(Default::default())),
    };
    vec![
        ("no row", now([no_row])),
        ("an operation without content", now([Op { op: None }])),
        ("table \"\"", now([op::put(op::row("a", "", "k"), "1")])),
        ("key \"\"", now([put("")])),
        ("zero byte", now([put("a\0b")])),
        ("the name \"\"", now([op::put(op::row("", "t", "k"), "1")])),
        ("no JSON", now([op::put(row("k"), "{")])),
        ("no JSON", now([op::put(row("k"), "")])),
        ("no JSON", now([op::put(row("k"), "1 2")])),
        ("no JSON", now([op::put(row("k"), "[".repeat(10_000))])),
        (
            "no primary",
            shared([op::put(op::row("nobody", "t", "k"), "1")]),
        ),
        (
            "no keyspace 9",
            shared([op::put(op::row_in("a", 9, "t", "k"), "1")]),
        ),
    ]
}

#[test]
fn whatever_is_malformed_is_invalid() {
    for (said, transaction) in wrong_rows() {
        refused(transaction, Reason::Invalid, said);
    }
}

#[test]
fn whoever_may_not_write_is_refused() {
    let b = || op::put(op::row("b", "t", "k"), "1");
    let own = "only the primary of its own app";
    for (transaction, reason, said) in [
        (now([b()]), Reason::Invalid, own),
        (now([in_shadow("k")]), Reason::Invalid, own),
        (shared([b()]), Reason::Invalid, "needs an expectation"),
        (
            shared([op::delete(row("k"))]),
            Reason::Invalid,
            "needs an expectation",
        ),
        (
            op::shared([op::absent(&row("x"))], [put("x"), put("y")]),
            Reason::Invalid,
            "needs an expectation",
        ),
        (
            shared([in_shadow("k")]),
            Reason::Invalid,
            "only together with its watermark",
        ),
        (
            shared([in_shadow("k"), op::watermark("a", 2, "p", 0)]),
            Reason::StaleEpoch,
            "not by \"p\"",
        ),
        (
            now([op::fence("a", "n", 2, "x")]),
            Reason::Invalid,
            "may only put and delete",
        ),
        (
            now([op::watermark("a", 2, "o", 0)]),
            Reason::Invalid,
            "may only put and delete",
        ),
        (
            now([op::swap("a", 1, 2)]),
            Reason::Invalid,
            "may only put and delete",
        ),
    ] {
        refused(transaction, reason, said);
    }
}

#[test]
fn turns_and_fences_out_of_line_are_refused_with_the_checkpoint() {
    let of = |turn: Turn| op::turn(turn, [put("x")]);
    for (transaction, reason, said) in [
        (
            of(turn(1, 1, None)),
            Reason::StaleEpoch,
            "of epoch 1, and checkpoint a@n is at epoch 2",
        ),
        (
            of(turn(3, 1, None)),
            Reason::StaleEpoch,
            "of epoch 3, and checkpoint a@n is at epoch 2",
        ),
        // A fenced writer is refused by its epoch, whatever turn it follows.
        (of(turn(1, 9, None)), Reason::StaleEpoch, "epoch 1"),
        (
            of(turn(2, 0, None)),
            Reason::Already,
            "follows turn 0, and checkpoint a@n is at turn 1",
        ),
        (
            of(turn(2, 2, None)),
            Reason::Gap,
            "follows turn 2, and checkpoint a@n is at turn 1",
        ),
        (
            of(Turn {
                node: "m".into(),
                ..turn(0, 0, None)
            }),
            Reason::StaleEpoch,
            "checkpoint a@m is at epoch 0",
        ),
        (
            shared([op::fence("a", "n", 1, "x")]),
            Reason::StaleEpoch,
            "expects epoch 1, and checkpoint a@n is at epoch 2",
        ),
        (
            shared([op::fence("a", "n", 0, "x")]),
            Reason::StaleEpoch,
            "is at epoch 2",
        ),
        (
            shared([op::fence("a", "m", 1, "x")]),
            Reason::StaleEpoch,
            "is at epoch 0",
        ),
    ] {
        let refusal = refused(transaction, reason, said);
        let checkpoint = refusal.checkpoint.unwrap();
        assert_eq!(checkpoint.epoch, if checkpoint.node == "n" { 2 } else { 0 });
    }
    for cursor in [(1, 5), (1, 4), (0, 99), (0, 0)] {
        refused(
            of(turn(2, 1, Some(cursor))),
            Reason::Invalid,
            "is not past 1:5",
        );
    }
}

#[test]
fn events_are_skipped_with_the_fence_only_and_from_where_the_cursor_is() {
    let at = |n| Seq { incarnation: 1, n };
    let skip = |from, to| op::skip("a", "n", at(from), at(to));
    let fence = || op::fence("a", "n", 2, "1.1.0");
    for (ops, reason, said) in [
        (vec![skip(5, 6)], Reason::Invalid, "only after its fence"),
        (
            vec![skip(5, 6), fence()],
            Reason::Invalid,
            "only after its fence",
        ),
        (vec![fence(), skip(4, 6)], Reason::Conflict, "1:5, not 1:4"),
        (vec![fence(), skip(6, 7)], Reason::Conflict, "1:5, not 1:6"),
        (vec![fence(), skip(5, 5)], Reason::Invalid, "is not past"),
    ] {
        refused(shared(ops), reason, said);
    }
    refused(
        now([skip(5, 6)]),
        Reason::Invalid,
        "may only put and delete",
    );
    let mut world = world();
    let checkpoint = world.shared([fence(), skip(5, 6)]).checkpoints.remove(0);
    assert_eq!(
        (checkpoint.epoch, checkpoint.cursor, checkpoint.turn),
        (3, Some(at(6)), 1),
        "no turn of the app's"
    );
    let next = op::turn(turn(3, 1, Some((1, 7))), [put("x")]);
    world.accept(next);
}

#[test]
fn expectations_that_fail_are_conflicts() {
    let elsewhere = op::row("nobody", "t", "k");
    for (expect, said) in [
        (op::absent(&row("k")), "a/t/k is at revision 2, not absent"),
        (
            op::expect(&row("k"), 1),
            "is at revision 2, not at revision 1",
        ),
        (
            op::expect(&row("x"), 2),
            "a/t/x is absent, not at revision 2",
        ),
        (op::expect(&elsewhere, 1), "nobody/t/k is absent"),
        (op::absent(&op::row_in("a", 1, "t", "k")), "at revision 2"),
    ] {
        let mut transaction = now([put("k")]);
        transaction.expect.push(expect);
        refused(transaction, Reason::Conflict, said);
    }
}

#[test]
fn keyspaces_out_of_order_are_refused() {
    for (op, reason, said) in [
        (
            op::create_primary("a", 3, 1),
            Reason::Invalid,
            "has a primary, keyspace 1",
        ),
        (
            op::create_shadow("a", 3, 1, "o"),
            Reason::Invalid,
            "has a shadow, keyspace 2",
        ),
        (
            op::create_shadow("c", 1, 1, "o"),
            Reason::Invalid,
            "no primary to derive a shadow from",
        ),
        (
            op::create_shadow("a", 1, 1, "o"),
            Reason::Conflict,
            "id 1 was used",
        ),
        (
            op::create_shadow("b", 0, 1, "o"),
            Reason::Invalid,
            "count from 1",
        ),
        (
            op::create_shadow("b", 2, 0, "o"),
            Reason::Invalid,
            "count from 1",
        ),
        (op::create_shadow("b", 2, 1, ""), Reason::Invalid, "owner"),
        (op::drop_keyspace("a", 1), Reason::Invalid, "is the primary"),
        (
            op::watermark("a", 1, "o", 0),
            Reason::Invalid,
            "the primary, not a shadow",
        ),
        (
            op::watermark("a", 9, "o", 0),
            Reason::Invalid,
            "no keyspace 9",
        ),
        (
            op::watermark("a", 2, "o", 99),
            Reason::Invalid,
            "ahead of the store",
        ),
        (
            op::swap("a", 1, 3),
            Reason::Conflict,
            "primary 1 and shadow 2, not 1 and 3",
        ),
        (
            op::swap("a", 2, 1),
            Reason::Conflict,
            "primary 1 and shadow 2, not 2 and 1",
        ),
        (
            op::swap("b", 1, 2),
            Reason::Conflict,
            "primary 1 and shadow none",
        ),
        (op::swap("c", 1, 2), Reason::Conflict, "primary none"),
        (
            op::swap("a", 1, 2),
            Reason::NotCurrent,
            "shadow 2 of app \"a\" is at 0, its primary at 2",
        ),
    ] {
        refused(shared([op]), reason, said);
    }
}

#[test]
fn what_is_too_large_is_refused_one_past_its_limit() {
    let key = |length: usize| now([put(&"k".repeat(length))]);
    let value = |length: usize| now([op::put(row("k"), json(length))]);
    let name = |length: usize| shared([op::fence("a", "n", 2, "r".repeat(length))]);
    let many = |count: usize| now((0..count).map(|_| op::delete(row("x"))));
    let whole = |length: usize| {
        let mut transaction = now((0..4).map(|n| op::put(row(&n.to_string()), json(1_000_000))));
        transaction.ops.push(op::put(row("last"), json(4)));
        let rest = length - transaction.encoded_len();
        // The length prefix of a longer value takes two bytes more.
        transaction.ops.pop();
        transaction
            .ops
            .push(op::put(row("last"), json(4 + rest - 6)));
        let off = length.abs_diff(transaction.encoded_len());
        assert!(off <= 1, "{off}");
        transaction
    };
    let large: [(&dyn Fn(usize) -> Transaction, usize); 5] = [
        (&key, limits::KEY - 1), // the table's name has one
        (&value, limits::VALUE),
        (&name, limits::NAME),
        (&many, limits::OPS),
        (&whole, limits::TRANSACTION - 1),
    ];
    for (transaction, limit) in large {
        assert!(
            matches!(world().commit(transaction(limit)), Decision::Accepted(_)),
            "{limit}"
        );
        let over = if limit == limits::TRANSACTION - 1 {
            3
        } else {
            1
        };
        refused(transaction(limit + over), Reason::TooLarge, "at most");
    }
}

fn refused(transaction: Transaction, reason: Reason, said: &str) -> Refused {
    let mut world = world();
    let before = world.state.clone();
    let Decision::Refused(refused) = world.commit(transaction.clone()) else {
        panic!("{transaction:?} was accepted");
    };
    assert_eq!(refused.reason(), reason, "{}", refused.message);
    assert!(
        refused.message.contains(said),
        "{:?} says nothing of {said:?}",
        refused.message
    );
    assert_eq!(world.state, before);
    refused
}

#[test]
fn later_operations_see_the_earlier_ones() {
    let mut world = world();
    let revision = world.state.revision;
    let effects = world.shared([
        in_shadow("k"),
        in_shadow("gone"),
        op::delete(op::row_in("a", 2, "t", "gone")),
        op::watermark("a", 2, "o", revision),
        op::swap("a", 1, 2),
        op::create_shadow("a", 3, 1, "p"),
    ]);
    assert_eq!(effects.rows.len(), 1);
    assert_eq!(
        (&effects.dropped, &effects.used),
        (&vec![("a".into(), 1)], &vec![("a".into(), 3)])
    );
    let primary = world.state.primary("a").unwrap();
    assert_eq!(
        (
            primary.id,
            primary.keys,
            primary.watermark,
            primary.owner.as_str()
        ),
        (2, 1, 0, "")
    );
    assert_eq!(primary.modified, effects.revision);
    assert!(world.rows.keys().all(|at| at.keyspace == 2));
}

#[test]
fn a_swap_sees_writes_to_the_primary_in_its_own_transaction() {
    let mut world = world();
    let revision = world.state.revision;
    let expected = op::absent(&row("x"));
    let ops = [
        op::watermark("a", 2, "o", revision),
        put("x"),
        op::swap("a", 1, 2),
    ];
    let Decision::Refused(refused) = world.commit(op::shared([expected.clone()], ops)) else {
        panic!("the row x would be lost");
    };
    assert_eq!(refused.reason(), Reason::NotCurrent);
    let nothing = [
        op::watermark("a", 2, "o", revision),
        op::delete(row("x")),
        op::swap("a", 1, 2),
    ];
    world.accept(op::shared([expected], nothing));
}

#[test]
fn what_changes_nothing_takes_no_revision() {
    let mut world = world();
    let before = world.state.clone();
    for transaction in [
        shared([]),
        shared([op::drop_keyspace("a", 9)]),
        op::shared([op::absent(&row("x"))], [op::delete(row("x"))]),
        op::shared([op::absent(&row("x"))], [put("x"), op::delete(row("x"))]),
        shared([op::watermark("a", 2, "o", 0)]),
    ] {
        let effects = world.accept(transaction);
        assert!(!effects.changed && effects.rows.is_empty());
        assert_eq!(world.state, before);
    }
    assert!(world.accept(op::turn(turn(2, 1, None), [])).changed);
}

#[test]
fn an_id_is_used_once_even_if_nobody_ever_saw_the_keyspace() {
    let mut world = world();
    world.shared([
        op::drop_keyspace("a", 2),
        op::create_shadow("a", 3, 1, "o"),
        op::drop_keyspace("a", 3),
    ]);
    for id in [2, 3] {
        let Decision::Refused(refused) = world.commit(shared([op::create_shadow("a", id, 1, "o")]))
        else {
            panic!("id {id} was used again");
        };
        assert_eq!(refused.reason(), Reason::Conflict);
    }
    world.shared([op::create_shadow("a", 4, 1, "o")]);
}

#[test]
fn rows_are_counted_and_a_new_primary_needs_no_expectations() {
    let mut world = Memory::default();
    let effects = world.shared([op::create_primary("a", 1, 1), put("x"), put("y"), put("x")]);
    assert_eq!((effects.rows.len(), effects.keyspaces[0].keys), (2, 2));
    let expected = [
        op::expect(&row("x"), 1),
        op::expect(&op::row_in("a", 1, "t", "z"), 0),
    ];
    world.accept(op::shared(expected, [op::delete(row("x")), put("z")]));
    assert_eq!(world.state.primary("a").unwrap().keys, 2);
    assert_eq!(world.rows.len(), 2);
}

#[test]
fn a_swap_that_keeps_the_old_primary_makes_it_a_shadow_that_is_current() {
    let mut memory = Memory::default();
    memory.shared([op::create_primary("a", 1, 1)]);
    memory.shared([op::create_shadow("a", 2, 2, "i1")]);
    let revision = memory.state.revision;
    memory.shared([op::watermark("a", 2, "i1", revision)]);
    memory.shared([op::swap_keeping("a", 1, 2, "i1")]);
    let keyspace = |id| &memory.state.keyspaces[&("a".to_owned(), id)];
    assert!(keyspace(2).primary && !keyspace(1).primary);
    assert_eq!((keyspace(1).schema, keyspace(1).owner.as_str()), (1, "i1"));
    assert!(keyspace(1).watermark >= keyspace(2).modified);
}
