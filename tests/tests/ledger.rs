//! Every event is applied once and in order, across upgrades, rollbacks and kills.

use anyhow::{Context, Result, ensure};
use morph_tests::{DeathPlace, Delivery, LedgerLab, Load, long, pause, result, wait_until};
use std::time::Duration;

/// Deadline for the app to answer again after a kill.
const RECOVERY: Duration = Duration::from_secs(10);
/// Load of each switch: more than the app can answer, so that always a window of packets is unanswered.
const FULL: Load = Load::Window(20_000, 64);
/// Events in the turn that answered the median event, at least.
const MEDIAN: u64 = 8;

#[test]
fn upgrades_and_rollbacks_lose_duplicate_and_reorder_nothing() -> Result<()> {
    let ledger = LedgerLab::measured(4)?;
    ledger.switches().load(LedgerLab::PORT, FULL);
    let mut version = "1.0.0";
    let mut held = 0;
    let rounds = if long() { 120 } else { 12 };
    for round in 0..rounds {
        let to = LedgerLab::other_release(version);
        let status = ledger.lab().upgrade("ledger", to)?;
        held += status["events_held"].as_u64().context("events_held")?;
        if round % 3 == 2 {
            let answer = ledger
                .lab()
                .morpheus()?
                .morphctl(&["rollback", "app=ledger"])?;
            ensure!(answer["upgrades"][0]["step"] == "ROLLED_BACK", "{answer}");
        } else {
            let answer = ledger
                .lab()
                .morpheus()?
                .morphctl(&["commit", "app=ledger"])?;
            ensure!(answer["upgrades"][0]["step"] == "COMMITTED", "{answer}");
            version = to;
        }
        pause(Duration::from_millis(20));
    }
    let sent = ledger.check_books(Delivery::ExactlyOnce)?;
    result("ledger/upgrades and rollbacks", rounds, "");
    result("ledger/packets, each applied and answered once", sent, "");
    result("ledger/events held in hand-overs", held, "at least 1");
    ensure!(held > 0, "no event was ever held");
    check_batches(&ledger, "upgrades and rollbacks")?;
    ledger.finish()
}

/// Process that is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Source,
    Target,
    Morphd,
    Store,
}

#[test]
fn kills_between_and_during_upgrades_lose_duplicate_and_reorder_nothing() -> Result<()> {
    let mut ledger = LedgerLab::measured(4)?;
    ledger.switches().load(LedgerLab::PORT, FULL);
    let mut version = "1.0.0";
    let victims = [
        Victim::Target,
        Victim::Store,
        Victim::Source,
        Victim::Morphd,
    ];
    let rounds = if long() { 80 } else { 8 };
    for victim in victims.iter().cycle().take(rounds) {
        let to = LedgerLab::other_release(version);
        ledger.lab().upgrade("ledger", to)?;
        kill(&mut ledger, *victim, version, to)?;
        version = finish_upgrade(&ledger, version, to)
            .with_context(|| format!("after the kill of {victim:?}"))?;
        ledger.switches().wait_answers(LedgerLab::PORT, RECOVERY)?;
        // A release that dies at once is restarted with growing delays.
        pause(Duration::from_millis(600));
    }
    let sent = ledger.check_books(Delivery::AtMostOnce)?;
    result("ledger/upgrades with a kill", rounds, "");
    result("ledger/packets over kills, each applied once", sent, "");
    check_batches(&ledger, "upgrades with a kill")?;
    ledger.finish()
}

#[test]
fn kills_of_the_live_instance_at_any_moment_lose_duplicate_and_reorder_nothing() -> Result<()> {
    let ledger = LedgerLab::measured(4)?;
    ledger.switches().load(LedgerLab::PORT, FULL);
    // Twenty deaths without ten seconds between them would be a crash loop.
    let rounds = if long() { 18 } else { 6 };
    for round in 0..rounds {
        ledger.switches().wait_answers(LedgerLab::PORT, RECOVERY)?;
        // Longer than a life that counts as a crash loop, and each time at another moment.
        pause(Duration::from_micros(600_000 + 1_300 * round));
        ledger.instance("1.0.0")?.kill()?;
    }
    let sent = ledger.check_books(Delivery::AtMostOnce)?;
    result("ledger/kills of the live instance", rounds, "");
    result("ledger/packets over these, each applied once", sent, "");
    let deaths = ledger.deaths()?;
    let count = |is: fn(&DeathPlace) -> bool| deaths.iter().filter(|death| is(death)).count();
    let first = count(|death| death.place == 1);
    let last = count(|death| death.place == death.count && death.count > 1);
    let middle = deaths.len() - first - last;
    let between = rounds as usize - deaths.len();
    result(
        "ledger/of these at the first, a middle, the last event of a batch, at none",
        format!("{first}, {middle}, {last}, {between}"),
        "",
    );
    check_batches(&ledger, "kills of the live instance")?;
    ledger.finish()
}

/// Checks that most events were answered together with others. Turns of one event may be more than half of the turns: an
/// instance that has just become live, or waits for a processor, is given events one by one.
fn check_batches(ledger: &LedgerLab, name: &str) -> Result<()> {
    let sizes = ledger.turn_sizes()?;
    let of = |what: &str| format!("ledger/{name}: events in {what}, at least");
    result(&of("the median turn"), sizes.median(), "");
    let median = sizes.median_event();
    let limit = format!("at least {MEDIAN}");
    result(&of("the turn of the median event"), median, limit);
    ensure!(median >= MEDIAN, "{sizes:?}");
    Ok(())
}

/// Kills one process during the probation of an upgrade, in which the target is live.
fn kill(ledger: &mut LedgerLab, victim: Victim, from: &str, to: &str) -> Result<()> {
    match victim {
        Victim::Target => ledger.instance(to)?.kill(),
        // After a rollback, so that no upgrade is running.
        Victim::Source => {
            ledger
                .lab()
                .morpheus()?
                .morphctl(&["rollback", "app=ledger"])?;
            let source = wait_until("the source runs alone", RECOVERY, || {
                Ok(ledger.instance(from).ok())
            })?;
            source.kill()
        }
        Victim::Store => ledger.lab().process("morph-stored")?.kill(),
        Victim::Morphd => {
            ledger.lab().process("morphd")?.kill()?;
            ledger.lab_mut().morpheus_mut()?.wait_exited()?;
            ledger.start_morphd()
        }
    }
}

/// Ends an upgrade unless it has ended by itself; returns the release that runs then.
fn finish_upgrade<'a>(ledger: &LedgerLab, from: &'a str, to: &'a str) -> Result<&'a str> {
    let step = wait_until("the upgrade ends", RECOVERY, || {
        let step = ledger.lab().status("ledger")?["step"].clone();
        match step.as_str() {
            Some("UPGRADED") => {
                ledger
                    .lab()
                    .morpheus()?
                    .try_morphctl(&["commit", "app=ledger"])?;
                Ok(None)
            }
            Some("COMMITTED") => Ok(Some(to)),
            Some("ROLLED_BACK") => Ok(Some(from)),
            _ => Ok(None),
        }
    })?;
    Ok(step)
}
