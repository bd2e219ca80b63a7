//! Checks of explorations and of random ways.

#![allow(clippy::print_stdout, reason = "it says what it saw")]
#![allow(dead_code, reason = "not every test needs all")]

use morph_model::{Explored, Mutation, Setup, Walked, explore, walk};

pub(crate) fn is_right(setup: Setup, most: Option<usize>) -> Explored {
    let explored = explore(setup, most);
    println!("{explored}");
    assert!(explored.found.is_empty(), "see above");
    assert!(explored.whole || most.is_some());
    explored
}

/// More states than a short test can have.
pub(crate) fn is_long() -> bool {
    std::env::var_os("MORPH_LONG").is_some()
}

pub(crate) fn ends(setup: Setup, short: u64) -> Walked {
    let walked = walk(setup, if is_long() { 5000 } else { short });
    println!("{walked}");
    assert!(walked.found.is_none(), "see above");
    walked
}

/// The model is no use if it does not see what is broken.
pub(crate) fn is_caught(mutation: Mutation, setup: Setup, what: &str) -> Explored {
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

/// A defect that shows only deep in a run, which a random way finds sooner.
pub(crate) fn is_caught_on_a_way(mutation: Mutation, setup: Setup, what: &str) {
    let walked = walk(
        Setup {
            mutation: Some(mutation),
            ..setup
        },
        1000,
    );
    println!("{walked}");
    let found = walked.found.map(|(found, _)| found);
    assert!(
        found.is_some_and(|found| found.contains(what)),
        "it is not seen that it is broken"
    );
}
