//! Workers are started, waited for and judged.
#![allow(clippy::print_stdout, reason = "it says what it saw")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use morph_store::Client;
use tokio::task::JoinHandle;

use super::History;
use super::worker::{Shared, Worker};

pub const WORKERS: usize = 6;
/// A disk that others write to makes a commit wait for seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Workers over these daemons, one after the other.
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
        let ended = tokio::time::timeout(PATIENCE, worker).await;
        history.merge(ended.unwrap().unwrap());
    }
    history
}

/// Until as many more operations were answered, so that each round has work on both sides of its fault.
pub async fn answered(shared: &Shared, more: u64) {
    let until = shared.answered.load(Ordering::SeqCst) + more;
    let wait = async {
        while shared.answered.load(Ordering::SeqCst) < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

pub fn judge(history: &History, rounds: u64) {
    println!(
        "{rounds} faults: {} operations on {} rows and {} checkpoints, {} never answered",
        history.operations(),
        history.rows.len(),
        history.checkpoints.len(),
        history.pending()
    );
    history.assert_linearizable();
    history.assert_one_order();
}
