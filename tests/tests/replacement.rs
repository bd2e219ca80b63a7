//! An instance that dies is replaced at once by a cold start of the same release, which loads all state.

use anyhow::{Context, Result, ensure};
use morph_tests::{Delivery, LedgerLab, Load, Process, long, pause, result, wait_until};
use std::time::{Duration, Instant};

/// Rows of the app besides its books.
const KEYS: u64 = 10_000;
/// Load of each switch. New packets come also while nothing is answered.
const LOAD: Load = Load::Window(50, 20);
/// Lifetime after which an instance is restarted without backoff.
const LIFE: Duration = Duration::from_millis(1_200);
const DEADLINE: Duration = Duration::from_secs(20);

/// Number of deaths (twenty in a row would be a crash loop) and the largest median. The limit of 250 ms holds for a
/// release build on a quiet machine; the short form runs on any build, perhaps beside other work.
fn form() -> (usize, Duration) {
    match long() {
        true => (15, Duration::from_millis(250)),
        false => (10, Duration::from_millis(3_000)),
    }
}

#[test]
fn an_instance_with_ten_thousand_keys_that_dies_is_replaced_at_once() -> Result<()> {
    let (deaths, limit) = form();
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
    result("replacement/deaths with 10 000 rows", deaths, "");
    result(
        "replacement/median from the kill to the first answer",
        format!("{} ms", median.as_millis()),
        format!("{} ms", limit.as_millis()),
    );
    ledger.check_books(Delivery::AtMostOnce)?;
    ledger.finish()?;
    ensure!(median < limit, "median {median:?}");
    Ok(())
}

/// Kills the live instance; returns the time until each switch has a new packet answered.
fn replace(ledger: &LedgerLab) -> Result<Duration> {
    let live = wait_until("an instance runs", DEADLINE, || {
        Ok(ledger.instance("1.0.0").ok())
    })?;
    let switches = ledger.switches();
    switches.wait_answered_since(LedgerLab::PORT, Instant::now(), DEADLINE)?;
    let killed = Instant::now();
    live.kill()?;
    let answered = switches.wait_answered_since(LedgerLab::PORT, Instant::now(), DEADLINE)?;
    ensure!(has_ended(&live), "{} is still running", live.name());
    Ok(answered.saturating_duration_since(killed))
}

fn has_ended(process: &Process) -> bool {
    process.memory().is_err()
}

/// Writes rows that the ledger loads besides its books.
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
