//! The hand-over, explored. `MORPH_LONG=1` explores more of it.

#![allow(clippy::print_stdout, reason = "it says what it saw")]

use morph_model::{Explored, Kinds, Mutation, Setup, explore, walk};

fn is_right(setup: Setup, most: Option<usize>) {
    let explored = explore(setup, most);
    println!("{explored}");
    assert!(explored.found.is_empty(), "see above");
    assert!(explored.whole || most.is_some());
}

/// More states than a short test can have.
fn is_long() -> bool {
    std::env::var_os("MORPH_LONG").is_some()
}

#[test]
fn one_fault_anywhere_in_an_upgrade_ends_in_the_old_release_or_the_new_one() {
    let faults = 1;
    let kinds = Kinds::ALL;
    is_right(
        Setup {
            packets: 1,
            faults,
            kinds,
            ..Setup::SMALL
        },
        None,
    );
}

#[test]
fn packets_at_any_time_are_applied_and_answered_once() {
    is_right(
        Setup {
            late: true,
            ..Setup::SMALL
        },
        None,
    );
}

#[test]
fn two_upgrades_in_a_row() {
    is_right(
        Setup {
            packets: 1,
            upgrades: 2,
            ..Setup::SMALL
        },
        None,
    );
}

#[test]
fn two_apps_as_one() {
    is_right(
        Setup {
            packets: 0,
            two_apps: true,
            ..Setup::SMALL
        },
        None,
    );
}

/// What is too large to be explored in a short time.
#[test]
fn random_ways_with_several_faults_end_too() {
    let ways = if is_long() { 5000 } else { 150 };
    let kinds = Kinds::ALL;
    let several = Setup {
        packets: 3,
        upgrades: 2,
        faults: 3,
        kinds,
        late: true,
        lazy: true,
        ..Setup::SMALL
    };
    let two_apps = Setup {
        packets: 2,
        faults: 2,
        two_apps: true,
        lazy: false,
        ..several
    };
    for setup in [several, two_apps] {
        let walked = walk(setup, ways);
        println!("{walked}");
        assert!(walked.found.is_none(), "see above");
    }
}

#[test]
fn turns_that_were_stored_and_are_not_on_disk_are_made_again() {
    let kinds = Kinds {
        instances: is_long(),
        store: true,
        ..Kinds::NONE
    };
    is_right(
        Setup {
            packets: 1,
            faults: 1,
            kinds,
            lazy: true,
            ..Setup::SMALL
        },
        None,
    );
}

#[test]
fn much_more_of_it() {
    if !is_long() {
        return;
    }
    let kinds = Kinds::ALL;
    let many = Some(600_000);
    is_right(
        Setup {
            faults: 1,
            kinds,
            late: true,
            ..Setup::SMALL
        },
        many,
    );
    is_right(
        Setup {
            packets: 1,
            faults: 2,
            kinds,
            ..Setup::SMALL
        },
        many,
    );
    is_right(
        Setup {
            packets: 1,
            upgrades: 2,
            faults: 1,
            kinds,
            ..Setup::SMALL
        },
        many,
    );
    is_right(
        Setup {
            packets: 1,
            faults: 1,
            kinds,
            two_apps: true,
            ..Setup::SMALL
        },
        many,
    );
}

/// The model is no use if it does not see what is broken.
fn is_caught(mutation: Mutation, setup: Setup, what: &str) -> Explored {
    let explored = explore(
        Setup {
            mutation: Some(mutation),
            ..setup
        },
        Some(300_000),
    );
    println!("{explored}");
    assert!(
        explored.found.contains_key(what),
        "it is not seen that it is broken"
    );
    explored
}

#[test]
fn a_commit_before_the_accept_is_caught() {
    let setup = Setup {
        packets: 1,
        ..Setup::SMALL
    };
    is_caught(
        Mutation::CommitBeforeAccept,
        setup,
        "only accepted turns are stored",
    );
}

#[test]
fn a_resume_before_the_fence_is_caught() {
    let setup = Setup {
        packets: 1,
        ..Setup::SMALL
    };
    is_caught(
        Mutation::ResumeBeforeFence,
        setup,
        "nobody writes past a fence",
    );
}

#[test]
fn a_fence_without_its_flush_is_caught() {
    let kinds = Kinds {
        instances: true,
        ..Kinds::NONE
    };
    let setup = Setup {
        packets: 1,
        faults: 1,
        kinds,
        lazy: true,
        ..Setup::SMALL
    };
    is_caught(
        Mutation::UnflushedFence,
        setup,
        "nobody is let in before the fence is on disk",
    );
}
