//! The hand-over, explored. `MORPH_LONG=1` explores more of it.

mod checks;

use checks::{ends, is_caught, is_long, is_right};
use morph_model::{Kinds, Mutation, Schemas, Setup};

#[test]
fn one_fault_anywhere_in_an_upgrade_ends_in_the_old_release_or_the_new_one() {
    let faults = 1;
    // Deaths of the proxy are explored by themselves: they multiply the states.
    let kinds = Kinds {
        proxy: false,
        ..Kinds::ALL
    };
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

/// Rules are called complete once the switch has them, in each order of its answers and an upgrade, and after a death.
#[test]
fn rules_that_a_slow_switch_gets_one_at_a_time() {
    let setup = Setup {
        packets: 1,
        rules: 2,
        ..Setup::SMALL
    };
    is_right(setup, None);
    let kinds = Kinds {
        instances: true,
        operator: true,
        ..Kinds::NONE
    };
    is_right(
        Setup {
            packets: 0,
            faults: 1,
            kinds,
            ..setup
        },
        None,
    );
    is_right(
        Setup {
            packets: 0,
            two_apps: true,
            rules: 1,
            ..setup
        },
        None,
    );
}

/// The target migrates online, and the commit swaps.
#[test]
fn an_upgrade_to_a_newer_schema() {
    is_right(
        Setup {
            packets: 1,
            schemas: Schemas::Newer,
            ..Setup::SMALL
        },
        None,
    );
}

/// The source makes the shadow first, and the fence swaps.
#[test]
fn an_upgrade_to_an_older_schema() {
    is_right(
        Setup {
            packets: 1,
            schemas: Schemas::Older,
            ..Setup::SMALL
        },
        None,
    );
}

#[test]
fn an_event_that_kills_three_instances_is_quarantined_and_no_other() {
    let packets = if is_long() { 3 } else { 2 };
    is_right(
        Setup {
            packets,
            upgrades: 0,
            poison: Some(1),
            ..Setup::SMALL
        },
        None,
    );
}

/// Events that it had not delivered may be lost, and nothing is applied twice.
#[test]
fn a_proxy_that_dies_loses_no_order_and_applies_nothing_twice() {
    let kinds = Kinds {
        proxy: true,
        ..Kinds::NONE
    };
    let most = if is_long() { 600_000 } else { 40_000 };
    is_right(
        Setup {
            packets: 2,
            faults: 1,
            kinds,
            ..Setup::SMALL
        },
        Some(most),
    );
}

/// The setups that are too large to be explored in a short time.
#[test]
fn random_ways_with_several_faults_end_too() {
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
        ends(setup, 150);
    }
}

/// A new morphd at any step, deaths of all others, and what people do meanwhile.
#[test]
fn random_ways_through_changes_of_the_schema_end_too() {
    for schemas in [Schemas::Newer, Schemas::Older] {
        let setup = Setup {
            upgrades: 2,
            schemas,
            faults: 2,
            kinds: Kinds::ALL,
            ..Setup::SMALL
        };
        ends(setup, 250);
        ends(
            Setup {
                late: true,
                ..setup
            },
            100,
        );
    }
}

#[test]
fn random_ways_to_a_quarantine_end_too() {
    let setup = Setup {
        packets: 3,
        upgrades: 0,
        poison: Some(2),
        faults: 2,
        kinds: Kinds::ALL,
        ..Setup::SMALL
    };
    ends(setup, 250);
    // The target dies of it, and after the way back so does the source.
    ends(
        Setup {
            upgrades: 1,
            faults: 1,
            ..setup
        },
        150,
    );
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
    for schemas in [Schemas::Newer, Schemas::Older] {
        is_right(
            Setup {
                packets: 1,
                faults: 1,
                kinds,
                schemas,
                ..Setup::SMALL
            },
            many,
        );
    }
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

/// The store's daemon died with the transaction, and its successor has nothing of it.
#[test]
fn a_commit_without_an_answer_that_is_taken_as_durable_is_caught() {
    let kinds = Kinds {
        store: true,
        ..Kinds::NONE
    };
    let setup = Setup {
        packets: 1,
        upgrades: 0,
        faults: 1,
        kinds,
        ..Setup::SMALL
    };
    is_caught(
        Mutation::UnknownTakenAsDurable,
        setup,
        "there is always an end",
    );
}

#[test]
fn records_out_of_order_are_caught() {
    let setup = Setup {
        packets: 0,
        ..Setup::SMALL
    };
    is_caught(Mutation::RecordsOutOfOrder, setup, "what is so is recorded");
}

#[test]
fn an_adoption_of_the_wrong_epoch_is_caught() {
    let kinds = Kinds {
        instances: true,
        morphd: true,
        ..Kinds::NONE
    };
    let setup = Setup {
        packets: 1,
        upgrades: 0,
        faults: 2,
        kinds,
        ..Setup::SMALL
    };
    is_caught(Mutation::WrongEpochAdopted, setup, "there is always an end");
}

#[test]
fn a_quarantine_that_skips_one_event_too_many_is_caught() {
    let setup = Setup {
        packets: 3,
        upgrades: 0,
        poison: Some(1),
        ..Setup::SMALL
    };
    is_caught(
        Mutation::SkipOneMore,
        setup,
        "each event is applied once, in order",
    );
}

#[test]
fn a_shadow_dropped_under_its_reader_is_caught() {
    let setup = Setup {
        packets: 0,
        schemas: Schemas::Older,
        ..Setup::SMALL
    };
    is_caught(
        Mutation::DropWhileRead,
        setup,
        "no shadow is dropped while it is read",
    );
}

#[test]
fn a_fence_retried_with_another_epoch_is_caught() {
    let setup = Setup {
        packets: 1,
        ..Setup::SMALL
    };
    is_caught(
        Mutation::FenceRetriedWithAnotherEpoch,
        setup,
        "nobody writes past a fence",
    );
}

#[test]
fn a_group_that_commits_without_one_member_is_caught() {
    let setup = Setup {
        packets: 0,
        two_apps: true,
        ..Setup::SMALL
    };
    is_caught(Mutation::CommitWithoutOne, setup, "what is so is recorded");
}

#[test]
fn rules_called_complete_while_they_wait_are_caught() {
    let setup = Setup {
        packets: 0,
        rules: 2,
        ..Setup::SMALL
    };
    is_caught(
        Mutation::BarrierAnsweredEarly,
        setup,
        "rules are called complete once the switch has them",
    );
}
