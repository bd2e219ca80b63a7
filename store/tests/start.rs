//! Reasons why the daemon does not start: one clear line and exit code 1.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;

use std::path::Path;
use std::process::Stdio;

use daemon::{Daemon, command};
use redb::ReadableTable;
use tempfile::TempDir;

fn fails(dir: &Path, run_dir: &Path) -> String {
    let output = command(dir, run_dir)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[tokio::test]
async fn a_second_daemon_is_refused_by_both_directories() {
    let daemon = Daemon::start().await;
    let other = TempDir::new().unwrap();
    let pid = format!("pid {}", daemon.pid());
    for (dir, run_dir) in [
        (daemon.dir(), other.path().join("run")),
        (other.path().join("store"), daemon.run_dir()),
    ] {
        let said = fails(&dir, &run_dir);
        assert!(said.contains("in use") && said.contains(&pid), "{said}");
    }
    daemon.client.status().await.unwrap();
    let lock = std::fs::read_to_string(daemon.run_dir().join("stored.lock")).unwrap();
    let lock: serde_json::Value = serde_json::from_str(&lock).unwrap();
    assert_eq!(lock["pid"], daemon.pid());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = fails(&file.join("store"), &home.path().join("run"));
    assert!(
        said.contains("cannot open") && said.contains("file/store"),
        "{said}"
    );
    let said = fails(Path::new("/proc/store"), &home.path().join("run"));
    assert!(said.contains("/proc/store"), "{said}");
}

#[test]
fn a_file_that_is_no_store_is_left_alone() {
    let home = TempDir::new().unwrap();
    let dir = home.path().join("store");
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("store.redb");
    let text = "my diary\n".repeat(1000);
    std::fs::write(&file, &text).unwrap();
    let said = fails(&dir, &home.path().join("run"));
    assert!(said.contains("is not a store"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_ends_nothing() {
    let home = TempDir::new().unwrap();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let run_dir = home.path().join("run");
    let mut child = command(&home.path().join("store"), &run_dir)
        .env("MORPH_LOG", "trace")
        .stderr(full)
        .spawn()
        .unwrap();
    let client = morph_store::Client::new(run_dir.join("store.sock"));
    client.ready(daemon::SOON).await.unwrap();
    client.status().await.unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_newer_format_is_refused_by_its_number() {
    let mut daemon = Daemon::start().await;
    daemon.terminate();
    let file = daemon.dir().join("store.redb");
    let database = redb::Database::open(&file).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    transaction
        .open_table(meta)
        .unwrap()
        .insert("format", 3)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let said = fails(&daemon.dir(), &daemon.run_dir());
    assert!(
        said.contains("has format 3") && said.contains("up to 2"),
        "{said}"
    );
}

#[tokio::test]
async fn a_damaged_row_is_told_and_not_served() {
    let mut daemon = Daemon::start().await;
    daemon.app("a").await;
    let put = morph_store::op::put(morph_store::op::row("a", "t", "k"), "\"needle\"");
    daemon
        .commit(morph_store::op::turn(daemon::turn("a", 1, 0), [put]))
        .await;
    daemon.terminate();
    let database = redb::Database::open(daemon.dir().join("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let rows = redb::TableDefinition::<&[u8], &[u8]>::new("rows");
    {
        let mut rows = transaction.open_table(rows).unwrap();
        let key: &[u8] = b"a\0\0\0\0\x01t\0k";
        let mut value = rows.get(key).unwrap().unwrap().value().to_vec();
        *value.last_mut().unwrap() ^= 1;
        rows.insert(key, &value[..]).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let daemon = daemon.crash().await;
    let error = daemon.client.get("a", "t", "k").await.unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
    daemon.client.status().await.unwrap();
}

#[test]
fn version_and_help_are_there() {
    for (flag, said) in [("--version", "morph-stored 0."), ("--help", "--run-dir")] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_morph-stored"));
        let output = command.arg(flag).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains(said));
    }
}
