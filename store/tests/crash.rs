//! What was acknowledged stays, whatever happens to the daemon.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use daemon::{Daemon, turn};
use morph_api::store::{Reason, Seq};
use morph_store::{Client, op};

const ROUNDS: u64 = 20;
const WRITERS: usize = 8;

/// One app's client, as the SDK is one: keeps a turn until it is durable, and sends it again when the outcome is unknown.
struct Writer {
    client: Client,
    app: String,
    acknowledged: Arc<AtomicU64>,
}

impl Writer {
    async fn run(self) {
        let mut follows = 0;
        loop {
            let put = op::put(
                op::row(&self.app, "turns", format!("{follows:06}")),
                follows.to_string(),
            );
            match self
                .client
                .commit(op::turn(turn(&self.app, 1, follows), [put]))
                .await
            {
                Ok(Ok(committed)) => assert_eq!(committed.lanes[0].turn, follows + 1),
                // Applied by the daemon that died before it could say so.
                Ok(Err(refusal)) if refusal.reason == Reason::Already => {}
                Ok(Err(refusal)) => panic!("{refusal}"),
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    continue;
                }
            }
            follows += 1;
            self.acknowledged.store(follows, Ordering::SeqCst);
        }
    }
}

/// Moments that differ from round to round, the same in every run.
fn moment(round: u64) -> Duration {
    Duration::from_micros(5_000 + round.wrapping_mul(2_654_435_761) % 60_000)
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_when_the_daemon_is_killed() {
    let mut daemon = Daemon::start().await;
    let mut writers = Vec::new();
    for n in 0..WRITERS {
        let app = format!("app{n}");
        daemon.app(&app).await;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            client: daemon.client.clone(),
            app: app.clone(),
            acknowledged: Arc::clone(&acknowledged),
        };
        writers.push((app, acknowledged, tokio::spawn(writer.run())));
    }
    let mut incarnation = 0;
    for round in 0..ROUNDS {
        tokio::time::sleep(moment(round)).await;
        daemon.kill();
        let promised: Vec<u64> = writers.iter().map(|w| w.1.load(Ordering::SeqCst)).collect();
        daemon = daemon.crash().await;
        let status = daemon.client.status().await.unwrap();
        assert!(status.incarnation > incarnation, "round {round}");
        incarnation = status.incarnation;
        for (n, (app, _, task)) in writers.iter().enumerate() {
            assert!(!task.is_finished(), "the writer of {app} gave up");
            let rows = daemon.client.list(app, "turns", "").await.unwrap();
            let count = rows.len() as u64;
            assert!(
                count >= promised[n],
                "round {round}: {app} lost {} turns",
                promised[n] - count
            );
            // Whole: no gap, and the lane counts what is there.
            for (n, row) in rows.iter().enumerate() {
                assert_eq!(row.key, format!("{n:06}"));
            }
        }
    }
    for (_, _, task) in &writers {
        task.abort();
    }
    let status = daemon.client.status().await.unwrap();
    for (app, acknowledged, _) in &writers {
        let count = daemon.client.list(app, "turns", "").await.unwrap().len() as u64;
        let lane = status.lanes.iter().find(|lane| lane.app == *app).unwrap();
        assert!(acknowledged.load(Ordering::SeqCst) > 0 && count >= lane.turn);
    }
}

#[tokio::test]
async fn lanes_mean_the_same_after_a_crash_and_after_an_orderly_end() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    daemon.commit(op::turn(turn("a", 1, 0), [])).await;
    let fence = op::fence("a", "node1", 1, "2.0.0");
    let record = op::row("morpheus", "upgrades", "a");
    let with_record = [fence, op::put(record.clone(), "{\"state\":\"Upgraded\"}")];
    daemon
        .commit(op::shared([op::absent(&record)], with_record))
        .await;
    let daemon = daemon.crash().await;
    check(&daemon, 1).await;
    let (code, daemon) = daemon.restart().await;
    assert_eq!(code, Some(0));
    check(&daemon, 2).await;
    let status = daemon.client.status().await.unwrap();
    let lane = &status.lanes[0];
    assert_eq!(
        (lane.epoch, lane.turn, lane.release.as_str()),
        (2, 3, "2.0.0")
    );
    assert_eq!(lane.cursor, Some(Seq { stream: 1, n: 3 }));
    let found = daemon
        .client
        .get("morpheus", "upgrades", "a")
        .await
        .unwrap();
    assert_eq!(found.unwrap().0, "{\"state\":\"Upgraded\"}");
}

async fn check(daemon: &Daemon, turns: u64) {
    for (epoch, follows, reason) in [
        (1, turns, Reason::StaleEpoch),
        (2, turns - 1, Reason::Already),
        (2, turns + 1, Reason::Gap),
    ] {
        assert_eq!(
            daemon
                .refused(op::turn(turn("a", epoch, follows), []))
                .await,
            reason
        );
    }
    let again = op::shared([], [op::fence("a", "node1", 1, "3.0.0")]);
    assert_eq!(daemon.refused(again).await, Reason::StaleEpoch);
    daemon.commit(op::turn(turn("a", 2, turns), [])).await;
}

#[tokio::test]
async fn a_client_finds_a_daemon_that_comes_back() {
    let mut daemon = Daemon::start().await;
    daemon.app("a").await;
    let client = daemon.client.clone();
    daemon.kill();
    let away = client.status().await.unwrap_err();
    assert!(away.to_string().contains("store.sock is away"), "{away}");
    let _daemon = daemon.crash().await;
    client.ready(daemon::SOON).await.unwrap();
    assert_eq!(client.status().await.unwrap().lanes.len(), 1);
}
