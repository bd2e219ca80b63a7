//! Translation through a migration, and shadows in the neighbouring schema version.

use std::collections::BTreeMap;
use std::time::Duration;

use morph_api::session::{self, to_app};
use morph_api::supervisor::{Flush, Go, MakeShadow, ShadowProgress, instruction, report};
use morph_store::op;
use proptest::prelude::*;

use super::app::{Cells, V1ToV2};
use super::world::{Store, World, config};
use super::{live, store};
use crate::bench::{down, up};
use crate::instance::Output;
use crate::{App, Rows};

fn make_shadow<A: App>(world: &mut World<A>, schema: u32) {
    let create = op::create_shadow("cells", 2, schema, "i1");
    world.store.must([create]);
    let order = MakeShadow {
        keyspace: 2,
        schema,
    };
    world.instruct(instruction::Instruction::MakeShadow(order));
}

fn copied<A: App>(world: &World<A>) -> Option<ShadowProgress> {
    let mut shadows = world.reports().into_iter().rev();
    shadows.find_map(|report| match report {
        report::Report::Shadow(shadow) => Some(shadow),
        _ => None,
    })
}

/// Live in schema version 1 with a row, and with a complete shadow in version 2.
fn live_with_shadow() -> World<Cells> {
    let mut world = live(1);
    world.packet([1, 2, 3]);
    make_shadow(&mut world, 2);
    assert!(copied(&world).unwrap().complete);
    world
}

/// Typed form of a keyspace's rows, to be mapped.
pub(super) fn rows(keyspace: BTreeMap<String, String>) -> Rows {
    let row = |(id, value): (String, String)| {
        let (table, key) = id.split_once('/').unwrap();
        let value = serde_json::from_str(&value).unwrap();
        ((table.to_owned(), key.to_owned()), value)
    };
    Rows(keyspace.into_iter().map(row).collect())
}

/// Something that happens to an instance.
#[derive(Debug, Clone)]
enum Incident {
    /// An event sets a cell, or deletes it with 0.
    Packet([u8; 3]),
    /// A person sets a row of the same name in both schema versions.
    Weight(u32, u32),
    /// Another instance of the same release takes over.
    Restart,
    /// The shadow is ordered.
    Shadow,
    /// The store no longer answers at once.
    Hold,
    /// The store answers all requests.
    Answer,
}

fn incidents() -> impl Strategy<Value = Vec<Incident>> {
    let value = prop_oneof![4 => 0..4u8, 1 => Just(98)];
    let packet = (0..3u8, 0..3u8, value).prop_map(|(l, c, v)| Incident::Packet([l, c, v]));
    let weight = (0..3u32, 0..3u32).prop_map(|(key, value)| Incident::Weight(key, value));
    let incident = prop_oneof![
        8 => packet,
        2 => weight,
        1 => Just(Incident::Restart),
        1 => Just(Incident::Shadow),
        2 => Just(Incident::Hold),
        2 => Just(Incident::Answer),
    ];
    proptest::collection::vec(incident, 0..40)
}

fn answer<A: App>(world: &mut World<A>) {
    while !world.commits.is_empty() {
        world.commit();
    }
    world.commits_at_once = true;
}

/// Runs the steps on a primary of a schema version, and orders the shadow at the latest at the end.
fn run(schema: u32, incidents: &[Incident]) -> World<Cells> {
    let mut world = live(schema);
    let mut ordered = false;
    for (at, incident) in incidents.iter().enumerate() {
        match incident {
            Incident::Packet(data) => world.event(at as u64 + 1, *data),
            Incident::Weight(key, value) => {
                let (key, value) = (key.to_string(), value.to_string());
                world.store.set("cells", "weights", &key, &value);
                world.news();
            }
            Incident::Hold => world.commits_at_once = false,
            Incident::Answer => answer(&mut world),
            Incident::Restart if !ordered => {
                answer(&mut world);
                let mut next = World::new(
                    Cells,
                    config::<V1ToV2>("i1"),
                    std::mem::take(&mut world.store),
                );
                next.rules = std::mem::take(&mut world.rules);
                next.attach();
                next.resume();
                next.pass(Duration::from_millis(250));
                assert_eq!(next.flow_mods, [], "rules were touched");
                world = next;
            }
            Incident::Shadow if !ordered => {
                make_shadow(&mut world, 3 - schema);
                ordered = true;
            }
            Incident::Restart | Incident::Shadow => {}
        }
    }
    answer(&mut world);
    if !ordered {
        make_shadow(&mut world, 3 - schema);
    }
    world.pass(Duration::from_millis(100));
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn translated_turns_have_the_same_effects_as_native_ones(incidents in incidents()) {
        let native = run(2, &incidents);
        let translated = run(1, &incidents);
        let keys = |world: &World<Cells>| world.rules.keys().cloned().collect::<Vec<_>>();
        prop_assert_eq!(keys(&native), keys(&translated));
        let new = rows(native.store.keyspace("cells", 1));
        let old = rows(translated.store.keyspace("cells", 1));
        prop_assert_eq!(&up::<V1ToV2>(&old).unwrap(), &new);
        prop_assert_eq!(&down::<V1ToV2>(&new).unwrap(), &old);
        // The shadow of the one has the rows of the other's primary.
        prop_assert_eq!(rows(native.store.keyspace("cells", 2)), old);
        prop_assert_eq!(rows(translated.store.keyspace("cells", 2)), new);
        for world in [native, translated] {
            let keyspace = &world.store.state.keyspaces[&("cells".to_owned(), 2)];
            let primary = &world.store.state.keyspaces[&("cells".to_owned(), 1)];
            prop_assert!(keyspace.watermark >= primary.modified);
        }
    }
}

#[test]
fn an_upgrade_ends_natively_on_the_shadow_that_it_built() {
    let mut world = live_with_shadow();
    world.packet([1, 3, 4]);
    world.forget();
    world.instruct(instruction::Instruction::Flush(Flush {}));
    let Some(report::Report::Flushed(flushed)) = world.reports().pop() else {
        panic!("{:?}", world.reports());
    };
    assert_eq!(flushed.keyspace, 2);
    world.packet([1, 4, 5]); // waits
    assert!(world.words().is_empty());
    world.store.must([op::swap("cells", 1, 2)]);
    world.news();
    world.instruct(instruction::Instruction::Go(Go {}));
    assert!(world.words().contains(&"Turn 4 of 1:3".to_owned()));
    let cells = world.store.keyspace("cells", 2);
    assert_eq!(cells["cells/1/2"], "3");
    assert_eq!(cells["cells/1/4"], "5");
    assert_eq!(world.rules.len(), 3);
    assert_eq!(world.flow_mods.len(), 1);
}

#[test]
fn a_complete_shadow_follows_many_turns_in_one_update_and_a_flush_at_once() {
    let mut world = live_with_shadow();
    let watermark =
        |world: &World<Cells>| world.store.state.keyspaces[&("cells".to_owned(), 2)].watermark;
    let rows = |world: &World<Cells>| world.store.keyspace("cells", 2).len();
    let (before, reports, few) = (watermark(&world), world.reports().len(), rows(&world));
    for at in 0..10 {
        world.packet([2, at, 1]);
    }
    assert_eq!(
        (watermark(&world), world.reports().len()),
        (before, reports)
    );
    world.pass(Duration::from_millis(25));
    assert_eq!(rows(&world), few + 10);
    assert_eq!(world.reports().len(), reports + 1);
    world.packet([3, 1, 1]);
    assert_eq!(rows(&world), few + 10);
    world.instruct(instruction::Instruction::Flush(Flush {}));
    assert_eq!(rows(&world), few + 11);
    let last = world.reports().pop();
    assert!(matches!(last, Some(report::Report::Flushed(_))), "{last:?}");
}

#[test]
fn without_a_go_it_asks_for_the_primary_by_itself() {
    let mut world = live(1);
    make_shadow(&mut world, 2);
    world.instruct(instruction::Instruction::Flush(Flush {}));
    world.packet([1, 2, 3]);
    world.forget();
    world.pass(Duration::from_millis(1900));
    assert!(world.words().is_empty());
    world.pass(Duration::from_millis(200));
    // Nothing was swapped: it goes on translating, and keeps its shadow.
    assert_eq!(world.store.keyspace("cells", 1)["lines/1"], r#"{"2":3}"#);
    assert_eq!(world.store.keyspace("cells", 2)["cells/1/2"], "3");
}

#[test]
fn a_downgrade_hands_over_a_current_shadow_and_a_rollback_translates_it() {
    let mut world = live(2);
    world.packet([1, 2, 3]);
    make_shadow(&mut world, 1);
    world.commits_at_once = false;
    world.packet([1, 3, 4]);
    world.control(to_app::Record::Quiesce(session::Quiesce { epoch: 1 }));
    world.commit(); // the turn
    assert!(!world.words().iter().any(|word| word.contains("Quiesced")));
    while !world.commits.is_empty() {
        world.commit(); // the shadow, and its watermark
    }
    assert_eq!(world.words().last().unwrap(), "Quiesced 1:2 after 3");
    world.commits_at_once = true;
    let swap = op::swap("cells", 1, 2);
    let fence = op::fence("cells", "node1", 1, "1.0.0");
    world.store.must([fence, swap]);
    world.news();
    // Rolled back: the instance is live again, on the other's primary.
    world.forget();
    world.resume();
    world.event(3, [1, 2, 0]);
    world.pass(Duration::from_millis(50));
    assert_eq!(world.store.keyspace("cells", 2)["lines/1"], r#"{"3":4}"#);
    assert_eq!(world.rules.len(), 1);
}

#[test]
fn a_keyspace_that_is_to_become_the_primary_is_read_natively() {
    let mut store = store(1);
    store.must([
        op::create_shadow("cells", 2, 2, "other"),
        op::put(op::row_in("cells", 2, "cells", "1/2"), "3"),
        op::watermark("cells", 2, "other", 1),
    ]);
    let mut settings = config::<V1ToV2>("i1");
    settings.keyspace = Some(2);
    let mut world = World::new(Cells, settings, store);
    world.attach();
    let [report::Report::Ready(ready)] = &world.reports()[..] else {
        panic!("{:?}", world.reports());
    };
    assert_eq!(ready.rows, 1);
    let fence = op::fence("cells", "node1", 0, "2.0.0");
    let swap = op::swap("cells", 1, 2);
    let revision = world.store.must([fence, swap]).revision;
    world.news();
    world.resume_at(revision);
    world.packet([1, 3, 4]);
    assert_eq!(world.store.keyspace("cells", 2)["cells/1/3"], "4");
    assert_eq!(world.rules.len(), 2);
}

#[test]
fn a_turn_whose_down_fails_or_panics_ends_an_instance_that_translates() {
    for value in [13, 14] {
        let mut world = live(1);
        world.packet([1, 2, value]);
        assert_eq!(world.sent.last(), Some(&Output::Exit(1)));
        assert!(!world.store.keyspace("cells", 1).contains_key("lines/1"));
    }
}

#[test]
fn a_down_that_fails_ends_the_shadow_and_not_the_instance_that_runs_natively() {
    let mut world = live(2);
    world.packet([1, 2, 13]);
    make_shadow(&mut world, 1);
    let shadow = copied(&world).unwrap();
    assert!(shadow.error.contains("13 has no place"), "{shadow:?}");
    world.packet([1, 2, 5]);
    assert_eq!(world.words().last().unwrap(), "Durable 1:2");
}

#[test]
fn a_shadow_of_many_rows_is_built_in_parts_between_the_turns() {
    let mut store = Store::default();
    store.must([op::create_primary("cells", 1, 2)]);
    let mut world = World::new(Cells, config::<V1ToV2>("i1"), store);
    for n in 0..2000 {
        world
            .store
            .set("cells", "weights", &n.to_string(), &n.to_string());
    }
    world.attach();
    world.resume();
    world.commits_at_once = false;
    make_shadow(&mut world, 1);
    world.packet([1, 2, 3]);
    let mut watermarks = 0;
    while !world.commits.is_empty() {
        let (_, transaction) = &world.commits[0];
        assert!(transaction.ops.len() <= 501);
        watermarks += usize::from(transaction.turn.is_none());
        world.commit();
    }
    assert!(watermarks >= 4, "{watermarks}");
    assert_eq!(world.store.keyspace("cells", 2).len(), 2002);
    let shadow = copied(&world).unwrap();
    assert!(shadow.complete && shadow.rows == 2002, "{shadow:?}");
}

#[test]
fn alarms_are_in_both_schema_versions_and_count_as_no_loss() {
    for (primary, shadow) in [(1, 2), (2, 1)] {
        let mut world = live(primary);
        world.packet([1, 2, 98]);
        make_shadow(&mut world, shadow);
        let alarm = |world: &World<Cells>, keyspace| {
            let rows = world.store.keyspace("cells", keyspace);
            rows.get("_alarms/big/1/2").cloned()
        };
        let raised = alarm(&world, 1);
        assert!(
            raised
                .as_ref()
                .is_some_and(|row| row.contains("set another value"))
        );
        assert_eq!(alarm(&world, 2), raised, "from {primary}");
        assert_eq!(copied(&world).unwrap().lossy, 0);
        world.packet([1, 2, 3]);
        world.pass(Duration::from_millis(100));
        assert_eq!((alarm(&world, 1), alarm(&world, 2)), (None, None));
    }
}

/// [`V1ToV2`], but the old schema keeps no more than 100 in a cell.
struct Lossy;

impl crate::Migration for Lossy {
    const OLD: u32 = 1;
    const NEW: u32 = 2;

    fn group_of_old(table: &str, key: &str) -> String {
        V1ToV2::group_of_old(table, key)
    }

    fn group_of_new(table: &str, key: &str) -> String {
        V1ToV2::group_of_new(table, key)
    }

    fn up(old: &Rows) -> Result<Rows, crate::MigrationError> {
        V1ToV2::up(old)
    }

    fn down(new: &Rows) -> Result<Rows, crate::MigrationError> {
        let mut new = new.clone();
        for value in new.0.values_mut() {
            if value.as_u64().is_some_and(|value| value > 100) {
                *value = 100.into();
            }
        }
        V1ToV2::down(&new)
    }
}

#[test]
fn losses_of_going_back_are_counted_and_reported_in_both_directions() {
    for (primary, shadow) in [(1, 2), (2, 1)] {
        let mut world = World::new(Cells, config::<Lossy>("i1"), store(primary));
        world.attach();
        world.resume();
        world.packet([1, 2, 3]);
        world.packet([2, 2, 3]);
        make_shadow(&mut world, shadow);
        let none = copied(&world).unwrap();
        assert_eq!((none.groups, none.groups_total, none.lossy), (3, 3, 0)); // with count.0
        world.packet([1, 3, 200]);
        world.pass(Duration::from_millis(100));
        let one = copied(&world).unwrap();
        assert_eq!((one.lossy, one.losses.len()), (1, 1), "{one:?}");
        let loss = &one.losses[0];
        let reported = [&loss.row, &loss.before, &loss.after].map(String::as_str);
        assert_eq!(reported, ["cells/1/3", "200", "100"], "from {primary}");
        // Without the row nothing would be lost.
        world.packet([1, 3, 0]);
        world.pass(Duration::from_millis(100));
        assert_eq!(copied(&world).unwrap().lossy, 0);
    }
}
