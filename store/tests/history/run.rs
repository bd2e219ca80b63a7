//! Starts workers, waits for them and checks their history.
#![allow(clippy::print_stdout, reason = "it says what it saw")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use morph_store::Client;
use tokio::task::JoinHandle;

use super::History;
use super::worker::{Shared, Worker};

pub const WORKERS: usize = 6;
/// Time limit of a commit: a busy disk can delay it for seconds.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts workers, distributed over these clients.
pub fn start(clients: &[Client], shared: &Arc<Shared>, reads: bool) -> Vec<JoinHandle<History>> {
    let worker = |n| Worker::new(n, clients[n % clients.len()].clone(), shared, reads);
    (0..WORKERS)
        .map(|n| tokio::spawn(worker(n).run()))
        .collect()
}

pub async fn end(workers: Vec<JoinHandle<History>>, shared: &Shared) -> History {
    shared.stop.store(true, Ordering::SeqCst);
    let mut history = History::default();
    for worker in workers {
        let ended = tokio::time::timeout(COMMIT_TIMEOUT, worker).await;
        history.merge(ended.unwrap().unwrap());
    }
    history
}

/// Waits until more operations were answered, so that each round has work before and after its fault.
pub async fn answered(shared: &Shared, more: u64) {
    let until = shared.answered.load(Ordering::SeqCst) + more;
    let wait = async {
        while shared.answered.load(Ordering::SeqCst) < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(COMMIT_TIMEOUT, wait).await.unwrap();
}

/// Checks a history and prints its figures for `scripts/results`, in the section of the test file.
pub fn judge(section: &str, run: &str, history: &History, rounds: u64) {
    println!("RESULT {section}/ | run | faults | operations | rows | checkpoints | never answered");
    println!(
        "RESULT {section}/{run} | {rounds} | {} | {} | {} | {}",
        history.operations(),
        history.rows.len(),
        history.checkpoints.len(),
        history.pending()
    );
    history.assert_linearizable();
    history.assert_one_order();
}
