//! Broken releases and impossible upgrades: refused or rolled back with a reason, and no packet is lost.

use anyhow::{Result, ensure};
use morph_tests::{Bundle, CtlOutput, Lab, Shape, wait_until};
use std::time::Duration;

/// Exit codes of morphctl.
const REFUSED: i32 = 1;
const ROLLED_BACK: i32 = 4;

const APP: &str = "learning-switch";

/// Runs `fault` on a network in use. No ping may be lost, and the old instance stays.
fn undisturbed(fault: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = Lab::with_morpheus(Shape::single(2), &["--app", APP])?;
    lab.morpheus()?.wait_running(APP, None)?;
    lab.wait_ping(1, 2)?;
    let pid = lab.morpheus()?.app(APP)?["pid"].clone();
    let ping = lab.ping_continuously(1, 2, 1)?;
    fault(&lab)?;
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    let app = lab.morpheus()?.app(APP)?;
    ensure!(app["pid"] == pid && app["release"] == "1.2.0", "{app}");
    lab.finish()
}

/// Release 1.2.1 of learning-switch, for the test to break.
fn next_release(lab: &Lab, name: &str) -> Result<Bundle> {
    Bundle::copy("learning-switch-1.2.0", lab.dir(), name)?.set("version", "\"1.2.1\"")
}

/// Checks the exit code of morphctl, and that its output contains each of these words.
fn expect(output: &CtlOutput, code: i32, words: &[&str]) -> Result<()> {
    ensure!(output.code == code, "exit code is not {code}: {output:?}");
    let text = format!("{} {}", output.stdout, output.stderr);
    for word in words {
        ensure!(text.contains(word), "{word:?} is missing: {output:?}");
    }
    Ok(())
}

#[test]
fn broken_bundles_are_not_installed() -> Result<()> {
    undisturbed(|lab| {
        let morpheus = lab.morpheus()?;
        let install = |bundle: &Bundle| morpheus.try_morphctl(&["app", "install", bundle.path()?]);
        let absent = next_release(lab, "absent")?.set("exec", "\"nowhere\"")?;
        expect(&install(&absent)?, REFUSED, &["nowhere"])?;
        let unknown = next_release(lab, "unknown")?.set("colour", "\"red\"")?;
        expect(&install(&unknown)?, REFUSED, &["app.toml", "colour"])?;
        let without = next_release(lab, "without")?.without("schema")?;
        expect(&install(&without)?, REFUSED, &["app.toml", "schema"])?;
        let other = Bundle::copy("learning-switch-1.2.0", lab.dir(), "other")?.script("exit 0")?;
        expect(&install(&other)?, REFUSED, &["1.2.0", "digest"])?;
        let nothing = morpheus.try_morphctl(&["app", "install", "/nowhere"])?;
        expect(&nothing, REFUSED, &["/nowhere"])
    })
}

#[test]
fn impossible_upgrades_are_refused() -> Result<()> {
    undisturbed(|lab| {
        let morpheus = lab.morpheus()?;
        expect(
            &morpheus.try_morphctl(&["upgrade", "app=firewall"])?,
            REFUSED,
            &["firewall"],
        )?;
        let same = morpheus.try_morphctl(&["upgrade", "app=learning-switch@1.2.0"])?;
        expect(&same, REFUSED, &["1.2.0"])?;
        let unknown = morpheus.try_morphctl(&["upgrade", "app=learning-switch@9.0.0"])?;
        expect(&unknown, REFUSED, &["9.0.0"])?;
        expect(
            &morpheus.try_morphctl(&["rollback", "app=learning-switch"])?,
            REFUSED,
            &[],
        )?;
        expect(
            &morpheus.try_morphctl(&["commit", "app=learning-switch"])?,
            REFUSED,
            &[],
        )
    })
}

#[test]
fn a_second_upgrade_of_an_app_is_refused() -> Result<()> {
    undisturbed(|lab| {
        let morpheus = lab.morpheus()?;
        morpheus.morphctl(&["app", "install", next_release(lab, "newer")?.path()?])?;
        lab.upgrade(APP, "1.2.1")?;
        let second = morpheus.try_morphctl(&["upgrade", "app=learning-switch@1.2.0"])?;
        expect(&second, REFUSED, &["upgrade"])?;
        morpheus.morphctl(&["rollback", "app=learning-switch"])?;
        let late = morpheus.try_morphctl(&["rollback", "app=learning-switch"])?;
        expect(&late, REFUSED, &[])
    })
}

#[test]
fn a_program_that_exits_at_once() -> Result<()> {
    undisturbed(|lab| {
        let bundle = next_release(lab, "exits")?.script("echo 'no such flag' >&2; exit 3")?;
        let refused = lab
            .morpheus()?
            .try_morphctl(&["app", "install", bundle.path()?])?;
        expect(&refused, REFUSED, &["no such flag", "--unchecked"])?;
        lab.morpheus()?
            .morphctl(&["app", "install", "--unchecked", bundle.path()?])?;
        let answer = lab
            .morpheus()?
            .try_morphctl(&["upgrade", "app=learning-switch"])?;
        expect(&answer, ROLLED_BACK, &["3"])?;
        let logs = lab
            .morpheus()?
            .try_morphctl(&["logs", "app=learning-switch"])?;
        expect(&logs, 0, &["no such flag"])
    })
}

#[test]
fn a_program_that_never_says_ready() -> Result<()> {
    undisturbed(|lab| {
        let bundle = next_release(lab, "silent")?.script("exec sleep 1000")?;
        lab.morpheus()?
            .morphctl(&["app", "install", "--unchecked", bundle.path()?])?;
        let answer = lab
            .morpheus()?
            .try_morphctl(&["upgrade", "app=learning-switch"])?;
        expect(&answer, ROLLED_BACK, &["ready"])?;
        wait_until("the instance is killed", Duration::from_secs(5), || {
            let sleeps = lab
                .sandbox()
                .processes()?
                .iter()
                .filter(|p| p.name() == "sleep")
                .count();
            // One `sleep` is the sandbox's process 1.
            Ok((sleeps == 1).then_some(()))
        })
    })
}
