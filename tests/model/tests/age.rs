//! Packets that grow old while they wait, explored. `MORPH_LONG=1` explores more of it.

mod checks;

use checks::{ends, is_caught, is_long, is_right};
use morph_model::{Kinds, Mutation, Setup};

const INSTANCES: Kinds = Kinds {
    instances: true,
    ..Kinds::NONE
};

/// All but the death of the proxy.
const KINDS: Kinds = Kinds {
    proxy: false,
    ..Kinds::ALL
};

/// A packet by which the app is known to be slow, and so many at once that those are dropped that are too old. Fewer would be a
/// short queue, which may be late for longer.
const FLOOD: Setup = Setup {
    packets: 36,
    at_once: 35,
    slow: true,
    waits: 1,
    upgrades: 0,
    ..Setup::SMALL
};

#[test]
fn packets_that_are_too_old_are_told_as_lost_in_their_place() {
    assert!(is_right(FLOOD, None).drops);
}

#[test]
fn packets_are_dropped_before_a_hand_over_and_after_it_and_not_because_of_it() {
    let waits = u8::from(is_long());
    let upgrade = Setup {
        upgrades: 1,
        waits,
        ..FLOOD
    };
    assert!(is_right(upgrade, None).drops);
}

#[test]
fn a_fault_while_packets_are_dropped_loses_none_that_is_not_told() {
    let fault = Setup {
        faults: 1,
        waits: 0,
        kinds: KINDS,
        ..FLOOD
    };
    assert!(is_right(fault, None).drops);
    if is_long() {
        let upgrade = Setup {
            upgrades: 1,
            ..fault
        };
        assert!(is_right(upgrade, Some(600_000)).drops);
    }
}

#[test]
fn random_ways_on_which_packets_are_dropped_end_too() {
    let setup = Setup {
        upgrades: 1,
        faults: 2,
        waits: 3,
        kinds: KINDS,
        ..FLOOD
    };
    assert!(ends(setup, 200).drops > 0);
    let twice = Setup {
        packets: 71,
        ..setup
    };
    assert!(ends(twice, 200).drops > 0);
}

/// The packets wait for as long as it takes, in a hold, for an instance that has died, or for one that answers nothing.
#[test]
fn no_packet_is_dropped_because_of_a_hand_over_or_a_death() {
    let setup = Setup {
        packets: 2,
        slow: true,
        waits: 2,
        ..Setup::SMALL
    };
    assert!(!is_right(setup, None).drops);
    let most = if is_long() { 600_000 } else { 10_000 };
    let fault = Setup {
        faults: 1,
        kinds: KINDS,
        ..setup
    };
    assert!(!is_right(fault, Some(most)).drops);
}

#[test]
fn a_delivered_event_that_is_dropped_by_age_is_caught() {
    let setup = Setup {
        packets: 1,
        upgrades: 0,
        slow: true,
        waits: 1,
        faults: 1,
        kinds: INSTANCES,
        ..Setup::SMALL
    };
    is_caught(
        Mutation::DeliveredEventTooOld,
        setup,
        "no packet is dropped that was delivered, or had to wait in a pause",
    );
}

#[test]
fn a_packet_that_is_dropped_because_of_a_hold_is_caught() {
    let setup = Setup {
        packets: 1,
        slow: true,
        waits: 1,
        ..Setup::SMALL
    };
    is_caught(
        Mutation::PauseIgnored,
        setup,
        "no packet is dropped that was delivered, or had to wait in a pause",
    );
}
