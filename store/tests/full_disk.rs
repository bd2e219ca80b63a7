//! A full disk is refused cleanly, and the daemon continues. The disk is a small file system in memory, in a mount
//! namespace of its own (as root, or in a user namespace).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;

use std::process::{Child, Command};

use daemon::{SOON, turn};
use morph_api::store::Reason;
use morph_store::{Client, op};
use tempfile::TempDir;

const SCRIPT: &str = "mount -t tmpfs -o size=6m tmpfs \"$1\" \
    && head -c 2000000 /dev/zero > \"$1/ballast\" \
    && exec \"$0\" --dir \"$1/store\" --run-dir \"$2\"";

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_full_disk_is_refused_and_the_daemon_goes_on() {
    let home = TempDir::new().unwrap();
    let (disk, run_dir) = (home.path().join("disk"), home.path().join("run"));
    std::fs::create_dir(&disk).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", SCRIPT]);
    command
        .arg(env!("CARGO_BIN_EXE_morph-stored"))
        .arg(&disk)
        .arg(&run_dir);
    let child = Killed(command.env("MORPH_LOG", "error").spawn().unwrap());
    let client = Client::new(run_dir.join("store.sock"));
    let first = client.ready(SOON).await.unwrap();
    let ops = [
        op::create_primary("a", 1, 1),
        op::fence("a", "node1", 0, "1.0.0"),
    ];
    client.commit(op::shared([], ops)).await.unwrap().unwrap();

    let value = format!("\"{}\"", "x".repeat(100_000));
    let put = |n: u64| {
        let put = op::put(op::row("a", "t", format!("{n:04}")), value.clone());
        op::turn(turn("a", 1, n), [put])
    };
    let mut turns = 0;
    let refusal = loop {
        match client.commit(put(turns)).await.unwrap() {
            Ok(_) => turns += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.reason, Reason::DiskFull, "{refusal}");
    assert!(turns > 5, "{turns}");
    for _ in 0..5 {
        let again = client.commit(put(turns)).await.unwrap().unwrap_err();
        assert_eq!(again.reason, Reason::DiskFull, "{again}");
    }
    assert_eq!(client.list("a", "t", "").await.unwrap().len() as u64, turns);
    let status = client.status().await.unwrap();
    assert_eq!(
        (status.checkpoints[0].turn, status.incarnation),
        (turns, first.incarnation)
    );

    let ballast = format!("/proc/{}/root{}/ballast", child.0.id(), disk.display());
    std::fs::remove_file(ballast).unwrap();
    client.commit(put(turns)).await.unwrap().unwrap();
    assert_eq!(
        client.list("a", "t", "").await.unwrap().len() as u64,
        turns + 1
    );
}
