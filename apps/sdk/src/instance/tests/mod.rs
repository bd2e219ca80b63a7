//! The machine with a real store's core, and with a proxy and a switch that are a few lines each.

pub(crate) mod app;
mod batches;
mod chains;
mod costs;
mod cursor_only;
mod expired;
mod in_flight;
mod reads;
mod rules;
mod shadows;
mod tables;
mod timers;
pub(crate) mod world;

use std::time::Duration;

use morph_api::session::to_app;
use morph_api::session::{self};
use morph_api::supervisor::{Ping, RuleDifference, instruction, report};
use morph_openflow::v13;
use morph_store::op;

use app::*;
use world::{Store, World, config, cut_packet_in};

use crate::RuleKey;
use crate::instance::{Input, Output};

/// Number of random runs: many more with `MORPH_LONG`.
fn cases(few: u32) -> u32 {
    match std::env::var_os("MORPH_LONG") {
        Some(_) => few * 100,
        None => few,
    }
}

/// A store with an empty primary of this schema version.
fn store(schema: u32) -> Store {
    let mut store = Store::default();
    store.must([op::create_primary("cells", 1, schema)]);
    store
}

/// A live instance on a primary of this schema version, with nothing sent yet.
fn live(schema: u32) -> World<Cells> {
    let mut world = World::new(Cells, config::<V1ToV2>("i1"), store(schema));
    world.attach();
    world.resume();
    world.pass(Duration::from_millis(250));
    world.forget();
    world
}

#[test]
fn it_is_ready_once_the_view_is_loaded_and_the_switch_is_read() {
    let mut world = World::new(Cells, config::<V1ToV2>("i1"), store(2));
    world.store.set("cells", "cells", "1/2", "3");
    world.reads_switch = false;
    world.attach();
    assert_eq!(world.reports(), []);
    world.reads_switch = true;
    world.pass(Duration::from_secs(8)); // the first reading fails, the second comes off
    let [report::Report::Ready(ready)] = &world.reports()[..] else {
        panic!("{:?}", world.reports());
    };
    assert_eq!((ready.schema, ready.rows), (2, 1));
}

/// Checks that a switch which is slow to report its rules holds up no event.
#[test]
fn a_replacement_of_a_dead_instance_reads_the_switches_when_it_is_live() {
    let mut settings = config::<V1ToV2>("i1");
    settings.unserved = true;
    let mut world = World::new(Cells, settings, store(2));
    world.reads_switch = false;
    world.attach();
    assert!(matches!(world.reports()[..], [report::Report::Ready(_)]));
    world.resume();
    world.packet([1, 2, 3]);
    assert_eq!(world.store.keyspace("cells", 1)["cells/1/2"], "3");
    assert_eq!(world.flow_mods.len(), 1, "what the packet calls for");
    world.reads_switch = true;
    world.pass(Duration::from_secs(8));
    assert_eq!(world.flow_mods.len(), 1);
}

#[test]
fn ready_reports_what_the_instance_would_change() {
    let mut world = World::new(Cells, config::<V1ToV2>("i1"), store(2));
    world.store.set("cells", "cells", "1/2", "3");
    world.attach();
    let [report::Report::Ready(ready)] = &world.reports()[..] else {
        panic!("{:?}", world.reports());
    };
    let difference = RuleDifference {
        added: 1,
        ..RuleDifference::default()
    };
    assert_eq!(ready.difference, Some(difference));
    assert!(world.words().is_empty(), "{:?}", world.words());
}

#[test]
fn without_any_keyspace_it_is_ready_and_waits_for_the_first() {
    let mut world = World::new(Cells, config::<V1ToV2>("i1"), Store::default());
    world.attach();
    assert!(matches!(world.reports()[..], [report::Report::Ready(_)]));
    let primary = op::create_primary("cells", 1, 2);
    let fence = op::fence("cells", "node1", 0, "2.0.0");
    let revision = world.store.must([primary, fence]).revision;
    world.resume_at(revision);
    world.packet([1, 2, 3]);
    assert_eq!(world.store.keyspace("cells", 1)["cells/1/2"], "3");
}

#[test]
fn a_turn_is_rules_then_packets_then_its_end_and_is_durable_in_its_order() {
    let mut world = live(2);
    world.commits_at_once = false;
    world.packet([1, 2, 3]);
    world.accepts = false;
    world.packet([1, 2, 4]);
    world.packet([1, 2, 5]);
    let first = ["Add", "PacketOut", "Turn 2 of 1:1"];
    assert_eq!(world.words()[..3], first);
    let second = ["Add", "PacketOut", "Turn 3 of 1:2"];
    assert_eq!(world.words()[3..], second);
    world.accept(3);
    world.forget();
    world.commit();
    world.commit();
    assert_eq!(world.words(), ["Durable 1:1", "Durable 1:2"]);
    let checkpoint = world.store.checkpoint();
    assert_eq!((checkpoint.turn, checkpoint.cursor.unwrap().n), (3, 2));
    assert_eq!(world.store.keyspace("cells", 1)["cells/1/2"], "4");
}

#[test]
fn a_packet_of_which_only_the_beginning_came_leaves_by_its_buffer_or_not_at_all() {
    let mut world = live(2);
    world.message(1, cut_packet_in([1, 2, 0], 1500, 7));
    world.message(2, cut_packet_in([1, 2, 0], 1500, v13::NO_BUFFER));
    world.message(3, cut_packet_in([1, 2, 0], 3, 8));
    let words = world.words();
    let packets = words.iter().filter(|word| word.starts_with("Packet"));
    let packets: Vec<_> = packets.collect();
    assert_eq!(packets, ["PacketOut of buffer 7", "PacketOut"]);
}

#[test]
fn an_event_that_changes_nothing_moves_the_cursor_and_a_tick_nothing() {
    let mut world = live(2);
    world.packet([1, 2, 0]);
    world.pass(Duration::from_millis(10));
    assert_eq!(world.words(), ["PacketOut", "Turn 2 of 1:1", "Durable 1:1"]);
    world.forget();
    world.pass(Duration::from_millis(900));
    assert!(world.words().is_empty());
}

#[test]
fn an_event_that_the_app_fails_on_changes_nothing_and_is_past() {
    let mut world = live(2);
    world.packet([1, 2, 255]);
    world.pass(Duration::from_millis(10));
    assert_eq!(world.words(), ["Turn 2 of 1:1", "Durable 1:1"]);
    assert!(!world.store.keyspace("cells", 1).contains_key("cells/1/2"));
    world.pass(Duration::from_secs(1));
    let Some(report::Report::Health(health)) = world.reports().pop() else {
        panic!("{:?}", world.reports());
    };
    assert_eq!((health.events, health.errors), (1, 1));
}

#[test]
fn rules_wanted_before_and_after_a_resume_are_not_sent_again() {
    let mut world = live(2);
    world.packet([1, 2, 3]);
    world.packet([2, 2, 3]);
    let rules = world.rules.clone();
    world.forget();
    world.resume();
    world.pass(Duration::from_millis(50));
    assert_eq!(world.flow_mods, []);
    assert_eq!(world.rules, rules);
    let synced = |report: &report::Report| match report {
        report::Report::Rules(rules) => Some((rules.epoch, rules.last, rules.difference)),
        _ => None,
    };
    let unchanged = RuleDifference {
        unchanged: 2,
        ..RuleDifference::default()
    };
    let reports: Vec<_> = world.reports().iter().filter_map(synced).collect();
    assert_eq!(reports, [(2, true, Some(unchanged))]);
}

#[test]
fn what_differs_after_a_resume_is_sent_and_only_that() {
    let mut world = live(2);
    world.packet([1, 2, 3]);
    world.packet([2, 2, 3]);
    let kept = world.rules.keys().next().cloned().unwrap();
    let lost = world.rules.keys().next_back().cloned().unwrap();
    let body = world.rules.remove(&lost).unwrap();
    let odd = RuleKey {
        priority: 77,
        ..kept.clone()
    };
    world.rules.insert(odd.clone(), body);
    // A rule of Morpheus itself in table 0 that bears the app's id.
    let ours = RuleKey { table: 0, ..odd };
    world.rules.insert(ours.clone(), world.rules[&kept].clone());
    world.forget();
    world.resume();
    world.pass(Duration::from_millis(50));
    assert_eq!(world.flow_mods.len(), 2, "{:?}", world.flow_mods);
    let keys: Vec<_> = world.rules.keys().cloned().collect();
    assert_eq!(keys, [ours, kept, lost]);
}

#[test]
fn while_a_switch_is_read_packets_go_with_the_rules_that_they_call_for_and_others_wait() {
    let mut world = live(2);
    world.reads_switch = false;
    world.resume();
    world.forget();
    world.store.set("cells", "cells", "5/6", "7");
    world.news();
    assert_eq!(world.flow_mods.len(), 0, "the switch may have it");
    world.packet([1, 2, 3]);
    let words = world.words();
    assert_eq!(words, ["Add", "PacketOut", "Turn 2 of 1:1", "Durable 1:1"]);
    world.reads_switch = true;
    world.pass(Duration::from_secs(8));
    assert_eq!(world.flow_mods.len(), 2);
}

#[test]
fn a_rule_that_the_switch_refuses_is_counted_and_the_switch_read_again() {
    let mut world = live(2);
    world.packet([1, 2, 3]);
    world.rules.clear();
    let error = v13::Message::Error(v13::ErrorMsg {
        kind: 5,
        code: 1,
        data: Default::default(),
    });
    world.control(to_app::Record::Reply(session::Reply { channel: 1 }));
    let message = error.encode(super::rule_sync::FLOW_MOD);
    world.feed(Input::Message {
        channel: 1,
        message,
    });
    world.forget();
    world.pass(Duration::from_millis(1500));
    assert_eq!(world.flow_mods.len(), 1);
    let failures = world.reports().into_iter().find_map(|report| match report {
        report::Report::Health(health) => Some(health.rule_failures),
        _ => None,
    });
    assert_eq!(failures, Some(1));
}

#[test]
fn changes_by_people_and_other_apps_reach_the_app_once() {
    let mut world = live(2);
    world.store.must([op::create_primary("topo", 9, 1)]);
    world.pass(Duration::from_millis(250));
    world.store.set("topo", "ports", "1", "1");
    world.store.set("topo", "ports", "2", "1");
    world.news();
    assert_eq!(world.store.keyspace("cells", 1)["count/0"], "2");
    assert_eq!(world.words(), ["Turn 2"]);
    world.store.set("cells", "cells", "1/2", "3");
    world.news();
    assert_eq!(world.flow_mods.len(), 1);
}

#[test]
fn it_handles_nothing_before_its_view_has_reached_the_fence() {
    let mut world = World::new(Cells, config::<V1ToV2>("i1"), store(2));
    world.attach();
    world.store.must([op::fence("cells", "node1", 0, "2.0.0")]);
    let revision = world.store.state.revision;
    world.store.state.revision += 1; // news do not come yet
    let ahead = revision + 2;
    world.resume_at(ahead);
    world.packet([1, 2, 3]);
    assert!(world.words().is_empty(), "{:?}", world.words());
    world.store.set("cells", "weights", "1", "1");
    world.news();
    assert!(world.words().contains(&"Turn 2 of 1:1".to_owned()));
}

#[test]
fn it_handles_nothing_before_the_tables_of_other_apps_are_loaded() {
    let mut store = store(2);
    store.must([op::create_primary("topo", 9, 1)]);
    store.set("topo", "ports", "1", "1");
    let mut world = World::new(Cells, config::<V1ToV2>("i1"), store);
    world.others_late = true;
    world.attach();
    world.resume();
    world.packet([1, 2, 3]);
    world.pass(Duration::from_secs(2));
    let turns = |world: &World<Cells>| world.words().iter().any(|word| word.contains("Turn"));
    assert!(!turns(&world), "{:?}", world.words());
    world.others_come();
    world.pass(Duration::from_millis(50));
    assert!(turns(&world));
    assert_eq!(world.store.keyspace("cells", 1)["count/0"], "1");
}

#[test]
fn it_answers_a_ping_and_ends_when_told_to_stop() {
    let mut world = live(2);
    world.instruct(instruction::Instruction::Ping(Ping { token: 5 }));
    let [report::Report::Pong(pong)] = &world.reports()[..] else {
        panic!("{:?}", world.reports());
    };
    assert_eq!((pong.token, pong.revision), (5, world.store.state.revision));
    world.instruct(instruction::Instruction::Stop(Default::default()));
    assert_eq!(world.sent.last(), Some(&Output::Exit(0)));
}

#[test]
fn it_ends_when_its_protocol_is_refused_and_attaches_again_after_any_other_refusal() {
    for (permanent, last) in [(true, Some(Output::Exit(76))), (false, None)] {
        let mut world = World::new(Cells, config::<V1ToV2>("i1"), store(2));
        let refused = session::Refused {
            message: "another protocol".into(),
            permanent,
        };
        world.control(to_app::Record::Refused(refused));
        let exit = world
            .sent
            .iter()
            .find(|output| matches!(output, Output::Exit(_)));
        assert_eq!(exit.cloned(), last);
    }
}

#[test]
fn a_starting_instance_fails_if_another_apps_tables_have_another_schema_version() {
    for comes in [true, false] {
        let mut store = store(2);
        store.must([op::create_primary("topo", 9, 2)]);
        let mut world = World::new(Cells, config::<V1ToV2>("i1"), store);
        world.attach();
        world.pass(Duration::from_secs(5));
        // A shadow that is being built is waited for as long as that takes.
        let revision = world
            .store
            .must([op::create_shadow("topo", 10, 1, "t")])
            .revision;
        world.news();
        world.pass(Duration::from_secs(20));
        assert_eq!(
            world.reports(),
            [],
            "it takes no rows for what it cannot read"
        );
        match comes {
            true => world.store.must([op::watermark("topo", 10, "t", revision)]),
            false => world.store.must([op::drop_keyspace("topo", 10)]),
        };
        world.pass(Duration::from_secs(9));
        match &world.reports()[..] {
            [report::Report::Ready(_)] if comes => {}
            [report::Report::Failed(failed)] if !comes => {
                let message = &failed.message;
                assert!(
                    message.contains("cells@2.0.0 reads schema 1 of topo"),
                    "{message}"
                );
                assert!(message.contains("upgrade cells"), "{message}");
                assert_eq!(world.sent.last(), Some(&Output::Exit(1)));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Checks that an instance keeps another app's rows if these get another schema version in spite of it.
#[test]
fn a_running_instance_goes_on_if_another_apps_tables_get_another_schema_version() {
    let mut store = store(2);
    store.must([op::create_primary("topo", 9, 1)]);
    store.set("topo", "ports", "1", "1");
    let mut world = World::new(Cells, config::<V1ToV2>("i1"), store);
    world.attach();
    world.resume();
    let revision = world
        .store
        .must([op::create_shadow("topo", 10, 2, "t")])
        .revision;
    world.store.must([
        op::watermark("topo", 10, "t", revision),
        op::swap("topo", 9, 10),
    ]);
    world.news();
    world.pass(Duration::from_secs(20));
    world.packet([1, 2, 3]);
    assert_eq!(world.store.keyspace("cells", 1)["cells/1/2"], "3");
    assert_eq!(world.store.keyspace("cells", 1)["count/0"], "1");
}

#[test]
fn an_unknown_schema_version_ends_it() {
    let mut store = Store::default();
    store.must([op::create_primary("cells", 1, 3)]);
    let mut world = World::new(Cells, config::<V1ToV2>("i1"), store);
    world.attach();
    assert_eq!(world.sent.last(), Some(&Output::Exit(1)));
}
