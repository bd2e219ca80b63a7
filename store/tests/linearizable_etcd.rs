//! With the data in etcd, clients still see one store that executes one operation at a time: whoever is killed, and
//! whichever daemon they use.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;
mod history;

use std::slice::from_ref;
use std::sync::atomic::Ordering;

use daemon::Daemon;
use daemon::etcd::Etcd;
use history::run::{COMMIT_TIMEOUT, WORKERS, answered, end, judge, start};
use history::worker::{APP, Shared, prepare};

fn rounds() -> u64 {
    match std::env::var_os("MORPH_LONG") {
        Some(_) => 60,
        None => 4,
    }
}

#[tokio::test]
async fn rows_and_checkpoints_on_etcd_are_linearizable_while_daemon_and_etcd_are_killed() {
    let mut etcd = Etcd::start(&[]);
    let mut daemon = Daemon::start_on(&etcd.url("killed")).await;
    prepare(&daemon.client, WORKERS).await;
    let shared = Shared::new(WORKERS);
    let workers = start(from_ref(&daemon.client), &shared, true);
    for round in 0..rounds() {
        answered(&shared, 40 + round % 7 * 5).await;
        if round % 2 == 0 {
            daemon = daemon.crash().await;
        } else {
            etcd.kill();
            etcd.again();
        }
        answered(&shared, 20).await;
        shared.round.fetch_add(1, Ordering::SeqCst);
    }
    let history = end(workers, &shared).await;
    judge(
        "linearizable_etcd",
        "kills of daemon or etcd",
        &history,
        rounds(),
    );
}

/// A read may be behind what another daemon wrote, so only writes are checked, including those based on such reads.
#[tokio::test]
async fn what_two_daemons_write_is_linearizable_while_they_are_killed() {
    let etcd = Etcd::start(&[]);
    let url = etcd.url("two");
    let mut daemons = [Daemon::start_on(&url).await, Daemon::start_on(&url).await];
    prepare(&daemons[0].client, WORKERS).await;
    let known = async {
        while !knows(&daemons[1]).await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(COMMIT_TIMEOUT, known).await.unwrap();
    let shared = Shared::new(WORKERS);
    let clients = daemons.each_ref().map(|daemon| daemon.client.clone());
    let workers = start(&clients, &shared, false);
    for round in 0..rounds() {
        answered(&shared, 40 + round % 7 * 5).await;
        daemons = match daemons {
            [one, other] if round % 2 == 0 => [one.crash().await, other],
            [one, other] => [one, other.crash().await],
        };
        answered(&shared, 20).await;
        shared.round.fetch_add(1, Ordering::SeqCst);
    }
    let history = end(workers, &shared).await;
    judge(
        "linearizable_etcd",
        "kills of one of two daemons",
        &history,
        rounds(),
    );
}

async fn knows(daemon: &Daemon) -> bool {
    let status = daemon.client.status().await.unwrap();
    status.keyspaces.iter().any(|keyspace| keyspace.app == APP)
}
