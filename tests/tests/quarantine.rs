//! Events that kill their app: set aside after three deaths, tried again, dropped.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, LedgerLab, Load, bin, repository, wait_until};
use serde_json::Value;
use std::time::Duration;

/// The packet of each switch that the poisoned release dies of.
const POISON: u64 = 50;
const SOON: Duration = Duration::from_secs(20);

/// Installs a release of the ledger with this program, and goes to it.
fn go_to(ledger: &LedgerLab, version: &str, program: &str) -> Result<()> {
    let manifest = repository().join("apps/ledger/bundles/1.0.0/app.toml");
    let dir = ledger.lab().dir().to_owned();
    let program = bin(&format!("examples/{program}"))?;
    let bundle = Bundle::made(&manifest, &program, &dir, version)?
        .set("version", &format!("\"{version}\""))?
        .program(&program)?;
    let morpheus = ledger.lab().morpheus()?;
    morpheus.do_(&["app", "install", bundle.path()?])?;
    ledger.lab().upgrade("ledger", version)?;
    morpheus.do_(&["commit", "app=ledger"])?;
    Ok(())
}

fn quarantined(ledger: &LedgerLab) -> Result<Vec<Value>> {
    let list = ["events", "quarantined", "app=ledger"];
    let answer = ledger.lab().morpheus()?.do_(&list)?;
    Ok(answer["events"].as_array().context("events")?.clone())
}

/// Waits until so many are set aside and none of them is tried.
fn wait_quarantined(ledger: &LedgerLab, count: usize) -> Result<Vec<Value>> {
    let what = format!("{count} events are set aside");
    wait_until(&what, SOON, || {
        let events = quarantined(ledger)?;
        let at_rest = events.iter().all(|event| event["state"] == "quarantined");
        Ok((events.len() == count && at_rest).then_some(events))
    })
}

fn id(event: &Value) -> Result<&str> {
    event["id"].as_str().context("id")
}

fn panics(ledger: &LedgerLab) -> Result<usize> {
    let log = ["logs", "app=ledger", "--tail", "10000"];
    let log = ledger.lab().morpheus()?.do_(&log)?;
    let lines = log["logs"].as_array().context("logs")?.iter();
    let said = format!("packet {POISON}");
    let of = |line: &&Value| {
        line["line"]
            .as_str()
            .is_some_and(|line| line.contains(&said))
    };
    Ok(lines.filter(of).count())
}

/// Each number of each switch was applied once, in order but for those that were set aside; these came late, or never.
fn settled(ledger: &LedgerLab, late: &[u64], never: &[u64]) -> Result<()> {
    ledger.switches().load(LedgerLab::PORT, Load::Silent);
    for (dpid, tally) in ledger.switches().tallies(LedgerLab::PORT) {
        let is = |all: &[u64]| all.contains(&dpid);
        let in_order: Vec<u64> = (1..=tally.sent()).filter(|n| *n != POISON).collect();
        let books = wait_until("all is in the books", SOON, || {
            let runs = ledger.books()?.remove(&dpid).unwrap_or_default();
            let numbers: Vec<u64> = runs.iter().flat_map(|(a, b)| *a..=*b).collect();
            let all = numbers.len() >= in_order.len() + usize::from(is(late));
            Ok(all.then_some(numbers))
        })?;
        let (poison, others): (Vec<u64>, Vec<u64>) = books.iter().partition(|n| **n == POISON);
        ensure!(others == in_order, "switch {dpid}: {others:?}");
        ensure!(
            poison.len() == usize::from(is(late)),
            "switch {dpid}: {poison:?}"
        );
        ensure!(is(late) || is(never) || tally.sent() < POISON);
        ensure!(
            !is(late) || books.get(49) != Some(&POISON),
            "it came at its old place"
        );
        ensure!(tally.too_many() == 0, "switch {dpid} got answers twice");
    }
    let told = ledger.told()?;
    ensure!(!told.keys().any(|key| key.ends_with("/lost")), "{told:?}");
    Ok(())
}

#[test]
fn an_event_that_kills_its_app_three_times_is_set_aside_and_all_others_are_applied() -> Result<()> {
    let ledger = LedgerLab::new(2)?;
    let morpheus = ledger.lab().morpheus()?;
    go_to(&ledger, "1.0.1", "ledger-poison")?;
    ledger
        .switches()
        .load(LedgerLab::PORT, Load::Window(250, 16));
    let events = wait_quarantined(&ledger, 2)?;
    ledger.switches().wait_answers(LedgerLab::PORT, SOON)?;
    for event in &events {
        ensure!(
            event["release"] == "1.0.1" && event["deaths"] == 3,
            "{event}"
        );
        ensure!(
            event["kind"] == "packet_in" && event["decoded"]["type"] == "PACKET_IN",
            "{event}"
        );
        let how = event["how"].as_str().context("how")?;
        ensure!(how.contains("101") && how.contains("packet 50"), "{event}");
    }
    let app = morpheus.app("ledger")?;
    ensure!(
        app["quarantined"] == 2 && app["status"] == "running",
        "{app}"
    );
    let of = |dpid: &str| {
        let mut events = events.iter();
        events
            .find(|event| event["dpid"] == dpid)
            .context("no such")
    };
    let (first, second) = (id(of("0000000000000001")?)?, id(of("0000000000000002")?)?);

    // The release is as bad as before.
    morpheus.do_(&["events", "retry", first])?;
    let events = wait_until("it has killed three times more", SOON, || {
        let events = quarantined(&ledger)?;
        let again = events.iter().any(|e| e["id"] == first && e["deaths"] == 6);
        Ok(again.then_some(events))
    })?;
    ensure!(events.len() == 2, "{events:?}");
    ledger.switches().wait_answers(LedgerLab::PORT, SOON)?;

    // It is mended.
    go_to(&ledger, "1.0.2", "ledger-1")?;
    let answer = morpheus.do_(&["events", "retry", first])?;
    ensure!(answer["events"][0]["attempts"] == 2, "{answer}");
    let left = wait_quarantined(&ledger, 1)?;
    ensure!(left[0]["id"] == second, "{left:?}");
    let answer = morpheus.do_(&["events", "drop", second])?;
    ensure!(answer["events"][0]["state"] == "dropped", "{answer}");
    let refused = morpheus.ask(&["events", "drop", second])?;
    ensure!(refused.code == 1, "{refused:?}");
    let left = wait_quarantined(&ledger, 0)?;
    ensure!(left.is_empty(), "{left:?}");
    settled(&ledger, &[1], &[2])?;
    ledger.finish()
}

#[test]
fn deaths_are_counted_on_by_the_next_morphd_and_while_there_is_none() -> Result<()> {
    let mut ledger = LedgerLab::new(1)?;
    go_to(&ledger, "1.0.1", "ledger-poison")?;
    let armed = ledger.lab().dir().join("armed");
    let plan = format!("morphd.suspected@{}=kill", armed.display());
    ledger
        .lab_mut()
        .morpheus_mut()?
        .set_env("MORPH_FAIL", &plan);
    ledger.lab().process("morphd")?.kill()?;
    ledger.lab_mut().morpheus_mut()?.wait_gone()?;
    ledger.start_again()?;
    ledger.lab().morpheus()?.wait_running("ledger", None)?;
    std::fs::write(&armed, "")?;
    // Slowly: each is durable before the next comes, so the first death counts.
    ledger.switches().load(LedgerLab::PORT, Load::Window(25, 4));
    // Once the first death is on record morphd dies, and its app again while there is no morphd.
    ledger.lab_mut().morpheus_mut()?.wait_gone()?;
    wait_until("nobody is left", SOON, || {
        let gone = ledger.lab().process("program").is_err();
        Ok(gone.then_some(()))
    })?;
    ledger.start_again()?;
    let events = wait_quarantined(&ledger, 1)?;
    ensure!(events[0]["deaths"] == 3, "{events:?}");
    let panics = panics(&ledger)?;
    ensure!(panics == 3, "{panics} deaths");
    ledger.switches().wait_answers(LedgerLab::PORT, SOON)?;
    settled(&ledger, &[], &[1])?;
    ledger.finish()
}

#[test]
fn a_newcomers_deaths_are_not_counted_against_the_old_releases_event() -> Result<()> {
    let ledger = LedgerLab::new(1)?;
    let manifest = repository().join("apps/ledger/bundles/1.0.0/app.toml");
    let program = bin("examples/ledger-poison")?;
    let bundle = Bundle::made(&manifest, &program, ledger.lab().dir(), "poisoned")?
        .set("version", "\"1.0.1\"")?
        .program(&program)?;
    let morpheus = ledger.lab().morpheus()?;
    morpheus.do_(&["app", "install", bundle.path()?])?;
    ledger.lab().upgrade("ledger", "1.0.1")?;
    ledger
        .switches()
        .load(LedgerLab::PORT, Load::Window(100, 16));
    wait_until("it goes back", SOON, || {
        let back = ledger.lab().status("ledger")?["step"] == "ROLLED_BACK";
        Ok(back.then_some(()))
    })?;
    ledger.switches().wait_answers(LedgerLab::PORT, SOON)?;
    ensure!(quarantined(&ledger)?.is_empty());
    ledger.settle(morph_tests::Strictness::AtMostOnce)?;
    ledger.finish()
}
