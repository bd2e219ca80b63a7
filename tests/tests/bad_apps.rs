//! Releases that are wrong, and upgrades that make no sense: refused or rolled back with a word about why, and nobody
//! notices.

use anyhow::{Result, ensure};
use morph_tests::{Answer, Bundle, Lab, Shape, wait_until};
use std::time::Duration;

/// morphctl's exit codes.
const REFUSED: i32 = 1;
const ROLLED_BACK: i32 = 4;

const APP: &str = "learning-switch";

/// A network in use, whose pings may not be lost.
fn unnoticed(fault: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = Lab::with_morpheus(Shape::single(2), &["--app", APP])?;
    lab.morpheus()?.wait_running(APP, None)?;
    lab.wait_ping(1, 2)?;
    let pid = lab.morpheus()?.app(APP)?["pid"].clone();
    let ping = lab.ping_on(1, 2, 1)?;
    fault(&lab)?;
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    let app = lab.morpheus()?.app(APP)?;
    ensure!(app["pid"] == pid && app["release"] == "1.0.0", "{app}");
    lab.finish()
}

/// A release 1.0.1 of learning-switch, to be made worse.
fn next(lab: &Lab, name: &str) -> Result<Bundle> {
    Bundle::copy("learning-switch-1.0.0", lab.dir(), name)?.set("version", "\"1.0.1\"")
}

/// morphctl ended with this code and said each of these words.
fn said(answer: &Answer, code: i32, words: &[&str]) -> Result<()> {
    ensure!(answer.code == code, "not {code}: {answer:?}");
    let text = format!("{} {}", answer.out, answer.err);
    for word in words {
        ensure!(text.contains(word), "no word about {word}: {answer:?}");
    }
    Ok(())
}

#[test]
fn bundles_that_cannot_be_installed() -> Result<()> {
    unnoticed(|lab| {
        let morpheus = lab.morpheus()?;
        let install = |bundle: &Bundle| morpheus.ask(&["app", "install", bundle.path()?]);
        let absent = next(lab, "absent")?.set("exec", "\"nowhere\"")?;
        said(&install(&absent)?, REFUSED, &["nowhere"])?;
        let unknown = next(lab, "unknown")?.set("colour", "\"red\"")?;
        said(&install(&unknown)?, REFUSED, &["app.toml", "colour"])?;
        let without = next(lab, "without")?.without("schema")?;
        said(&install(&without)?, REFUSED, &["app.toml", "schema"])?;
        let other = Bundle::copy("learning-switch-1.0.0", lab.dir(), "other")?.script("exit 0")?;
        said(&install(&other)?, REFUSED, &["1.0.0", "digest"])?;
        let nothing = morpheus.ask(&["app", "install", "/nowhere"])?;
        said(&nothing, REFUSED, &["/nowhere"])
    })
}

#[test]
fn upgrades_that_make_no_sense() -> Result<()> {
    unnoticed(|lab| {
        let morpheus = lab.morpheus()?;
        said(
            &morpheus.ask(&["upgrade", "app=firewall"])?,
            REFUSED,
            &["firewall"],
        )?;
        let same = morpheus.ask(&["upgrade", "app=learning-switch@1.0.0"])?;
        said(&same, REFUSED, &["1.0.0"])?;
        let unknown = morpheus.ask(&["upgrade", "app=learning-switch@9.0.0"])?;
        said(&unknown, REFUSED, &["9.0.0"])?;
        said(
            &morpheus.ask(&["rollback", "app=learning-switch"])?,
            REFUSED,
            &[],
        )?;
        said(
            &morpheus.ask(&["commit", "app=learning-switch"])?,
            REFUSED,
            &[],
        )
    })
}

#[test]
fn two_upgrades_of_one_app_at_once() -> Result<()> {
    unnoticed(|lab| {
        let morpheus = lab.morpheus()?;
        morpheus.do_(&["app", "install", next(lab, "newer")?.path()?])?;
        lab.upgrade(APP, "1.0.1")?;
        let second = morpheus.ask(&["upgrade", "app=learning-switch@1.0.0"])?;
        said(&second, REFUSED, &["upgrade"])?;
        morpheus.do_(&["rollback", "app=learning-switch"])?;
        let late = morpheus.ask(&["rollback", "app=learning-switch"])?;
        said(&late, REFUSED, &[])
    })
}

#[test]
fn a_program_that_exits_at_once() -> Result<()> {
    unnoticed(|lab| {
        let bundle = next(lab, "exits")?.script("echo 'no such flag' >&2; exit 3")?;
        lab.morpheus()?.do_(&["app", "install", bundle.path()?])?;
        let answer = lab.morpheus()?.ask(&["upgrade", "app=learning-switch"])?;
        said(&answer, ROLLED_BACK, &["3"])?;
        let logs = lab.morpheus()?.ask(&["logs", "app=learning-switch"])?;
        said(&logs, 0, &["no such flag"])
    })
}

#[test]
fn a_program_that_never_says_ready() -> Result<()> {
    unnoticed(|lab| {
        let bundle = next(lab, "silent")?.script("exec sleep 1000")?;
        lab.morpheus()?.do_(&["app", "install", bundle.path()?])?;
        let answer = lab.morpheus()?.ask(&["upgrade", "app=learning-switch"])?;
        said(&answer, ROLLED_BACK, &["ready"])?;
        wait_until("it is killed", Duration::from_secs(5), || {
            let sleeps = lab
                .sandbox()
                .processes()?
                .iter()
                .filter(|p| p.name() == "sleep")
                .count();
            // One is the sandbox's own.
            Ok((sleeps == 1).then_some(()))
        })
    })
}
