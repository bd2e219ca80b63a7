//! The wall clock steps by an hour, either way: nothing ends early for it, and nothing hangs.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, LedgerLab, Load, Strictness, pause, repository, wait_until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const HOUR: i64 = 3600;
/// Of each switch.
const LOAD: Load = Load::Window(100, 8);
/// For what ends by itself, beside its own time.
const SOON: Duration = Duration::from_secs(8);

/// A wall clock of Morpheus's own, which the test steps.
struct Clock(PathBuf);

impl Clock {
    /// Builds it, and has every process of the lab look at it.
    fn give(lab: &mut Lab) -> Result<Self> {
        let (library, file) = (lab.dir().join("clock.so"), lab.dir().join("clock"));
        let source = repository().join("tests/clock.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .args([&library, &source])
            .status()
            .context("cc")?;
        ensure!(status.success(), "cc: {status}");
        let clock = Self(file);
        clock.step(0)?;
        let text = |path: &Path| path.to_str().map(str::to_owned).context("path");
        lab.sandbox_mut()
            .set_variable("MORPH_CLOCK", &text(&clock.0)?);
        lab.sandbox_mut()
            .set_variable("LD_PRELOAD", &text(&library)?);
        Ok(clock)
    }

    /// From now on it is so many seconds off.
    fn step(&self, seconds: i64) -> Result<()> {
        // In place: it is mapped.
        let file = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.0)?;
        std::os::unix::fs::FileExt::write_all_at(&file, &seconds.to_ne_bytes(), 0)?;
        Ok(())
    }
}

fn lab() -> Result<(LedgerLab, Clock)> {
    let mut clock = None;
    let ledger = LedgerLab::with(
        2,
        |lab| {
            clock = Some(Clock::give(lab)?);
            Ok(())
        },
        &[],
    )?;
    ledger.switches().load(LedgerLab::PORT, LOAD);
    Ok((ledger, clock.context("no clock")?))
}

/// The upgrade stays in its probation for two seconds, and the app works.
fn goes_on(ledger: &LedgerLab, to: &str) -> Result<Value> {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        let status = ledger.lab().status("ledger")?;
        ensure!(
            status["step"] == "UPGRADED" && status["to"] == to,
            "{status}"
        );
        if Instant::now() > until {
            ledger.switches().wait_answers(LedgerLab::PORT, SOON)?;
            return Ok(status);
        }
        pause(Duration::from_millis(100));
    }
}

fn start_again(ledger: &mut LedgerLab) -> Result<()> {
    ledger.lab().process("morphd")?.kill()?;
    ledger.lab_mut().morpheus_mut()?.wait_gone()?;
    ledger.start_again()
}

#[test]
fn a_step_of_the_clock_ends_no_probation_and_hangs_no_upgrade() -> Result<()> {
    let (mut ledger, clock) = lab()?;
    // What Morpheus takes for the time has to follow, or nothing is tested.
    let before = ledger.lab().upgrade("ledger", "2.0.0")?["unix_ms"].as_i64();
    for (offset, ends_by) in [(HOUR, "commit"), (-HOUR, "rollback")] {
        clock.step(offset)?;
        goes_on(&ledger, "2.0.0")?;
        // The new morphd knows of the probation only what is stored.
        start_again(&mut ledger)?;
        goes_on(&ledger, "2.0.0")?;
        ledger.lab().morpheus()?.do_(&[ends_by, "app=ledger"])?;
        if ends_by == "commit" {
            let after = ledger.lab().status("ledger")?["unix_ms"].as_i64();
            let moved = after.zip(before).map(|(after, before)| after - before);
            ensure!(
                moved > Some((HOUR - 60) * 1000),
                "the clock did not step: {moved:?}"
            );
            ledger.lab().upgrade_for_good("ledger", "1.0.0")?;
            ledger.lab().upgrade("ledger", "2.0.0")?;
        }
    }
    ledger.settle(Strictness::AtMostOnce)?;
    ledger.finish()
}

#[test]
fn a_probation_ends_in_its_own_time_whatever_the_clock_says() -> Result<()> {
    let (mut ledger, clock) = lab()?;
    let mut to = "2.0.0";
    for (offset, restart) in [(HOUR, false), (-HOUR, false), (HOUR, true), (-HOUR, true)] {
        let release = format!("app=ledger@{to}");
        let upgrade = ["upgrade", &release, "--probation", "3s", "--no-wait"];
        // The end of the one before may be told a moment before it is over.
        wait_until("the upgrade begins", SOON, || {
            let answer = ledger.lab().morpheus()?.ask(&upgrade)?;
            Ok((answer.code == 0).then_some(()))
        })?;
        wait_until("the probation", SOON, || {
            Ok((ledger.lab().status("ledger")?["step"] == "UPGRADED").then_some(()))
        })?;
        let began = Instant::now();
        clock.step(offset)?;
        if restart {
            start_again(&mut ledger)?;
        }
        let done = wait_until("the probation ends", SOON + Duration::from_secs(3), || {
            let status = ledger.lab().status("ledger")?;
            ensure!(status["step"] != "ROLLED_BACK", "{status}");
            Ok((status["step"] == "COMMITTED").then_some(status))
        });
        let status = done.with_context(|| format!("stepped by {offset} s, restart: {restart}"))?;
        let took = began.elapsed();
        ensure!(
            took > Duration::from_millis(2500),
            "{offset}, {restart}: after {took:?}: {status}"
        );
        to = LedgerLab::other_release(to);
    }
    ledger.settle(Strictness::AtMostOnce)?;
    ledger.finish()
}

#[test]
fn instances_that_die_after_a_step_are_replaced() -> Result<()> {
    let (ledger, clock) = lab()?;
    for offset in [HOUR, -HOUR] {
        clock.step(offset)?;
        ledger.instance("1.0.0")?.kill()?;
        ledger.switches().wait_answers(LedgerLab::PORT, SOON)?;
        pause(Duration::from_millis(600));
        ledger.lab().process("morph-stored")?.kill()?;
        ledger.switches().wait_answers(LedgerLab::PORT, SOON)?;
    }
    ledger.settle(Strictness::AtMostOnce)?;
    ledger.finish()
}
