//! Timers of a live instance, and of one that takes over.

use std::time::Duration;

use super::app::{Cells, V1ToV2};
use super::live;
use super::world::{World, config};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Timers in a keyspace, and whether the cell was set by one.
fn state(world: &World<Cells>, row: &str, timed: &str) -> (usize, bool) {
    let rows = world.store.keyspace("cells", 1);
    let timers = rows.keys().filter(|key| key.starts_with("_timers/"));
    (
        timers.count(),
        rows.get(row).is_some_and(|value| value == timed),
    )
}

#[test]
fn the_instance_wakes_when_a_timer_is_due_and_stores_its_effect_with_its_end() {
    for (schema, row, timed) in [(2, "cells/1/2", "77"), (1, "lines/1", "{\"2\":77}")] {
        let mut world = live(schema);
        world.packet([1, 2, 97]);
        world.pass(SECOND - MILLISECOND);
        assert_eq!(state(&world, row, timed), (1, false), "{schema}");
        world.forget();
        world.pass(MILLISECOND);
        assert_eq!(state(&world, row, timed), (0, true), "{schema}");
        let words = world.words();
        let turns = words.iter().filter(|word| word.starts_with("Turn"));
        assert_eq!(turns.count(), 1, "{words:?}");
        world.forget();
        world.pass(SECOND * 3);
        assert!(world.flow_mods.is_empty(), "once");
    }
}

#[test]
fn a_timer_outlives_the_instance_that_set_it() {
    let mut before = live(2);
    before.packet([1, 2, 97]);
    before.packet([3, 4, 97]);
    let mut after = World::new(Cells, config::<V1ToV2>("i2"), before.store);
    (after.now, after.began) = (before.now + SECOND / 2, before.began);
    after.attach();
    after.pass(SECOND);
    assert_eq!(state(&after, "cells/1/2", "77"), (2, false), "not live yet");
    after.resume();
    after.pass(MILLISECOND);
    assert_eq!(state(&after, "cells/1/2", "77"), (0, true));
    assert_eq!(state(&after, "cells/3/4", "77"), (0, true));
}

#[test]
fn a_rejected_turn_of_a_timer_is_made_again() {
    let mut world = live(2);
    world.packet([1, 2, 97]);
    world.accepts = false;
    world.pass(SECOND);
    assert_eq!(state(&world, "cells/1/2", "77"), (1, false));
    world.accepts = true;
    world.resume();
    world.pass(SECOND);
    assert_eq!(state(&world, "cells/1/2", "77"), (0, true));
}
