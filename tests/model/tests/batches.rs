//! Several events in one turn, explored. `MORPH_LONG=1` explores more of it.

mod checks;

use checks::{ends, is_caught, is_caught_on_a_way, is_long, is_right};
use morph_model::{Kinds, Mutation, Setup};

const INSTANCES: Kinds = Kinds {
    instances: true,
    ..Kinds::NONE
};

const LATE: Kinds = Kinds {
    deadlines: true,
    operator: true,
    ..Kinds::NONE
};

/// Three packets of one turn. The app fails on the second one, after it has changed the row of the others.
const BATCH: Setup = Setup {
    packets: 3,
    at_once: 3,
    failing: Some(2),
    ..Setup::SMALL
};

#[test]
fn events_of_one_turn_are_applied_once_and_one_on_which_the_app_fails_not_at_all() {
    is_right(
        Setup {
            late: true,
            ..BATCH
        },
        None,
    );
}

/// The hand-over comes at any time, also before the cursor is written.
#[test]
fn turns_that_change_no_row_are_answered_once() {
    for at_once in [1, 2] {
        is_right(
            Setup {
                at_once,
                packets: 2,
                unwritten: Some(1),
                ..Setup::SMALL
            },
            None,
        );
    }
}

/// An instance dies with turns of several events unaccepted, accepted, and on their way to the store.
#[test]
fn an_instance_that_dies_with_several_events_in_a_turn_leaves_none_half_done() {
    let dies = Setup {
        packets: 4,
        at_once: 2,
        upgrades: 0,
        failing: Some(2),
        unwritten: Some(3),
        faults: if is_long() { 2 } else { 1 },
        kinds: INSTANCES,
        ..Setup::SMALL
    };
    is_right(dies, None);
    is_right(
        Setup {
            packets: 3,
            at_once: 3,
            unwritten: None,
            lazy: true,
            ..dies
        },
        None,
    );
}

#[test]
fn a_poison_event_in_the_middle_of_a_turn_is_quarantined_and_no_other() {
    let poison = Setup {
        packets: 3,
        at_once: 3,
        upgrades: 0,
        poison: Some(2),
        ..Setup::SMALL
    };
    is_right(poison, None);
    ends(
        Setup {
            packets: 64,
            at_once: 64,
            poison: Some(32),
            ..poison
        },
        10,
    );
}

#[test]
fn random_ways_with_several_events_in_a_turn_end_too() {
    let setup = Setup {
        packets: 6,
        at_once: 3,
        upgrades: 2,
        unwritten: Some(3),
        faults: 2,
        kinds: Kinds::ALL,
        ..BATCH
    };
    ends(setup, 100);
    ends(
        Setup {
            poison: Some(5),
            late: true,
            lazy: true,
            ..setup
        },
        100,
    );
}

/// Where the quiesce deadline passes, or an upgrade is rolled back, accepted events that are not durable are delivered again
/// before those that were not answered.
#[test]
fn random_ways_through_hand_overs_with_turns_in_flight_end_too() {
    let setup = Setup {
        packets: 6,
        at_once: 2,
        upgrades: 2,
        faults: 2,
        kinds: LATE,
        ..Setup::SMALL
    };
    ends(setup, 500);
}

#[test]
fn much_more_of_it() {
    if !is_long() {
        return;
    }
    let upgrade = Setup {
        faults: 1,
        kinds: INSTANCES,
        ..BATCH
    };
    is_right(upgrade, None);
    for kinds in [LATE, Kinds::ALL] {
        is_right(Setup { kinds, ..upgrade }, Some(600_000));
    }
}

#[test]
fn accepted_being_noted_for_the_last_event_of_a_turn_only_is_caught() {
    let setup = Setup {
        at_once: 2,
        upgrades: 0,
        faults: 1,
        kinds: INSTANCES,
        ..Setup::SMALL
    };
    is_caught(
        Mutation::OnlyLastAccepted,
        setup,
        "each packet leaves once, in order",
    );
}

/// Accepted events that are not durable are followed by others after a quiesce deadline or a rollback. After a death the
/// others are delivered singly.
#[test]
fn a_replay_that_mixes_accepted_events_with_others_is_caught() {
    let setup = Setup {
        packets: 4,
        at_once: 2,
        faults: 1,
        kinds: LATE,
        ..Setup::SMALL
    };
    is_caught_on_a_way(Mutation::MixedReplay, setup, "Packets");
}

#[test]
fn a_cursor_that_is_not_stored_when_the_app_quiesces_is_caught() {
    let setup = Setup {
        packets: 1,
        unwritten: Some(1),
        ..Setup::SMALL
    };
    is_caught(
        Mutation::CursorNotFlushed,
        setup,
        "an app that quiesced has stored all that it answered",
    );
}

#[test]
fn a_delivered_event_that_is_not_delivered_again_is_caught() {
    let setup = Setup {
        packets: 3,
        at_once: 2,
        upgrades: 0,
        faults: 1,
        kinds: INSTANCES,
        ..Setup::SMALL
    };
    is_caught(
        Mutation::DeliveredEventDropped,
        setup,
        "each event is applied once, in order",
    );
}
