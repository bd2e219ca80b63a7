//! More packets than an app answers: those of others are answered, what is answered is answered soon, and what is lost is
//! told. Because of an upgrade none is lost.

use anyhow::{Context, Result, ensure};
use morph_tests::{Delivery, LedgerLab, Load, Pace, pause, result, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;

/// Switch that floods.
const FLOODS: u64 = 1;
/// Many times what an app answers that takes 2 ms for each packet.
const FLOOD: Load = Load::Open(3000);
/// A packet every 200 ms, once the one before is answered.
const QUIET: Load = Load::Window(5, 1);
const DEADLINE: Duration = Duration::from_secs(60);
/// Packets of the flood that have to be lost, and of each quiet source that have to be answered.
const LOST: u64 = 1000;
const ANSWERED: u64 = 20;
/// Product's default of the time that a packet may wait, in microseconds.
const TARGET_US: u64 = 200_000;
/// Load that any machine answers.
const FITS: Load = Load::Open(50);

fn app(ledger: &LedgerLab) -> Result<Value> {
    ledger.lab().morpheus()?.app("ledger")
}

fn number(app: &Value, key: &str) -> Result<u64> {
    app[key].as_u64().with_context(|| format!("{key}: {app}"))
}

/// Waits until the app has lost so many packets because they were too old, and at once delivers the others within this
/// time. An app or a machine that stands still delays all packets once, and none of them is dropped.
fn wait_bounded(ledger: &LedgerLab, lost: u64, within_us: u64) -> Result<Value> {
    wait_until("what is too old is dropped", DEADLINE, || {
        let app = app(ledger)?;
        let bounded = number(&app, "delay_p99_us")? <= within_us;
        let enough = number(&app, "too_old")? >= lost;
        Ok((enough && bounded).then_some(app))
    })
}

fn check_target(ledger: &LedgerLab) -> Result<()> {
    let app = app(ledger)?;
    ensure!(number(&app, "target_delay_us")? == TARGET_US, "{app}");
    Ok(())
}

/// Number of lines of the proxy's log with this text.
fn logged(ledger: &LedgerLab, text: &str) -> Result<usize> {
    let log = ["logs", "app=morph-proxy", "--tail", "10000"];
    let log = ledger.lab().morpheus()?.morphctl(&log)?;
    let lines = log["logs"].as_array().context("logs")?.iter();
    let has = |line: &&Value| line["line"].as_str().is_some_and(|l| l.contains(text));
    Ok(lines.filter(has).count())
}

#[test]
fn a_switch_that_floods_loses_packets_and_no_other_one_does() -> Result<()> {
    const SWITCHES: u64 = 16;
    let ledger = LedgerLab::new(SWITCHES as usize)?;
    ledger.upgrade_to("1.0.1", "ledger-busy")?;
    check_target(&ledger)?;
    let switches = ledger.switches();
    for dpid in 1..=SWITCHES {
        let load = if dpid == FLOODS { FLOOD } else { QUIET };
        switches.load_of(dpid, LedgerLab::PORT, load);
    }
    let app = wait_bounded(&ledger, LOST, 2 * TARGET_US)?;
    ensure!(app["flooding"] == format!("{FLOODS:016x}"), "{app}");
    ensure!(number(&app, "flooding_percent")? > 50, "{app}");
    ensure!(number(&app, "answered")? > 0, "{app}");
    wait_until("the quiet switches are answered", DEADLINE, || {
        let tallies = switches.tallies(LedgerLab::PORT);
        let all = tallies.values().all(|tally| tally.answered() >= ANSWERED);
        Ok(all.then_some(()))
    })?;
    let lost = ledger.check_gaps()?;
    ensure!(lost.keys().eq([&FLOODS]), "{lost:?}");
    let app = self::app(&ledger)?;
    let of_it = lost.values().sum::<u64>();
    ensure!(number(&app, "lost")? == of_it, "{app}, and told {of_it}");
    result("overload/packets of the flood that were lost", of_it, "");
    for (dpid, tally) in switches.tallies(LedgerLab::PORT) {
        let unanswered = tally.unanswered();
        ensure!(
            dpid == FLOODS || unanswered.is_empty(),
            "switch {dpid}: {unanswered:?}"
        );
    }
    wait_until("the overload is over", DEADLINE, || {
        Ok((self::app(&ledger)?["flooding"] == "").then_some(()))
    })?;
    let lines = (
        logged(&ledger, "events of this switch are dropped")?,
        logged(&ledger, "no longer overloaded: ")?,
    );
    ensure!(lines == (1, 1), "{lines:?} lines in the log");
    ledger.finish()
}

#[test]
fn a_port_that_floods_takes_nothing_from_another_port_of_its_switch() -> Result<()> {
    let ledger = LedgerLab::new(2)?;
    ledger.upgrade_to("1.0.1", "ledger-busy")?;
    let switches = ledger.switches();
    switches.load_of(FLOODS, LedgerLab::PORT, FLOOD);
    switches.load_of(FLOODS, LedgerLab::OTHER_PORT, Load::Window(50, 4));
    wait_bounded(&ledger, LOST, 2 * TARGET_US)?;
    wait_until("the quiet port is answered", DEADLINE, || {
        let answered = switches.answered(LedgerLab::OTHER_PORT);
        Ok((answered >= ANSWERED).then_some(()))
    })?;
    switches.load(LedgerLab::OTHER_PORT, Load::Silent);
    let lost = ledger.check_gaps()?;
    ensure!(lost.keys().eq([&FLOODS]), "{lost:?}");
    let tallies = switches.tallies(LedgerLab::OTHER_PORT);
    let unanswered = tallies.get(&FLOODS).context("no tally")?.unanswered();
    ensure!(unanswered.is_empty(), "{unanswered:?}");
    ledger.finish()
}

#[test]
fn a_switch_that_reads_nothing_is_cut_off_and_the_others_are_answered() -> Result<()> {
    let ledger = LedgerLab::new(4)?;
    let switches = ledger.switches();
    switches.set_pace(FLOODS, Pace::ReadsNothing);
    switches.load(LedgerLab::PORT, QUIET);
    switches.load_of(FLOODS, LedgerLab::PORT, Load::Open(30_000));
    wait_until("the switch is cut off", 2 * DEADLINE, || {
        Ok((switches.disconnects_of(FLOODS) > 0).then_some(()))
    })?;
    let quiet = || {
        let tallies = switches.tallies(LedgerLab::PORT).into_iter();
        tallies.filter(|(dpid, _)| *dpid != FLOODS)
    };
    let before: u64 = quiet().map(|(_, tally)| tally.sent()).sum();
    wait_until("new packets of the others are answered", DEADLINE, || {
        let answered: u64 = quiet().map(|(_, tally)| tally.answered()).sum();
        Ok((answered > before + ANSWERED).then_some(()))
    })?;
    switches.load(LedgerLab::PORT, Load::Silent);
    wait_until("all packets of the others are answered", DEADLINE, || {
        let all = quiet().all(|(_, tally)| tally.unanswered().is_empty());
        Ok(all.then_some(()))
    })?;
    let notices = ledger.notices()?;
    let mut lost = notices.keys().filter(|key| key.ends_with("/lost"));
    let flood = format!("{FLOODS:016x}/lost");
    ensure!(lost.all(|key| *key == flood), "{notices:?}");
    ensure!(switches.disconnects() == switches.disconnects_of(FLOODS));
    ledger.finish_after_disconnects()
}

#[test]
fn what_an_app_answers_that_takes_100_ms_for_a_packet_did_not_wait_for_long() -> Result<()> {
    let ledger = LedgerLab::new(4)?;
    ledger.upgrade_to("1.0.1", "ledger-slow")?;
    let switches = ledger.switches();
    switches.load(LedgerLab::PORT, Load::Window(1, 1));
    switches.load_of(FLOODS, LedgerLab::PORT, Load::Open(200));
    // The target, and some packets of others that have their turns before.
    let app = wait_bounded(&ledger, 500, 5 * TARGET_US)?;
    ensure!(number(&app, "delay_p50_us")? > 0, "{app}");
    let lost = ledger.check_gaps()?;
    ensure!(lost.keys().eq([&FLOODS]), "{lost:?}");
    ledger.finish()
}

#[test]
fn an_upgrade_that_holds_events_for_four_seconds_loses_none() -> Result<()> {
    const HOLD: Duration = Duration::from_secs(4);
    let stops = |lab: &mut morph_tests::Lab| {
        let plan = "morphd.upgrade.fencing:1=stop";
        lab.sandbox_mut().set_env("MORPH_FAIL", plan);
        Ok(())
    };
    let ledger = LedgerLab::with(4, stops, &[])?;
    check_target(&ledger)?;
    let morphd = ledger.lab().process("morphd")?;
    ledger.switches().load(LedgerLab::PORT, FITS);
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
    let morpheus = ledger.lab().morpheus()?;
    // morphd stands still in the hold, and its deadlines would end both before it continues.
    let upgrade = ["upgrade", "app=ledger@2.0.0", "--probation", "60s"];
    let deadlines = ["--deadline", "hold=50s", "--deadline", "fence=40s"];
    let mut upgrade = morpheus.spawn_morphctl(&[&upgrade[..], &deadlines].concat())?;
    wait_until("morphd is stopped in the hold", DEADLINE, || {
        Ok(morphd.is_stopped().then_some(()))
    })?;
    pause(HOLD);
    morpheus.continue_stopped(&morphd);
    let status = wait_until("the target is live", DEADLINE, || {
        let status = ledger.lab().status("ledger")?;
        Ok((status["step"] == "UPGRADED").then_some(status))
    })?;
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
    let held = number(&status, "events_held")?;
    let handover = Duration::from_micros(number(&status, "handover_us")?);
    ensure!(held > 0 && handover >= HOLD, "{status}");
    check_target(&ledger)?;
    ledger.check_books(Delivery::ExactlyOnce)?;
    ensure!(number(&app(&ledger)?, "lost")? == 0);
    result(
        "overload/events in a hold of 4 s, none of them lost",
        held,
        "",
    );
    upgrade.kill()?;
    upgrade.wait()?;
    ledger.finish()
}

#[test]
fn a_target_that_hangs_for_three_seconds_in_its_probation_loses_no_event() -> Result<()> {
    let ledger = LedgerLab::new(4)?;
    check_target(&ledger)?;
    ledger.switches().load(LedgerLab::PORT, FITS);
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
    ledger.lab().upgrade("ledger", "2.0.0")?;
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
    let target = ledger.instance("2.0.0")?;
    target.signal(Signal::STOP)?;
    pause(Duration::from_secs(3));
    // By now the source may have taken over, and the target may have been ended.
    let _ = target.signal(Signal::CONT);
    wait_until("the upgrade is rolled back", DEADLINE, || {
        let status = ledger.lab().status("ledger")?;
        Ok((status["step"] == "ROLLED_BACK").then_some(()))
    })?;
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
    check_target(&ledger)?;
    ledger.check_books(Delivery::AtMostOnce)?;
    ensure!(number(&app(&ledger)?, "lost")? == 0);
    ledger.finish()
}
