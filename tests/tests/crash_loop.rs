//! Releases in a crash loop: the previous release runs again, or the app stops and its rules stay.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, Delivery, LedgerLab, Load, bin, repository, wait_until};
use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
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

/// Installs a release whose executable is no program.
fn install_garbage(ledger: &LedgerLab, version: &str) -> Result<()> {
    let manifest = repository().join("apps/ledger/bundles/1.0.0/app.toml");
    let dir = ledger.lab().dir();
    let garbage = dir.join("garbage");
    std::fs::write(&garbage, [0xfe; 64])?;
    std::fs::set_permissions(&garbage, Permissions::from_mode(0o755))?;
    let bundle = Bundle::assemble(&manifest, &garbage, dir, version)?
        .set("version", &format!("\"{version}\""))?
        .program(&garbage)?;
    ledger
        .lab()
        .morpheus()?
        .morphctl(&["app", "install", "--unchecked", bundle.path()?])?;
    Ok(())
}

/// Stops the app and starts it with another release, once its process is gone.
fn start_instead(ledger: &LedgerLab, release: &str) -> Result<()> {
    let morpheus = ledger.lab().morpheus()?;
    morpheus.morphctl(&["app", "stop", "ledger"])?;
    morpheus.morphctl(&["app", "start", release])?;
    Ok(())
}

fn wait_trouble(ledger: &LedgerLab, release: &str, status: &str) -> Result<Value> {
    let what = format!("{release} is {status}");
    wait_until(&what, GIVEN_UP, || {
        let app = ledger.lab().morpheus()?.app("ledger")?;
        let is_so = app["release"] == release && app["status"] == status && app["trouble"] != "";
        Ok(is_so.then_some(app))
    })
}

fn quarantined(ledger: &LedgerLab) -> Result<Vec<Value>> {
    let list = ["events", "quarantined", "app=ledger"];
    let answer = ledger.lab().morpheus()?.morphctl(&list)?;
    Ok(answer["events"].as_array().context("events")?.clone())
}

/// Waits until the app has applied each packet of the only switch once, but for these.
fn wait_applied(ledger: &LedgerLab, dropped: &[u64]) -> Result<()> {
    let all = 1..=ledger.switches().sent(LedgerLab::PORT);
    let expected: Vec<u64> = all.filter(|n| !dropped.contains(n)).collect();
    let mut last = Vec::new();
    let applied = wait_until("all packets are in the books", DEADLINE, || {
        let runs = ledger.books()?.remove(&1).unwrap_or_default();
        last = runs.iter().flat_map(|(from, to)| *from..=*to).collect();
        last.sort_unstable();
        Ok((last == expected).then_some(()))
    });
    applied.with_context(|| format!("{last:?} without {dropped:?}"))
}

#[test]
fn a_release_that_dies_of_every_event_gives_way_after_three_and_only_to_one_that_has_been_live()
-> Result<()> {
    let ledger = LedgerLab::new(1)?;
    let (morpheus, switches, port) = (ledger.lab().morpheus()?, ledger.switches(), LedgerLab::PORT);
    ledger.upgrade_to("1.0.1", "ledger-doomed")?;
    switches.load(port, Load::Window(100, 16));
    let app = wait_trouble(&ledger, "1.0.0", "running")?;
    has_trouble(
        &app,
        &[
            "1.0.1 kept dying",
            "1.0.0 runs instead",
            "3 different events",
            "doomed by packet 3",
        ],
    )?;
    // The events were poison for the release that gave way only: the next one applies them.
    wait_until("no event is in quarantine", DEADLINE, || {
        Ok(quarantined(&ledger)?.is_empty().then_some(()))
    })?;
    switches.load(port, Load::Silent);
    wait_applied(&ledger, &[])?;
    let deaths = ledger.deaths()?.len();
    ensure!(deaths == 9, "{deaths} deaths by three events");

    // A release that cannot be run at all says why.
    install_garbage(&ledger, "1.0.2")?;
    start_instead(&ledger, "ledger@1.0.2")?;
    let app = wait_trouble(&ledger, "1.0.0", "running")?;
    has_trouble(
        &app,
        &[
            "1.0.2 kept dying",
            "cannot run ",
            "/program: Exec format error",
        ],
    )?;
    let log = morpheus.morphctl(&["logs", "app=ledger"])?.to_string();
    ensure!(log.contains("ledger@1.0.2: cannot run "), "{log}");

    // Release 1.0.2 has never been live, so no other one falls back to it.
    start_instead(&ledger, "ledger@1.0.2")?;
    ledger.install("1.0.3", "ledger-doomed")?;
    start_instead(&ledger, "ledger@1.0.3")?;
    morpheus.wait_running("ledger", None)?;
    let before = switches.sent(port);
    switches.load(port, Load::Window(100, 16));
    let app = wait_trouble(&ledger, "1.0.3", "failed")?;
    has_trouble(
        &app,
        &[
            "1.0.3 kept dying",
            "is stopped",
            "its rules stay",
            "1.0.2, the earlier release, has never been live",
        ],
    )?;
    switches.load(port, Load::Silent);
    switches.wait_punting(port)?;
    let events = quarantined(&ledger)?;
    ensure!(events.len() == 3, "{events:?}");
    let dropped = morpheus.morphctl(&["events", "drop", "app=ledger"])?;
    let dropped = dropped["events"].as_array().context("events")?.len();
    ensure!(
        dropped == 3 && quarantined(&ledger)?.is_empty(),
        "{dropped} were dropped"
    );
    morpheus.morphctl(&["app", "start", "ledger@1.0.0"])?;
    wait_applied(&ledger, &[before + 1, before + 2, before + 3])?;
    ledger.finish()
}
