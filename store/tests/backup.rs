//! Backups of a running store, restoring them, and checking a store.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[cfg(feature = "system-tests")]
use daemon::etcd::Etcd;
use daemon::{Daemon, turn};
use morph_api::store::{Finding, StatusReply};
use morph_store::{Client, op};
use tempfile::TempDir;

/// Removes from a status what every start changes.
fn lasting(status: StatusReply) -> StatusReply {
    StatusReply {
        incarnation: 0,
        backend: String::new(),
        watches: 0,
        ..status
    }
}

async fn backup(client: &Client) -> Vec<u8> {
    let mut parts = client.backup().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let part = parts.message().await.unwrap().unwrap();
        bytes.extend_from_slice(&part.data);
        if part.done {
            return bytes;
        }
    }
}

async fn check(client: &Client) -> (u64, Vec<Finding>) {
    let mut told = client.check().await.unwrap();
    let mut findings = Vec::new();
    loop {
        let progress = told.message().await.unwrap().unwrap();
        findings.extend(progress.findings);
        if progress.done {
            return (progress.rows, findings);
        }
    }
}

/// Runs `morph-stored --dir DIR` with arguments; returns exit code, stdout and stderr.
fn offline(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_morph-stored"));
    let output = command.arg("--dir").arg(dir).args(arguments);
    let output = output.env("MORPH_LOG", "error").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Runs `morph-stored --backend URL --restore FILE` with a fail point; returns exit code, stdout and stderr.
#[cfg(feature = "system-tests")]
fn restore_on(url: &str, file: &Path, fails: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_morph-stored"));
    command.args(["--backend", url, "--restore"]).arg(file);
    command.env("MORPH_LOG", "off").env("MORPH_FAIL", fails);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn restore(dir: &Path, file: &Path) -> (Option<i32>, String, String) {
    offline(dir, &["--restore", file.to_str().unwrap()])
}

/// Starts a store that contains an example of everything.
async fn full() -> Daemon {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    let put = |n: u64| op::put(op::row("a", "t", n.to_string()), format!("{{\"n\": {n}}}"));
    daemon
        .commit(op::turn(turn("a", 1, 0), (0..3000).map(put)))
        .await;
    let lease = op::grant("l", Duration::from_secs(3600));
    daemon.commit(op::shared([], [lease])).await;
    let bound = op::put_leased(op::row("a", "t", "bound"), "1", "l");
    daemon.commit(op::turn(turn("a", 1, 1), [bound])).await;
    for id in [2, 3] {
        let create = op::create_shadow("a", id, 2, "me");
        let revision = daemon.commit(op::shared([], [create])).await.revision;
        let shadow = [
            op::put(op::row_in("a", id, "t", "\u{1}ü\n"), "\"line\\n\""),
            op::watermark("a", id, "me", revision),
        ];
        daemon.commit(op::shared([], shadow)).await;
        if id == 2 {
            daemon
                .commit(op::shared([], [op::drop_keyspace("a", 2)]))
                .await;
        }
    }
    daemon
}

#[tokio::test]
async fn a_restored_store_is_the_one_that_was_backed_up() {
    let daemon = full().await;
    let before = lasting(daemon.client.status().await.unwrap());
    let bytes = backup(&daemon.client).await;
    // Later commits are not in the backup.
    daemon
        .commit(op::turn(
            turn("a", 1, 2),
            [op::put(op::row("a", "t", "late"), "1")],
        ))
        .await;
    let home = TempDir::new().unwrap();
    let file = home.path().join("backup");
    std::fs::write(&file, &bytes).unwrap();
    let (code, output, error) = restore(&home.path().join("store"), &file);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(output.contains("restored 3003 rows"), "{output}");
    let again = Daemon::start_in(home).await;
    assert_eq!(lasting(again.client.status().await.unwrap()), before);
    assert_eq!(backup(&again.client).await, bytes);
    // The restored store continues where the other was: ids stay used, and the lease still binds.
    let refused = again
        .refused(op::shared([], [op::create_shadow("a", 2, 2, "me")]))
        .await;
    assert_eq!(refused, morph_api::store::Reason::Conflict);
    again.commit(op::shared([], [op::revoke("l")])).await;
    assert_eq!(again.client.get("a", "t", "bound").await.unwrap(), None);
}

#[tokio::test]
async fn a_backup_is_of_one_revision_while_others_write() {
    let daemon = Daemon::start().await;
    daemon.app("a").await;
    // Two rows that are equal at every revision.
    let client = daemon.client.clone();
    let writer = tokio::spawn(async move {
        for n in 0..u64::MAX {
            let put = |key| op::put(op::row("a", key, "k"), n.to_string());
            let both = op::turn(turn("a", 1, n), [put("first"), put("last")]);
            client.commit(both).await.unwrap().unwrap();
        }
    });
    for _ in 0..20 {
        let text = String::from_utf8(backup(&daemon.client).await).unwrap();
        let of = |table: &str| {
            let name = format!("\"table\":\"{table}\"");
            let line = text.lines().find(|line| line.contains(&name))?;
            Some(line.split("\"value\":").nth(1)?.to_owned())
        };
        assert_eq!(of("first"), of("last"));
    }
    assert!(!writer.is_finished());
    writer.abort();
}

#[tokio::test]
async fn a_store_that_is_there_is_never_written_over() {
    let mut daemon = full().await;
    let file = daemon.home.path().join("backup");
    std::fs::write(&file, backup(&daemon.client).await).unwrap();
    let (code, _, output) = restore(&daemon.dir(), &file);
    assert_eq!(code, Some(1));
    assert!(
        output.contains("in use by another morph-stored"),
        "{output}"
    );
    daemon.terminate();
    let (code, _, output) = restore(&daemon.dir(), &file);
    assert_eq!(code, Some(1));
    assert!(output.contains("move it away"), "{output}");
}

#[tokio::test]
async fn a_backup_that_is_not_whole_restores_nothing() {
    let daemon = full().await;
    let whole = backup(&daemon.client).await;
    let home = TempDir::new().unwrap();
    let (file, dir) = (home.path().join("backup"), home.path().join("store"));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    for (bytes, output) in [
        (&whole[..whole.len() / 3], "is torn"),
        (&whole[..whole.len() - 1], "is torn"),
        (&flipped, "is damaged"),
        (b"my diary\n", "not a backup"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let (code, _, error) = restore(&dir, &file);
        assert_eq!(code, Some(1));
        assert!(error.contains(output), "{error}");
        let left = std::fs::read_dir(&dir)
            .unwrap()
            .map(|f| f.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["lock"]);
    }
    std::fs::write(&file, whole).unwrap();
    assert_eq!(restore(&dir, &file).0, Some(0));
}

#[tokio::test]
async fn a_sound_store_has_nothing_wrong_with_it() {
    let mut daemon = full().await;
    let (rows, findings) = check(&daemon.client).await;
    assert!(rows >= 3003, "{rows}");
    assert_eq!(findings, []);
    let (code, _, output) = offline(&daemon.dir(), &["--check"]);
    assert_eq!(code, Some(1));
    assert!(output.contains("in use"), "{output}");
    daemon.kill();
    let (code, output, _) = offline(&daemon.dir(), &["--check"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("found 0 problems"), "{output}");
    let (code, _, output) = offline(&daemon.home.path().join("nowhere"), &["--check"]);
    assert_eq!(code, Some(1));
    assert!(output.contains("no store.redb"), "{output}");
}

/// Reads all keys under a prefix.
#[cfg(feature = "system-tests")]
fn keys(etcd: &Etcd, prefix: &str) -> String {
    etcd.ctl(&["get", "--prefix", "--keys-only", prefix])
}

#[cfg(feature = "system-tests")]
#[tokio::test]
async fn a_backup_is_restored_into_an_empty_prefix_of_etcd_and_nowhere_else() {
    let daemon = full().await;
    let before = lasting(daemon.client.status().await.unwrap());
    let bytes = backup(&daemon.client).await;
    let file = daemon.home.path().join("backup");
    std::fs::write(&file, &bytes).unwrap();
    let etcd = Etcd::start(&[]);
    etcd.ctl(&["put", "/theirs/diary", "mine"]);
    etcd.ctl(&["put", "/empt", "a neighbour"]);
    let (code, _, output) = restore_on(&etcd.url("theirs"), &file, "");
    assert!(
        code == Some(1) && output.contains("is not empty"),
        "{output}"
    );
    assert_eq!(keys(&etcd, "/theirs").trim(), "/theirs/diary");

    let url = etcd.url("empty");
    let torn = daemon.home.path().join("torn");
    std::fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    let (code, _, output) = restore_on(&url, &torn, "");
    assert!(code == Some(1) && output.contains("is torn"), "{output}");
    assert_eq!(keys(&etcd, "/empty/"), "");

    let (code, output, error) = restore_on(&url, &file, "");
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(output.contains("restored 3003 rows"), "{output}");
    let again = Daemon::start_on(&url).await;
    assert_eq!(lasting(again.client.status().await.unwrap()), before);
    assert_eq!(backup(&again.client).await, bytes);
    assert_eq!(check(&again.client).await.1, []);
    again.commit(op::shared([], [op::revoke("l")])).await;
    assert_eq!(again.client.get("a", "t", "bound").await.unwrap(), None);

    let (code, _, output) = restore_on(&url, &file, "");
    assert!(
        code == Some(1) && output.contains("is not empty"),
        "{output}"
    );
    assert_eq!(
        again.client.get("a", "t", "7").await.unwrap().unwrap().0,
        "{\"n\": 7}"
    );
}

#[cfg(feature = "system-tests")]
#[tokio::test]
async fn a_restore_into_etcd_that_did_not_come_to_its_end_is_told_and_never_served() {
    let daemon = full().await;
    let file = daemon.home.path().join("backup");
    std::fs::write(&file, backup(&daemon.client).await).unwrap();
    let etcd = Etcd::start(&[]);
    let url = etcd.url("half");
    // The restore either fails and cleans up, or is killed and cannot.
    let (code, _, output) = restore_on(&url, &file, "store.restore.batch:5=error");
    assert!(
        code == Some(1) && output.contains("told to fail"),
        "{output}"
    );
    assert_eq!(keys(&etcd, "/half/"), "");
    let (code, _, _) = restore_on(&url, &file, "store.restore.batch:5=kill");
    assert_eq!(code, None);
    let left = keys(&etcd, "/half/");
    assert!(left.contains("/half/rows/a/1/t/"), "{left}");
    let mut command = daemon::command(&daemon.dir(), &daemon.home.path().join("other"));
    let started = command
        .args(["--backend", &url])
        .env("MORPH_LOG", "off")
        .output();
    let output = String::from_utf8(started.unwrap().stderr).unwrap();
    let (_, _, again) = restore_on(&url, &file, "");
    for output in [output, again] {
        let mend = "etcdctl del --prefix /half/";
        assert!(
            output.contains("did not come to its end") && output.contains(mend),
            "{output}"
        );
    }
    assert_eq!(keys(&etcd, "/half/"), left);
    etcd.ctl(&["del", "--prefix", "/half/"]);
    assert_eq!(restore_on(&url, &file, "").0, Some(0));
}

/// Changes an entry of the file, as a failing disk would.
fn corrupt(daemon: &Daemon, table: &str, key: &[u8], value: Option<&[u8]>) {
    let database = redb::Database::open(daemon.dir().join("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let name = redb::TableDefinition::<&[u8], &[u8]>::new(table);
        let mut entries = transaction.open_table(name).unwrap();
        match value {
            Some(value) => drop(entries.insert(key, value).unwrap()),
            None => drop(entries.remove(key).unwrap()),
        }
    }
    transaction.commit().unwrap();
}

#[tokio::test]
async fn keyspaces_and_checkpoints_that_nobody_can_use_are_named() {
    let daemon = Daemon::start().await;
    // morphd adds an app in this order: record and primary first, the checkpoint with the first instance.
    let record = op::row("morpheus", "apps", "new");
    let added = [
        op::create_primary("new", 1, 1),
        op::put(record.clone(), "{}"),
    ];
    daemon
        .commit(op::shared([op::absent(&record)], added))
        .await;
    daemon.app("sound").await;
    assert_eq!(check(&daemon.client).await.1, []);
    let alone = [
        op::fence("checkpoint", "node1", 0, "1.0.0"),
        op::create_primary("keyspace", 1, 1),
    ];
    daemon.commit(op::shared([], alone)).await;
    let create = op::create_shadow("sound", 2, 2, "me");
    let revision = daemon.commit(op::shared([], [create])).await.revision;
    let put = op::put(op::row_in("sound", 2, "t", "k"), "1");
    let shadow = [put, op::watermark("sound", 2, "me", revision)];
    daemon.commit(op::shared([], shadow)).await;
    let findings = check(&daemon.client).await.1;
    let told: Vec<String> = findings
        .iter()
        .map(|f| format!("{}: {}", f.r#where, f.message))
        .collect();
    for (at, wanted) in [
        "keyspace 1 of app keyspace: it is orphaned with 0 rows: no checkpoint and no record",
        "keyspace 2 of app sound: its 1 rows are orphaned",
        "checkpoint checkpoint@node1: its app has no primary",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(told[at].starts_with(wanted), "{told:?}");
    }
    assert_eq!(told.len(), 3, "{told:?}");
}

#[tokio::test]
async fn all_that_is_wrong_is_named_online_and_offline() {
    let mut daemon = full().await;
    daemon.terminate();
    corrupt(
        &daemon,
        "rows",
        b"a\0\0\0\0\x01t\0damaged",
        Some(b"12345678{}"),
    );
    corrupt(&daemon, "rows", b"a\0\0\0\0\x01t\0bound", None);
    corrupt(&daemon, "rows", b"a\0\0\0\0\x09t\0dangling", Some(b"x"));
    corrupt(&daemon, "rows", b"no key at all", Some(b"x"));
    let wanted = [
        ("row a/t/damaged of keyspace 1", "fails its checksum"),
        ("row a/t/dangling of keyspace 9", "never such a keyspace"),
        ("row no key at all", "cannot be decoded"),
        (
            "lease l",
            "row a/t/bound, which is bound to it, is not there",
        ),
    ];
    let (code, output, _) = offline(&daemon.dir(), &["--check"]);
    assert_eq!(code, Some(1));
    let daemon = daemon.crash().await;
    let (_, findings) = check(&daemon.client).await;
    for (place, what) in wanted {
        let told = |text: &str| text.contains(place) && text.contains(what);
        assert!(output.lines().any(told), "{place}: {output}");
        let named = |f: &Finding| f.r#where.contains(place) && f.message.contains(what);
        assert!(findings.iter().any(named), "{place}: {findings:?}");
    }
    // A backup with damaged rows would be of no use.
    let mut parts = daemon.client.backup().await.unwrap();
    let error = loop {
        match parts.message().await {
            Ok(Some(part)) => assert!(!part.done),
            Ok(None) => panic!("it ends without saying why"),
            Err(status) => break status,
        }
    };
    assert_eq!(error.code(), tonic::Code::DataLoss);
}
