//! Turns in flight that are refused, unanswered or reverted.

use std::collections::BTreeSet;
use std::time::Duration;

use morph_api::manifest::Durability;
use morph_api::session::{self, from_app, to_app};
use morph_api::store::{Checkpoint, Reason, Seq};
use morph_store::{Refusal, op};

use super::app::{Cells, V1ToV2};
use super::world::{World, config};
use super::{live, store};
use crate::App;
use crate::instance::{CommitOutcome, Input, Output};

/// Has the store refuse the oldest transaction.
pub(super) fn refuse<A: App>(world: &mut World<A>, reason: Reason) {
    let (id, _) = world.commits.pop_front().unwrap();
    let checkpoint = Some(Checkpoint {
        turn: 1,
        ..world.store.checkpoint()
    });
    let refusal = Refusal {
        reason,
        message: "for the test".into(),
        checkpoint,
    };
    let outcome = CommitOutcome::Refused(Box::new(refusal));
    world.feed(Input::Committed { id, outcome });
}

fn cell<A: App>(world: &World<A>) -> Option<String> {
    world.store.keyspace("cells", 1).get("cells/1/2").cloned()
}

#[test]
fn a_stale_epoch_pauses_the_instance_and_reverts_the_turn() {
    let mut world = live(2);
    world.commits_at_once = false;
    world.packet([1, 2, 3]);
    world.store.must([op::fence("cells", "node1", 1, "3.0.0")]);
    world.commit();
    world.forget();
    world.packet([1, 2, 4]);
    world.pass(Duration::from_secs(2));
    assert!(world.sent.is_empty(), "{:?}", world.sent);
    assert_eq!(cell(&world), None);
    // Live again: the rule that was sent is not wanted.
    world.commits_at_once = true;
    world.resume();
    world.pass(Duration::from_millis(50));
    assert!(world.rules.is_empty());
}

/// Checks turns that the store applied before the fence without answering: the view must have them when the instance is
/// live again.
#[test]
fn turns_that_were_applied_before_a_fence_though_their_answers_were_lost_stay_in_the_view() {
    for schema in [1, 2] {
        let mut world = live(schema);
        world.commits_at_once = false;
        world.packet([1, 2, 3]);
        world.packet([1, 3, 3]);
        for (id, transaction) in std::mem::take(&mut world.commits) {
            world.store.must_commit(transaction);
            let outcome = CommitOutcome::Unknown("the store is away".into());
            world.feed(Input::Committed { id, outcome });
        }
        world.store.must([op::fence("cells", "node1", 1, "1.0.0")]);
        world.pass(Duration::from_millis(500));
        world.commit();
        world.commits_at_once = true;
        world.resume();
        world.pass(Duration::from_millis(50));
        // Writes to the same group build on them.
        world.event(3, [1, 4, 4]);
        let cells = world.instance.engine.tables.of(None).unwrap();
        let cells: BTreeSet<_> = cells["cells"].iter().map(|(key, _)| key).collect();
        let cells: Vec<_> = cells.into_iter().collect();
        assert_eq!(cells, ["1/2", "1/3", "1/4"], "schema {schema}");
        let rows = world.store.keyspace("cells", 1);
        match schema {
            1 => assert_eq!(rows["lines/1"], r#"{"2":3,"3":3,"4":4}"#),
            _ => assert_eq!(rows.len(), 4, "{rows:?}"),
        }
    }
}

#[test]
fn after_a_conflict_the_event_is_handled_again_without_its_packets() {
    for reason in [Reason::Conflict, Reason::Gap] {
        let mut world = live(2);
        world.commits_at_once = false;
        world.packet([1, 2, 3]);
        refuse(&mut world, reason);
        world.commits_at_once = true;
        world.news();
        world.commit();
        let first = ["Add", "PacketOut", "Turn 2 of 1:1"];
        assert_eq!(world.words()[..3], first, "{reason:?}");
        assert_eq!(world.words()[3..], ["Turn 2", "Durable 1:1"]);
        assert_eq!(cell(&world).as_deref(), Some("3"));
        assert_eq!(world.flow_mods.len(), 1);
    }
}

#[test]
fn a_turn_that_was_applied_though_its_answer_was_lost_goes_on() {
    let mut world = live(2);
    world.commits_at_once = false;
    world.packet([1, 2, 3]);
    let (id, transaction) = world.commits[0].clone();
    world.store.must_commit(transaction);
    for _ in 0..3 {
        world.commits.clear();
        let outcome = CommitOutcome::Unknown("the store is away".into());
        world.feed(Input::Committed { id, outcome });
        world.pass(Duration::from_millis(500));
    }
    world.commit();
    assert_eq!(world.words().last().unwrap(), "Durable 1:1");
    world.packet([1, 2, 4]);
    world.commit();
    assert_eq!(world.words().last().unwrap(), "Durable 1:2");
    assert_eq!(cell(&world).as_deref(), Some("4"));
}

#[test]
fn while_the_store_is_away_or_full_turns_wait_and_are_stored_in_order() {
    let mut world = live(2);
    world.commits_at_once = false;
    world.packet([1, 2, 3]);
    world.packet([1, 2, 4]);
    let sent = world.words().len();
    let (second, _) = world.commits.pop_back().unwrap();
    let outcome = CommitOutcome::Unknown("the store is away".into());
    world.feed(Input::Committed {
        id: second,
        outcome,
    });
    refuse(&mut world, Reason::DiskFull);
    for _ in 0..20 {
        world.pass(Duration::from_millis(500));
        let Some((id, _)) = world.commits.pop_front() else {
            continue;
        };
        let outcome = CommitOutcome::Unknown("the store is away".into());
        world.feed(Input::Committed { id, outcome });
    }
    assert_eq!(world.words().len(), sent);
    world.pass(Duration::from_millis(500));
    world.commit();
    world.commit();
    assert_eq!(cell(&world).as_deref(), Some("4"));
}

#[test]
fn a_turn_that_can_never_be_stored_ends_the_instance() {
    for reason in [Reason::Invalid, Reason::TooLarge] {
        let mut world = live(2);
        world.commits_at_once = false;
        world.packet([1, 2, 3]);
        refuse(&mut world, reason);
        assert_eq!(world.sent.last(), Some(&Output::Exit(1)), "{reason:?}");
    }
}

#[test]
fn a_rejected_turn_ends_it_unless_it_is_stale() {
    for stale in [false, true] {
        let mut world = live(2);
        world.accepts = false;
        world.packet([1, 2, 3]);
        world.control(to_app::Record::Rejected(session::Rejected {
            turn: 2,
            stale,
            message: "for the test".into(),
            epoch: 1,
        }));
        let ended = world.sent.last() == Some(&Output::Exit(1));
        assert_eq!(ended, !stale);
        assert!(world.commits.is_empty());
    }
}

#[test]
fn a_stale_turn_of_an_earlier_epoch_does_not_pause_an_instance_that_is_live_again() {
    let mut world = live(2);
    world.accepts = false;
    world.packet([1, 2, 3]);
    world.accepts = true;
    // The slot was held without this instance, which was stopped for long, and is resumed.
    world.resume();
    world.control(to_app::Record::Rejected(session::Rejected {
        turn: 2,
        stale: true,
        message: "for the test".into(),
        epoch: 1,
    }));
    let before = world.words().len();
    world.packet([1, 2, 4]);
    assert!(world.words().len() > before, "{:?}", world.words());
}

#[test]
fn quiesced_is_sent_when_the_last_turn_is_durable_and_nothing_follows() {
    let mut world = live(2);
    world.commits_at_once = false;
    world.packet([1, 2, 3]);
    world.packet([1, 2, 4]);
    let quiesce = session::Quiesce { epoch: 1 };
    world.control(to_app::Record::Quiesce(quiesce));
    assert!(!world.words().iter().any(|word| word.contains("Quiesced")));
    world.commit();
    assert!(!world.words().iter().any(|word| word.contains("Quiesced")));
    world.commit();
    assert_eq!(world.words().last().unwrap(), "Quiesced 1:2 after 3");
    world.pass(Duration::from_secs(2));
    world.store.set("cells", "weights", "1", "1");
    world.news();
    assert_eq!(world.words().last().unwrap(), "Quiesced 1:2 after 3");
}

#[test]
fn a_lost_session_reverts_the_unaccepted_turn_and_keeps_the_accepted_one() {
    let mut world = live(2);
    world.accepts = false;
    world.packet([1, 2, 3]);
    world.feed(Input::SessionDown);
    world.accepts = true;
    world.attach();
    world.resume();
    world.event(1, [1, 2, 3]);
    assert_eq!(cell(&world).as_deref(), Some("3"));

    world.commits_at_once = false;
    world.event(2, [1, 2, 4]);
    world.feed(Input::SessionDown);
    world.commit();
    world.commits_at_once = true;
    world.attach();
    world.resume();
    world.forget();
    // The proxy was not told, and delivers the event again: it is past.
    world.event(2, [1, 2, 4]);
    assert_eq!(world.words()[..2], ["Turn 4 of 1:2", "Durable 1:2"]);
    world.event(3, [1, 2, 5]);
    assert_eq!(cell(&world).as_deref(), Some("5"));
}

#[test]
fn a_late_outcome_of_an_older_epoch_does_not_count_in_the_new_one() {
    let mut world = live(2);
    world.commits_at_once = false;
    world.packet([1, 2, 3]);
    let fence = op::fence("cells", "node1", 1, "2.0.0");
    let revision = world.store.must([fence]).revision;
    world.resume_at(revision);
    world.commit(); // refused: another epoch
    world.commits_at_once = true;
    world.event(1, [1, 2, 3]);
    world.pass(Duration::from_millis(50));
    let checkpoint = world.store.checkpoint();
    assert_eq!((checkpoint.epoch, checkpoint.turn), (2, 2));
    assert_eq!(
        checkpoint.cursor,
        Some(Seq {
            incarnation: 1,
            n: 1
        })
    );
    assert_eq!(cell(&world).as_deref(), Some("3"));
}

#[test]
fn a_paused_instance_follows_and_sends_nothing() {
    let mut world = live(2);
    world.control(to_app::Record::Pause(session::Pause {}));
    world.forget();
    world.store.set("cells", "cells", "1/2", "3");
    world.news();
    world.pass(Duration::from_secs(3));
    assert!(world.sent.is_empty(), "{:?}", world.sent);
    world.resume();
    world.pass(Duration::from_millis(50));
    assert_eq!(world.rules.len(), 1);
}

#[test]
fn a_reading_of_a_switch_is_sent_apart_from_turns() {
    let mut world = live(2);
    world.accepts = false;
    world.packet([1, 2, 3]);
    world.forget();
    world.control(to_app::Record::SwitchUp(session::SwitchUp {
        channel: 2,
        dpid: 2,
        version: 4,
        ..session::SwitchUp::default()
    }));
    let kinds: Vec<_> = world
        .sent
        .iter()
        .map(|output| match output {
            Output::Control(from_app::Record::ReadBegin(_)) => "begin",
            Output::Control(from_app::Record::ReadEnd(_)) => "end",
            Output::Message { channel: 2, .. } => "request",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["begin", "request", "request", "end"]);
}

#[test]
fn turns_that_reach_the_store_in_another_order_are_stored_in_order() {
    let mut world = live(2);
    world.commits_at_once = false;
    for value in [3, 4, 5] {
        world.packet([1, 2, value]);
    }
    world.forget();
    world.commits.rotate_right(1);
    world.commit(); // the third comes first: a gap
    world.commits.rotate_right(1);
    world.commit(); // so does the second
    assert!(world.words().is_empty(), "{:?}", world.words());
    while !world.commits.is_empty() {
        world.commit();
    }
    assert_eq!(world.words(), ["Durable 1:1", "Durable 1:2", "Durable 1:3"]);
    assert_eq!(cell(&world).as_deref(), Some("5"));
}

#[test]
fn the_number_of_in_flight_turns_is_bounded() {
    let mut world = live(2);
    world.commits_at_once = false;
    for value in 0..200 {
        world.packet([1, value, 3]);
    }
    assert_eq!(world.commits.len(), 64);
    while !world.commits.is_empty() {
        world.commit();
    }
    assert_eq!(world.store.keyspace("cells", 1).len(), 201);
    assert_eq!(world.rules.len(), 200);
}

#[test]
fn all_in_flight_turns_are_reverted_with_a_stale_one() {
    let mut world = live(2);
    world.packet([1, 2, 3]);
    world.commits_at_once = false;
    world.packet([1, 2, 4]);
    world.packet([1, 2, 0]);
    world.packet([1, 2, 5]);
    world.store.must([op::fence("cells", "node1", 1, "3.0.0")]);
    while !world.commits.is_empty() {
        world.commit();
    }
    world.commits_at_once = true;
    world.resume();
    world.pass(Duration::from_millis(50));
    assert_eq!(cell(&world).as_deref(), Some("3"));
    let rule = world.rules.values().next().unwrap();
    let to = [crate::Action::output(3)];
    assert_eq!(
        rule.instructions,
        [crate::Instruction::ApplyActions(to.into())].into()
    );
}

#[test]
fn changes_by_others_are_seen_while_turns_are_in_flight() {
    let mut world = live(2);
    world.commits_at_once = false;
    world.packet([1, 2, 3]);
    world.store.set("cells", "cells", "2/2", "7");
    world.news();
    assert_eq!(world.flow_mods.len(), 2);
}

#[test]
fn the_last_writer_of_a_row_is_known_once_the_turns_are_durable() {
    for theirs_first in [true, false] {
        let mut world = live(2);
        world.packet([1, 2, 3]);
        world.commits_at_once = false;
        world.packet([1, 2, 4]);
        let (id, transaction) = world.commits.pop_front().unwrap();
        let (outcome, last) = if theirs_first {
            world.store.set("cells", "cells", "1/2", "7");
            (world.store.commit(transaction), "4")
        } else {
            let outcome = world.store.commit(transaction);
            world.store.set("cells", "cells", "1/2", "7");
            (outcome, "7")
        };
        world.news();
        world.packet([2, 2, 9]); // waits until it is clear
        assert!(world.commits.is_empty());
        world.commits_at_once = true;
        world.feed(Input::Committed { id, outcome });
        world.pass(Duration::from_millis(50));
        assert_eq!(cell(&world).as_deref(), Some(last));
        let rule = world.rules.values().next().unwrap();
        let to = [crate::Action::output(last.parse().unwrap())];
        assert_eq!(
            rule.instructions,
            [crate::Instruction::ApplyActions(to.into())].into()
        );
        assert_eq!(world.rules.len(), 2);
    }
}

#[test]
fn a_snapshot_without_the_in_flight_turns_does_not_revert_them() {
    let mut world = live(2);
    world.store.compacted = true;
    world.commits_at_once = false;
    world.packet([1, 2, 3]);
    world.break_watch();
    world.pass(Duration::from_millis(100));
    assert_eq!(world.rules.len(), 1);
    world.commit();
    world.pass(Duration::from_millis(100));
    assert_eq!(world.rules.len(), 1);
    assert_eq!(world.flow_mods.len(), 1);
}

#[test]
fn after_an_outage_the_turns_that_waited_are_stored_together() {
    let mut world = live(2);
    world.commits_at_once = false;
    for value in 0..20 {
        world.packet([1, value, 3]);
    }
    refuse(&mut world, Reason::DiskFull);
    // A turn behind others that wait is not sent either.
    world.packet([1, 20, 3]);
    assert_eq!(world.commits.len(), 19);
    // The turns behind it were refused as well; the answer about the second one comes late.
    let (second, transaction) = world.commits.pop_front().unwrap();
    let gap = world.store.commit(transaction);
    while !world.commits.is_empty() {
        world.commit();
    }
    world.pass(Duration::from_millis(50));
    assert_eq!(world.commits.len(), 1, "the first one alone");
    world.commit();
    assert_eq!(world.commits.len(), 0);
    world.feed(Input::Committed {
        id: second,
        outcome: gap,
    });
    world.pass(Duration::from_millis(50));
    assert_eq!(world.commits.len(), 1);
    world.commit();
    assert_eq!(world.commits.len(), 19, "all others at once");
    while !world.commits.is_empty() {
        world.commit();
    }
    let words = world.words();
    assert_eq!(words.last().unwrap(), "Durable 1:21");
    let packets = words.iter().filter(|word| *word == "PacketOut").count();
    assert_eq!(packets, 21, "nothing was answered again");
    assert_eq!(world.store.keyspace("cells", 1).len(), 22);
}

/// Breaks a watch while others write: the view gets their rows from the changes since, or from a new snapshot.
#[test]
fn rows_written_while_a_watch_was_broken_are_in_the_view_afterwards() {
    for compacted in [false, true] {
        let mut world = live(2);
        world.packet([1, 2, 3]);
        world.store.compacted = compacted;
        world.break_watch();
        world.store.set("cells", "cells", "7/8", "9");
        world.store.set("cells", "cells", "1/2", "5");
        world.pass(Duration::from_millis(100));
        let engine = &world.instance.engine;
        let value = |key| {
            engine
                .tables
                .get(None, "cells", key)
                .map(|value| value.to_string())
        };
        assert_eq!(value("7/8").as_deref(), Some("9"));
        assert_eq!(value("1/2").as_deref(), Some("5"));
        assert_eq!(world.resumed, usize::from(!compacted));
    }
}

/// A live instance of an app with `durability = "async"`.
fn unsynced() -> World<Cells> {
    let mut config = config::<V1ToV2>("i1");
    config.manifest.durability = Durability::Async;
    let mut world = World::new(Cells, config, store(2));
    world.attach();
    world.resume();
    world.pass(Duration::from_millis(250));
    world.forget();
    world.store.lag();
    world
}

fn durables(world: &mut World<Cells>) -> Vec<String> {
    let words = world.words().into_iter();
    words.filter(|word| word.starts_with("Durable")).collect()
}

/// Checks that the proxy keeps an event until a crash of the store can no longer lose its turn.
#[test]
fn an_unsynced_turn_is_durable_for_the_proxy_once_it_is_on_disk() {
    let mut world = unsynced();
    let first = world.store.checkpoint().turn;
    for value in 0..3 {
        world.packet([1, value, 3]);
    }
    assert_eq!(world.store.checkpoint().turn, first + 3);
    assert_eq!(durables(&mut world), [] as [&str; 0]);
    world.store.sync();
    world.news();
    world.pass(Duration::from_millis(10));
    assert_eq!(
        durables(&mut world),
        ["Durable 1:1", "Durable 1:2", "Durable 1:3"]
    );
}

/// Checks that answers and news, which arrive independently, agree.
#[test]
fn a_turn_known_to_be_on_disk_before_its_answer_comes_is_durable_with_the_answer() {
    let mut world = unsynced();
    world.commits_at_once = false;
    world.packet([1, 2, 3]);
    let (id, transaction) = world.commits.pop_front().unwrap();
    let outcome = world.store.commit(transaction);
    world.store.sync();
    world.news();
    assert_eq!(durables(&mut world), [] as [&str; 0]);
    world.feed(Input::Committed { id, outcome });
    assert_eq!(durables(&mut world), ["Durable 1:1"]);
}

#[test]
fn quiesced_does_not_wait_until_unsynced_turns_reach_the_disk_by_themselves() {
    let mut world = unsynced();
    world.packet([1, 2, 3]);
    world.packet([1, 3, 3]);
    world.forget();
    let epoch = world.store.checkpoint().epoch;
    world.control(to_app::Record::Quiesce(session::Quiesce { epoch }));
    let words = world.words();
    let durable = ["Durable 1:1", "Durable 1:2"].map(|word| words.iter().position(|w| w == word));
    let quiesced = words.iter().position(|word| word.starts_with("Quiesced"));
    assert!(
        durable.iter().all(|at| at.is_some() && *at < quiesced),
        "{words:?}"
    );
}

#[test]
fn unsynced_turns_that_a_crash_of_the_store_lost_are_stored_again() {
    for on_disk in 0..=3 {
        let mut world = unsynced();
        let first = world.store.checkpoint().turn;
        for value in 0..3 {
            if value == on_disk {
                world.store.sync();
            }
            world.packet([value, value, value + 1]);
        }
        if on_disk == 3 {
            world.store.sync();
        }
        let rows = world.store.keyspace("cells", 1);
        world.store.crash();
        world.break_watch();
        world.pass(Duration::from_millis(300));
        assert_eq!(
            world.store.keyspace("cells", 1),
            rows,
            "{on_disk} were on disk"
        );
        assert_eq!(
            world.store.checkpoint().turn,
            first + 3,
            "{on_disk} were on disk"
        );
        assert_eq!(durables(&mut world).last().unwrap(), "Durable 1:3");
        // The instance goes on.
        world.store.lags = false;
        world.packet([9, 9, 9]);
        assert_eq!(world.store.checkpoint().turn, first + 4);
    }
}
