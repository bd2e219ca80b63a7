//! Every event is applied once and in order, over upgrades, rollbacks and kills.

use anyhow::{Context, Result, ensure};
use morph_tests::{LedgerLab, Load, Strictness, pause, wait_until};
use std::time::Duration;

/// How long it may take until the app works again after a kill.
const BACK: Duration = Duration::from_secs(10);
/// Of each switch.
const LOAD: Load = Load::Window(250, 16);

fn rounds(short: usize, long: usize) -> usize {
    if std::env::var_os("MORPH_LONG").is_some() {
        long
    } else {
        short
    }
}

#[test]
fn upgrades_and_rollbacks_lose_double_and_disorder_nothing() -> Result<()> {
    let ledger = LedgerLab::new(4)?;
    ledger.switches().load(LedgerLab::PORT, LOAD);
    let mut version = "1.0.0";
    let mut held = 0;
    for round in 0..rounds(12, 120) {
        let to = LedgerLab::other_release(version);
        let status = ledger.lab().upgrade("ledger", to)?;
        held += status["events_held"].as_u64().context("events_held")?;
        if round % 3 == 2 {
            let answer = ledger.lab().morpheus()?.do_(&["rollback", "app=ledger"])?;
            ensure!(answer["upgrades"][0]["step"] == "ROLLED_BACK", "{answer}");
        } else {
            let answer = ledger.lab().morpheus()?.do_(&["commit", "app=ledger"])?;
            ensure!(answer["upgrades"][0]["step"] == "COMMITTED", "{answer}");
            version = to;
        }
        pause(Duration::from_millis(20));
    }
    let sent = ledger.settle(Strictness::Once)?;
    println!("{sent} packets, {held} of them held, each applied and answered once");
    ensure!(held > 0, "no event was ever held");
    ledger.finish()
}

/// Who dies.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Live,
    Newcomer,
    Morphd,
    Store,
}

#[test]
fn kills_between_and_during_upgrades_lose_double_and_disorder_nothing() -> Result<()> {
    let mut ledger = LedgerLab::new(4)?;
    ledger.switches().load(LedgerLab::PORT, LOAD);
    let mut version = "1.0.0";
    let victims = [
        Victim::Newcomer,
        Victim::Store,
        Victim::Live,
        Victim::Morphd,
    ];
    for victim in victims.iter().cycle().take(rounds(8, 80)) {
        let to = LedgerLab::other_release(version);
        ledger.lab().upgrade("ledger", to)?;
        kill(&mut ledger, *victim, version, to)?;
        version = end(&ledger, version, to).with_context(|| format!("{victim:?} was killed"))?;
        ledger.switches().wait_answers(LedgerLab::PORT, BACK)?;
        // One that dies at once is started ever later.
        pause(Duration::from_millis(600));
    }
    let sent = ledger.settle(Strictness::AtMostOnce)?;
    println!("{sent} packets, each applied once");
    ledger.finish()
}

/// Kills one, in the probation of an upgrade: the live instance is the newcomer until it is rolled back.
fn kill(ledger: &mut LedgerLab, victim: Victim, from: &str, to: &str) -> Result<()> {
    match victim {
        Victim::Newcomer => ledger.instance(to)?.kill(),
        // Between upgrades, so that there is nothing to go back to.
        Victim::Live => {
            ledger.lab().morpheus()?.do_(&["rollback", "app=ledger"])?;
            let live = wait_until("one instance is left", BACK, || {
                Ok(ledger.instance(from).ok())
            })?;
            live.kill()
        }
        Victim::Store => ledger.lab().process("morph-stored")?.kill(),
        Victim::Morphd => {
            ledger.lab().process("morphd")?.kill()?;
            ledger.lab_mut().morpheus_mut()?.wait_gone()?;
            ledger.start_again()
        }
    }
}

/// Ends an upgrade, if it has not ended by itself; which release there is then.
fn end<'a>(ledger: &LedgerLab, from: &'a str, to: &'a str) -> Result<&'a str> {
    let step = wait_until("the upgrade can be ended", BACK, || {
        let step = ledger.lab().status("ledger")?["step"].clone();
        match step.as_str() {
            Some("UPGRADED") => {
                ledger.lab().morpheus()?.ask(&["commit", "app=ledger"])?;
                Ok(None)
            }
            Some("COMMITTED") => Ok(Some(to)),
            Some("ROLLED_BACK") => Ok(Some(from)),
            _ => Ok(None),
        }
    })?;
    Ok(step)
}
