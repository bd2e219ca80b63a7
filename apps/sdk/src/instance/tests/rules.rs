//! Rules of a switch that confirms late or never, beside the instance's other work.

use morph_api::session::{self, to_app};
use morph_api::supervisor::RuleDifference;

use super::*;
use crate::instance::RuleWindow;

/// A live instance whose switch takes one change at a time, and answers no barrier from now on.
fn live_with_a_small_window() -> World<Cells> {
    let mut settings = config::<V1ToV2>("i1");
    settings.rule_window = RuleWindow {
        changes: 1,
        bytes: usize::MAX,
    };
    let mut world = World::new(Cells, settings, store(2));
    world.attach();
    world.resume();
    world.pass(Duration::from_millis(250));
    world.answers_barriers = false;
    world.forget();
    world
}

fn synced(world: &World<Cells>) -> Vec<(u64, bool, Option<RuleDifference>)> {
    let rules = |report| match report {
        report::Report::Rules(rules) => Some((rules.epoch, rules.last, rules.difference)),
        _ => None,
    };
    world.reports().into_iter().filter_map(rules).collect()
}

#[test]
fn while_a_switch_confirms_nothing_events_are_handled_and_its_rules_wait() {
    let mut world = live_with_a_small_window();
    world.packet([1, 2, 3]);
    world.packet([1, 3, 4]);
    world.packet([1, 3, 5]);
    let words = world.words();
    let count = |what| words.iter().filter(|word| **word == what).count();
    assert_eq!((count("Add"), count("PacketOut")), (1, 3));
    assert_eq!(words.last().map(String::as_str), Some("Durable 1:3"));
    world.answers_barriers = true;
    world.answer_barriers();
    assert_eq!(world.flow_mods.len(), 2);
    assert_eq!(world.rules.len(), 2);
}

#[test]
fn rules_synced_waits_until_the_switch_has_confirmed_all_of_the_difference() {
    let mut world = live_with_a_small_window();
    world.answers_barriers = true;
    for line in 1..=3 {
        world.packet([line, 2, 3]);
    }
    world.rules.clear();
    world.answers_barriers = false;
    world.forget();
    world.resume();
    for confirmed in 0..3 {
        world.pass(Duration::from_millis(50));
        assert_eq!((world.rules.len(), synced(&world)), (confirmed + 1, vec![]));
        world.answer_barriers();
    }
    let added = RuleDifference {
        added: 3,
        ..RuleDifference::default()
    };
    assert_eq!(synced(&world), [(2, true, Some(added))]);
}

/// The one that takes over reads the switch, and so finds what did not arrive.
#[test]
fn a_hand_over_waits_for_no_barrier_and_the_next_reading_finds_what_waits() {
    let mut world = live_with_a_small_window();
    world.packet([1, 2, 3]);
    world.packet([2, 2, 3]);
    let epoch = world.store.checkpoint().epoch;
    world.control(to_app::Record::Quiesce(session::Quiesce { epoch }));
    let last = world.words().pop();
    assert_eq!(last.as_deref(), Some("Quiesced 1:2 after 3"));
    assert_eq!(world.rules.len(), 1);
    world.answers_barriers = true;
    world.resume();
    world.pass(Duration::from_millis(50));
    assert_eq!(world.rules.len(), 2);
    assert_eq!(world.flow_mods.len(), 2, "and nothing is sent twice");
}

#[test]
fn a_barrier_is_sent_again_without_any_other_work_and_the_instance_does_not_spin() {
    let mut world = live_with_a_small_window();
    world.packet([1, 2, 3]);
    world.packet([2, 2, 3]);
    world.barriers.clear();
    world.forget();
    world.pass(Duration::from_millis(10_500));
    assert_eq!(world.barriers.len(), 2, "after 5 s and after 10 s");
    assert!(world.words().iter().all(|word| word.starts_with("Turn ")));
    world.answers_barriers = true;
    world.answer_barriers();
    assert_eq!(world.rules.len(), 2);
}

#[test]
fn when_the_last_switch_that_was_not_in_step_is_lost_all_are() {
    let mut world = live_with_a_small_window();
    world.packet([1, 2, 3]);
    world.rules.clear();
    world.resume();
    assert_eq!(synced(&world), []);
    world.control(to_app::Record::Event(session::Event {
        seq: Some(morph_api::store::Seq {
            incarnation: 1,
            n: 2,
        }),
        what: Some(session::event::What::SwitchDown(session::SwitchDown {
            channel: 1,
            dpid: S.0,
        })),
        dpid: S.0,
        ..session::Event::default()
    }));
    world.pass(Duration::from_millis(50));
    assert_eq!(synced(&world), [(2, true, None)]);
}
