//! The daemon dies anywhere: what was acknowledged is still there, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends there, and says what it saw"
)]

mod daemon;
mod load;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use daemon::{Daemon, command, turn};
use load::Load;
use morph_store::{Client, op};
use tempfile::TempDir;

/// Time limit of a commit: a busy disk can delay it for seconds.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);
const WRITERS: usize = 6;
const KILL: i32 = 9;

/// Number of rounds with two deaths each: one at a fail point, one at a random moment.
fn rounds() -> u64 {
    match std::env::var_os("MORPH_LONG") {
        Some(_) => 250,
        None => 25,
    }
}

/// Fail points, and the number of visits before a death there.
const PLACES: [(&str, u64); 10] = [
    ("store.open.opened", 1),
    ("store.open.formatted", 1),
    ("store.open.begun", 1),
    ("store.group.judged", 40),
    ("store.group.durable", 40),
    ("store.group.told", 40),
    ("store.disk.write", 400),
    ("store.disk.sync", 40),
    ("store.disk.synced", 40),
    ("store.garbage.begun", 4),
];

/// Directory with the daemons that run in it one after the other.
struct DaemonHome {
    home: TempDir,
    child: Option<Child>,
    client: Client,
}

impl Drop for DaemonHome {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The process may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl DaemonHome {
    fn new() -> DaemonHome {
        let home = TempDir::new().unwrap();
        let client = Client::new(home.path().join("run/store.sock"));
        DaemonHome {
            home,
            child: None,
            client,
        }
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("store")
    }

    /// Starts a daemon that will fail.
    fn start_to_fail(&mut self, plan: &str) {
        assert!(self.child.is_none());
        let mut command = command(&self.dir(), &self.home.path().join("run"));
        // The plan tells the last lines of the daemon.
        command
            .env("MORPH_FAIL", plan)
            .stderr(std::process::Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    async fn start(&mut self) {
        assert!(self.child.is_none());
        let child = command(&self.dir(), &self.home.path().join("run")).spawn();
        self.child = Some(child.unwrap());
        self.client.ready(COMMIT_TIMEOUT).await.unwrap();
    }

    /// Waits until the daemon has ended.
    async fn death(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let wait = async {
            loop {
                if let Some(status) = child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let ended = tokio::time::timeout(COMMIT_TIMEOUT, wait).await;
        if ended.is_err() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        ended.expect("it dies")
    }

    async fn kill(&mut self) {
        self.child.as_mut().unwrap().kill().unwrap();
        self.death().await;
    }
}

/// Returns a delay that differs from round to round and is the same in every run.
fn moment(round: u64) -> Duration {
    Duration::from_micros(3_000 + round.wrapping_mul(2_654_435_761) % 50_000)
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_wherever_the_daemon_is_killed() {
    let mut home = DaemonHome::new();
    home.start().await;
    let load = Load::start(&home.client, WRITERS).await;
    tokio::time::sleep(moment(0)).await;
    home.kill().await;
    for round in 0..rounds() {
        let (place, most) = PLACES[round as usize % PLACES.len()];
        let plan = format!("{place}:{}=kill", 1 + round * 7919 % most);
        home.start_to_fail(&plan);
        assert_eq!(home.death().await.signal(), Some(KILL), "{plan}");
        home.start().await;
        load.check(&plan).await;
        tokio::time::sleep(moment(round)).await;
        home.kill().await;
    }
    home.start().await;
    load.check("in the end").await;
    println!("RESULT killed/kills | {}", rounds() * 2 + 1);
    println!("RESULT killed/acknowledged turns | {}", load.turns());
    println!("RESULT killed/acknowledged swaps | {}", load.swaps());
    assert!(load.turns() > rounds() * 20 && load.swaps() > rounds() / 2);
}

#[tokio::test]
async fn a_daemon_that_dies_while_it_makes_its_first_file_starts_again() {
    for place in ["write", "sync", "synced", "resize"] {
        for nth in [1, 2, 4, 8, 16] {
            let mut home = DaemonHome::new();
            let plan = format!("store.disk.{place}:{nth}=kill");
            home.start_to_fail(&plan);
            // The disk may be that slow.
            let answered = home.client.ready(Duration::from_secs(2));
            tokio::select! {
                died = house_death(&mut home.child) => assert_eq!(died.signal(), Some(KILL)),
                status = answered => { status.unwrap(); home.kill().await; }
            }
            home.child = None;
            home.start().await;
            let status = home.client.status().await.unwrap();
            assert_eq!((status.revision, status.keyspaces.len()), (1, 1), "{plan}");
        }
    }
}

async fn house_death(child: &mut Option<Child>) -> ExitStatus {
    loop {
        if let Some(status) = child.as_mut().unwrap().try_wait().unwrap() {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Clients find out whether an error came before or after the commit, and continue; so does the daemon.
#[tokio::test]
async fn an_error_at_any_place_is_no_end_and_loses_nothing() {
    let mut home = DaemonHome::new();
    let plan = "store.group.judged:20=error,store.group.durable:60=error,store.disk.write:500=error,\
        store.disk.sync:100=error,store.disk.synced:140=error,store.garbage.begun:2=error,\
        store.disk.write:2000=error,store.disk.sync:200=error";
    home.start_to_fail(plan);
    home.client.ready(COMMIT_TIMEOUT).await.unwrap();
    let load = Load::start(&home.client, WRITERS).await;
    let wait = async {
        while load.turns() < 1500 || load.swaps() < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(COMMIT_TIMEOUT, wait).await.unwrap();
    load.check("after errors").await;
    assert!(home.child.as_mut().unwrap().try_wait().unwrap().is_none());
    home.kill().await;
    home.start().await;
    load.check("and a crash").await;
}

#[tokio::test]
async fn a_writer_that_panics_ends_the_daemon_and_loses_nothing() {
    let mut home = DaemonHome::new();
    home.start().await;
    let load = Load::start(&home.client, 2).await;
    home.kill().await;
    home.start_to_fail("store.group.durable:30=panic");
    let ended = home.death().await;
    assert!(ended.code().is_some_and(|code| code != 0), "{ended:?}");
    home.start().await;
    load.check("after a panic").await;
}

#[tokio::test]
async fn a_writer_that_hangs_is_told_by_the_deadline_and_reads_go_on() {
    let mut home = DaemonHome::new();
    home.start_to_fail("store.group.judged:2=hang");
    home.client.ready(COMMIT_TIMEOUT).await.unwrap();
    let client = home
        .client
        .clone()
        .with_deadline(Duration::from_millis(300));
    let ops = [
        op::create_primary("a", 1, 1),
        op::fence("a", "node1", 0, "1.0.0"),
    ];
    client.commit(op::shared([], ops)).await.unwrap().unwrap();
    let put = op::turn(turn("a", 1, 0), [op::put(op::row("a", "t", "k"), "1")]);
    let unknown = client.commit(put.clone()).await.unwrap_err();
    assert!(
        unknown.to_string().contains("did not answer within"),
        "{unknown}"
    );
    assert_eq!(client.get("a", "t", "k").await.unwrap(), None);
    assert_eq!(client.status().await.unwrap().checkpoints[0].turn, 0);
    home.kill().await;
    home.start().await;
    home.client.commit(put).await.unwrap().unwrap();
}

/// Creates the directory of a store that ended orderly, with one row for each of some apps.
async fn some_store() -> TempDir {
    let mut daemon = Daemon::start().await;
    for n in 0..200 {
        let app = format!("app{n}");
        daemon.app(&app).await;
        let put = op::put(op::row(&app, "t", "k"), format!("\"{}\"", "v".repeat(100)));
        daemon.commit(op::turn(turn(&app, 1, 0), [put])).await;
    }
    assert_eq!(daemon.terminate(), Some(0));
    let kept = TempDir::new().unwrap();
    let to = kept.path().join("store.redb");
    std::fs::copy(daemon.dir().join("store.redb"), to).unwrap();
    kept
}

/// Starts a daemon on a damaged copy of the store. Returns its refusal to start, or every row.
async fn start_with(damaged: &[u8]) -> Result<Vec<Result<usize, String>>, String> {
    let home = TempDir::new().unwrap();
    let (dir, run) = (home.path().join("store"), home.path().join("run"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("store.redb"), damaged).unwrap();
    let mut command = command(&dir, &run);
    let mut child = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let client = Client::new(run.join("store.sock"));
    let ready = async { client.ready(COMMIT_TIMEOUT).await.map(|_| ()) };
    let told = tokio::select! {
        ready = ready => { ready.unwrap(); Ok(()) }
        died = exited(&mut child) => Err(died),
    };
    let mut rows = Vec::new();
    if told.is_ok() {
        for n in 0..200 {
            let read = client.list(&format!("app{n}"), "t", "").await;
            let right = |rows: Vec<morph_api::store::RowValue>| {
                let right = format!("\"{}\"", "v".repeat(100));
                rows.iter()
                    .all(|row| row.value.as_deref() == Some(&right))
                    .then_some(rows.len())
            };
            rows.push(
                read.map_err(|e| e.to_string())
                    .map(|rows| right(rows).expect("a wrong value")),
            );
        }
    }
    // The process may have ended already.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let output = String::from_utf8_lossy(&output.stderr).into_owned();
    told.map_err(|code| {
        assert!(
            code.is_some_and(|code| code != 0 && code != 101),
            "{code:?}: {output}"
        );
        output
    })?;
    Ok(rows)
}

async fn exited(child: &mut Child) -> Option<i32> {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn read(store: &Path) -> Vec<u8> {
    std::fs::read(store.join("store.redb")).unwrap()
}

#[tokio::test]
async fn a_flipped_bit_of_a_row_is_told_and_not_served() {
    let store = some_store().await;
    let whole = read(store.path());
    let needle = [b'v'; 100];
    let places: Vec<usize> = (0..whole.len() - 100)
        .filter(|at| whole[*at..*at + 100] == needle)
        .collect();
    assert!(places.len() >= 200, "{}", places.len());
    let mut damaged = whole.clone();
    // Damages all occurrences, since only the engine knows which one is current.
    places.iter().for_each(|at| damaged[*at + 50] ^= 1);
    let rows = start_with(&damaged).await.unwrap();
    for (n, row) in rows.iter().enumerate() {
        let message = row.as_ref().unwrap_err();
        assert!(
            message.contains("checksum") && message.contains(&format!("app{n}")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_torn_or_damaged_file_is_told_and_never_a_wrong_answer() {
    let store = some_store().await;
    let whole = read(store.path());
    let (mut told, mut harmless) = (0, 0);
    for part in 1..8 {
        let mut torn = whole.clone();
        torn.truncate(whole.len() * part / 8);
        let mut holed = whole.clone();
        let hole = whole.len() * part / 8;
        holed[hole..hole + 4096].fill(0);
        let mut flipped = whole.clone();
        flipped[part * 24] ^= 0x40; // in the file's head
        for damaged in [torn, holed, flipped] {
            match start_with(&damaged).await {
                Err(output) => {
                    assert!(output.contains("store.redb is not a store"), "{output}");
                    told += 1;
                }
                Ok(rows) if rows.iter().all(|row| *row == Ok(1)) => harmless += 1,
                Ok(rows) => {
                    let errors = rows.iter().filter(|row| row.is_err()).count();
                    let lost = rows.iter().filter(|row| **row == Ok(0)).count();
                    assert!(errors > 0 && lost == 0, "{lost} rows lost, {errors} told");
                    told += 1;
                }
            }
        }
    }
    println!("RESULT killed/damaged files, reported | {told}");
    println!("RESULT killed/damaged files, without effect | {harmless}");
    assert!(told > 7);
}
