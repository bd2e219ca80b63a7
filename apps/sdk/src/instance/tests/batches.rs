//! Several events in one turn.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use morph_api::lock::{self, Holder, Lock};
use morph_api::session::{self, event, to_app};
use morph_api::store::{Reason, Seq};

use super::app::{Cells, S, V1ToV2};
use super::in_flight::refuse;
use super::world::{World, config, packet_in};
use super::{live, store};
use crate::App;
use crate::instance::{Config, Input};

/// Inputs for an event of a packet with these bytes.
fn packet(n: u64, data: [u8; 3]) -> [Input; 2] {
    let event = session::Event {
        seq: Some(Seq { incarnation: 1, n }),
        what: Some(event::What::Message(true)),
        dpid: S.0,
        ..session::Event::default()
    };
    let message = packet_in(data);
    [
        Input::Control(to_app::Record::Event(event)),
        Input::Message {
            channel: 1,
            message,
        },
    ]
}

/// A live instance with these settings, with nothing sent yet.
fn live_with(settings: Config) -> World<Cells> {
    let mut world = World::new(Cells, settings, store(2));
    world.attach();
    world.resume();
    world.pass(Duration::from_millis(250));
    world.forget();
    world
}

/// Feeds packets that come together, numbered from 1.
fn feed<A: App>(world: &mut World<A>, packets: &[[u8; 3]]) {
    let inputs = (1..).zip(packets).flat_map(|(n, data)| packet(n, *data));
    world.feed_all(inputs.collect());
}

fn cells<A: App>(world: &World<A>) -> Vec<(String, String)> {
    let rows = world.store.keyspace("cells", 1).into_iter();
    rows.filter(|(row, _)| row.starts_with("cells/")).collect()
}

fn cell(key: &str, value: &str) -> (String, String) {
    (format!("cells/{key}"), value.to_owned())
}

#[test]
fn events_that_come_together_are_one_turn() {
    let mut world = live(2);
    feed(&mut world, &[[1, 2, 3], [1, 3, 4], [1, 2, 5]]);
    let packets = ["PacketOut"; 3];
    assert_eq!(world.words()[..2], ["Add", "Add"], "the last value's rule");
    assert_eq!(world.words()[2..5], packets);
    assert_eq!(world.words()[5..], ["Turn 2 of 1:3", "Durable 1:3"]);
    assert_eq!(cells(&world), [cell("1/2", "5"), cell("1/3", "4")]);
    let checkpoint = world.store.checkpoint();
    assert_eq!((checkpoint.turn, checkpoint.cursor.unwrap().n), (2, 3));
}

#[test]
fn an_event_on_which_the_app_fails_loses_its_own_changes_only() {
    let mut world = live(2);
    // The app sets the cell and sends the packet, then fails.
    feed(&mut world, &[[1, 2, 3], [1, 2, 255], [1, 3, 4]]);
    let words = world.words();
    let packets = words.iter().filter(|word| *word == "PacketOut").count();
    assert_eq!(packets, 2, "{words:?}");
    assert_eq!(words.last().unwrap(), "Durable 1:3");
    assert_eq!(cells(&world), [cell("1/2", "3"), cell("1/3", "4")]);
}

#[test]
fn rows_with_their_values_of_before_are_no_change() {
    let mut world = live(2);
    feed(&mut world, &[[1, 2, 3], [1, 2, 0]]);
    assert_eq!(world.flow_mods.len(), 0);
    assert!(!world.words().iter().any(|word| word.starts_with("Durable")));
    world.pass(Duration::from_millis(10));
    assert_eq!(world.words().last().unwrap(), "Durable 1:2");
    assert!(cells(&world).is_empty());
}

#[test]
fn a_turn_of_several_events_that_the_store_refuses_is_made_again_without_its_packets() {
    let mut world = live(2);
    world.commits_at_once = false;
    feed(&mut world, &[[1, 2, 3], [1, 3, 4]]);
    world.forget();
    refuse(&mut world, Reason::Conflict);
    world.commits_at_once = true;
    world.news();
    world.commit();
    assert_eq!(world.words(), ["Turn 2", "Durable 1:2"]);
    assert_eq!(cells(&world), [cell("1/2", "3"), cell("1/3", "4")]);
}

#[test]
fn a_turn_of_several_events_that_is_too_large_is_made_again_event_by_event() {
    let mut world = live(2);
    world.commits_at_once = false;
    feed(&mut world, &[[1, 2, 3], [1, 3, 4], [1, 4, 5]]);
    world.forget();
    world.commits_at_once = true;
    refuse(&mut world, Reason::TooLarge);
    let words = world.words();
    let durable = words.iter().filter(|word| word.starts_with("Durable"));
    let durable: Vec<_> = durable.collect();
    assert_eq!(
        durable,
        ["Durable 1:1", "Durable 1:2", "Durable 1:3"],
        "{words:?}"
    );
    assert!(!words.contains(&"PacketOut".to_owned()));
    assert_eq!(cells(&world).len(), 3);
    // Later events share turns again.
    world.forget();
    let inputs = [(4, [2, 1, 1]), (5, [2, 2, 1])].map(|(n, data)| packet(n, data));
    world.feed_all(inputs.into_iter().flatten().collect());
    assert_eq!(world.words().last().unwrap(), "Durable 1:5");
}

#[test]
fn an_event_that_the_proxy_waits_for_is_a_turn_of_its_own() {
    let mut world = live(2);
    let mut inputs: Vec<_> = packet(1, [1, 2, 3]).into();
    let mut second = packet(2, [1, 3, 4]);
    let Input::Control(to_app::Record::Event(event)) = &mut second[0] else {
        panic!("{second:?}");
    };
    event.alone = true;
    inputs.extend(second);
    inputs.extend(packet(3, [1, 4, 5]));
    world.feed_all(inputs);
    let words = world.words();
    let turns = words.iter().filter(|word| word.starts_with("Turn"));
    let turns: Vec<_> = turns.collect();
    assert_eq!(turns, ["Turn 2 of 1:1", "Turn 3 of 1:2", "Turn 4 of 1:3"]);
}

#[test]
fn the_event_of_which_the_app_dies_is_marked_among_several() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cells-i1");
    let holder = Holder {
        instance: "i1".into(),
        ..Holder::current()
    };
    let lock = Lock::take(&path, &holder).unwrap();
    let mut settings = config::<V1ToV2>("i1");
    settings.event_mark = lock.event_mark().unwrap();
    let mut world = live_with(settings);
    let marked = |n| {
        let incarnation = u64::from(n > 0);
        Some(("i1".to_owned(), Seq { incarnation, n }))
    };
    feed(&mut world, &[[1, 1, 1], [1, 2, 1]]);
    assert_eq!(lock::marked_event(&path), marked(0), "it handles none now");
    let inputs = [(3, 1), (4, 99), (5, 1)].map(|(n, value)| packet(n, [1, 1, value]));
    let inputs = inputs.into_iter().flatten().collect();
    let died = catch_unwind(AssertUnwindSafe(|| world.feed_all(inputs)));
    assert!(died.is_err());
    assert_eq!(lock::marked_event(&path), marked(4));
}

thread_local! {
    static TIME: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Clock that goes on by 2 ms with each look at it.
fn slow() -> Instant {
    let now = TIME.get().unwrap_or_else(Instant::now) + Duration::from_millis(2);
    TIME.set(Some(now));
    now
}

#[test]
fn a_turn_that_lasts_takes_no_further_event() {
    let mut settings = config::<V1ToV2>("i1");
    settings.clock = Some(slow);
    let mut world = live_with(settings);
    feed(
        &mut world,
        &[[1, 1, 1], [1, 2, 1], [1, 3, 1], [1, 4, 1], [1, 5, 1]],
    );
    let words = world.words();
    let turns = words.iter().filter(|word| word.starts_with("Turn"));
    let turns: Vec<_> = turns.collect();
    assert_eq!(turns, ["Turn 2 of 1:3", "Turn 3 of 1:5"]);
}
