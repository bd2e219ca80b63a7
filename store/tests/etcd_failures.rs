//! Behaviour of the store while etcd fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

mod daemon;
#[path = "etcd/wire.rs"]
mod wire;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use daemon::etcd::{self, Etcd};
use daemon::{Daemon, SOON, changes_to, next, of_schema, snapshot, turn};
use morph_api::store::ended::Why;
use morph_api::store::{Reason, watch_reply};
use morph_store::{Client, op};
use tempfile::TempDir;
use wire::Wire;

fn put(app: &str, follows: u64, key: &str, value: &str) -> morph_api::store::Transaction {
    let put = op::put(op::row(app, "t", key), value);
    op::turn(turn(app, 1, follows), [put])
}

/// Returns what a daemon prints that does not start.
fn fails(url: &str, environment: &[(&str, &str)]) -> String {
    let home = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_morph-stored"))
        .args(["--backend", url, "--run-dir"])
        .arg(home.path().join("run"))
        .env("MORPH_LOG", "off")
        .envs(environment.iter().copied())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn trouble(client: &Client) -> String {
    client.status().await.unwrap().trouble
}

#[tokio::test]
async fn while_etcd_is_away_reads_go_on_and_writes_say_so() {
    let mut etcd = Etcd::start(&[]);
    let daemon = Daemon::start_on(&etcd.url("m")).await;
    daemon.app("a").await;
    daemon.commit(put("a", 0, "k", "1")).await;
    let mut watch = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    snapshot(&mut watch).await;
    assert_eq!(trouble(&daemon.client).await, "");
    etcd.kill();

    until("no trouble is told", async || {
        let told = trouble(&daemon.client).await;
        (!told.is_empty()).then_some(told)
    })
    .await;
    assert_eq!(daemon.client.list("a", "t", "").await.unwrap().len(), 1);
    let before = Instant::now();
    let error = daemon.client.commit(put("a", 1, "k", "2")).await;
    let (error, waited) = (error.unwrap_err().to_string(), before.elapsed());
    assert!(error.contains("127.0.0.1"), "{error}");
    assert!(waited < Duration::from_millis(4500), "{waited:?}");
    let mut late = daemon.client.watch(of_schema("a", 1)).await.unwrap();
    assert_eq!(snapshot(&mut late).await.0.len(), 1);

    // A commit requested while etcd is away completes when etcd is back.
    let client = daemon.client.clone();
    let waiting = tokio::spawn(async move { client.commit(put("a", 1, "k", "2")).await });
    etcd.again();
    let committed = waiting.await.unwrap();
    let turns = match committed {
        Ok(done) => done.unwrap().checkpoints[0].turn,
        // If it took too long it is sent again, as the SDK does.
        Err(_) => {
            until("nothing is written", async || {
                let again = daemon.client.commit(put("a", 1, "k", "2")).await;
                match again {
                    Ok(Ok(committed)) => Some(committed.checkpoints[0].turn),
                    Ok(Err(refusal)) if refusal.reason == Reason::Already => Some(2),
                    Ok(Err(refusal)) => panic!("{refusal}"),
                    Err(_) => None,
                }
            })
            .await
        }
    };
    assert_eq!(turns, 2);
    until("the trouble is told for ever", async || {
        trouble(&daemon.client).await.is_empty().then_some(())
    })
    .await;
    // The open watch continues.
    let revision = daemon.revision().await;
    let changes = changes_to(&mut watch, revision).await;
    assert_eq!(changes.last().unwrap().rows[0].value.as_deref(), Some("2"));
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_when_daemon_and_etcd_are_killed() {
    let mut etcd = Etcd::start(&[]);
    let mut daemon = Daemon::start_on(&etcd.url("m")).await;
    daemon.app("a").await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = {
        let (client, acknowledged) = (daemon.client.clone(), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            let mut follows = 0;
            loop {
                let key = format!("{follows:06}");
                match client.commit(put("a", follows, &key, "1")).await {
                    Ok(Ok(committed)) => assert_eq!(committed.checkpoints[0].turn, follows + 1),
                    Ok(Err(refusal)) => assert_eq!(refusal.reason, Reason::Already, "{refusal}"),
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    }
                }
                follows += 1;
                acknowledged.store(follows, Ordering::SeqCst);
            }
        })
    };
    for round in 0..6 {
        let before = acknowledged.load(Ordering::SeqCst);
        until("the writer is stuck", async || {
            (acknowledged.load(Ordering::SeqCst) > before + 20).then_some(())
        })
        .await;
        match round % 3 {
            0 => daemon = daemon.crash().await,
            1 => {
                etcd.kill();
                etcd.again();
            }
            _ => {
                daemon.kill();
                etcd.kill();
                etcd.again();
                daemon = daemon.crash().await;
            }
        }
        let done = acknowledged.load(Ordering::SeqCst) as usize;
        let rows = daemon.client.list("a", "t", "").await.unwrap();
        assert!(
            rows.len() >= done,
            "{} rows, {done} acknowledged",
            rows.len()
        );
        let checkpoint = daemon.client.status().await.unwrap().checkpoints[0].clone();
        assert!(checkpoint.turn >= rows.len() as u64);
    }
    writer.abort();
    assert!(writer.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn two_daemons_on_one_prefix_lose_no_update_and_double_none() {
    let etcd = etcd::shared();
    let url = etcd.url("two");
    let daemons = [Daemon::start_on(&url).await, Daemon::start_on(&url).await];
    daemons[0].app("a").await;
    let count = op::row("morpheus", "records", "count");
    let first = op::shared([op::absent(&count)], [op::put(count.clone(), "0")]);
    let start = daemons[0].commit(first).await.revision;
    until("the other does not catch up", async || {
        (daemons[1].revision().await >= start).then_some(())
    })
    .await;
    let mut all = Vec::new();
    for daemon in &daemons {
        for _ in 0..4 {
            all.push(tokio::spawn(increments(daemon.client.clone(), 15)));
        }
        all.push(tokio::spawn(turns(daemon.client.clone(), 60)));
    }
    let mut successes = 0;
    for task in all {
        successes += task.await.unwrap();
    }
    // 8 * 15 increments, and each of 60 turns once, by either daemon.
    assert_eq!(successes, 8 * 15 + 60);
    for daemon in &daemons {
        until("a daemon does not catch up", async || {
            let found = daemon.client.get("morpheus", "records", "count").await;
            let status = daemon.client.status().await.unwrap();
            (found.unwrap().unwrap().0 == "120" && status.checkpoints[0].turn == 60).then_some(())
        })
        .await;
        assert_eq!(daemon.client.list("a", "t", "").await.unwrap().len(), 60);
    }
}

#[tokio::test]
async fn a_daemon_that_lags_behind_refuses_nothing_that_would_be_taken() {
    let etcd = etcd::shared();
    let wire = Wire::to(etcd.port).await;
    let near = Daemon::start_on(&etcd.url("lags")).await;
    let far = Daemon::start_on(&format!("etcd://127.0.0.1:{}/lags", wire.port)).await;
    near.app("a").await;
    // The daemon may not know the app yet; its first answer is right all the same.
    far.commit(put("a", 0, "k", "1")).await;
    wire.cut();
    near.commit(put("a", 1, "k", "2")).await;
    let asked = far.client.clone();
    let asked = tokio::spawn(async move { asked.commit(put("a", 2, "k", "3")).await });
    wire.mend();
    match asked.await.unwrap() {
        Ok(done) => assert_eq!(done.unwrap().checkpoints[0].turn, 3),
        // Cut off for too long to give a reason.
        Err(away) => assert!(!away.to_string().is_empty()),
    }
}

/// Increments a row by compare-and-set; returns the number of successes.
async fn increments(client: Client, times: u64) -> u64 {
    let row = op::row("morpheus", "records", "count");
    let mut done = 0;
    while done < times {
        let (value, revision) = client
            .get("morpheus", "records", "count")
            .await
            .unwrap()
            .unwrap();
        let more = (value.parse::<u64>().unwrap() + 1).to_string();
        let set = op::shared([op::expect(&row, revision)], [op::put(row.clone(), more)]);
        match client.commit(set).await.unwrap() {
            Ok(_) => done += 1,
            Err(refusal) => assert_eq!(refusal.reason, Reason::Conflict, "{refusal}"),
        }
    }
    done
}

/// Sends the same turns as another client; returns the number that were ours.
async fn turns(client: Client, times: u64) -> u64 {
    let (mut follows, mut ours) = (0, 0);
    while follows < times {
        match client
            .commit(put("a", follows, &follows.to_string(), "1"))
            .await
            .unwrap()
        {
            Ok(_) => ours += 1,
            Err(refusal) => assert_eq!(refusal.reason, Reason::Already, "{refusal}"),
        }
        follows += 1;
    }
    ours
}

#[tokio::test]
async fn a_watcher_sees_what_another_daemon_writes_large_and_small() {
    let url = etcd::shared().url("seen");
    let (one, two) = (Daemon::start_on(&url).await, Daemon::start_on(&url).await);
    one.app("a").await;
    until("the app is not seen", async || {
        let status = two.client.status().await.unwrap();
        status.checkpoints.first().cloned()
    })
    .await;
    let mut watch = two.client.watch(of_schema("a", 1)).await.unwrap();
    snapshot(&mut watch).await;
    one.commit(put("a", 0, "k", "1")).await;
    let many = (0..9_999).map(|n| op::put(op::row("a", "many", format!("{n:05}")), "1"));
    one.commit(op::turn(turn("a", 1, 1), many)).await;
    let large = format!("\"{}\"", "x".repeat(1_000_000));
    let large = (0..4).map(|n| op::put(op::row("a", "large", n.to_string()), large.clone()));
    one.commit(op::turn(turn("a", 1, 2), large)).await;
    let last = one.commit(put("a", 3, "k", "2")).await.revision;
    let changes = changes_to(&mut watch, last).await;
    let rows: Vec<usize> = changes.iter().map(|change| change.rows.len()).collect();
    assert_eq!(rows, [1, 9_999, 4, 1]);
    let follows = |n: usize| changes[n].origin.as_ref().unwrap().follows;
    assert_eq!(
        [follows(0), follows(1), follows(2), follows(3)],
        [0, 1, 2, 3]
    );
    // A daemon that starts later finds the same in etcd.
    let three = Daemon::start_on(&url).await;
    assert_eq!(
        three.client.list("a", "many", "").await.unwrap().len(),
        9_999
    );
    assert_eq!(three.client.list("a", "large", "").await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_large_transaction_that_was_named_is_finished_by_the_next_daemon() {
    let url = etcd::shared().url("redo");
    let dying = Daemon::start_with(&url, &[("MORPH_FAIL", "store.etcd.named=kill")]).await;
    dying.app("a").await;
    let many = || (0..500).map(|n| op::put(op::row("a", "many", format!("{n:05}")), "1"));
    let outcome = dying.client.commit(op::turn(turn("a", 1, 0), many())).await;
    assert!(outcome.is_err(), "{outcome:?}");
    let next = Daemon::start_on(&url).await;
    let status = next.client.status().await.unwrap();
    assert_eq!(
        (status.checkpoints[0].turn, status.keyspaces[0].keys),
        (1, 500)
    );
    assert_eq!(next.client.list("a", "many", "").await.unwrap().len(), 500);
    assert_eq!(
        next.refused(op::turn(turn("a", 1, 0), many())).await,
        Reason::Already
    );
    let left = etcd::shared().ctl(&["get", "--prefix", "--keys-only", "/redo/redo/"]);
    assert_eq!(left.trim(), "");
}

/// Rows of all sizes, in tables whose names are prefixes of each other: a start reads each of them once.
#[tokio::test]
async fn a_start_reads_every_row_of_tables_small_and_large() {
    let url = etcd::shared().url("sizes");
    let one = Daemon::start_on(&url).await;
    one.app("a").await;
    let tables = [
        ("t", 3000, 10),
        ("t-x", 40, 100_000),
        ("t.x", 1, 10),
        ("t/x", 700, 2000),
        ("tx", 20, 500_000),
    ];
    let mut turns = 0;
    for (table, rows, size) in tables {
        let value = format!("\"{}\"", "x".repeat(size));
        let step = (3_000_000 / size).min(500);
        for from in (0..rows).step_by(step) {
            let rows = (from..rows.min(from + step)).map(|n| format!("{n:04}/{n}"));
            let puts = rows.map(|key| op::put(op::row("a", table, key), value.clone()));
            one.commit(op::turn(turn("a", 1, turns), puts)).await;
            turns += 1;
        }
    }
    let two = Daemon::start_on(&url).await;
    for (table, rows, size) in tables {
        let found = two.client.list("a", table, "").await.unwrap();
        assert_eq!(found.len(), rows, "{table}");
        let lengths = found.iter().filter_map(|row| row.value.as_ref());
        assert!(
            lengths.into_iter().all(|value| value.len() == size + 2),
            "{table}"
        );
    }
}

#[tokio::test]
async fn one_that_was_cut_off_beyond_etcds_history_loads_again() {
    let etcd = Etcd::start(&[]);
    let wire = Wire::to(etcd.port).await;
    let near = Daemon::start_on(&etcd.url("m")).await;
    near.app("a").await;
    let far = Daemon::start_on(&format!("etcd://127.0.0.1:{}/m", wire.port)).await;
    let mut watch = far.client.watch(of_schema("a", 1)).await.unwrap();
    snapshot(&mut watch).await;
    // A short interruption: nothing is missed.
    wire.cut();
    let revision = near.commit(put("a", 0, "k", "1")).await.revision;
    wire.mend();
    assert_eq!(changes_to(&mut watch, revision).await.len(), 1);
    // An interruption so long that etcd has compacted the changes since.
    wire.cut();
    for n in 1..5 {
        near.commit(put("a", n, "k", &n.to_string())).await;
    }
    let head = etcd.ctl(&["get", "/m/head", "-w", "fields"]);
    let at = head
        .lines()
        .find_map(|l| l.strip_prefix("\"ModRevision\" : "));
    etcd.ctl(&["compact", at.unwrap().trim()]);
    wire.mend();
    let ended = loop {
        match next(&mut watch).await {
            watch_reply::Reply::Ended(ended) => break ended,
            watch_reply::Reply::Changes(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ended.why(), Why::TooSlow);
    let mut again = far.client.watch(of_schema("a", 1)).await.unwrap();
    let (rows, _) = snapshot(&mut again).await;
    assert_eq!(rows[0].value.as_deref(), Some("4"));
    far.commit(put("a", 5, "k", "5")).await;
}

#[tokio::test]
async fn a_full_etcd_is_refused_and_the_daemon_goes_on() {
    let etcd = Etcd::start(&["--quota-backend-bytes", "12000000"]);
    let daemon = Daemon::start_on(&etcd.url("m?compact=off")).await;
    daemon.app("a").await;
    let value = format!("\"{}\"", "x".repeat(300_000));
    let mut turns = 0;
    let refusal = loop {
        match daemon
            .client
            .commit(put("a", turns, "k", &value))
            .await
            .unwrap()
        {
            Ok(_) => turns += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.reason, Reason::DiskFull, "{refusal}");
    assert!(turns > 5, "{turns}");
    let again = daemon.refused(put("a", turns, "k", "1")).await;
    assert_eq!(again, Reason::DiskFull);
    assert_eq!(daemon.client.list("a", "t", "").await.unwrap().len(), 1);
    let told = trouble(&daemon.client).await;
    assert!(told.contains("etcd is full"), "{told}");
    // Steps that an operator takes.
    let head = etcd.ctl(&["get", "/m/head", "-w", "fields"]);
    let at = head
        .lines()
        .find_map(|l| l.strip_prefix("\"ModRevision\" : "));
    etcd.ctl(&["compact", "--physical", at.unwrap().trim()]);
    etcd.ctl(&["defrag"]);
    etcd.ctl(&["alarm", "disarm"]);
    let checkpoint = daemon.commit(put("a", turns, "k", "1")).await.checkpoints[0].clone();
    assert_eq!(checkpoint.turn, turns + 1);
    assert_eq!(trouble(&daemon.client).await, "");
}

#[tokio::test]
async fn a_wrong_password_is_told_and_the_right_one_lets_in() {
    let etcd = Etcd::start(&[]);
    etcd.ctl(&["user", "add", "root:secret"]);
    etcd.ctl(&["auth", "enable"]);
    let said = fails(&etcd.url("m"), &[]);
    assert!(
        said.contains("asks for a user") && said.contains("user="),
        "{said}"
    );
    let url = etcd.url("m?user=root");
    let said = fails(&url, &[]);
    assert!(said.contains("without a password"), "{said}");
    let said = fails(&url, &[("MORPH_ETCD_PASSWORD", "guess")]);
    assert!(
        said.contains("\"root\"") && said.contains("authentication failed"),
        "{said}"
    );
    let home = TempDir::new().unwrap();
    let file = home.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    let url = format!("{url}&password-file={}", file.display());
    let daemon = Daemon::start_on(&url).await;
    daemon.app("a").await;
    daemon.commit(put("a", 0, "k", "1")).await;
}

#[tokio::test]
async fn tls_is_used_where_it_is_asked_for_and_named_where_it_fails() {
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    for (name, with_ca) in [("ca", false), ("server", true), ("other", false)] {
        certificate(&home, name, with_ca);
    }
    let (cert, key) = (path("server.pem"), path("server.key"));
    let etcd = Etcd::start_tls(&cert, &key);
    let url = |ca: &str| format!("etcds://127.0.0.1:{}/m?ca={}", etcd.port, path(ca));
    let daemon = Daemon::start_on(&url("ca.pem")).await;
    daemon.app("a").await;
    let (plain, wrong, none) = tokio::join!(
        tokio::task::spawn_blocking({
            let plain = etcd.url("m");
            move || fails(&plain, &[])
        }),
        tokio::task::spawn_blocking({
            let wrong = url("other.pem");
            move || fails(&wrong, &[])
        }),
        tokio::task::spawn_blocking({
            let none = url("none.pem");
            move || fails(&none, &[])
        }),
    );
    let (plain, wrong, none) = (plain.unwrap(), wrong.unwrap(), none.unwrap());
    assert!(plain.contains("etcds://"), "{plain}");
    assert!(
        wrong.contains("certificate") && wrong.contains("ca="),
        "{wrong}"
    );
    assert!(none.contains("none.pem"), "{none}");
}

/// Creates NAME.pem and NAME.key, signed by ca or by itself.
fn certificate(home: &TempDir, name: &str, with_ca: bool) {
    let mut command = Command::new("openssl");
    command.current_dir(home.path()).stderr(Stdio::null());
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    command.args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")]);
    command.args([
        "-keyout",
        &format!("{name}.key"),
        "-out",
        &format!("{name}.pem"),
    ]);
    if with_ca {
        command.args(["-CA", "ca.pem", "-CAkey", "ca.key"]);
        command.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    assert!(
        command.status().unwrap().success(),
        "openssl makes {name}.pem"
    );
}

#[test]
fn an_etcd_that_is_not_there_is_named() {
    let port = etcd::free_port();
    let said = fails(&format!("etcd://127.0.0.1:{port}"), &[]);
    let place = format!("127.0.0.1:{port}");
    assert!(
        said.contains("cannot reach etcd") && said.contains(&place),
        "{said}"
    );
    assert!(said.contains("check that it runs"), "{said}");
}

#[test]
fn what_is_no_store_of_ours_is_left_alone() {
    let etcd = etcd::shared();
    etcd.ctl(&["put", "/diary/head", "today"]);
    let said = fails(&etcd.url("diary"), &[]);
    assert!(said.contains("/diary/head is not a store"), "{said}");
    assert!(said.contains("another prefix"), "{said}");
    assert_eq!(
        etcd.ctl(&["get", "--print-value-only", "/diary/head"])
            .trim(),
        "today"
    );
    // Head of format 9 with a valid checksum.
    let head = sealed(b"/newer/head", &[0x08, 9]);
    put_bytes(etcd, "/newer/head", &head);
    let said = fails(&etcd.url("newer"), &[]);
    assert!(
        said.contains("has format 9") && said.contains("up to 1"),
        "{said}"
    );
}

fn put_bytes(etcd: &Etcd, key: &str, value: &[u8]) {
    use std::io::Write;
    let mut command = Command::new("etcdctl");
    command
        .env("ETCDCTL_API", "3")
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = command
        .args(["--endpoints", &etcd.endpoint(), "put", key])
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(value).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Prepends the CRC-32 of key and content to the content.
fn sealed(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in key.iter().chain(content) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    [&(!crc).to_be_bytes()[..], content].concat()
}
