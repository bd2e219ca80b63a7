//! An instance that dies is replaced at once: by a cold start of the same release, which loads all of its state.

use anyhow::{Context, Result, ensure};
use morph_api::store::op::Op as Kind;
use morph_api::store::store_client::StoreClient;
use morph_api::store::{Expect, Op, Put, Row, Transaction, commit_reply};
use morph_tests::{LedgerLab, Load, Process, Strictness, pause, wait_until};
use std::time::{Duration, Instant};

/// Rows of the app, beside its books.
const KEYS: u64 = 10_000;
/// Rows of one transaction; each has an expectation too.
const BATCH: u64 = 2_000;
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
    let socket = ledger.lab().morpheus()?.run_dir().join("store.sock");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut store = StoreClient::new(morph_api::unix::connect_lazy(socket));
        for from in (0..KEYS).step_by(usize::try_from(BATCH)?) {
            let reply = store.commit(rows(from..from + BATCH)).await?.into_inner();
            let stored = matches!(reply.result, Some(commit_reply::Result::Committed(_)));
            ensure!(stored, "{reply:?}");
        }
        Ok(())
    })
}

fn rows(numbers: std::ops::Range<u64>) -> Transaction {
    let row = |n| Row {
        app: "ledger".into(),
        space: 0,
        table: "ballast".into(),
        key: format!("{n:016x}"),
    };
    let absent = |n| Expect {
        row: Some(row(n)),
        revision: 0,
    };
    let put = |n| Op {
        op: Some(Kind::Put(Put {
            row: Some(row(n)),
            value: format!(
                r#"{{"port":{},"mac":"02:00:00:00:00:01","seen":{n}}}"#,
                n % 48
            ),
            ..Put::default()
        })),
    };
    Transaction {
        expect: numbers.clone().map(absent).collect(),
        ops: numbers.map(put).collect(),
        ..Transaction::default()
    }
}
