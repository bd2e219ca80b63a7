//! Three members of etcd: a leader dies, a leader is cut off while the daemon is connected to it, two members are
//! gone. Part of the long tests (`MORPH_LONG=1`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]
#![allow(clippy::print_stdout, reason = "it says what it saw")]

mod daemon;
mod history;
#[path = "etcd/three.rs"]
mod three;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use daemon::{Daemon, turn};
use history::run::{WORKERS, answered, end, judge, start};
use history::worker::{APP, Shared, prepare};
use morph_api::store::Reason;
use morph_store::{Client, op};
use three::Three;

const SOON: Duration = Duration::from_secs(30);

/// Sends each turn until it is acknowledged or known to have been applied.
async fn write(client: Client, acknowledged: Arc<AtomicU64>) {
    let mut follows = 0;
    loop {
        let put = op::put(op::row("a", "t", format!("{follows:06}")), "1");
        match client.commit(op::turn(turn("a", 1, follows), [put])).await {
            Ok(Ok(committed)) => assert_eq!(committed.checkpoints[0].turn, follows + 1),
            Ok(Err(refusal)) => assert_eq!(refusal.reason, Reason::Already, "{refusal}"),
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
        }
        follows += 1;
        acknowledged.store(follows, Ordering::SeqCst);
    }
}

/// Waits until some more turns are acknowledged; returns the time that took.
async fn progress(acknowledged: &AtomicU64, what: &str) {
    let (before, began) = (acknowledged.load(Ordering::SeqCst), Instant::now());
    while acknowledged.load(Ordering::SeqCst) < before + 20 {
        assert!(began.elapsed() < SOON, "{what}: nothing is written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "RESULT etcd_three writes/{what}: writes continue after | {:.1?}",
        began.elapsed()
    );
}

#[test]
fn kills_and_partitions_of_leaders_lose_no_acknowledged_turn_and_double_none() {
    if std::env::var_os("MORPH_LONG").is_none() {
        return;
    }
    let name = "kills_and_partitions_of_leaders_lose_no_acknowledged_turn_and_double_none";
    if three::inside(name) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(run());
    }
}

async fn run() {
    let mut three = Three::start();
    let daemon = Daemon::start_on(&three.url("m")).await;
    daemon.app("a").await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn(write(daemon.client.clone(), Arc::clone(&acknowledged)));
    progress(&acknowledged, "at first").await;
    for round in 0..3 {
        let leader = three.leader();
        three.kill(leader);
        progress(
            &acknowledged,
            &format!("round {round}: leader {leader} killed"),
        )
        .await;
        three.spawn(leader);
        three.wait_healthy(&[leader]);
        let leader = three.leader();
        three.isolate(leader);
        progress(
            &acknowledged,
            &format!("round {round}: leader {leader} cut off"),
        )
        .await;
        three.heal();
        three.wait_healthy(&[1, 2, 3]);
    }
    // Without a quorum reads continue, and Status says what is wrong.
    three.kill(1);
    three.kill(2);
    let began = Instant::now();
    while daemon.client.status().await.unwrap().trouble.is_empty() {
        assert!(began.elapsed() < SOON, "no trouble is told");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rows = daemon.client.list("a", "t", "").await.unwrap().len() as u64;
    assert!(rows >= acknowledged.load(Ordering::SeqCst));
    three.spawn(1);
    three.spawn(2);
    progress(&acknowledged, "the quorum is back").await;
    writer.abort();
    assert!(writer.await.unwrap_err().is_cancelled());
    // A new daemon shows what etcd has.
    let done = acknowledged.load(Ordering::SeqCst);
    let fresh = Daemon::start_on(&three.url("m")).await;
    let rows = fresh.client.list("a", "t", "").await.unwrap().len() as u64;
    let checkpoint = fresh.client.status().await.unwrap().checkpoints[0].clone();
    assert!(
        rows >= done && checkpoint.turn == rows,
        "{done} {rows} {checkpoint:?}"
    );
}

/// Number of faults in a run, evenly spread over the kinds.
const FAULTS: u64 = 24;

#[test]
fn rows_and_checkpoints_are_linearizable_while_leaders_are_killed_and_cut_off() {
    if std::env::var_os("MORPH_LONG").is_none() {
        return;
    }
    let name = "rows_and_checkpoints_are_linearizable_while_leaders_are_killed_and_cut_off";
    if three::inside(name) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let mut three = Three::start();
            for daemons in [1, 2] {
                under_faults(&mut three, daemons).await;
            }
        });
    }
}

/// With several daemons a read may be behind what another one wrote, so reads are checked for one daemon only.
async fn under_faults(three: &mut Three, count: usize) {
    let url = three.url(&format!("linearizable-{count}"));
    let mut daemons = Vec::new();
    for _ in 0..count {
        daemons.push(Daemon::start_on(&url).await);
    }
    prepare(&daemons[0].client, WORKERS).await;
    for daemon in &daemons {
        knows(daemon).await;
    }
    let shared = Shared::new(WORKERS);
    let clients: Vec<Client> = daemons.iter().map(|daemon| daemon.client.clone()).collect();
    let workers = start(&clients, &shared, count == 1);
    for round in 0..FAULTS {
        answered(&shared, 40).await;
        let leader = three.leader();
        match round % 4 {
            // The leader dies, and another is elected.
            0 => {
                three.kill(leader);
                answered(&shared, 20).await;
                three.spawn(leader);
            }
            // The leader is cut off together with the daemons connected to it.
            1 => {
                three.isolate(leader);
                answered(&shared, 20).await;
                three.heal();
            }
            // The quorum is gone for a moment.
            2 => {
                let other = leader % 3 + 1;
                three.kill(leader);
                three.kill(other);
                three.spawn(leader);
                three.spawn(other);
            }
            // A daemon dies together with the leader.
            _ => {
                three.kill(leader);
                daemons[0].kill();
                three.spawn(leader);
            }
        }
        three.wait_healthy(&[1, 2, 3]);
        if round % 4 == 3 {
            let daemon = daemons.remove(0);
            daemons.insert(0, daemon.crash().await);
        }
        answered(&shared, 20).await;
        shared.round.fetch_add(1, Ordering::SeqCst);
    }
    let history = end(workers, &shared).await;
    let run = format!("{count} daemons on three members");
    judge("etcd_three", &run, &history, FAULTS);
}

async fn knows(daemon: &Daemon) {
    let began = Instant::now();
    loop {
        let status = daemon.client.status().await.unwrap();
        if status.keyspaces.iter().any(|keyspace| keyspace.app == APP) {
            return;
        }
        assert!(
            began.elapsed() < SOON,
            "a daemon does not hear of another's app"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
