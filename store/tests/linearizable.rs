//! Clients see one store that executes one operation at a time, whatever fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;
mod history;

use std::slice::from_ref;
use std::sync::atomic::Ordering;

use daemon::Daemon;
use history::run::{WORKERS, answered, end, judge, start};
use history::worker::{Shared, prepare};

fn rounds() -> u64 {
    match std::env::var_os("MORPH_LONG") {
        Some(_) => 300,
        None => 12,
    }
}

#[tokio::test]
async fn rows_and_checkpoints_are_linearizable_while_the_daemon_is_killed() {
    let mut daemon = Daemon::start().await;
    prepare(&daemon.client, WORKERS).await;
    let shared = Shared::new(WORKERS);
    let workers = start(from_ref(&daemon.client), &shared, true);
    for round in 0..rounds() {
        answered(&shared, 60 + round % 7 * 5).await;
        daemon = daemon.crash().await;
        answered(&shared, 30).await;
        shared.round.fetch_add(1, Ordering::SeqCst);
    }
    let history = end(workers, &shared).await;
    assert!(
        history.pending() > 0,
        "no call was open when the daemon died"
    );
    judge("linearizable", "kills of the daemon", &history, rounds());
}

#[tokio::test]
async fn rows_and_checkpoints_are_linearizable_with_nothing_wrong() {
    let daemon = Daemon::start().await;
    prepare(&daemon.client, WORKERS).await;
    let shared = Shared::new(WORKERS);
    let workers = start(from_ref(&daemon.client), &shared, true);
    answered(&shared, 400).await;
    let history = end(workers, &shared).await;
    assert_eq!(history.pending(), 0);
    judge("linearizable", "no faults", &history, 0);
}
