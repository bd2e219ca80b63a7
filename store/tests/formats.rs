//! Files of every format so far are read by this version.
//!
//! `pinned/store-N.txt` contains what is not zero of a file: an offset, the number of repetitions of 32 bytes there,
//! and these bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;

use std::path::Path;

use daemon::{Daemon, turn};
use morph_api::store::{Reason, Seq};
use morph_store::op;
use tempfile::TempDir;

fn unpack(pinned: &str, file: &Path) {
    let mut lines = pinned.lines();
    let size = lines.next().unwrap().strip_prefix("size ").unwrap();
    let mut bytes = vec![0; size.parse().unwrap()];
    for line in lines {
        let parts: Vec<&str> = line.split(' ').collect();
        let (at, times): (usize, usize) = (parts[0].parse().unwrap(), parts[1].parse().unwrap());
        let hex = parts[2];
        for n in 0..hex.len() / 2 {
            let byte = u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap();
            (0..times).for_each(|time| bytes[at + 32 * time + n] = byte);
        }
    }
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_store_of_format_1_is_read_and_goes_on() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("store/store.redb");
    unpack(include_str!("pinned/store-1.txt"), &file);
    let daemon = Daemon::start_in(home).await;
    let status = daemon.client.status().await.unwrap();
    assert_eq!((status.format, status.revision), (2, 8));
    let checkpoint = daemon.checkpoint("a").await;
    assert_eq!(
        (
            checkpoint.epoch,
            checkpoint.turn,
            checkpoint.release.as_str()
        ),
        (2, 2, "1.1.0")
    );
    assert_eq!(
        checkpoint.cursor,
        Some(Seq {
            incarnation: 1,
            n: 2
        })
    );
    let row = daemon.client.get("a", "t", "k").await.unwrap();
    assert_eq!(row, Some(("{\"n\": 1}".to_owned(), 3)));
    assert_eq!(daemon.client.list("a", "", "").await.unwrap().len(), 2);
    let incarnation = daemon
        .client
        .get("morpheus", "streams", "proxy")
        .await
        .unwrap();
    assert_eq!(incarnation.unwrap().0, "7");
    let shadow = status
        .keyspaces
        .iter()
        .find(|keyspace| keyspace.id == 2)
        .unwrap();
    assert_eq!(
        (shadow.schema, shadow.keys, shadow.owner.as_str()),
        (2, 1, "me")
    );
    // Used ids stay used, and features of the current format work.
    let again = op::shared(
        [],
        [
            op::drop_keyspace("a", 2),
            op::create_shadow("a", 2, 2, "me"),
        ],
    );
    assert_eq!(daemon.refused(again).await, Reason::Conflict);
    let grant = op::grant("l", std::time::Duration::from_secs(60));
    daemon.commit(op::shared([], [grant])).await;
    let bound = op::put_leased(op::row("a", "t", "bound"), "1", "l");
    daemon
        .commit(op::unsynced(op::turn(turn("a", 2, 2), [bound])))
        .await;
    let daemon = daemon.crash().await;
    assert_eq!(daemon.client.status().await.unwrap().leases.len(), 1);
}

/// A daemon of format 1 reads the format first and refuses a newer one, as this daemon does.
#[tokio::test]
async fn a_file_says_the_newest_format_once_it_was_opened() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("store/store.redb");
    unpack(include_str!("pinned/store-1.txt"), &file);
    let mut daemon = Daemon::start_in(home).await;
    daemon.kill();
    let database = redb::Database::open(&file).unwrap();
    let view = redb::ReadableDatabase::begin_read(&database).unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    let format = view
        .open_table(meta)
        .unwrap()
        .get("format")
        .unwrap()
        .unwrap();
    assert_eq!(format.value(), 2);
}
