//! A daemon that starts again has the same state as before.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;

use daemon::{Daemon, turn};
use morph_api::store::{Reason, Seq};
use morph_store::op;

#[tokio::test]
async fn checkpoints_mean_the_same_after_a_crash_and_after_an_orderly_end() {
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
    let checkpoint = &status.checkpoints[0];
    assert_eq!(
        (
            checkpoint.epoch,
            checkpoint.turn,
            checkpoint.release.as_str()
        ),
        (2, 3, "2.0.0")
    );
    assert_eq!(
        checkpoint.cursor,
        Some(Seq {
            incarnation: 1,
            n: 3
        })
    );
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
    assert_eq!(client.status().await.unwrap().checkpoints.len(), 1);
}
