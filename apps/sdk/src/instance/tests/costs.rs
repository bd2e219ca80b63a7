//! Costs of migrations in an instance, without the store and the proxy: `make bench-store`.
#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::time::Duration;

use morph_api::supervisor::{MakeShadow, instruction};
use morph_store::op;

use super::app::{Cells, V1ToV2};
use super::world::{Store, World, config};

const COLUMNS: u32 = 10;

/// A primary of so many lines, each a row of schema 1, or ten of schema 2.
fn filled(schema: u32, lines: u32) -> Store {
    let mut store = Store::default();
    let mut ops = vec![op::create_primary("cells", 1, schema)];
    for line in 0..lines {
        let cells = (0..COLUMNS).map(|column| format!("\"{column}\":1"));
        let whole = format!("{{{}}}", cells.collect::<Vec<_>>().join(","));
        match schema {
            1 => ops.push(op::put(op::row("cells", "lines", line.to_string()), whole)),
            _ => ops.extend((0..COLUMNS).map(|column| {
                let row = op::row("cells", "cells", format!("{line}/{column}"));
                op::put(row, "1")
            })),
        }
    }
    store.must(ops);
    store
}

fn live(schema: u32, lines: u32) -> World<Cells> {
    let mut world = World::new(Cells, config::<V1ToV2>("i1"), filled(schema, lines));
    world.attach();
    world.resume();
    world.pass(Duration::from_millis(250));
    world
}

/// Time of the instance for a turn, each of another line.
fn turns(world: &mut World<Cells>, round: u8) -> f64 {
    const TURNS: u8 = 200;
    let before = world.spent;
    for line in 0..TURNS {
        world.packet([line, round % 10, 100 + round]);
        world.forget();
    }
    (world.spent - before).as_secs_f64() / f64::from(TURNS)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

#[test]
#[ignore = "it measures: make bench-store"]
fn a_translated_turn() {
    let (mut native, mut translated) = (live(2, 200), live(1, 200));
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for round in 0..30 {
        one.push(turns(&mut translated, round));
        other.push(turns(&mut native, round));
    }
    // Both wrote the same cells.
    assert_eq!(native.store.keyspace("cells", 1)["cells/7/9"], "129");
    assert!(translated.store.keyspace("cells", 1)["lines/7"].contains("\"9\":129"));
    let (one, other) = (median(one), median(other));
    println!(
        "RESULT bench/`down` in each turn, a group of {COLUMNS} rows: the instance's time | {:.1} µs | natively: {:.1} µs | {:.2}",
        one * 1e6,
        other * 1e6,
        one / other
    );
}

#[test]
#[ignore = "it measures: make bench-store"]
fn a_shadow_in_another_schema() {
    const LINES: u32 = 900;
    let mut world = live(2, LINES);
    let (before, keyspace) = (world.spent, 2);
    world
        .store
        .must([op::create_shadow("cells", keyspace, 1, "i1")]);
    world.instruct(instruction::Instruction::MakeShadow(MakeShadow {
        keyspace,
        schema: 1,
    }));
    world.pass(Duration::from_secs(1));
    // The app's own count is there too.
    assert_eq!(
        world.store.keyspace("cells", keyspace).len() as u32,
        LINES + 1
    );
    let rows = f64::from(LINES * COLUMNS);
    let rate = rows / (world.spent - before).as_secs_f64();
    println!(
        "RESULT bench/shadow in the instance, each group mapped there and back | {:.0} k rows/s",
        rate / 1000.0
    );
}
