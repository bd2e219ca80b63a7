//! Timers of an app, which outlive its instances and an upgrade.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, Lab, Shape, bin, repository, wait_until};
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

/// Assembles a release of the example app.
fn bundle(dir: &Path, version: &str) -> Result<Bundle> {
    let manifest = repository().join("apps/sdk/examples/reminders/app.toml");
    let program = bin("examples/reminders")?;
    let bundle = Bundle::assemble(&manifest, &program, dir, version)?;
    bundle.set("version", &format!("\"{version}\""))
}

/// Number of times that a reminder came.
fn times(lab: &Lab, name: &str) -> Result<u64> {
    let list = ["store", "list", "app=reminders", "done"];
    let rows = lab.morpheus()?.morphctl(&list)?;
    let rows = rows["store"].as_array().context("store")?;
    let row = rows.iter().find(|row| row["key"] == name);
    Ok(row.and_then(|row| row["value"].as_u64()).unwrap_or(0))
}

#[test]
fn a_timer_comes_once_over_a_crash_and_an_upgrade() -> Result<()> {
    let mut lab = Lab::new(Shape::none())?;
    let bundles = lab.dir().join("bundles");
    bundle(&bundles, "1.0.0")?;
    let new = bundle(lab.dir(), "1.0.1")?;
    let bundles = bundles.to_str().context("a path that is not UTF-8")?;
    lab.start_morpheus(&["--bundles", bundles, "--app", "reminders@1.0.0"])?;
    let morpheus = lab.morpheus()?;
    morpheus.wait_running("reminders", None)?;
    let set = |entry: &str| morpheus.morphctl(&["config", "set", "app=reminders", entry]);
    set("after.soon=1")?;
    set("after.crash=4")?;
    set("after.upgrade=9")?;
    wait_until("a reminder comes", DEADLINE, || {
        Ok((times(&lab, "soon")? == 1).then_some(()))
    })?;
    ensure!(times(&lab, "crash")? == 0, "a timer came early");
    lab.process("reminders")?.kill()?;
    wait_until("a reminder comes after a crash", DEADLINE, || {
        Ok((times(&lab, "crash")? == 1).then_some(()))
    })?;
    ensure!(times(&lab, "upgrade")? == 0, "a timer came early");
    morpheus.morphctl(&["app", "install", new.path()?])?;
    let probation = ["--probation", "500ms"];
    morpheus.morphctl(&[&["upgrade", "app=reminders@1.0.1"], &probation[..]].concat())?;
    wait_until("a reminder comes after an upgrade", DEADLINE, || {
        Ok((times(&lab, "upgrade")? == 1).then_some(()))
    })?;
    for name in ["soon", "crash", "upgrade"] {
        ensure!(times(&lab, name)? == 1, "{name} came more than once");
    }
    lab.finish()
}
