//! Whatever happens, clients see one store that does one thing at a time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends there, and says what it saw"
)]

mod daemon;
mod history;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use daemon::Daemon;
use history::History;
use history::worker::{Shared, Worker, prepare};
use morph_store::Client;
use tokio::task::JoinHandle;

const WORKERS: usize = 6;
/// A disk that others write to makes a commit wait for seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn rounds() -> u64 {
    match std::env::var_os("MORPH_LONG") {
        Some(_) => 300,
        None => 12,
    }
}

/// Workers over these daemons, one after the other.
fn start(clients: &[Client], shared: &Arc<Shared>, reads: bool) -> Vec<JoinHandle<History>> {
    let worker = |n| Worker::new(n, clients[n % clients.len()].clone(), shared, reads);
    (0..WORKERS)
        .map(|n| tokio::spawn(worker(n).run()))
        .collect()
}

async fn end(workers: Vec<JoinHandle<History>>, shared: &Shared) -> History {
    shared.stop.store(true, Ordering::SeqCst);
    let mut history = History::default();
    for worker in workers {
        let ended = tokio::time::timeout(PATIENCE, worker).await;
        history.merge(ended.unwrap().unwrap());
    }
    history
}

/// Until as many more operations were answered, so that each round has work on both sides of its fault.
async fn answered(shared: &Shared, more: u64) {
    let until = shared.answered.load(Ordering::SeqCst) + more;
    let wait = async {
        while shared.answered.load(Ordering::SeqCst) < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

fn judge(history: &History, rounds: u64) {
    println!(
        "{rounds} faults: {} operations on {} rows and {} lanes, {} never answered",
        history.operations(),
        history.rows.len(),
        history.lanes.len(),
        history.pending()
    );
    history.assert_linearizable();
    history.assert_one_order();
}

#[tokio::test]
async fn rows_and_lanes_are_linearizable_while_the_daemon_is_killed() {
    let mut daemon = Daemon::start().await;
    prepare(&daemon.client, WORKERS).await;
    let shared = Shared::new(WORKERS);
    let workers = start(std::slice::from_ref(&daemon.client), &shared, true);
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
    judge(&history, rounds());
}

#[tokio::test]
async fn rows_and_lanes_are_linearizable_with_nothing_wrong() {
    let daemon = Daemon::start().await;
    prepare(&daemon.client, WORKERS).await;
    let shared = Shared::new(WORKERS);
    let workers = start(std::slice::from_ref(&daemon.client), &shared, true);
    answered(&shared, 400).await;
    let history = end(workers, &shared).await;
    assert_eq!(history.pending(), 0);
    judge(&history, 0);
}
