//! Poison events: quarantined after three deaths, retried, dropped.

use anyhow::{Context, Result, ensure};
use morph_tests::{DeathPlace, LedgerLab, Load, result, wait_until};
use serde_json::Value;
use std::time::Duration;

/// Number of the packet of each switch on which the poisoned release panics.
const POISON: u64 = 50;
const DEADLINE: Duration = Duration::from_secs(20);
/// Packets that are sent at once.
const BATCH: u64 = 64;
/// Batches that are sent, at most, until one was delivered as a whole: it depends on how fast the app was before.
const ATTEMPTS: usize = 5;

fn quarantined(ledger: &LedgerLab) -> Result<Vec<Value>> {
    let list = ["events", "quarantined", "app=ledger"];
    let answer = ledger.lab().morpheus()?.morphctl(&list)?;
    Ok(answer["events"].as_array().context("events")?.clone())
}

/// Waits until `count` events are quarantined and none is being retried.
fn wait_quarantined(ledger: &LedgerLab, count: usize) -> Result<Vec<Value>> {
    let what = format!("{count} events are quarantined");
    wait_until(&what, DEADLINE, || {
        let events = quarantined(ledger)?;
        let idle = events.iter().all(|event| event["state"] == "quarantined");
        Ok((events.len() == count && idle).then_some(events))
    })
}

fn id(event: &Value) -> Result<&str> {
    event["id"].as_str().context("id")
}

fn panics(ledger: &LedgerLab) -> Result<usize> {
    let log = ["logs", "app=ledger", "--tail", "10000"];
    let log = ledger.lab().morpheus()?.morphctl(&log)?;
    let lines = log["logs"].as_array().context("logs")?.iter();
    let text = format!("packet {POISON}");
    let is_panic = |line: &&Value| {
        line["line"]
            .as_str()
            .is_some_and(|line| line.contains(&text))
    };
    Ok(lines.filter(is_panic).count())
}

/// Checks that each number of each switch was applied once and in order. The poison packet of the switches `late` was
/// applied later, that of the switches `never` not at all.
fn check_books(ledger: &LedgerLab, late: &[u64], never: &[u64]) -> Result<()> {
    ledger.switches().load(LedgerLab::PORT, Load::Silent);
    for (dpid, tally) in ledger.switches().tallies(LedgerLab::PORT) {
        let is = |all: &[u64]| all.contains(&dpid);
        let in_order: Vec<u64> = (1..=tally.sent()).filter(|n| *n != POISON).collect();
        let books = wait_until("all packets are in the books", DEADLINE, || {
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
            "switch {dpid}: the retried packet was not applied behind the others"
        );
        ensure!(
            tally.extra_answers() == 0,
            "switch {dpid} got duplicate answers"
        );
    }
    let notices = ledger.notices()?;
    let lost = notices.keys().any(|key| key.ends_with("/lost"));
    ensure!(!lost, "packets were reported as lost: {notices:?}");
    Ok(())
}

#[test]
fn an_event_that_kills_its_app_three_times_is_quarantined_and_all_others_are_applied() -> Result<()>
{
    let ledger = LedgerLab::new(2)?;
    let morpheus = ledger.lab().morpheus()?;
    ledger.upgrade_to("1.0.1", "ledger-poison")?;
    ledger
        .switches()
        .load(LedgerLab::PORT, Load::Window(250, 16));
    let events = wait_quarantined(&ledger, 2)?;
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
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
    // Each death counts from the first on, though others were in flight.
    let panics = panics(&ledger)?;
    ensure!(panics == 6, "{panics} deaths of two events");
    let app = morpheus.app("ledger")?;
    ensure!(
        app["quarantined"] == 2 && app["status"] == "running",
        "{app}"
    );
    let of = |dpid: &str| {
        let mut events = events.iter();
        events
            .find(|event| event["dpid"] == dpid)
            .with_context(|| format!("no event of switch {dpid}"))
    };
    let (first, second) = (id(of("0000000000000001")?)?, id(of("0000000000000002")?)?);

    // The release still dies of the event.
    morpheus.morphctl(&["events", "retry", first])?;
    let events = wait_until("the event has killed three times more", DEADLINE, || {
        let events = quarantined(&ledger)?;
        let again = events.iter().any(|e| e["id"] == first && e["deaths"] == 6);
        Ok(again.then_some(events))
    })?;
    ensure!(events.len() == 2, "{events:?}");
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;

    // A release without the defect.
    ledger.upgrade_to("1.0.2", "ledger-1")?;
    let answer = morpheus.morphctl(&["events", "retry", first])?;
    ensure!(answer["events"][0]["attempts"] == 2, "{answer}");
    let left = wait_quarantined(&ledger, 1)?;
    ensure!(left[0]["id"] == second, "{left:?}");
    let answer = morpheus.morphctl(&["events", "drop", second])?;
    ensure!(answer["events"][0]["state"] == "dropped", "{answer}");
    let refused = morpheus.try_morphctl(&["events", "drop", second])?;
    ensure!(refused.code == 1, "{refused:?}");
    let left = wait_quarantined(&ledger, 0)?;
    ensure!(left.is_empty(), "{left:?}");
    check_books(&ledger, &[1], &[2])?;
    ledger.finish()
}

#[test]
fn deaths_are_counted_across_restarts_of_morphd_and_while_there_is_none() -> Result<()> {
    let mut ledger = LedgerLab::new(1)?;
    ledger.upgrade_to("1.0.1", "ledger-poison")?;
    let armed = ledger.lab().dir().join("armed");
    let plan = format!("morphd.suspected@{}=kill", armed.display());
    ledger
        .lab_mut()
        .morpheus_mut()?
        .set_env("MORPH_FAIL", &plan);
    ledger.lab().process("morphd")?.kill()?;
    ledger.lab_mut().morpheus_mut()?.wait_exited()?;
    ledger.start_morphd()?;
    ledger.lab().morpheus()?.wait_running("ledger", None)?;
    std::fs::write(&armed, "")?;
    // Slowly, so that each event is durable before the next one comes and the first death counts.
    ledger.switches().load(LedgerLab::PORT, Load::Window(25, 4));
    // morphd dies when the first death is on record, and the app dies again while there is no morphd.
    ledger.lab_mut().morpheus_mut()?.wait_exited()?;
    wait_until("the instance is dead", DEADLINE, || {
        let gone = ledger.lab().process("program").is_err();
        Ok(gone.then_some(()))
    })?;
    ledger.start_morphd()?;
    let events = wait_quarantined(&ledger, 1)?;
    ensure!(events[0]["deaths"] == 3, "{events:?}");
    let panics = panics(&ledger)?;
    ensure!(panics == 3, "{panics} deaths, not 3");
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
    check_books(&ledger, &[], &[1])?;
    ledger.finish()
}

#[test]
fn deaths_of_the_target_are_not_counted_against_an_event_of_the_source() -> Result<()> {
    let ledger = LedgerLab::new(1)?;
    ledger.install("1.0.1", "ledger-poison")?;
    ledger.lab().upgrade("ledger", "1.0.1")?;
    ledger
        .switches()
        .load(LedgerLab::PORT, Load::Window(100, 16));
    wait_until("the upgrade is rolled back", DEADLINE, || {
        let rolled_back = ledger.lab().status("ledger")?["step"] == "ROLLED_BACK";
        Ok(rolled_back.then_some(()))
    })?;
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
    ensure!(quarantined(&ledger)?.is_empty());
    ledger.check_books(morph_tests::Delivery::AtMostOnce)?;
    ledger.finish()
}

/// Numbers in the book of the only switch.
fn applied(ledger: &LedgerLab) -> Result<Vec<u64>> {
    let runs = ledger.books()?.remove(&1).unwrap_or_default();
    Ok(runs
        .iter()
        .flat_map(|(first, last)| *first..=*last)
        .collect())
}

/// Waits until all packets are applied but so many.
fn wait_applied(ledger: &LedgerLab, but: usize) -> Result<Vec<u64>> {
    let all = ledger.switches().sent(LedgerLab::PORT) as usize - but;
    wait_until("all packets are in the books", DEADLINE, || {
        let numbers = applied(ledger)?;
        Ok((numbers.len() >= all).then_some(numbers))
    })
}

/// Sends a batch of which the packet at this place kills the app, until that event is in quarantine. Returns its place among
/// the events that the app was to answer.
fn send_poisoned(ledger: &LedgerLab, place: u64, poison: &[u64]) -> Result<DeathPlace> {
    let (switches, port) = (ledger.switches(), LedgerLab::PORT);
    // The proxy delivers as much at once as the app answered in a short time before.
    let warm = switches.answered(port) + 20 * BATCH;
    switches.load(port, Load::Window(20_000, BATCH));
    wait_until("the app is known to be fast", DEADLINE, || {
        Ok((switches.answered(port) >= warm).then_some(()))
    })?;
    switches.load(port, Load::Silent);
    wait_applied(ledger, poison.len())?;
    let deaths = ledger.deaths()?.len();
    switches.burst(1, port, BATCH, Some(place));
    wait_quarantined(ledger, poison.len() + 1)?;
    wait_applied(ledger, poison.len() + 1)?;
    let deaths = ledger.deaths()?.split_off(deaths);
    ensure!(deaths.len() == 3, "{deaths:?} are not three deaths");
    ensure!(
        deaths[1..].iter().all(|death| death.place == 1),
        "{deaths:?}: no event is handled before the suspect a second time"
    );
    deaths.first().copied().context("no death")
}

#[test]
fn an_event_that_kills_its_app_is_found_anywhere_in_a_batch_and_the_others_are_applied_once()
-> Result<()> {
    let ledger = LedgerLab::new(1)?;
    ledger.upgrade_to("1.0.1", "ledger-marked")?;
    let mut poison = Vec::new();
    for (name, place) in [("first", 1), ("middle", BATCH / 2), ("last", BATCH)] {
        let whole = DeathPlace::from((place, BATCH));
        let mut places = Vec::new();
        while places.last() != Some(&whole) {
            ensure!(
                places.len() < ATTEMPTS,
                "no batch was delivered as a whole: {places:?}"
            );
            places.push(send_poisoned(&ledger, place, &poison)?);
            let sent = ledger.switches().sent(LedgerLab::PORT);
            poison.push(sent - BATCH + place);
        }
        let found = format!("{place} of {BATCH}");
        result(
            &format!("quarantine/poison event, {name} of a batch"),
            found,
            "",
        );
    }
    let numbers = wait_applied(&ledger, poison.len())?;
    let sent = ledger.switches().sent(LedgerLab::PORT);
    let all: Vec<u64> = (1..=sent).filter(|n| !poison.contains(n)).collect();
    ensure!(numbers == all, "{numbers:?} without {poison:?}");
    let tallies = ledger.switches().tallies(LedgerLab::PORT);
    for (dpid, tally) in tallies {
        let extra = tally.extra_answers();
        ensure!(extra == 0, "switch {dpid} got {extra} answers too many");
    }
    ledger.finish()
}
