//! An operator's work with the store: statistics, watching, backup and restore.

use anyhow::{Context, Result, ensure};
use morph_tests::{Delivery, Lab, LedgerLab, Load, Shape, bin, long, pause, result, wait_until};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

const APP: &str = "learning-switch";
const FLAGS: [&str; 2] = ["--app", APP];
const DEADLINE: Duration = Duration::from_secs(20);

fn rows(lab: &Lab) -> Result<Value> {
    lab.morpheus()?
        .morphctl(&["store", "list", "app=learning-switch"])
}

/// First line that `store watch` prints while a setting is changed again and again, as the watch begins at some time.
fn first_change(lab: &Lab) -> Result<Value> {
    let mut watch =
        lab.morpheus()?
            .spawn_morphctl(&["store", "watch", "app=learning-switch", "limits"])?;
    let output = watch
        .stdout
        .take()
        .context("standard output is not a pipe")?;
    let (lines, received) = mpsc::sync_channel(1); // one line is sent
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        let _ = lines.send(read.map(|_| line)); // the receiver may have timed out
    });
    let mut seconds = 300;
    let line = wait_until("store watch prints a change", DEADLINE, || {
        seconds += 1;
        let setting = format!("limits.idle-seconds={seconds}");
        let set = ["config", "set", "app=learning-switch", &setting];
        lab.morpheus()?.morphctl(&set)?;
        Ok(received.recv_timeout(Duration::from_millis(100)).ok())
    });
    watch.kill()?;
    watch.wait()?;
    let line = line??;
    serde_json::from_str(&line).with_context(|| format!("{line:?}"))
}

#[test]
fn a_store_is_inspected_backed_up_and_restored() -> Result<()> {
    let mut lab = Lab::with_morpheus(Shape::single(2), &FLAGS)?;
    lab.morpheus()?.wait_running(APP, None)?;
    let change = first_change(&lab)?;
    ensure!(change["changes"][0]["table"] == "limits", "{change}");
    lab.wait_ping(1, 2)?;
    let stats = lab.morpheus()?.morphctl(&["store", "stats"])?;
    ensure!(stats["stats"][0]["revision"].as_u64() > Some(0), "{stats}");
    let check = lab.morpheus()?.morphctl(&["store", "check"])?;
    ensure!(check["findings"] == Value::Array(Vec::new()), "{check}");

    let before = rows(&lab)?;
    let state = lab.morpheus()?.state_dir().to_owned();
    let (file, state_dir) = (
        lab.dir().join("backup"),
        state.to_string_lossy().into_owned(),
    );
    let file = file.to_string_lossy().into_owned();
    let backup = lab.morpheus()?.morphctl(&["store", "backup", &file])?;
    ensure!(backup["backups"][0]["rows"].as_u64() > Some(0), "{backup}");
    let again = lab.morpheus()?.try_morphctl(&["store", "backup", &file])?;
    ensure!(
        again.code == 1 && again.stderr.contains("not written over"),
        "{again:?}"
    );
    let restore = ["store", "restore", &file, "--state-dir", &state_dir];
    let refused = lab.morpheus()?.try_morphctl(&restore)?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("stop morphd"),
        "{refused:?}"
    );

    lab.stop_morpheus()?;
    let refused = lab.morpheus()?.try_morphctl(&restore)?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("move it away"),
        "{refused:?}"
    );
    std::fs::rename(state.join("store"), state.join("lost"))?;
    let restored = lab.morpheus()?.try_morphctl(&restore)?;
    ensure!(restored.code == 0, "{restored:?}");
    let stored = Command::new(bin("morph-stored")?)
        .arg("--dir")
        .arg(state.join("store"))
        .arg("--check")
        .output()?;
    ensure!(stored.status.success(), "{stored:?}");
    lab.start_morpheus(&FLAGS)?;
    lab.morpheus()?.wait_running(APP, None)?;
    ensure!(
        rows(&lab)? == before,
        "rows are {}, and were {before}",
        rows(&lab)?
    );
    lab.wait_ping(2, 1)?;
    lab.finish()
}

/// A crash undoes at most the last 100 ms (`store/tests/durability.rs`). The instance still has these turns, or the
/// proxy their events.
#[test]
fn kills_of_the_store_lose_and_duplicate_nothing_of_an_app_with_async_durability() -> Result<()> {
    let rounds = if long() { 40 } else { 4 };
    let ledger = LedgerLab::unsynced(2)?;
    ledger
        .switches()
        .load(LedgerLab::PORT, Load::Window(250, 16));
    for round in 0..rounds {
        pause(Duration::from_millis(150 + 30 * (round % 4)));
        let store = ledger.lab().process("morph-stored")?;
        if round % 2 == 1 {
            // The instance dies too, so that only the proxy still has the events.
            ledger.instance("1.0.0")?.kill()?;
        }
        store.kill()?;
        ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
        // A release that dies at once is restarted with growing delays.
        pause(Duration::from_millis(600));
    }
    // Each event is in the books once and in order, so rows and cursor were always restored together.
    let sent = ledger.check_books(Delivery::AtMostOnce)?;
    result("store/kills of the store under async turns", rounds, "");
    result("store/packets, each applied once", sent, "");
    ledger.finish()
}
