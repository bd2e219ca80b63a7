//! The records against the real store, in this process.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

use std::path::Path;

use morph_store::server::Store;
use morph_store::{Client, op};
use morphd::records::{APPS, AppRow, Desired, Fencing, Records, UPGRADES, UpgradeRow, Write};
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
    }
}

fn rows(epoch: u64) -> Vec<Write> {
    vec![Write::new(APPS, "router", &app(epoch))]
}

async fn first_app(records: &Records) {
    let space = op::create_truth("router", 1, 1);
    records.write(&rows(0), &[space]).await.unwrap();
}

#[tokio::test]
async fn what_is_written_is_loaded_by_the_next_morphd() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let records = Records::new(served.client.clone());
    first_app(&records).await;
    let row = UpgradeRow {
        id: "u1".into(),
        step: "READY".into(),
        ..UpgradeRow::default()
    };
    records
        .write(&[Write::new(UPGRADES, "router", &row)], &[])
        .await
        .unwrap();
    records.write(&rows(0), &[]).await.unwrap();
    let next = Records::new(served.client.clone());
    assert_eq!(
        next.load::<AppRow>(APPS).await.unwrap(),
        [("router".to_owned(), app(0))]
    );
    assert_eq!(
        next.load::<UpgradeRow>(UPGRADES).await.unwrap(),
        [("router".to_owned(), row)]
    );
}

#[tokio::test]
async fn a_writer_that_does_not_know_the_revision_finds_it_out() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    first_app(&Records::new(served.client.clone())).await;
    let stranger = Records::new(served.client.clone());
    stranger.write(&rows(7), &[]).await.unwrap();
    assert_eq!(stranger.load::<AppRow>(APPS).await.unwrap()[0].1.epoch, 7);
}

#[tokio::test]
async fn a_fence_raises_the_epoch_and_writes_its_rows_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let records = Records::new(served.client.clone());
    first_app(&records).await;
    let first = records.fence(fencing(0, false), rows).await.unwrap();
    assert_eq!((first.epoch, first.turn), (1, 0));
    assert_eq!(records.load::<AppRow>(APPS).await.unwrap()[0].1, app(1));
    // Its answer was lost, and it is asked for again: it is recognized.
    let again = records.fence(fencing(0, false), rows).await.unwrap();
    assert_eq!(again, first);
    // Another writer was let in before this one.
    let other = |epoch| {
        vec![Write::new(
            APPS,
            "router",
            &AppRow {
                id: 9,
                ..app(epoch)
            },
        )]
    };
    let refusal = records.fence(fencing(0, false), other).await.unwrap_err();
    assert_eq!(refusal.lane.unwrap().epoch, 1);
    assert_eq!(
        records.load::<AppRow>(APPS).await.unwrap()[0].1,
        app(1),
        "nothing was written"
    );
    // The way back goes on from whatever there is.
    let forced = records.fence(fencing(0, true), other).await.unwrap();
    assert_eq!(forced.epoch, 2);
    assert!(forced.revision > first.revision);
    assert_eq!(records.load::<AppRow>(APPS).await.unwrap()[0].1.epoch, 2);
}

#[tokio::test]
async fn a_fence_may_swap_and_is_refused_whole_when_the_copy_is_behind() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path());
    let records = Records::new(served.client.clone());
    first_app(&records).await;
    let fence = records.fence(fencing(0, false), rows).await.unwrap();
    records
        .write(&[], &[op::create_copy("router", 2, 2, "i9")])
        .await
        .unwrap();
    let weight = op::row("router", "weights", "1/2");
    let put = op::shared([op::absent(&weight)], [op::put(weight.clone(), "5")]);
    let change = served.client.commit(put).await.unwrap().unwrap().revision;
    let swapping = Fencing {
        swap: Some(2),
        ..fencing(fence.epoch, false)
    };
    records.fence(swapping.clone(), rows).await.unwrap_err();
    let status = records.status().await;
    assert_eq!(status.lanes[0].epoch, fence.epoch, "refused whole");
    let mark = op::shared([], [op::mark("router", 2, "i9", change)]);
    served.client.commit(mark).await.unwrap().unwrap();
    assert_eq!(
        records.fence(swapping, rows).await.unwrap().epoch,
        fence.epoch + 1
    );
    let spaces = records.status().await.spaces;
    let truth = spaces
        .iter()
        .find(|space| space.app == "router" && space.truth)
        .unwrap();
    assert_eq!((truth.id, truth.schema), (2, 2));
}
