//! Bound rows vanish with their lease, and no others do.

use std::time::Duration;

use morph_api::store::{Op, Reason, Row, Seq, Transaction, Turn};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::tests::Memory;
use super::super::{Decision, RowKey, State};
use super::{LEASES, is_at};
use crate::{limits, op};

const TTL: Duration = Duration::from_secs(5);

/// Records, and app `a` with primary 1 of schema 1 and its checkpoint at epoch 1.
fn world() -> Memory {
    let mut world = Memory::default();
    accept(
        &mut world,
        [
            op::create_primary("morpheus", 1, 1),
            op::create_primary("a", 1, 1),
            op::fence("a", "n", 0, "1.0.0"),
        ],
    );
    world
}

fn accept(world: &mut Memory, ops: impl IntoIterator<Item = Op>) -> u64 {
    commit(world, op::shared([], ops)).unwrap()
}

fn commit(world: &mut Memory, transaction: Transaction) -> Result<u64, Reason> {
    let decision = world.commit(transaction);
    check(world);
    match decision {
        Decision::Accepted(effects) => Ok(effects.revision),
        Decision::Refused(refused) => Err(refused.reason()),
    }
}

/// Commits a turn that puts a row, with or without a lease.
fn put(world: &mut Memory, key: &str, lease: &str) -> Result<u64, Reason> {
    let follows = world.state.checkpoints[&("a".to_owned(), "n".to_owned())].turn;
    let turn = Turn {
        app: "a".into(),
        node: "n".into(),
        epoch: 1,
        follows,
        cursor: None::<Seq>,
    };
    commit(
        world,
        op::turn(turn, [op::put_leased(row(key), "1", lease)]),
    )
}

fn row(key: &str) -> Row {
    op::row("a", "t", key)
}

fn keys(world: &Memory) -> Vec<&str> {
    let rows = world.rows.keys().filter(|at| at.app == "a");
    rows.map(|at| at.key.as_str()).collect()
}

/// Checks that the state equals one loaded anew, and that each binding is known from both sides.
fn check(world: &Memory) {
    let state = &world.state;
    let mut found = State::default();
    for (at, (revision, json)) in &world.rows {
        found.take_row(at, Some((*revision, json))).unwrap();
    }
    assert_eq!((&found.leases, &found.bound), (&state.leases, &state.bound));
    for (at, name) in state.bound.iter() {
        assert!(state.leases[name].rows.contains(at));
        assert!(world.rows.contains_key(at), "{at:?} is bound and not there");
    }
    let bound: usize = state.leases.values().map(|lease| lease.rows.len()).sum();
    assert_eq!(bound, state.bound.len());
    let stored = world.rows.keys().filter(|at| is_at(at)).count();
    assert_eq!(stored, state.leases.len());
}

#[test]
fn a_revoked_lease_takes_its_rows_and_no_others() {
    let mut world = world();
    accept(&mut world, [op::grant("l", TTL), op::grant("m", TTL)]);
    for (key, lease) in [("1", "l"), ("2", "m"), ("3", ""), ("4", "l"), ("5", "l")] {
        put(&mut world, key, lease).unwrap();
    }
    put(&mut world, "4", "m").unwrap(); // moves to the other
    put(&mut world, "5", "").unwrap(); // stays
    accept(&mut world, [op::revoke("l")]);
    assert_eq!(keys(&world), ["2", "3", "4", "5"]);
    accept(&mut world, [op::revoke("m")]);
    assert_eq!(keys(&world), ["3", "5"]);
    assert_eq!(world.state.keyspaces[&("a".to_owned(), 1)].keys, 2);
    assert_eq!(put(&mut world, "6", "l"), Err(Reason::NoLease));
}

#[test]
fn a_lease_that_was_kept_meanwhile_is_not_revoked_at_an_older_revision() {
    let mut world = world();
    let granted = accept(&mut world, [op::grant("l", TTL)]);
    let kept = accept(&mut world, [op::keep("l")]);
    assert!(kept > granted);
    let expire = |revision| op::shared([], [op::revoke_at("l", revision)]);
    assert_eq!(commit(&mut world, expire(granted)), Err(Reason::Conflict));
    commit(&mut world, expire(kept)).unwrap();
    assert_eq!(commit(&mut world, expire(kept)), Err(Reason::Conflict));
    let keep = op::shared([], [op::keep("l")]);
    assert_eq!(commit(&mut world, keep), Err(Reason::NoLease));
    accept(&mut world, [op::revoke("l")]); // gone already: no failure
}

#[test]
fn what_a_lease_cannot_be_is_refused() {
    let mut world = world();
    accept(
        &mut world,
        [op::grant("l", TTL), op::create_shadow("a", 2, 2, "o")],
    );
    let shadow = op::put_leased(op::row_in("a", 2, "t", "k"), "1", "l");
    let by_hand = op::row("morpheus", LEASES, "x");
    let long = "l".repeat(limits::NAME + 1);
    for (ops, reason) in [
        (vec![op::grant("l", TTL)], Reason::Conflict),
        (vec![op::grant("", TTL)], Reason::Invalid),
        (vec![op::grant(long.as_str(), TTL)], Reason::TooLarge),
        (vec![op::grant("x", Duration::ZERO)], Reason::Invalid),
        (vec![op::grant("x", Duration::MAX)], Reason::Invalid),
        (vec![op::keep("x")], Reason::NoLease),
        (vec![shadow, op::watermark("a", 2, "o", 0)], Reason::Invalid),
        (vec![op::put(by_hand.clone(), "1")], Reason::Invalid),
    ] {
        let transaction = op::shared([op::absent(&by_hand)], ops);
        assert_eq!(
            commit(&mut world, transaction.clone()),
            Err(reason),
            "{transaction:?}"
        );
    }
    for n in 0..limits::LEASED {
        put(&mut world, &n.to_string(), "l").unwrap();
    }
    assert_eq!(put(&mut world, "more", "l"), Err(Reason::TooLarge));
}

#[test]
fn a_swap_lets_go_of_what_was_bound_in_the_old_primary() {
    let mut world = world();
    accept(&mut world, [op::grant("l", TTL)]);
    let modified = put(&mut world, "1", "l").unwrap();
    accept(&mut world, [op::create_shadow("a", 2, 2, "o")]);
    let shadow = [
        op::put(op::row_in("a", 2, "t", "1"), "1"),
        op::watermark("a", 2, "o", modified),
    ];
    accept(&mut world, shadow);
    accept(&mut world, [op::swap("a", 1, 2)]);
    accept(&mut world, [op::revoke("l")]);
    assert_eq!(keys(&world), ["1"]);
}

#[test]
fn a_lease_that_makes_no_sense_is_told() {
    let at = RowKey {
        app: "morpheus".into(),
        keyspace: 1,
        table: LEASES.into(),
        key: "l".into(),
    };
    for json in ["", "1", "{}", "{\"ttl_ms\": -1, \"rows\": []}"] {
        assert!(State::default().take_row(&at, Some((1, json))).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bindings_are_the_same_from_both_sides(steps in vec((0..6u8, 0..3u8, 0..4u8), 1..60)) {
        let mut world = world();
        for (what, lease, key) in steps {
            let (lease, key) = (format!("l{lease}"), key.to_string());
            match what {
                // A refusal is fine: `commit` checks the state either way.
                0 => drop(commit(&mut world, op::shared([], [op::grant(&lease, TTL)]))),
                1 => drop(commit(&mut world, op::shared([], [op::keep(&lease)]))),
                2 => {
                    let bound = world.state.leases.get(&lease).map(|l| l.rows.clone());
                    accept(&mut world, [op::revoke(&lease)]);
                    prop_assert!(bound.into_iter().flatten().all(|at| !world.rows.contains_key(&at)));
                }
                3 => drop(put(&mut world, &key, "")),
                4 => {
                    let there = world.rows.iter().find(|(at, _)| at.app == "a" && at.key == key);
                    let revision = there.map_or(0, |(_, (revision, _))| *revision);
                    let expect = op::expect(&row(&key), revision);
                    commit(&mut world, op::shared([expect], [op::delete(row(&key))])).unwrap();
                }
                _ => {
                    let there = world.state.leases.contains_key(&lease);
                    prop_assert_eq!(put(&mut world, &key, &lease).is_ok(), there);
                }
            }
        }
    }
}
