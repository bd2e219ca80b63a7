//! Compares the core with a model that is too simple to contain the same mistakes: it clones everything, applies
//! operation by operation, and throws the clone away at the first refusal.

use std::collections::{BTreeMap, BTreeSet};

use morph_api::store::op::Op as Kind;
use morph_api::store::{Expect, Op, Reason, Row, Seq, Transaction, Turn};
use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::Memory;
use super::{Decision, RowKey};
use crate::op;

/// Schema, primary, owner, watermark, revision of the last change.
type NaiveKeyspace = (u32, bool, String, u64, u64);

#[derive(Clone, Default, PartialEq, Debug)]
struct Naive {
    revision: u64,
    /// app -> epoch, turn, cursor
    checkpoints: BTreeMap<String, (u64, u64, Seq)>,
    keyspaces: BTreeMap<(String, u32), NaiveKeyspace>,
    used: BTreeSet<(String, u32)>,
    rows: BTreeMap<RowKey, (u64, String)>,
}

impl Naive {
    fn commit(&mut self, transaction: &Transaction) -> Option<Reason> {
        let mut next = self.clone();
        if let Err(reason) = next.all(self, transaction) {
            return Some(reason);
        }
        next.settle(self);
        *self = next;
        None
    }

    /// Sets revisions of everything that differs from the old state.
    fn settle(&mut self, old: &Naive) {
        let new = old.revision + 1;
        for (key, keyspace) in &mut self.keyspaces {
            let of = |at: &&RowKey| (&at.app, at.keyspace) == (&key.0, key.1);
            let touched = |at: &RowKey| match (old.rows.get(at), self.rows.get(at)) {
                (None, None) => false,
                (Some(old), Some(new)) => new.0 > old.0,
                _ => true,
            };
            if self
                .rows
                .keys()
                .chain(old.rows.keys())
                .filter(of)
                .any(touched)
            {
                keyspace.4 = new;
            }
        }
        if (&self.checkpoints, &self.keyspaces, &self.used, &self.rows)
            != (&old.checkpoints, &old.keyspaces, &old.used, &old.rows)
        {
            self.revision = new;
        }
    }

    fn all(&mut self, old: &Naive, transaction: &Transaction) -> Result<(), Reason> {
        if let Some(turn) = &transaction.turn {
            let checkpoint = self
                .checkpoints
                .get_mut(&turn.app)
                .ok_or(Reason::StaleEpoch)?;
            match (turn.epoch == checkpoint.0, turn.follows.cmp(&checkpoint.1)) {
                (false, _) => return Err(Reason::StaleEpoch),
                (true, std::cmp::Ordering::Less) => return Err(Reason::Already),
                (true, std::cmp::Ordering::Greater) => return Err(Reason::Gap),
                (true, std::cmp::Ordering::Equal) => checkpoint.1 += 1,
            }
            match turn.cursor {
                Some(cursor) if cursor <= checkpoint.2 => return Err(Reason::Invalid),
                Some(cursor) => checkpoint.2 = cursor,
                None => {}
            }
        }
        for Expect { row, revision } in &transaction.expect {
            let at = old.at(row.as_ref().unwrap());
            let found = at.and_then(|at| old.rows.get(&at)).map_or(0, |row| row.0);
            if found != *revision {
                return Err(Reason::Conflict);
            }
        }
        transaction
            .ops
            .iter()
            .try_for_each(|op| self.op(old, transaction, op.op.as_ref().unwrap()))
    }

    fn at(&self, row: &Row) -> Option<RowKey> {
        let mut keyspaces = self.keyspaces.iter();
        let keyspace = keyspaces.find(|((app, id), keyspace)| {
            *app == row.app && (*id == row.keyspace || row.keyspace == 0 && keyspace.1)
        })?;
        Some(RowKey {
            app: row.app.clone(),
            keyspace: keyspace.0.1,
            table: row.table.clone(),
            key: row.key.clone(),
        })
    }

    fn find(&self, app: &str, primary: bool) -> Option<u32> {
        let mut keyspaces = self.keyspaces.iter();
        keyspaces
            .find(|(key, keyspace)| key.0 == app && keyspace.1 == primary)
            .map(|(key, _)| key.1)
    }

    fn write(
        &mut self,
        old: &Naive,
        transaction: &Transaction,
        row: &Row,
        value: Option<&str>,
    ) -> Result<(), Reason> {
        let at = self.at(row).ok_or(Reason::Invalid)?;
        let key = (at.app.clone(), at.keyspace);
        let primary = self.keyspaces[&key].1;
        let marked = transaction
            .ops
            .iter()
            .any(|op| matches!(&op.op, Some(Kind::AdvanceWatermark(m)) if m.app == at.app && m.id == at.keyspace));
        let expected = transaction
            .expect
            .iter()
            .any(|e| old.at(e.row.as_ref().unwrap()).as_ref() == Some(&at));
        let may = match &transaction.turn {
            Some(turn) => turn.app == at.app && primary,
            None if primary => expected || !old.used.contains(&key),
            None => marked,
        };
        if !may {
            return Err(Reason::Invalid);
        }
        match value {
            Some(value) => self.rows.insert(at, (old.revision + 1, value.to_owned())),
            None => self.rows.remove(&at),
        };
        Ok(())
    }

    fn op(&mut self, old: &Naive, transaction: &Transaction, kind: &Kind) -> Result<(), Reason> {
        match kind {
            Kind::Put(put) => {
                let row = put.row.as_ref().unwrap();
                return self.write(old, transaction, row, Some(&put.value));
            }
            Kind::Delete(row) => return self.write(old, transaction, row, None),
            _ if transaction.turn.is_some() => return Err(Reason::Invalid),
            Kind::Fence(fence) => {
                let epoch = self
                    .checkpoints
                    .get(&fence.app)
                    .map_or(0, |checkpoint| checkpoint.0);
                if epoch != fence.expect_epoch {
                    return Err(Reason::StaleEpoch);
                }
                self.checkpoints
                    .entry(fence.app.clone())
                    .or_insert((0, 0, Seq::ZERO))
                    .0 += 1;
            }
            Kind::Skip(skip) => {
                let before = old
                    .checkpoints
                    .get(&skip.app)
                    .map_or(0, |checkpoint| checkpoint.0);
                let checkpoint = self.checkpoints.get_mut(&skip.app);
                let checkpoint = checkpoint.filter(|checkpoint| checkpoint.0 > before);
                let checkpoint = checkpoint.ok_or(Reason::Invalid)?;
                let (from, to) = (skip.from.unwrap(), skip.to.unwrap());
                if checkpoint.2 != from {
                    return Err(Reason::Conflict);
                }
                if to <= from {
                    return Err(Reason::Invalid);
                }
                checkpoint.2 = to;
            }
            Kind::CreateKeyspace(new) => {
                let key = (new.app.clone(), new.id);
                if self.used.contains(&key) {
                    return Err(Reason::Conflict);
                }
                let (primary, shadow) = (self.find(&new.app, true), self.find(&new.app, false));
                if new.primary == primary.is_some() || !new.primary && shadow.is_some() {
                    return Err(Reason::Invalid);
                }
                self.used.insert(key.clone());
                let keyspace = (
                    new.schema,
                    new.primary,
                    new.owner.clone(),
                    0,
                    old.revision + 1,
                );
                self.keyspaces.insert(key, keyspace);
            }
            Kind::DropKeyspace(drop) => {
                let key = (drop.app.clone(), drop.id);
                if self.keyspaces.get(&key).is_some_and(|keyspace| keyspace.1) {
                    return Err(Reason::Invalid);
                }
                self.remove(&key);
            }
            Kind::AdvanceWatermark(watermark) => {
                let keyspace = self
                    .keyspaces
                    .get_mut(&(watermark.app.clone(), watermark.id));
                let keyspace = keyspace
                    .filter(|keyspace| !keyspace.1)
                    .ok_or(Reason::Invalid)?;
                if keyspace.2 != watermark.owner {
                    return Err(Reason::StaleEpoch);
                }
                if watermark.watermark > old.revision {
                    return Err(Reason::Invalid);
                }
                keyspace.3 = watermark.watermark;
            }
            Kind::Swap(swap) => {
                let now = (self.find(&swap.app, true), self.find(&swap.app, false));
                if now != (Some(swap.primary), Some(swap.shadow)) {
                    return Err(Reason::Conflict);
                }
                let mut settled = self.clone();
                settled.settle(old);
                let modified = settled.keyspaces[&(swap.app.clone(), swap.primary)].4;
                let shadow = self
                    .keyspaces
                    .get_mut(&(swap.app.clone(), swap.shadow))
                    .unwrap();
                if shadow.3 < modified {
                    return Err(Reason::NotCurrent);
                }
                (shadow.1, shadow.2, shadow.3) = (true, String::new(), 0);
                self.remove(&(swap.app.clone(), swap.primary));
            }
            // The leases' own tests cover these.
            Kind::Grant(_) | Kind::Keep(_) | Kind::Revoke(_) => return Err(Reason::Invalid),
        }
        Ok(())
    }

    fn remove(&mut self, key: &(String, u32)) {
        self.keyspaces.remove(key);
        self.rows
            .retain(|at, _| (&at.app, at.keyspace) != (&key.0, key.1));
    }
}

const APPS: [&str; 2] = ["a", "b"];

fn row() -> impl Strategy<Value = Row> {
    let keyspace = prop_oneof![3 => Just(0u32), 1 => 1..5u32];
    (0..2usize, keyspace, 0..3u32)
        .prop_map(|(app, keyspace, key)| op::row_in(APPS[app], keyspace, "t", key.to_string()))
}

fn revision() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0u64), 3 => 0..30u64]
}

fn operation() -> impl Strategy<Value = Op> {
    let (app, id, owner) = (|| 0..2usize, || 1..5u32, || 0..2u32);
    prop_oneof![
        6 => (row(), 0..9u32).prop_map(|(row, value)| op::put(row, value.to_string())),
        2 => row().prop_map(op::delete),
        1 => (app(), 0..4u64).prop_map(|(app, epoch)| op::fence(APPS[app], "n", epoch, "r")),
        1 => (app(), 0..3u64, 0..9u64).prop_map(|(app, incarnation, n)| {
            let seq = Seq { incarnation, n };
            op::skip(APPS[app], "n", seq, seq)
        }),
        1 => (app(), id()).prop_map(|(app, id)| op::create_primary(APPS[app], id, 1)),
        2 => (app(), id(), owner()).prop_map(|(app, id, o)| op::create_shadow(APPS[app], id, 2, format!("o{o}"))),
        1 => (app(), id()).prop_map(|(app, id)| op::drop_keyspace(APPS[app], id)),
        4 => (app(), id(), owner(), revision())
            .prop_map(|(app, id, o, watermark)| op::watermark(APPS[app], id, format!("o{o}"), watermark)),
        2 => (app(), id(), id()).prop_map(|(app, primary, shadow)| op::swap(APPS[app], primary, shadow)),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    let cursor = proptest::option::of((1..3u64, 0..20u64));
    (0..2usize, 0..4u64, 0..6u64, cursor).prop_map(|(app, epoch, follows, cursor)| Turn {
        app: APPS[app].into(),
        node: "n".into(),
        epoch,
        follows,
        cursor: cursor.map(|(incarnation, n)| Seq { incarnation, n }),
    })
}

/// Random transactions are often corrected afterwards: otherwise hardly any would be accepted.
fn transaction() -> impl Strategy<Value = (Transaction, bool)> {
    let expect = (row(), revision()).prop_map(|(row, revision)| op::expect(&row, revision));
    let turn = proptest::option::weighted(0.4, turn());
    (
        turn,
        vec(expect, 0..2),
        vec(operation(), 0..4),
        proptest::bool::weighted(0.8),
    )
        .prop_map(|(turn, expect, ops, right)| {
            (
                Transaction {
                    turn,
                    expect,
                    ops,
                    ..Transaction::default()
                },
                right,
            )
        })
}

/// Rewrites a transaction into what a well-informed client would send.
fn inform(mut transaction: Transaction, model: &Naive) -> Transaction {
    let at = |row: &Row| {
        model
            .at(row)
            .and_then(|at| model.rows.get(&at))
            .map_or(0, |row| row.0)
    };
    if let Some(turn) = &mut transaction.turn {
        if let Some((epoch, count, cursor)) = model.checkpoints.get(&turn.app) {
            (turn.epoch, turn.follows) = (*epoch, *count);
            turn.cursor = turn.cursor.map(|_| Seq {
                incarnation: cursor.incarnation.max(1),
                n: cursor.n + 1,
            });
        }
    } else {
        let rows = transaction.ops.iter().filter_map(|op| match &op.op {
            Some(Kind::Put(put)) => put.row.clone(),
            Some(Kind::Delete(row)) => Some(row.clone()),
            _ => None,
        });
        transaction
            .expect
            .extend(rows.map(|row| op::expect(&row, 0)));
    }
    for expect in &mut transaction.expect {
        expect.revision = at(expect.row.as_ref().unwrap());
    }
    for op in &mut transaction.ops {
        match &mut op.op {
            Some(Kind::Fence(fence)) => {
                fence.expect_epoch = model
                    .checkpoints
                    .get(&fence.app)
                    .map_or(0, |checkpoint| checkpoint.0);
            }
            Some(Kind::Skip(skip)) => {
                skip.from = Some(
                    model
                        .checkpoints
                        .get(&skip.app)
                        .map_or(Seq::ZERO, |checkpoint| checkpoint.2),
                );
            }
            Some(Kind::AdvanceWatermark(watermark)) => {
                watermark.id = model.find(&watermark.app, false).unwrap_or(watermark.id);
                watermark.watermark = model.revision;
                let keyspace = model.keyspaces.get(&(watermark.app.clone(), watermark.id));
                if let Some(keyspace) = keyspace.filter(|keyspace| !keyspace.1) {
                    watermark.owner.clone_from(&keyspace.2);
                }
            }
            Some(Kind::Swap(swap)) => {
                swap.primary = model.find(&swap.app, true).unwrap_or(swap.primary);
                swap.shadow = model.find(&swap.app, false).unwrap_or(swap.shadow);
            }
            _ => {}
        }
    }
    transaction
}

fn seen(memory: &Memory) -> Naive {
    let state = &memory.state;
    let checkpoints = state.checkpoints.values();
    let keyspaces = state.keyspaces.iter();
    for (key, keyspace) in keyspaces.clone() {
        let of = |at: &&RowKey| (&at.app, at.keyspace) == (&key.0, key.1);
        assert_eq!(keyspace.keys, memory.rows.keys().filter(of).count() as u64);
    }
    Naive {
        revision: state.revision,
        checkpoints: checkpoints
            .map(|checkpoint| {
                (
                    checkpoint.app.clone(),
                    (
                        checkpoint.epoch,
                        checkpoint.turn,
                        checkpoint.cursor.unwrap(),
                    ),
                )
            })
            .collect(),
        keyspaces: keyspaces
            .map(|(key, s)| {
                (
                    key.clone(),
                    (
                        s.schema,
                        s.primary,
                        s.owner.clone(),
                        s.watermark,
                        s.modified,
                    ),
                )
            })
            .collect(),
        used: (*state.used).clone(),
        rows: memory.rows.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_core_does_what_the_model_does(transactions in vec(transaction(), 1..40)) {
        let mut model = Naive::default();
        let mut memory = Memory::default();
        for app in APPS {
            let first = op::shared([], [op::create_primary(app, 1, 1), op::fence(app, "n", 0, "r")]);
            prop_assert_eq!(model.commit(&first), None);
            prop_assert!(matches!(memory.commit(first), Decision::Accepted(_)));
        }
        for (transaction, right) in transactions {
            let transaction = match right {
                true => inform(transaction, &model),
                false => transaction,
            };
            let expected = model.commit(&transaction);
            let found = match memory.commit(transaction.clone()) {
                Decision::Accepted(_) => None,
                Decision::Refused(refused) => Some(refused.reason()),
            };
            prop_assert_eq!(found, expected, "{:#?}", transaction);
            prop_assert_eq!(&seen(&memory), &model, "{:#?}", transaction);
        }
    }
}
