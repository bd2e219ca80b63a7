//! An instance that dies is replaced at once: by a cold start of the same release, which loads all of its state.

use anyhow::{Context, Result, ensure};
use morph_tests::{LedgerLab, Load, Process, Strictness, pause, wait_until};
use std::time::{Duration, Instant};

/// Rows of the app, beside its books.
const KEYS: u64 = 10_000;
/// Of each switch: new packets all the time, also while nobody answers.
const LOAD: Load = Load::Window(50, 20);
/// What lived for so long is started again without a wait.
const LIFE: Duration = Duration::from_millis(1_200);
const PATIENCE: Duration = Duration::from_secs(20);

/// How many deaths (twenty in a row would be a crash loop), and what the median may be. The design says 250 ms, in a release build
/// on a quiet machine; the short form runs on any build, perhaps beside others.
fn form() -> (usize, Duration) {
    match std::env::var_os("MORPH_LONG") {
        Some(_) => (15, Duration::from_millis(250)),
        None => (10, Duration::from_millis(3_000)),
    }
}

#[test]
fn an_instance_with_ten_thousand_keys_that_dies_is_replaced_at_once() -> Result<()> {
    let (deaths, most) = form();
    let ledger = LedgerLab::new(2)?;
    fill(&ledger)?;
    ledger.switches().load(LedgerLab::PORT, LOAD);
    let mut times = Vec::new();
    for _ in 0..deaths {
        pause(LIFE);
        times.push(replace(&ledger)?);
    }
    times.sort_unstable();
    println!("from the kill to the first answer: {times:?}");
    let median = times.get(times.len() / 2).copied().context("no time")?;
    println!("median {median:?}");
    ledger.settle(Strictness::AtMostOnce)?;
    ledger.finish()?;
    ensure!(median < most, "{median:?}");
    Ok(())
}

/// Kills the live instance; how long it takes until each switch has a new packet answered.
fn replace(ledger: &LedgerLab) -> Result<Duration> {
    let live = wait_until("an instance runs", PATIENCE, || {
        Ok(ledger.instance("1.0.0").ok())
    })?;
    let switches = ledger.switches();
    switches.answered_again(LedgerLab::PORT, Instant::now(), PATIENCE)?;
    let killed = Instant::now();
    live.kill()?;
    let answered = switches.answered_again(LedgerLab::PORT, Instant::now(), PATIENCE)?;
    ensure!(is_gone(&live), "{} answers from the dead", live.name());
    Ok(answered.saturating_duration_since(killed))
}

fn is_gone(process: &Process) -> bool {
    process.memory().is_err()
}

/// Rows of the ledger's own that it has to load with its books.
fn fill(ledger: &LedgerLab) -> Result<()> {
    let row = |n| {
        let (key, port) = (format!("{n:016x}"), n % 48);
        let value = format!(r#"{{"port":{port},"mac":"02:00:00:00:00:01","seen":{n}}}"#);
        (key, value)
    };
    ledger
        .lab()
        .morpheus()?
        .fill("ledger", "ballast", KEYS, row)
}
