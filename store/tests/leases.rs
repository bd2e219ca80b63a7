//! Rows that must vanish with their owner.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;

use std::time::{Duration, Instant};

use daemon::{Daemon, changes_to, of_schema, snapshot, turn};
use morph_api::store::Reason;
use morph_store::op;

#[tokio::test]
async fn what_is_bound_to_a_lease_goes_with_it_and_only_the_owner_keeps_it() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let (ttl, lease) = (Duration::from_millis(400), "proxy-7");
    let bound = |key: &str| op::put_leased(op::row("a", "t", key), "1", lease);
    daemon.commit(op::shared([], [op::grant(lease, ttl)])).await;
    let turn_of = |n, ops: Vec<_>| op::turn(turn("a", 1, n), ops);
    let stays = op::put(op::row("a", "t", "stays"), "1");
    daemon.commit(turn_of(0, vec![bound("goes"), stays])).await;
    let mut watch = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    let synced = snapshot(&mut watch).await.1;
    // Renewed for three times as long as it lasts.
    for _ in 0..12 {
        tokio::time::sleep(ttl / 4).await;
        daemon
            .commit(op::unsynced(op::shared([], [op::keep(lease)])))
            .await;
    }
    let status = daemon.client.status().await.unwrap();
    assert_eq!(status.leases[0].rows, [op::row_in("a", 1, "t", "goes")]);
    let kept = Instant::now();
    let gone = loop {
        let changes = changes_to(&mut watch, synced.revision + 1).await;
        if let Some(change) = changes.into_iter().next() {
            break change;
        }
    };
    assert!(
        kept.elapsed() >= ttl - Duration::from_millis(20),
        "{:?}",
        kept.elapsed()
    );
    assert_eq!((gone.origin, gone.rows[0].key.as_str()), (None, "goes"));
    assert_eq!(gone.rows[0].value, None);
    assert_eq!(
        daemon.refused(op::shared([], [op::keep(lease)])).await,
        Reason::NoLease
    );
    let rows = daemon.client.list("a", "t", "").await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(daemon.client.status().await.unwrap().leases.is_empty());
}

#[tokio::test]
async fn a_lease_outlives_a_crash_of_the_daemon_and_then_has_its_whole_time() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let ttl = Duration::from_millis(600);
    daemon.commit(op::shared([], [op::grant("l", ttl)])).await;
    let bound = op::put_leased(op::row("a", "t", "k"), "1", "l");
    daemon.commit(op::turn(turn("a", 1, 0), [bound])).await;
    tokio::time::sleep(ttl / 2).await;
    let daemon = daemon.crash().await;
    let started = Instant::now();
    tokio::time::sleep(ttl * 3 / 4).await; // more than its time since it was granted
    if started.elapsed() < ttl {
        assert!(daemon.client.get("a", "t", "k").await.unwrap().is_some());
    }
    daemon.gone("a", "t", "k").await;
}
