//! Watchers during concurrent commits: each change exactly once and in order, or the end of the watch.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;

use std::collections::BTreeMap;
use std::time::Duration;

use daemon::{Daemon, SOON, changes_to, next, of_schema, snapshot, turn};
use morph_api::store::ended::Why;
use morph_api::store::{Ended, RowValue, Synced, WatchRequest, watch_reply};
use morph_store::{Client, op};

type View = BTreeMap<(String, String), (String, u64)>;

fn take(view: &mut View, row: RowValue) {
    let key = (row.table, row.key);
    match row.value {
        Some(value) => view.insert(key, (value, row.revision)),
        None => view.remove(&key),
    };
}

/// Sends turns that put and delete, each with a row that contains the number of its turn.
async fn write(client: Client, app: String, turns: u64) {
    for n in 0..turns {
        let ops = [
            op::put(op::row(&app, "turns", format!("{n:05}")), n.to_string()),
            op::put(op::row(&app, "last", "turn"), n.to_string()),
            op::put(op::row(&app, "some", format!("{}", n % 7)), n.to_string()),
            op::delete(op::row(&app, "some", format!("{}", n % 5))),
        ];
        let transaction = op::turn(turn(&app, 1, n), ops);
        client.commit(transaction).await.unwrap().unwrap();
    }
}

/// Watches from the app's current revision, and checks every message until the last turn.
async fn follow(client: Client, app: String, turns: u64) -> View {
    let mut watch = client.watch(of_schema(&app, 1)).await.unwrap();
    let (rows, synced) = snapshot(&mut watch).await;
    let mut view = View::new();
    assert!(rows.iter().map(|r| (&r.table, &r.key)).is_sorted());
    rows.into_iter().for_each(|row| take(&mut view, row));
    assert!(
        view.values()
            .all(|(_, revision)| *revision <= synced.revision)
    );
    let done = |view: &View| view.keys().filter(|key| key.0 == "turns").count() as u64;
    let (mut known, mut turns_seen) = (synced.revision, done(&view));
    while turns_seen < turns {
        let watch_reply::Reply::Changes(changes) = next(&mut watch).await else {
            panic!("the watch of {app} ended");
        };
        for change in changes.changes {
            assert!(change.revision > known, "{} after {known}", change.revision);
            known = change.revision;
            let origin = change.origin.unwrap();
            assert_eq!(
                origin.follows, turns_seen,
                "a turn is missing or comes twice"
            );
            assert!(
                change
                    .rows
                    .iter()
                    .all(|row| row.revision == change.revision)
            );
            turns_seen += 1;
            change.rows.into_iter().for_each(|row| take(&mut view, row));
        }
        assert!(changes.revision >= known);
        known = changes.revision;
    }
    view
}

#[tokio::test]
async fn every_watcher_sees_each_change_once_and_in_order() {
    const TURNS: u64 = 300;
    let daemon = Daemon::start().await;
    let apps: Vec<String> = (0..4).map(|n| format!("app{n}")).collect();
    let mut writers = Vec::new();
    for app in &apps {
        daemon.app(app).await;
        writers.push(tokio::spawn(write(
            daemon.client.clone(),
            app.clone(),
            TURNS,
        )));
    }
    let mut watchers = Vec::new();
    for n in 0..24 {
        let app = apps[n % apps.len()].clone();
        watchers.push((
            app.clone(),
            tokio::spawn(follow(daemon.client.clone(), app, TURNS)),
        ));
        tokio::time::sleep(Duration::from_millis(5)).await; // so that they begin at different revisions
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for (app, watcher) in watchers {
        let view = tokio::time::timeout(SOON, watcher).await.unwrap().unwrap();
        let mut stored = View::new();
        for table in ["turns", "last", "some"] {
            let rows = daemon.client.list(&app, table, "").await.unwrap();
            rows.into_iter().for_each(|row| take(&mut stored, row));
        }
        assert_eq!(view, stored);
    }
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_told_so_and_holds_up_nobody() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let mut slow = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    snapshot(&mut slow).await;
    let value = format!("\"{}\"", "x".repeat(1_000_000));
    for n in 0..40 {
        let put = op::put(op::row("a", "t", (n % 3).to_string()), value.clone());
        daemon.commit(op::turn(turn("a", 1, n), [put])).await;
    }
    let mut known = 0;
    let ended = loop {
        match next(&mut slow).await {
            watch_reply::Reply::Changes(changes) => {
                assert!(changes.revision > known);
                known = changes.revision;
            }
            watch_reply::Reply::Ended(ended) => break ended,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ended.why(), Why::TooSlow);
    let mut again = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    assert_eq!(snapshot(&mut again).await.0.len(), 3);
}

#[tokio::test]
async fn a_watcher_that_is_behind_gets_progress_as_one() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    daemon.app("b").await;
    let mut watch = daemon.client.watch(of_schema("b", 1)).await.unwrap();
    let mut revision = snapshot(&mut watch).await.1.revision;
    for n in 0..100 {
        revision = daemon.commit(op::turn(turn("a", 1, n), [])).await.revision;
    }
    assert!(changes_to(&mut watch, revision).await.is_empty());
}

#[tokio::test]
async fn a_shadow_is_watched_through_its_becoming_the_primary() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let revision = daemon
        .commit(op::shared([], [op::create_shadow("a", 2, 2, "new")]))
        .await
        .revision;
    let mut request = of_schema("a", 2);
    request.which = Some(morph_api::store::watch_request::Which::Keyspace(2));
    let mut watch = daemon.client.watch(request).await.unwrap();
    let keyspace = snapshot(&mut watch).await.1.keyspace.unwrap();
    assert_eq!((keyspace.primary, keyspace.owner.as_str()), (false, "new"));
    let ops = [
        op::put(op::row_in("a", 2, "t", "k"), "1"),
        op::watermark("a", 2, "new", revision),
    ];
    daemon.commit(op::shared([], ops)).await;
    daemon.commit(op::shared([], [op::swap("a", 1, 2)])).await;
    let put = op::put(op::row("a", "t", "l"), "2");
    let last = daemon
        .commit(op::turn(turn("a", 1, 0), [put]))
        .await
        .revision;
    let changes = changes_to(&mut watch, last).await;
    let keys: Vec<_> = changes
        .iter()
        .flat_map(|c| &c.rows)
        .map(|r| r.key.as_str())
        .collect();
    assert_eq!(keys, ["k", "l"]);
}

#[tokio::test]
async fn the_end_of_the_daemon_is_told() {
    let mut daemon = Daemon::start().await;
    daemon.app("a").await;
    let mut watch = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    let before = snapshot(&mut watch).await.1.incarnation;
    let terminated = tokio::task::spawn_blocking(move || (daemon.terminate(), daemon));
    let watch_reply::Reply::Ended(ended) = next(&mut watch).await else {
        panic!("the watch goes on");
    };
    assert_eq!(ended.why(), Why::Shutdown);
    drop(watch);
    let (code, daemon) = terminated.await.unwrap();
    assert_eq!(code, Some(0));
    let daemon = daemon.crash().await;
    let mut watch = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    assert!(snapshot(&mut watch).await.1.incarnation > before);
}

fn resumed(app: &str, synced: &Synced, from_revision: u64) -> WatchRequest {
    WatchRequest {
        from_revision,
        incarnation: synced.incarnation,
        ..of_schema(app, 1)
    }
}

async fn why_ended(client: &Client, request: WatchRequest) -> Ended {
    let mut watch = client.watch(request).await.unwrap();
    match next(&mut watch).await {
        watch_reply::Reply::Ended(ended) => ended,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watcher_that_comes_back_gets_what_it_missed_and_nothing_else() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    daemon.app("b").await;
    let mut watch = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    let synced = snapshot(&mut watch).await.1;
    assert!(!synced.resumed);
    drop(watch);
    let mut missed = Vec::new();
    for n in 0..10 {
        for app in ["a", "b"] {
            let put = op::put(op::row(app, "t", n.to_string()), "1");
            let revision = daemon
                .commit(op::turn(turn(app, 1, n), [put]))
                .await
                .revision;
            missed.extend(Some(revision).filter(|_| app == "a"));
        }
    }
    let now = daemon.revision().await;
    for (from, seen) in [(synced.revision, 0), (missed[3], 4), (now, 10)] {
        let mut watch = daemon
            .client
            .watch(resumed("a", &synced, from))
            .await
            .unwrap();
        let (rows, again) = snapshot(&mut watch).await;
        assert!(rows.is_empty() && again.resumed && again.revision == from);
        let put = op::put(op::row("b", "t", from.to_string()), "1");
        let checkpoint = daemon.checkpoint("b").await;
        let last = daemon
            .commit(op::turn(turn("b", 1, checkpoint.turn), [put]))
            .await
            .revision;
        let changes = changes_to(&mut watch, last).await;
        let found: Vec<u64> = changes.iter().map(|change| change.revision).collect();
        assert_eq!(found, missed[seen..]);
    }
}

#[tokio::test]
async fn a_watcher_that_was_away_for_too_long_has_to_load_again() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let mut watch = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    let synced = snapshot(&mut watch).await.1;
    drop(watch);
    let ahead = why_ended(&daemon.client, resumed("a", &synced, synced.revision + 1)).await;
    assert_eq!(ahead.why(), Why::Compacted);
    let value = format!("\"{}\"", "x".repeat(1_000_000));
    for n in 0..20 {
        let put = op::put(op::row("a", "t", "k"), value.clone());
        daemon.commit(op::turn(turn("a", 1, n), [put])).await;
    }
    let old = why_ended(&daemon.client, resumed("a", &synced, synced.revision)).await;
    assert_eq!(old.why(), Why::Compacted);
    assert!(old.message.contains("load again"), "{}", old.message);
    let revision = daemon.revision().await;
    let daemon = daemon.crash().await;
    let other = why_ended(&daemon.client, resumed("a", &synced, revision)).await;
    assert_eq!(other.why(), Why::Compacted);
    assert!(other.message.contains("incarnation"), "{}", other.message);
}

#[tokio::test]
async fn a_watcher_does_not_take_a_new_primary_for_the_old_one() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let mut watch = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    let synced = snapshot(&mut watch).await.1;
    drop(watch);
    // To another schema and back: the version is the same, but the keyspace is another.
    for (old, new, schema) in [(1, 2, 2), (2, 3, 1)] {
        let create = op::create_shadow("a", new, schema, "me");
        let revision = daemon.commit(op::shared([], [create])).await.revision;
        let watermark = op::watermark("a", new, "me", revision);
        daemon.commit(op::shared([], [watermark])).await;
        daemon
            .commit(op::shared([], [op::swap("a", old, new)]))
            .await;
    }
    let ended = why_ended(&daemon.client, resumed("a", &synced, synced.revision)).await;
    assert_eq!(ended.why(), Why::Compacted);
}

#[tokio::test]
async fn a_client_that_opens_a_thousand_watches_is_refused_and_harms_nobody() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let mut open = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..1000 {
        match daemon.client.watch(of_schema("a", 1)).await {
            Ok(watch) => open.push(watch),
            Err(error) => refused.push(error.to_string()),
        }
    }
    assert_eq!((open.len(), refused.len()), (512, 488));
    assert!(
        refused
            .iter()
            .all(|output| output.contains("512 watches are open")),
        "{refused:?}"
    );
    assert_eq!(daemon.client.status().await.unwrap().watches, 512);
    daemon.commit(op::turn(turn("a", 1, 0), [])).await;
    open.truncate(500);
    let again = async {
        while daemon.client.watch(of_schema("a", 1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, again).await.unwrap();
}
