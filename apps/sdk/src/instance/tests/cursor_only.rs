//! Turns that change no row: the cursor goes to the store with the next turn, or soon by itself.

use std::time::Duration;

use morph_api::session::{self, to_app};
use morph_api::store::Reason;

use super::app::Cells;
use super::in_flight::refuse;
use super::live;
use super::world::World;

/// Turn number and cursor in the store.
fn stored(world: &World<Cells>) -> (u64, u64) {
    let checkpoint = world.store.checkpoint();
    (
        checkpoint.turn,
        checkpoint.cursor.map_or(0, |cursor| cursor.n),
    )
}

#[test]
fn the_next_turn_takes_the_cursor_along() {
    let mut world = live(2);
    let before = stored(&world);
    for _ in 0..3 {
        world.packet([1, 2, 0]);
    }
    assert_eq!(stored(&world), before);
    world.packet([1, 2, 3]);
    assert_eq!(stored(&world), (before.0 + 1, 4));
    assert_eq!(world.words().last().unwrap(), "Durable 1:4");
}

#[test]
fn it_is_stored_by_itself_after_ten_milliseconds_once_for_all() {
    let mut world = live(2);
    let before = stored(&world);
    world.packet([1, 2, 0]);
    world.pass(Duration::from_millis(5));
    world.packet([1, 2, 0]);
    world.pass(Duration::from_millis(4));
    assert_eq!(stored(&world), before);
    world.pass(Duration::from_millis(1));
    assert_eq!(stored(&world), (before.0 + 1, 2));
    let words = world.words();
    let durable = words.iter().filter(|word| word.starts_with("Durable"));
    assert_eq!(durable.collect::<Vec<_>>(), ["Durable 1:2"]);
}

/// While a turn is unaccepted the cursor waits for it: both would have one turn number.
#[test]
fn it_is_not_stored_between_a_turn_and_its_acceptance() {
    let mut world = live(2);
    let before = stored(&world);
    world.packet([1, 2, 0]);
    world.accepts = false;
    world.packet([1, 2, 3]);
    world.pass(Duration::from_millis(50));
    assert_eq!(stored(&world), before);
    world.accept(before.0 + 1);
    assert_eq!(stored(&world), (before.0 + 1, 2));
}

#[test]
fn quiesced_comes_with_it_at_once() {
    let mut world = live(2);
    let before = stored(&world);
    world.packet([1, 2, 0]);
    let epoch = world.store.checkpoint().epoch;
    world.control(to_app::Record::Quiesce(session::Quiesce { epoch }));
    assert_eq!(stored(&world), (before.0 + 1, 1));
    let words = world.words();
    let last: Vec<&str> = words.iter().rev().take(2).map(String::as_str).collect();
    assert_eq!(last, ["Quiesced 1:1 after 2", "Durable 1:1"]);
}

#[test]
fn quiesced_waits_for_the_turn_that_the_proxy_has_not_accepted() {
    let mut world = live(2);
    world.packet([1, 2, 0]);
    world.accepts = false;
    world.packet([1, 2, 0]);
    let epoch = world.store.checkpoint().epoch;
    world.control(to_app::Record::Quiesce(session::Quiesce { epoch }));
    assert!(!world.words().iter().any(|word| word.contains("Quiesced")));
    world.accept(2);
    assert_eq!(world.words().last().unwrap(), "Quiesced 1:2 after 2");
    assert_eq!(stored(&world), (2, 2));
}

#[test]
fn an_instance_that_is_resumed_before_is_given_its_events_again() {
    let mut world = live(2);
    world.packet([1, 2, 0]);
    world.resume();
    // The turn of the epoch before has the same number, and takes nothing along.
    world.event(1, [1, 2, 0]);
    world.pass(Duration::from_millis(50));
    assert_eq!(stored(&world).1, 1);
    world.event(2, [1, 2, 3]);
    assert_eq!(stored(&world).1, 2);
}

#[test]
fn after_a_refusal_the_events_behind_are_handled_again_too() {
    let mut world = live(2);
    world.commits_at_once = false;
    world.packet([1, 2, 3]);
    world.packet([1, 3, 0]);
    world.forget();
    refuse(&mut world, Reason::Conflict);
    world.commits_at_once = true;
    world.news();
    while !world.commits.is_empty() {
        world.commit();
    }
    world.pass(Duration::from_millis(50));
    assert_eq!(stored(&world), (2, 2));
    assert!(!world.words().contains(&"PacketOut".to_owned()));
}
