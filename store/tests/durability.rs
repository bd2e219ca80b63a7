//! Times of acknowledgements, and what a crash may take back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;

use std::time::{Duration, Instant};

use daemon::{Daemon, SOON, next, of_schema, snapshot, turn};
use morph_api::store::{Reason, Transaction, watch_reply};
use morph_store::op;

/// Time within which an acknowledged turn is on disk.
const BOUND: Duration = Duration::from_millis(100);

fn of_turn(n: u64) -> Transaction {
    let put = op::put(op::row("a", "turns", format!("{n:06}")), n.to_string());
    op::turn(turn("a", 1, n), [put])
}

#[tokio::test]
async fn an_unsynced_turn_is_on_disk_within_its_bound_and_watchers_are_told() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    daemon.commit(op::unsynced(of_turn(0))).await; // raises the ceiling, with an fsync
    let mut watch = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    snapshot(&mut watch).await;
    let before = Instant::now();
    let committed = daemon.commit(op::unsynced(of_turn(1))).await;
    assert!(committed.durable < committed.revision, "{committed:?}");
    loop {
        let watch_reply::Reply::Changes(changes) = next(&mut watch).await else {
            panic!("the watch ended");
        };
        if changes.durable >= committed.revision {
            break;
        }
    }
    // Five times the bound, since two processors are shared here.
    assert!(before.elapsed() < 5 * BOUND, "{:?}", before.elapsed());
    assert_eq!(
        daemon.client.status().await.unwrap().durable,
        committed.revision
    );
    let daemon = daemon.crash().await;
    assert_eq!(daemon.checkpoint("a").await.turn, 2);
}

#[tokio::test]
async fn what_must_be_synced_takes_all_before_it_along() {
    let mut daemon = Daemon::start().await;
    daemon.app("a").await;
    let record = op::row("morpheus", "upgrades", "a");
    let (mut turns, mut revision) = (0, 0);
    for (what, sync) in [
        ("a turn", of_turn(1)),
        (
            "a fence",
            op::shared([], [op::fence("a", "node1", 1, "2.0.0")]),
        ),
        (
            "a record",
            op::shared([op::absent(&record)], [op::put(record.clone(), "1")]),
        ),
        ("what was applied already", of_turn(0)),
    ] {
        let epoch = daemon.checkpoint("a").await.epoch;
        let again = |transaction: Transaction| Transaction {
            turn: transaction
                .turn
                .map(|turn| morph_api::store::Turn { epoch, ..turn }),
            ..transaction
        };
        let follows = turns;
        let mut unsynced = again(of_turn(follows));
        unsynced.ops.clear();
        daemon.commit(op::unsynced(unsynced)).await;
        turns += 1;
        let mut sync = again(sync);
        if let Some(turn) = &mut sync.turn
            && what == "a turn"
        {
            *turn = morph_api::store::Turn {
                epoch,
                ..daemon::turn("a", epoch, turns)
            };
            turns += 1;
        }
        // All other kinds of writes ignore the request for asynchronous durability.
        let sync = match what {
            "a turn" | "what was applied already" => sync,
            _ => op::unsynced(sync),
        };
        match daemon.client.commit(sync).await.unwrap() {
            Ok(committed) => assert_eq!(committed.durable, committed.revision, "{what}"),
            Err(refusal) => assert_eq!(refusal.reason, Reason::Already, "{what}"),
        }
        daemon.kill();
        daemon = daemon.crash().await;
        assert_eq!(daemon.checkpoint("a").await.turn, turns, "{what}");
        let now = daemon.revision().await;
        assert!(now > revision, "{what}: {now} after {revision}");
        revision = now;
    }
}

/// Kills the daemon repeatedly under asynchronous turns: what is left is a prefix of what was sent, and no revision
/// ever stands for two changes.
#[tokio::test]
async fn a_crash_takes_back_the_latest_turns_whole_and_their_revisions_for_good() {
    const ROUNDS: u64 = 12;
    let mut daemon = Daemon::start().await;
    daemon.app("a").await;
    let (mut highest, mut lost) = (0, 0);
    for round in 0..ROUNDS {
        let mut turns = daemon.checkpoint("a").await.turn;
        let started = Instant::now();
        // Time at which each turn was acknowledged.
        let mut acknowledged = Vec::new();
        while started.elapsed() < Duration::from_millis(40 + 17 * round) {
            let committed = daemon.commit(op::unsynced(of_turn(turns))).await;
            assert!(committed.revision > highest, "a revision came again");
            highest = committed.revision;
            turns += 1;
            acknowledged.push((turns, Instant::now()));
        }
        let killed = Instant::now();
        daemon.kill();
        daemon = daemon.crash().await;
        let checkpoint = daemon.checkpoint("a").await;
        let rows = daemon.client.list("a", "turns", "").await.unwrap();
        assert_eq!(
            rows.len() as u64,
            checkpoint.turn,
            "the checkpoint and its rows fall back together"
        );
        for (n, row) in rows.iter().enumerate() {
            assert_eq!(row.key, format!("{n:06}"));
        }
        let mut old = acknowledged
            .iter()
            .filter(|(_, at)| killed - *at > 5 * BOUND);
        if let Some((turn, _)) = old.next_back() {
            assert!(checkpoint.turn >= *turn, "a turn was lost after its bound");
        }
        assert!(daemon.revision().await >= highest);
        lost += turns - checkpoint.turn;
    }
    assert!(lost > 0, "nothing was ever at stake");
}

#[tokio::test]
async fn an_orderly_end_loses_nothing() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    for n in 0..20 {
        daemon.commit(op::unsynced(of_turn(n))).await;
    }
    let revision = daemon.revision().await;
    let (code, daemon) = daemon.restart().await;
    assert_eq!(code, Some(0));
    assert_eq!(
        (daemon.checkpoint("a").await.turn, daemon.revision().await),
        (20, revision)
    );
    // A watcher of an earlier incarnation has to load again.
    daemon.client.ready(SOON).await.unwrap();
}
