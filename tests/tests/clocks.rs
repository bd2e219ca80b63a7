//! Steps of the wall clock by an hour: nothing ends early, and nothing hangs.

use anyhow::{Context, Result, ensure};
use morph_tests::{Delivery, Lab, LedgerLab, Load, pause, repository, wait_until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const HOUR: i64 = 3600;
/// Load of each switch.
const LOAD: Load = Load::Window(100, 8);
/// Time for what ends by itself, beyond its own duration.
const DEADLINE: Duration = Duration::from_secs(8);

/// Wall clock for Morpheus alone, which the test steps (`tests/clock.c`).
struct Clock(PathBuf);

impl Clock {
    /// Builds the library and preloads it into every process of the lab.
    fn install(lab: &mut Lab) -> Result<Self> {
        let (library, file) = (lab.dir().join("clock.so"), lab.dir().join("clock"));
        let source = repository().join("tests/clock.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .args([&library, &source])
            .status()
            .context("cannot run cc")?;
        ensure!(status.success(), "cc failed: {status}");
        let clock = Self(file);
        clock.step(0)?;
        let text = |path: &Path| path.to_str().map(str::to_owned).context("path");
        lab.sandbox_mut().set_env("MORPH_CLOCK", &text(&clock.0)?);
        lab.sandbox_mut().set_env("LD_PRELOAD", &text(&library)?);
        Ok(clock)
    }

    /// Sets the clock's offset from the real time.
    fn step(&self, seconds: i64) -> Result<()> {
        // Written in place: the processes have the file mapped.
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
            clock = Some(Clock::install(lab)?);
            Ok(())
        },
        &[],
    )?;
    ledger.switches().load(LedgerLab::PORT, LOAD);
    Ok((ledger, clock.context("the clock was not installed")?))
}

/// Checks for two seconds that the upgrade stays in its probation, and that the app answers.
fn stays_in_probation(ledger: &LedgerLab, to: &str) -> Result<Value> {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        let status = ledger.lab().status("ledger")?;
        ensure!(
            status["step"] == "UPGRADED" && status["to"] == to,
            "{status}"
        );
        if Instant::now() > until {
            ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
            return Ok(status);
        }
        pause(Duration::from_millis(100));
    }
}

fn restart_morphd(ledger: &mut LedgerLab) -> Result<()> {
    ledger.lab().process("morphd")?.kill()?;
    ledger.lab_mut().morpheus_mut()?.wait_exited()?;
    ledger.start_morphd()
}

#[test]
fn a_step_of_the_clock_ends_no_probation_and_hangs_no_upgrade() -> Result<()> {
    let (mut ledger, clock) = lab()?;
    // Times that Morpheus reports must follow the step, or the test shows nothing.
    let before = ledger.lab().upgrade("ledger", "2.0.0")?["unix_ms"].as_i64();
    for (offset, ends_by) in [(HOUR, "commit"), (-HOUR, "rollback")] {
        clock.step(offset)?;
        stays_in_probation(&ledger, "2.0.0")?;
        // The new morphd knows only what is stored about the probation.
        restart_morphd(&mut ledger)?;
        stays_in_probation(&ledger, "2.0.0")?;
        ledger
            .lab()
            .morpheus()?
            .morphctl(&[ends_by, "app=ledger"])?;
        if ends_by == "commit" {
            let after = ledger.lab().status("ledger")?["unix_ms"].as_i64();
            let moved = after.zip(before).map(|(after, before)| after - before);
            ensure!(
                moved > Some((HOUR - 60) * 1000),
                "the clock did not step: {moved:?}"
            );
            ledger.lab().upgrade_and_commit("ledger", "1.0.0")?;
            ledger.lab().upgrade("ledger", "2.0.0")?;
        }
    }
    ledger.check_books(Delivery::AtMostOnce)?;
    ledger.finish()
}

#[test]
fn a_probation_lasts_its_time_whatever_the_wall_clock_does() -> Result<()> {
    let (mut ledger, clock) = lab()?;
    let mut to = "2.0.0";
    for (offset, restart) in [(HOUR, false), (-HOUR, false), (HOUR, true), (-HOUR, true)] {
        let release = format!("app=ledger@{to}");
        let upgrade = ["upgrade", &release, "--probation", "3s", "--no-wait"];
        // The end of the previous upgrade may be reported a moment early.
        wait_until("the upgrade begins", DEADLINE, || {
            let answer = ledger.lab().morpheus()?.try_morphctl(&upgrade)?;
            Ok((answer.code == 0).then_some(()))
        })?;
        wait_until("the probation begins", DEADLINE, || {
            Ok((ledger.lab().status("ledger")?["step"] == "UPGRADED").then_some(()))
        })?;
        let began = Instant::now();
        clock.step(offset)?;
        if restart {
            restart_morphd(&mut ledger)?;
        }
        let done = wait_until(
            "the probation ends",
            DEADLINE + Duration::from_secs(3),
            || {
                let status = ledger.lab().status("ledger")?;
                ensure!(status["step"] != "ROLLED_BACK", "{status}");
                Ok((status["step"] == "COMMITTED").then_some(status))
            },
        );
        let status = done.with_context(|| {
            format!("clock stepped by {offset} s, restart of morphd: {restart}")
        })?;
        let took = began.elapsed();
        ensure!(
            took > Duration::from_millis(2500),
            "step {offset} s, restart {restart}: ended after {took:?}: {status}"
        );
        to = LedgerLab::other_release(to);
    }
    ledger.check_books(Delivery::AtMostOnce)?;
    ledger.finish()
}

#[test]
fn instances_that_die_after_a_clock_step_are_replaced() -> Result<()> {
    let (ledger, clock) = lab()?;
    for offset in [HOUR, -HOUR] {
        clock.step(offset)?;
        ledger.instance("1.0.0")?.kill()?;
        ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
        pause(Duration::from_millis(600));
        ledger.lab().process("morph-stored")?.kill()?;
        ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
    }
    ledger.check_books(Delivery::AtMostOnce)?;
    ledger.finish()
}
