//! Releases that do nothing but die: the one before comes back, or the app stops and its rules stay.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, LedgerLab, Load, Strictness, bin, repository, wait_until};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Eight deaths in a row, with six seconds of waits between them.
const GIVEN_UP: Duration = Duration::from_secs(40);
const SOON: Duration = Duration::from_secs(20);

/// Goes to a release that works for as long as there is no such file.
fn go_to(ledger: &LedgerLab, of: &str, version: &str, broken: &Path) -> Result<()> {
    let name = format!("ledger-{}", &of[..1]);
    let manifest = repository().join(format!("apps/ledger/bundles/{of}/app.toml"));
    let program = bin(&format!("examples/{name}"))?;
    let script = format!(
        "[ -e {} ] && {{ echo 'nothing works' >&2; exit 9; }}; exec \"$(dirname \"$0\")/{name}\" \"$@\"",
        broken.display()
    );
    let bundle = Bundle::made(&manifest, &program, ledger.lab().dir(), version)?
        .set("version", &format!("\"{version}\""))?
        .script(&script)?;
    let morpheus = ledger.lab().morpheus()?;
    morpheus.do_(&["app", "install", bundle.path()?])?;
    ledger.lab().upgrade("ledger", version)?;
    morpheus.do_(&["commit", "app=ledger"])?;
    ledger.wait_alone(of)
}

/// Breaks the release that runs, and waits until it is given up.
fn give_up(ledger: &LedgerLab, broken: &Path, status: &str) -> Result<Value> {
    let live = ledger.lab().morpheus()?.app("ledger")?;
    std::fs::write(broken, "")?;
    let version = live["release"].as_str().context("release")?;
    ledger.instance(version)?.kill()?;
    wait_until("it is given up", GIVEN_UP, || {
        let app = ledger.lab().morpheus()?.app("ledger")?;
        let over = app["status"] == status && app["trouble"] != "";
        Ok(over.then_some(app))
    })
}

fn says(app: &Value, words: &[&str]) -> Result<()> {
    let trouble = app["trouble"].as_str().context("trouble")?;
    for word in words {
        ensure!(trouble.contains(word), "no word about {word}: {trouble}");
    }
    Ok(())
}

#[test]
fn a_release_that_keeps_dying_gives_way_to_the_one_before_it_or_stops_with_its_rules() -> Result<()>
{
    let ledger = LedgerLab::new(1)?;
    let morpheus = ledger.lab().morpheus()?;
    let broken = ledger.lab().dir().join("broken");
    go_to(&ledger, "1.0.0", "1.0.1", &broken)?;
    ledger
        .switches()
        .load(LedgerLab::PORT, Load::Window(100, 16));
    ledger.switches().wait_answers(LedgerLab::PORT, SOON)?;
    let app = give_up(&ledger, &broken, "running")?;
    ensure!(app["release"] == "1.0.0", "{app}");
    says(
        &app,
        &[
            "1.0.1 kept dying",
            "1.0.0 runs instead",
            "exit status 9",
            "nothing works",
        ],
    )?;
    ledger.switches().wait_answers(LedgerLab::PORT, SOON)?;
    let releases = morpheus.do_(&["releases", "app=ledger"])?;
    let permanent = releases["releases"].as_array().context("releases")?.iter();
    let permanent: Vec<_> = permanent.filter(|r| r["status"] == "permanent").collect();
    ensure!(
        permanent.len() == 1 && permanent[0]["version"] == "1.0.0",
        "{releases}"
    );

    // To another schema, from which there is no way back without the release that dies.
    std::fs::remove_file(&broken)?;
    go_to(&ledger, "2.0.0", "2.0.1", &broken)?;
    ensure!(
        morpheus.app("ledger")?["trouble"] == "",
        "another release is committed"
    );
    let app = give_up(&ledger, &broken, "failed")?;
    ensure!(app["release"] == "2.0.1" && app["pid"] == 0, "{app}");
    says(
        &app,
        &[
            "2.0.1 kept dying",
            "is stopped",
            "its rules stay",
            "schema 1",
        ],
    )?;
    let said = morpheus.ask(&["status"])?;
    ensure!(said.err.contains("2.0.1 kept dying"), "{said:?}");
    ledger.switches().wait_punting(LedgerLab::PORT)?;
    std::fs::remove_file(&broken)?;
    morpheus.do_(&["app", "start", "ledger"])?;
    morpheus.wait_running("ledger", None)?;
    ensure!(
        morpheus.app("ledger")?["trouble"] == "",
        "somebody has started it"
    );
    ledger.switches().wait_answers(LedgerLab::PORT, SOON)?;
    ledger.settle(Strictness::AtMostOnce)?;
    ledger.finish()
}
