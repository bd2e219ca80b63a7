//! Guarantees of `store.proto`, tested on the real daemon over its socket.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;

use daemon::{Daemon, changes_to, next, of_schema, snapshot, turn};
use morph_api::store::ended::Why;
use morph_api::store::{ReadRequest, Reason, Row, Seq, WatchRequest, watch_reply, watch_request};
use morph_store::{limits, op};

fn read(row: Row, prefix: bool, limit: u32) -> ReadRequest {
    ReadRequest {
        row: Some(row),
        prefix,
        limit,
        ..ReadRequest::default()
    }
}

#[tokio::test]
async fn records_have_a_keyspace_from_the_beginning() {
    let daemon = Daemon::start().await;
    let status = daemon.client.status().await.unwrap();
    let [keyspace] = &status.keyspaces[..] else {
        panic!("{status:?}");
    };
    assert_eq!(
        (keyspace.app.as_str(), keyspace.id, keyspace.primary),
        ("morpheus", 1, true)
    );
    assert_eq!((status.format, status.revision), (2, 1));
    assert!(status.incarnation > 0 && !status.version.is_empty());
}

#[tokio::test]
async fn a_record_changes_by_compare_and_set_only() {
    let daemon = Daemon::start().await;
    let row = op::row("morpheus", "streams", "proxy");
    let put = |value: &str| op::put(row.clone(), value);
    assert_eq!(
        daemon.refused(op::shared([], [put("1")])).await,
        Reason::Invalid
    );
    let first = daemon
        .commit(op::shared([op::absent(&row)], [put("1")]))
        .await
        .revision;
    let again = daemon
        .refused(op::shared([op::absent(&row)], [put("2")]))
        .await;
    assert_eq!(again, Reason::Conflict);
    let second = op::shared([op::expect(&row, first)], [put("2")]);
    let second = daemon.commit(second).await.revision;
    let found = daemon
        .client
        .get("morpheus", "streams", "proxy")
        .await
        .unwrap();
    assert_eq!(found, Some(("2".to_owned(), second)));
    assert_eq!(
        daemon.client.get("morpheus", "streams", "x").await.unwrap(),
        None
    );
    assert_eq!(daemon.client.get("nobody", "t", "k").await.unwrap(), None);
}

#[tokio::test]
async fn turns_follow_each_other_under_one_epoch() {
    let daemon = Daemon::start().await;
    daemon.app("router").await;
    let put = || op::put(op::row("router", "trees", "a"), "{}");
    for follows in 0..3 {
        let committed = daemon
            .commit(op::turn(turn("router", 1, follows), [put()]))
            .await;
        let [checkpoint] = &committed.checkpoints[..] else {
            panic!("{committed:?}");
        };
        assert_eq!((checkpoint.turn, checkpoint.epoch), (follows + 1, 1));
        assert_eq!(
            checkpoint.cursor,
            Some(Seq {
                incarnation: 1,
                n: follows + 1
            })
        );
    }
    let refused =
        |epoch, follows| daemon.refused(op::turn(turn("router", epoch, follows), [put()]));
    assert_eq!(refused(1, 2).await, Reason::Already);
    assert_eq!(refused(1, 4).await, Reason::Gap);
    assert_eq!(refused(2, 3).await, Reason::StaleEpoch);
    let fenced = daemon
        .commit(op::shared([], [op::fence("router", "node1", 1, "2.0.0")]))
        .await;
    let checkpoint = &fenced.checkpoints[0];
    assert_eq!(
        (
            checkpoint.epoch,
            checkpoint.turn,
            checkpoint.release.as_str()
        ),
        (2, 3, "2.0.0")
    );
    let stale = daemon
        .client
        .commit(op::turn(turn("router", 1, 3), [put()]))
        .await
        .unwrap();
    let stale = stale.unwrap_err();
    assert_eq!(
        (stale.reason, stale.checkpoint),
        (Reason::StaleEpoch, Some(checkpoint.clone()))
    );
    daemon.commit(op::turn(turn("router", 2, 3), [put()])).await;
}

#[tokio::test]
async fn a_level_triggered_turn_leaves_the_cursor() {
    let daemon = Daemon::start().await;
    daemon.app("router").await;
    daemon.commit(op::turn(turn("router", 1, 0), [])).await;
    let mut tick = turn("router", 1, 1);
    tick.cursor = None;
    let checkpoint = daemon.commit(op::turn(tick, [])).await.checkpoints[0].clone();
    assert_eq!(
        (checkpoint.cursor, checkpoint.turn),
        (
            Some(Seq {
                incarnation: 1,
                n: 1
            }),
            2
        )
    );
    let mut again = turn("router", 1, 2);
    again.cursor = Some(Seq {
        incarnation: 1,
        n: 1,
    });
    assert_eq!(daemon.refused(op::turn(again, [])).await, Reason::Invalid);
}

#[tokio::test]
async fn reads_page_by_table_and_key() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let rows =
        (0..25).map(|n| op::put(op::row("a", format!("t{}", n % 2), format!("k{n:02}")), "1"));
    daemon.commit(op::turn(turn("a", 1, 0), rows)).await;
    let names = |reply: &morph_api::store::ReadReply| -> Vec<String> {
        reply
            .rows
            .iter()
            .map(|r| format!("{}/{}", r.table, r.key))
            .collect()
    };
    let mut request = read(op::row("a", "", ""), true, 10);
    let mut all = Vec::new();
    loop {
        let reply = daemon.client.read(request.clone()).await.unwrap();
        all.extend(names(&reply));
        let last = reply.rows.last().unwrap();
        (request.after_table, request.after_key) = (last.table.clone(), last.key.clone());
        if !reply.more {
            break;
        }
        assert_eq!(reply.rows.len(), 10);
    }
    assert!(all.is_sorted() && all.len() == 25, "{all:?}");
    let one = daemon
        .client
        .read(read(op::row("a", "t1", "k1"), true, 0))
        .await
        .unwrap();
    assert_eq!(
        names(&one),
        ["t1/k11", "t1/k13", "t1/k15", "t1/k17", "t1/k19"]
    );
    let across = daemon
        .client
        .read(read(op::row("a", "", "k1"), true, 0))
        .await
        .unwrap();
    assert_eq!(across.rows.len(), 10);
    let exact = daemon
        .client
        .read(read(op::row("a", "t1", "k1"), false, 0))
        .await
        .unwrap();
    assert!(exact.rows.is_empty());
    let other = daemon
        .client
        .read(read(op::row_in("a", 9, "", ""), true, 0))
        .await
        .unwrap();
    assert!(other.rows.is_empty() && !other.more);
    assert_eq!(daemon.client.list("a", "t0", "").await.unwrap().len(), 13);
}

#[tokio::test]
async fn large_values_are_read_in_pages_below_the_message_limit() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let value = format!("\"{}\"", "x".repeat(limits::VALUE - 2));
    for n in 0..20 {
        let put = op::put(op::row("a", "t", format!("{n:02}")), value.clone());
        daemon.commit(op::turn(turn("a", 1, n), [put])).await;
    }
    assert_eq!(daemon.client.list("a", "t", "").await.unwrap().len(), 20);
    let mut watch = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    assert_eq!(snapshot(&mut watch).await.0.len(), 20);
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_nothing_breaks() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let put = |key: String, value: String| {
        op::turn(turn("a", 1, 0), [op::put(op::row("a", "t", key), value)])
    };
    let long = |n: usize| format!("\"{}\"", "x".repeat(n));
    for transaction in [
        put("k".into(), long(limits::VALUE)),
        put("k".repeat(limits::KEY), "1".into()),
        op::turn(
            turn("a", 1, 0),
            (0..=limits::OPS).map(|n| op::delete(op::row("a", "t", n.to_string()))),
        ),
        op::turn(
            turn("a", 1, 0),
            (0..5).map(|n| op::put(op::row("a", "t", n.to_string()), long(1_000_000))),
        ),
    ] {
        assert_eq!(daemon.refused(transaction).await, Reason::TooLarge);
    }
    daemon.commit(put("k".into(), "1".into())).await;
}

#[tokio::test]
async fn a_swap_needs_a_current_shadow_and_drops_the_old_keyspace() {
    let daemon = Daemon::start().await;
    daemon.app("r").await;
    daemon
        .commit(op::turn(
            turn("r", 1, 0),
            [op::put(op::row("r", "trees", "a"), "{}")],
        ))
        .await;
    daemon
        .commit(op::shared([], [op::create_shadow("r", 2, 2, "new")]))
        .await;
    let mut old = daemon.client.watch(of_schema("r", 1)).await.unwrap();
    snapshot(&mut old).await;
    let swap = || op::shared([], [op::swap("r", 1, 2)]);
    assert_eq!(daemon.refused(swap()).await, Reason::NotCurrent);
    let revision = daemon.revision().await;
    let hop = || op::put(op::row_in("r", 2, "hops", "a/1"), "{}");
    assert_eq!(
        daemon.refused(op::shared([], [hop()])).await,
        Reason::Invalid
    );
    let by_other = op::shared([], [hop(), op::watermark("r", 2, "other", revision)]);
    assert_eq!(daemon.refused(by_other).await, Reason::StaleEpoch);
    daemon
        .commit(op::shared(
            [],
            [hop(), op::watermark("r", 2, "new", revision)],
        ))
        .await;
    daemon
        .commit(op::turn(
            turn("r", 1, 1),
            [op::put(op::row("r", "trees", "b"), "{}")],
        ))
        .await;
    assert_eq!(daemon.refused(swap()).await, Reason::NotCurrent);
    let revision = daemon.revision().await;
    daemon
        .commit(op::shared([], [op::watermark("r", 2, "new", revision)]))
        .await;
    assert_eq!(
        daemon.refused(op::shared([], [op::swap("r", 2, 1)])).await,
        Reason::Conflict
    );
    let revision = daemon.commit(swap()).await.revision;
    let status = daemon.client.status().await.unwrap();
    let keyspaces: Vec<_> = status.keyspaces.iter().filter(|s| s.app == "r").collect();
    assert!(
        matches!(keyspaces[..], [s] if s.id == 2 && s.primary && s.schema == 2 && s.keys == 1),
        "{keyspaces:?}"
    );
    let gone = daemon
        .client
        .read(read(op::row_in("r", 1, "", ""), true, 0))
        .await
        .unwrap();
    assert!(gone.rows.is_empty());
    assert_eq!(daemon.client.list("r", "hops", "").await.unwrap().len(), 1);
    changes_to(&mut old, revision).await;
    let watch_reply::Reply::Ended(ended) = next(&mut old).await else {
        panic!("the watch goes on");
    };
    assert_eq!(ended.why(), Why::KeyspaceGone);
    let used = op::shared([], [op::create_shadow("r", 1, 1, "new")]);
    assert_eq!(daemon.refused(used).await, Reason::Conflict);
}

#[tokio::test]
async fn a_watch_of_what_is_not_there_says_so_and_ends() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let keyspace = WatchRequest {
        app: "a".into(),
        which: Some(watch_request::Which::Keyspace(7)),
        ..WatchRequest::default()
    };
    let gone = Why::KeyspaceGone;
    let requests = [
        (of_schema("nobody", 1), gone),
        (of_schema("a", 2), Why::OtherSchema),
        (keyspace, gone),
    ];
    for (request, why) in requests {
        let mut watch = daemon.client.watch(request).await.unwrap();
        let watch_reply::Reply::Ended(ended) = next(&mut watch).await else {
            panic!("a watch of nothing");
        };
        assert_eq!(ended.why(), why);
        assert!(ended.message.contains("app"), "{}", ended.message);
        assert!(watch.message().await.unwrap().is_none());
    }
    let create = op::create_shadow("a", 2, 2, "me");
    let revision = daemon.commit(op::shared([], [create])).await.revision;
    let mut watch = daemon.client.watch(of_schema("a", 2)).await.unwrap();
    let watch_reply::Reply::Ended(ended) = next(&mut watch).await else {
        panic!("a watch of half a shadow");
    };
    assert_eq!(ended.why(), Why::NotWhole);
    let watermark = op::shared([], [op::watermark("a", 2, "me", revision)]);
    daemon.commit(watermark).await;
    let mut watch = daemon.client.watch(of_schema("a", 2)).await.unwrap();
    assert_eq!(snapshot(&mut watch).await.1.keyspace.unwrap().id, 2);
}

#[tokio::test]
async fn a_watcher_of_one_table_hears_of_progress_elsewhere() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let mut request = of_schema("a", 1);
    request.tables = vec!["wanted".into()];
    let mut watch = daemon.client.watch(request).await.unwrap();
    snapshot(&mut watch).await;
    let put = |table: &str| op::put(op::row("a", table, "k"), "1");
    let ops = [put("wanted"), put("other")];
    let revision = daemon.commit(op::turn(turn("a", 1, 0), ops)).await.revision;
    let changes = changes_to(&mut watch, revision).await;
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].rows.len(), changes[0].revision), (1, revision));
    assert_eq!(changes[0].origin, Some(turn("a", 1, 0)));
    let ops = [put("other"), op::delete(op::row("a", "wanted", "k"))];
    let revision = daemon.commit(op::turn(turn("a", 1, 1), ops)).await.revision;
    let changes = changes_to(&mut watch, revision).await;
    assert_eq!(changes[0].rows[0].value, None);
    let revision = daemon
        .commit(op::turn(turn("a", 1, 2), [put("other")]))
        .await
        .revision;
    assert!(changes_to(&mut watch, revision).await.is_empty());
}
