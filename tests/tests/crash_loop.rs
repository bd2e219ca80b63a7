//! Releases in a crash loop: the previous release runs again, or the app stops and its rules stay.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, Delivery, LedgerLab, Load, bin, repository, wait_until};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Eight deaths in a row, with six seconds of backoff between them.
const GIVEN_UP: Duration = Duration::from_secs(40);
const DEADLINE: Duration = Duration::from_secs(20);

/// Upgrades to a release that works only while the file `broken` does not exist.
fn upgrade_to_breakable(ledger: &LedgerLab, of: &str, version: &str, broken: &Path) -> Result<()> {
    let name = format!("ledger-{}", &of[..1]);
    let manifest = repository().join(format!("apps/ledger/bundles/{of}/app.toml"));
    let program = bin(&format!("examples/{name}"))?;
    let script = format!(
        "[ -e {} ] && {{ echo 'nothing works' >&2; exit 9; }}; exec \"$(dirname \"$0\")/{name}\" \"$@\"",
        broken.display()
    );
    let bundle = Bundle::assemble(&manifest, &program, ledger.lab().dir(), version)?
        .set("version", &format!("\"{version}\""))?
        .script(&script)?;
    let morpheus = ledger.lab().morpheus()?;
    morpheus.morphctl(&["app", "install", bundle.path()?])?;
    ledger.lab().upgrade("ledger", version)?;
    morpheus.morphctl(&["commit", "app=ledger"])?;
    ledger.wait_single_instance(of)
}

/// Breaks the running release, and waits until morphd gives it up.
fn break_release(ledger: &LedgerLab, broken: &Path, status: &str) -> Result<Value> {
    let live = ledger.lab().morpheus()?.app("ledger")?;
    std::fs::write(broken, "")?;
    let version = live["release"].as_str().context("release")?;
    ledger.instance(version)?.kill()?;
    wait_until("morphd gives the release up", GIVEN_UP, || {
        let app = ledger.lab().morpheus()?.app("ledger")?;
        let given_up = app["status"] == status && app["trouble"] != "";
        Ok(given_up.then_some(app))
    })
}

fn has_trouble(app: &Value, words: &[&str]) -> Result<()> {
    let trouble = app["trouble"].as_str().context("trouble")?;
    for word in words {
        ensure!(trouble.contains(word), "{word:?} is missing: {trouble}");
    }
    Ok(())
}

#[test]
fn a_crash_loop_falls_back_to_the_previous_release_or_stops_and_keeps_the_rules() -> Result<()> {
    let ledger = LedgerLab::new(1)?;
    let morpheus = ledger.lab().morpheus()?;
    let broken = ledger.lab().dir().join("broken");
    upgrade_to_breakable(&ledger, "1.0.0", "1.0.1", &broken)?;
    ledger
        .switches()
        .load(LedgerLab::PORT, Load::Window(100, 16));
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
    let app = break_release(&ledger, &broken, "running")?;
    ensure!(app["release"] == "1.0.0", "{app}");
    has_trouble(
        &app,
        &[
            "1.0.1 kept dying",
            "1.0.0 runs instead",
            "exit status 9",
            "nothing works",
        ],
    )?;
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
    let releases = morpheus.morphctl(&["releases", "app=ledger"])?;
    let permanent = releases["releases"].as_array().context("releases")?.iter();
    let permanent: Vec<_> = permanent.filter(|r| r["status"] == "permanent").collect();
    ensure!(
        permanent.len() == 1 && permanent[0]["version"] == "1.0.0",
        "{releases}"
    );

    // A release of another schema cannot fall back without the code that crashes.
    std::fs::remove_file(&broken)?;
    upgrade_to_breakable(&ledger, "2.0.0", "2.0.1", &broken)?;
    ensure!(
        morpheus.app("ledger")?["trouble"] == "",
        "trouble stays after another release was committed"
    );
    let app = break_release(&ledger, &broken, "failed")?;
    ensure!(app["release"] == "2.0.1" && app["pid"] == 0, "{app}");
    has_trouble(
        &app,
        &[
            "2.0.1 kept dying",
            "is stopped",
            "its rules stay",
            "schema 1",
        ],
    )?;
    let output = morpheus.try_morphctl(&["status"])?;
    ensure!(output.stderr.contains("2.0.1 kept dying"), "{output:?}");
    ledger.switches().wait_punting(LedgerLab::PORT)?;
    std::fs::remove_file(&broken)?;
    morpheus.morphctl(&["app", "start", "ledger"])?;
    morpheus.wait_running("ledger", None)?;
    ensure!(
        morpheus.app("ledger")?["trouble"] == "",
        "trouble stays after a start by the operator"
    );
    ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE)?;
    ledger.check_books(Delivery::AtMostOnce)?;
    ledger.finish()
}
