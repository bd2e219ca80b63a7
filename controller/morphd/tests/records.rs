//! The records against the real store, in this process.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

use std::path::Path;
use std::time::Duration;

use morph_api::management::Step;
use morph_api::store::{Reason, Seq, Turn};
use morph_store::server::Store;
use morph_store::{Client, Refusal, op};
use morphd::machine::record::{
    APPS, AppRow, Desired, EVENTS, Fenced, Fencing, HISTORY, UPGRADES, UpgradeRecord, Write,
};
use morphd::records::Records;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

/// A store that serves until the test lets go of it.
struct Served {
    client: Client,
    _end: oneshot::Sender<()>,
}

fn serve(dir: &Path) -> Served {
    let store = Store::open(&dir.join("store"), dir).unwrap();
    let listener = store.listen().unwrap();
    let (end, ended) = oneshot::channel();
    tokio::spawn(store.run(listener, async move {
        let _ = ended.await;
    }));
    Served {
        client: Client::new(dir.join("store.sock")),
        _end: end,
    }
}

fn app(epoch: u64) -> AppRow {
    AppRow {
        id: 3,
        release: "1.0.0".parse().unwrap(),
        desired: Desired::Running,
        instance: format!("i{epoch}"),
        epoch,
        fallback: None,
        crash_loop: None,
        suspect: None,
        poison_run: None,
    }
}

fn fencing(epoch: u64, force: bool) -> Fencing {
    Fencing {
        app: "router".into(),
        node: "node1".into(),
        release: "1.0.0".into(),
        epoch,
        force,
        swap: None,
        skip: None,
    }
}

fn rows(epochs: &[u64]) -> Vec<Write> {
    let row = |epoch: &u64| Write::new(APPS, "router", &app(*epoch));
    epochs.iter().map(row).collect()
}

/// Rows of a table, all of which can be read.
async fn load<T: DeserializeOwned>(records: &Records, table: &'static str) -> Vec<(String, T)> {
    let rows = records.load::<T>(table).await.unwrap();
    let rows = rows.into_iter();
    rows.map(|(key, row)| (key, row.unwrap())).collect()
}

/// The record of an upgrade, as far as these tests look at it.
fn upgrade(id: &str, step: &str) -> UpgradeRecord {
    let text = format!(r#"{{"id":"{id}","from":"1.0.0","to":"2.0.0","step":"{step}"}}"#);
    serde_json::from_str(&text).unwrap()
}

/// Fences one checkpoint.
async fn fence(
    records: &Records,
    fencing: Fencing,
    writes: impl Fn(&[u64]) -> Vec<Write>,
) -> Result<Fenced, Refusal> {
    Ok(records.fence(vec![fencing], writes).await?[0])
}

async fn first_app(records: &Records) {
    let keyspace = op::create_primary("router", 1, 1);
    records.write(&rows(&[0]), &[keyspace]).await.unwrap();
}

/// Why it may not write any longer.
async fn lost(records: &Records) -> &'static str {
    let lost = tokio::time::timeout(Duration::from_secs(5), records.lost());
    lost.await.unwrap()
}

#[tokio::test]
async fn what_is_written_is_loaded_by_the_next_morphd() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let records = Records::new(served.client.clone());
    first_app(&records).await;
    let row = upgrade("u1", "READY");
    records
        .write(&[Write::new(UPGRADES, "router", &row)], &[])
        .await
        .unwrap();
    records.write(&rows(&[0]), &[]).await.unwrap();
    let next = Records::new(served.client.clone());
    assert_eq!(
        load::<AppRow>(&next, APPS).await,
        [("router".to_owned(), app(0))]
    );
    assert_eq!(
        load::<UpgradeRecord>(&next, UPGRADES).await,
        [("router".to_owned(), row)]
    );
}

#[tokio::test]
async fn a_writer_that_does_not_know_the_revision_finds_it_out() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    first_app(&Records::new(served.client.clone())).await;
    let stranger = Records::new(served.client.clone());
    stranger.write(&rows(&[7]), &[]).await.unwrap();
    assert_eq!(load::<AppRow>(&stranger, APPS).await[0].1.epoch, 7);
}

#[tokio::test]
async fn a_fence_raises_the_epoch_and_writes_its_rows_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let records = Records::new(served.client.clone());
    first_app(&records).await;
    let first = fence(&records, fencing(0, false), rows).await.unwrap();
    assert_eq!((first.epoch, first.turn), (1, 0));
    assert_eq!(load::<AppRow>(&records, APPS).await[0].1, app(1));
    // Its answer was lost, and it is asked for again: it is recognized.
    let again = fence(&records, fencing(0, false), rows).await.unwrap();
    assert_eq!(again, first);
    // Another writer was let in before this one.
    let other = |epochs: &[u64]| {
        let row = AppRow {
            id: 9,
            ..app(epochs[0])
        };
        vec![Write::new(APPS, "router", &row)]
    };
    let refusal = fence(&records, fencing(0, false), &other)
        .await
        .unwrap_err();
    assert_eq!(refusal.checkpoint.unwrap().epoch, 1);
    assert_eq!(
        load::<AppRow>(&records, APPS).await[0].1,
        app(1),
        "the group of transactions was not committed"
    );
    // The way back goes on from whatever there is.
    let forced = fence(&records, fencing(0, true), &other).await.unwrap();
    assert_eq!(forced.epoch, 2);
    assert!(forced.revision > first.revision);
    assert_eq!(load::<AppRow>(&records, APPS).await[0].1.epoch, 2);
}

#[tokio::test]
async fn a_fence_may_swap_and_is_refused_whole_when_the_shadow_is_behind() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let records = Records::new(served.client.clone());
    first_app(&records).await;
    let first = fence(&records, fencing(0, false), rows).await.unwrap();
    records
        .write(&[], &[op::create_shadow("router", 2, 2, "i9")])
        .await
        .unwrap();
    let weight = op::row("router", "weights", "1/2");
    let put = op::shared([op::absent(&weight)], [op::put(weight.clone(), "5")]);
    let change = served.client.commit(put).await.unwrap().unwrap().revision;
    let swapping = Fencing {
        swap: Some(2),
        ..fencing(first.epoch, false)
    };
    fence(&records, swapping.clone(), rows).await.unwrap_err();
    let status = records.status().await;
    assert_eq!(status.checkpoints[0].epoch, first.epoch, "refused whole");
    let watermark = op::shared([], [op::watermark("router", 2, "i9", change)]);
    served.client.commit(watermark).await.unwrap().unwrap();
    assert_eq!(
        fence(&records, swapping, rows).await.unwrap().epoch,
        first.epoch + 1
    );
    let keyspaces = records.status().await.keyspaces;
    let primary = keyspaces
        .iter()
        .find(|keyspace| keyspace.app == "router" && keyspace.primary)
        .unwrap();
    assert_eq!((primary.id, primary.schema), (2, 2));
}

#[tokio::test]
async fn what_a_dead_morphd_still_has_on_its_way_is_void_once_the_next_one_took_over() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let dead = Records::new(served.client.clone());
    dead.take_over("node1").await.unwrap();
    first_app(&dead).await;
    let epoch = fence(&dead, fencing(0, false), rows).await.unwrap().epoch;
    dead.write(&[], &[op::create_shadow("router", 2, 2, "i9")])
        .await
        .unwrap();
    // Writes that were committed before are loaded.
    let next = Records::new(served.client.clone());
    next.take_over("node1").await.unwrap();
    assert_eq!(load::<AppRow>(&next, APPS).await[0].1, app(epoch));
    // The fence of a downgrade, which makes the shadow the primary, is committed after that; so does one that takes any epoch.
    let mut upgraded = upgrade("u1", "RESUMING");
    upgraded.progress.fenced = true;
    let downgrade = |epochs: &[u64]| {
        let mut writes = rows(epochs);
        writes.push(Write::new(UPGRADES, "router", &upgraded));
        writes
    };
    let swapping = Fencing {
        swap: Some(2),
        ..fencing(epoch, false)
    };
    for late in [swapping, fencing(epoch, true)] {
        let refusal = fence(&dead, late, downgrade).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::Conflict, "{refusal}");
        assert!(refusal.message.contains("another morphd"), "{refusal}");
    }
    let refusal = dead.write(&rows(&[8]), &[]).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Conflict, "{refusal}");
    assert!(lost(&dead).await.contains("another morphd"));
    let status = next.status().await;
    assert_eq!(status.checkpoints[0].epoch, epoch);
    let primary = status
        .keyspaces
        .iter()
        .find(|s| s.app == "router" && s.primary);
    assert_eq!(primary.unwrap().id, 1);
    let upgrades = load::<UpgradeRecord>(&next, UPGRADES).await;
    assert!(upgrades.is_empty(), "{upgrades:?}");
    // Who took over writes, and finds out a revision that it does not know.
    assert_eq!(
        fence(&next, fencing(epoch, false), rows)
            .await
            .unwrap()
            .epoch,
        epoch + 1
    );
    let row = op::row(morph_api::RECORDS, UPGRADES, "router");
    let put = op::shared([op::absent(&row)], [op::put(row.clone(), "{}")]);
    served.client.commit(put).await.unwrap().unwrap();
    next.write(&[Write::new(UPGRADES, "router", &upgraded)], &[])
        .await
        .unwrap();
    // One of another node is in nobody's way.
    let beside = Records::new(served.client.clone());
    beside.take_over("node2").await.unwrap();
    next.write(&rows(&[9]), &[]).await.unwrap();
}

#[tokio::test]
async fn a_store_that_was_put_back_in_time_is_claimed_anew_and_not_one_that_a_later_morphd_has() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let records = Records::new(served.client.clone());
    records.take_over("node1").await.unwrap();
    first_app(&records).await;
    let row = op::row(morph_api::RECORDS, "writer", "node1");
    for (op, stays) in [
        (op::delete(row.clone()), true),
        (op::put(row.clone(), r#"{"term":0,"id":"before"}"#), true),
        (op::put(row.clone(), "[\"neither\"]"), true),
        (op::put(row.clone(), r#"{"term":9,"id":"later"}"#), false),
    ] {
        let found = served.client.get(morph_api::RECORDS, "writer", "node1");
        let (_, revision) = found.await.unwrap().unwrap();
        let other = op::shared([op::expect(&row, revision)], [op.clone()]);
        served.client.commit(other).await.unwrap().unwrap();
        for _ in 0..2 {
            let written = records.write(&rows(&[1]), &[]).await;
            assert_eq!(written.is_ok(), stays, "{op:?}: {written:?}");
        }
    }
    assert!(lost(&records).await.contains("another morphd"));
}

#[tokio::test]
async fn records_that_have_changed_behind_a_morphd_are_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let records = Records::new(served.client.clone());
    records.take_over("node1").await.unwrap();
    first_app(&records).await;
    // As after a restore under it: its claim is gone, and a record is another one.
    let (claim, row) = (
        op::row(morph_api::RECORDS, "writer", "node1"),
        op::row(morph_api::RECORDS, APPS, "topology"),
    );
    let found = served.client.get(morph_api::RECORDS, "writer", "node1");
    let (_, revision) = found.await.unwrap().unwrap();
    let other = op::shared(
        [op::expect(&claim, revision), op::absent(&row)],
        [op::delete(claim.clone()), op::put(row.clone(), "{}")],
    );
    served.client.commit(other).await.unwrap().unwrap();
    for _ in 0..2 {
        let refusal = records.write(&rows(&[1]), &[]).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::Conflict, "{refusal}");
    }
    assert!(lost(&records).await.contains("start morphd again"));
    let kept = served.client.get(morph_api::RECORDS, APPS, "router").await;
    let kept: AppRow = serde_json::from_str(&kept.unwrap().unwrap().0).unwrap();
    assert_eq!(kept, app(0));
}

#[tokio::test]
async fn two_checkpoints_are_fenced_as_one_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let records = Records::new(served.client.clone());
    first_app(&records).await;
    let keyspace = op::create_primary("topology", 1, 1);
    records.write(&[], &[keyspace]).await.unwrap();
    let topology = |epoch| Fencing {
        app: "topology".into(),
        ..fencing(epoch, false)
    };
    let both = |epochs: &[u64]| {
        let names = ["router", "topology"].into_iter().zip(epochs);
        names
            .map(|(name, epoch)| Write::new(APPS, name, &app(*epoch)))
            .collect()
    };
    fence(&records, fencing(0, false), rows).await.unwrap();
    // Asked for in another order than that of the store's answer.
    let fenced = records
        .fence(vec![topology(0), fencing(1, false)], both)
        .await
        .unwrap();
    assert_eq!(
        fenced
            .iter()
            .map(|checkpoint| checkpoint.epoch)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(fenced[0].revision, fenced[1].revision, "one transaction");
    let before = load::<AppRow>(&records, APPS).await;
    let other = |_: &[u64]| vec![Write::new(APPS, "topology", &app(9))];
    let stale = vec![topology(1), fencing(1, false)];
    records.fence(stale, other).await.unwrap_err();
    assert_eq!(load::<AppRow>(&records, APPS).await, before);
    let checkpoints = records.status().await.checkpoints;
    assert!(
        checkpoints
            .iter()
            .all(|checkpoint| checkpoint.epoch == if checkpoint.app == "router" { 2 } else { 1 })
    );
}

#[tokio::test]
async fn a_record_of_an_older_morphd_is_of_one_app_alone() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let old = r#"{"id":"u1","from":"1.0.0","to":"2.0.0","step":"UPGRADED","fenced":true,"probation_ms":5}"#;
    let row = op::row(morph_api::RECORDS, UPGRADES, "router");
    let put = op::shared([op::absent(&row)], [op::put(row.clone(), old)]);
    served.client.commit(put).await.unwrap().unwrap();
    let records = Records::new(served.client.clone());
    let read = &load::<UpgradeRecord>(&records, UPGRADES).await[0].1;
    let (progress, plan) = (&read.progress, &read.plan);
    assert_eq!(
        (progress.step, progress.fenced, plan.probation_ms),
        (Step::Upgraded, true, 5)
    );
    assert!(read.group.is_empty() && read.with.is_empty());
}

#[tokio::test]
async fn an_event_is_quarantined_with_the_fence_and_only_if_it_was_not_applied_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let records = Records::new(served.client.clone());
    first_app(&records).await;
    let at = |n| Seq { incarnation: 7, n };
    fence(&records, fencing(0, true), rows).await.unwrap();
    let turn = |epoch, follows, n| {
        let turn = Turn {
            app: "router".into(),
            node: "node1".into(),
            epoch,
            follows,
            cursor: Some(at(n)),
        };
        op::turn(turn, [])
    };
    let applied = served.client.commit(turn(1, 0, 4)).await.unwrap();
    assert!(applied.is_ok(), "{applied:?}");
    let skip = |from, to| Fencing {
        skip: Some((at(from), at(to))),
        ..fencing(1, true)
    };
    let written = |epochs: &[u64]| {
        let mut writes = rows(epochs);
        writes.push(Write::new(EVENTS, "router-1", &"an event"));
        writes
    };
    let refusal = fence(&records, skip(3, 4), written).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Conflict);
    let none = load::<String>(&records, EVENTS).await;
    assert!(none.is_empty(), "{none:?}");
    let fenced = fence(&records, skip(4, 5), written).await.unwrap();
    assert_eq!((fenced.epoch, fenced.cursor, fenced.turn), (2, at(5), 1));
    let kept = load::<String>(&records, EVENTS).await;
    assert_eq!(kept, [("router-1".to_owned(), "an event".to_owned())]);
    let late = served.client.commit(turn(2, 1, 5)).await.unwrap();
    assert_eq!(late.unwrap_err().reason, Reason::Invalid, "it is past");
    // Dropped, by one who knows the record and by one who has never seen it.
    for records in [&records, &Records::new(served.client.clone())] {
        let gone = [Write::gone(EVENTS, "router-1")];
        records.write(&gone, &[]).await.unwrap();
        assert!(load::<String>(records, EVENTS).await.is_empty());
        let again = [Write::new(EVENTS, "router-1", &"an event")];
        records.write(&again, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_row_that_is_gone_takes_no_memory_and_those_of_another_morphd_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let before = Records::new(served.client.clone());
    let row = |key: &str| Write::new(HISTORY, key, &upgrade("u1", "COMMITTED"));
    let both = [row("router/1"), row("router/2")];
    before.write(&both, &[]).await.unwrap();
    let records = Records::new(served.client.clone());
    assert_eq!(
        records.keys(HISTORY).await.unwrap(),
        ["router/1", "router/2"]
    );
    let gone = [Write::gone(HISTORY, "router/1")];
    records
        .write(&[&gone[..], &[row("router/3")]].concat(), &[])
        .await
        .unwrap();
    assert_eq!(
        records.keys(HISTORY).await.unwrap(),
        ["router/2", "router/3"]
    );
    assert!(!format!("{records:?}").contains("router/1"), "{records:?}");
    // It may be written again, as one that was never there.
    records.write(&[row("router/1")], &[]).await.unwrap();
    // What another one has dropped meanwhile is dropped.
    let other = [Write::gone(HISTORY, "router/2")];
    before.write(&other, &[]).await.unwrap();
    records.write(&other, &[]).await.unwrap();
    assert_eq!(
        records.keys(HISTORY).await.unwrap(),
        ["router/1", "router/3"]
    );
}
