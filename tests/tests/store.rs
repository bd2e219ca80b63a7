//! What an operator does with the store: look at its figures, follow it, back it up, and bring it back.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, LedgerLab, Load, Shape, Strictness, bin, pause};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

const APP: &str = "learning-switch";
const FLAGS: [&str; 2] = ["--app", APP];
const SOON: Duration = Duration::from_secs(20);

fn rows(lab: &Lab) -> Result<Value> {
    lab.morpheus()?
        .do_(&["store", "list", "app=learning-switch"])
}

/// The first line that `store watch` prints while something is done.
fn first_change(lab: &Lab, cause: impl FnOnce() -> Result<()>) -> Result<Value> {
    let mut watch =
        lab.morpheus()?
            .ask_beside(&["store", "watch", "app=learning-switch", "macs"])?;
    let output = watch.stdout.take().context("no output")?;
    let (lines, told) = mpsc::sync_channel(1); // the one line
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        let _ = lines.send(read.map(|_| line)); // or nobody waits any more
    });
    cause()?;
    let line = told.recv_timeout(SOON);
    watch.kill()?;
    watch.wait()?;
    let line = line.context("nothing was told")??;
    serde_json::from_str(&line).with_context(|| format!("{line:?}"))
}

#[test]
fn a_store_is_looked_at_backed_up_and_brought_back() -> Result<()> {
    let mut lab = Lab::with_morpheus(Shape::single(2), &FLAGS)?;
    lab.morpheus()?.wait_running(APP, None)?;
    let change = first_change(&lab, || lab.wait_ping(1, 2))?;
    ensure!(change["changes"][0]["table"] == "macs", "{change}");
    let stats = lab.morpheus()?.do_(&["store", "stats"])?;
    ensure!(stats["stats"][0]["revision"].as_u64() > Some(0), "{stats}");
    let check = lab.morpheus()?.do_(&["store", "check"])?;
    ensure!(check["findings"] == Value::Array(Vec::new()), "{check}");

    let before = rows(&lab)?;
    let state = lab.morpheus()?.state_dir().to_owned();
    let (file, state_dir) = (
        lab.dir().join("backup"),
        state.to_string_lossy().into_owned(),
    );
    let file = file.to_string_lossy().into_owned();
    let kept = lab.morpheus()?.do_(&["store", "backup", &file])?;
    ensure!(kept["backups"][0]["rows"].as_u64() > Some(0), "{kept}");
    let again = lab.morpheus()?.ask(&["store", "backup", &file])?;
    ensure!(
        again.code == 1 && again.err.contains("not written over"),
        "{again:?}"
    );
    let restore = ["store", "restore", &file, "--state-dir", &state_dir];
    let refused = lab.morpheus()?.ask(&restore)?;
    ensure!(
        refused.code == 1 && refused.err.contains("stop morphd"),
        "{refused:?}"
    );

    lab.stop_morpheus()?;
    let refused = lab.morpheus()?.ask(&restore)?;
    ensure!(
        refused.code == 1 && refused.err.contains("move it away"),
        "{refused:?}"
    );
    std::fs::rename(state.join("store"), state.join("lost"))?;
    let restored = lab.morpheus()?.ask(&restore)?;
    ensure!(restored.code == 0, "{restored:?}");
    let stored = Command::new(bin("morph-stored")?)
        .arg("--dir")
        .arg(state.join("store"))
        .arg("--check")
        .output()?;
    ensure!(stored.status.success(), "{stored:?}");
    lab.start_morpheus(&FLAGS)?;
    lab.morpheus()?.wait_running(APP, None)?;
    ensure!(rows(&lab)? == before, "{} is not {before}", rows(&lab)?);
    lab.wait_ping(2, 1)?;
    lab.finish()
}

/// What a crash takes back is at most what came in the 100 ms before it (`store/tests/durability.rs`); the instance has it still,
/// or the proxy the events.
#[test]
fn kills_of_the_store_lose_and_double_nothing_of_an_app_that_does_not_wait_for_the_disk()
-> Result<()> {
    let rounds = if std::env::var_os("MORPH_LONG").is_some() {
        40
    } else {
        4
    };
    let ledger = LedgerLab::unsynced(2)?;
    ledger
        .switches()
        .load(LedgerLab::PORT, Load::Window(250, 16));
    for round in 0..rounds {
        pause(Duration::from_millis(150 + 30 * (round % 4)));
        let store = ledger.lab().process("morph-stored")?;
        if round % 2 == 1 {
            // Then nobody has what is not on disk but the proxy.
            ledger.instance("1.0.0")?.kill()?;
        }
        store.kill()?;
        ledger.switches().wait_answers(LedgerLab::PORT, SOON)?;
        // One that dies at once is started ever later.
        pause(Duration::from_millis(600));
    }
    // Each event stands in the books once and in order: so rows and cursor always came back together.
    let sent = ledger.settle(Strictness::AtMostOnce)?;
    println!("{sent} packets over {rounds} kills, each applied once");
    ledger.finish()
}
