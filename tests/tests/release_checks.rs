//! Releases that do not say what they need, or need what they do not say: refused at the install, and told why.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, CtlOutput, Lab, Shape, bin, touched, wait_until};
use std::time::Duration;

/// Exit codes of morphctl.
const REFUSED: i32 = 1;
const ROLLED_BACK: i32 = 4;

const ROUTER: &str = "router-1.0.0";

/// A release of the router with another version, which the test breaks.
fn release(lab: &Lab, version: &str) -> Result<Bundle> {
    Bundle::copy(ROUTER, lab.dir(), version)?.set("version", &format!("\"{version}\""))
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

fn install(lab: &Lab, flags: &[&str], bundle: &Bundle) -> Result<CtlOutput> {
    let args = [&["app", "install"], flags, &[bundle.path()?]].concat();
    lab.morpheus()?.try_morphctl(&args)
}

/// The app does not name what it reads in its manifest, or not in its code; promises a migration that it does not have; has other
/// tables under the same schema version. Packets pass all the time, and no rule is touched.
#[test]
fn a_release_that_says_what_it_is_not_is_refused_and_nothing_is_lost() -> Result<()> {
    let lab = Lab::with_router(Shape::single(3), "1.0.0")?;
    let morpheus = lab.morpheus()?;
    lab.wait_ping(1, 2)?;
    let pid = morpheus.app("router")?["pid"].clone();
    let rules = lab.rules(Lab::ROUTER)?;
    let ping = lab.ping_continuously(1, 2, 5)?;

    let forgotten = release(&lab, "1.0.1")?.without("reads")?;
    let words = [
        "router@1.0.1",
        "of topology",
        "add `reads = { topology = SCHEMA }`",
    ];
    expect(&install(&lab, &[], &forgotten)?, REFUSED, &words)?;

    let promises = release(&lab, "1.0.2")?
        .set("schema", "2")?
        .set("migrates", "[1]")?;
    let words = ["promises a migration between schema 1 and 2"];
    expect(&install(&lab, &[], &promises)?, REFUSED, &words)?;

    // The code reads a table that it does not declare: it ends before it is ready, and says which.
    let undeclared = release(&lab, "1.0.3")?.program(&bin("examples/forgets_reads")?)?;
    expect(&install(&lab, &[], &undeclared)?, 0, &[])?;
    let answer = morpheus.try_morphctl(&["upgrade", "app=router@1.0.3"])?;
    let words = ["table links of topology", "App::reads()"];
    expect(&answer, ROLLED_BACK, &words)?;

    let other = release(&lab, "1.1.0")?.program(&bin("examples/other_tables")?)?;
    let words = [
        "router@1.1.0 has schema 1 as router@1.0.0",
        "hops added, trees removed",
        "raise `schema`",
    ];
    expect(&install(&lab, &[], &other)?, REFUSED, &words)?;
    let releases = morpheus.morphctl(&["releases", "app=router"])?;
    let known = releases["releases"].as_array().context("releases")?;
    let is_staged = |version: &str| known.iter().any(|r| r["version"] == version);
    for refused in ["1.0.1", "1.0.2", "1.1.0"] {
        ensure!(!is_staged(refused), "{refused} is installed: {releases}");
    }

    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(morpheus.app("router")?["pid"] == pid, "another instance");
    let after = lab.rules(Lab::ROUTER)?;
    let (touched, in_both) = touched(&rules, &after);
    ensure!(
        touched.is_empty() && in_both == rules.len() && after.len() == rules.len(),
        "{} rules before, {} after: {touched:?}",
        rules.len(),
        after.len()
    );

    // Installed all the same, it leaves rows behind: the check of the store names them once a release is back that says what
    // tables it has.
    expect(&install(&lab, &["--unchecked"], &other)?, 0, &[])?;
    let sound = morpheus.try_morphctl(&["store", "check"])?;
    expect(&sound, 0, &[])?;
    lab.upgrade("router", "1.1.0")?;
    wait_until("it has rows of its own", Duration::from_secs(10), || {
        let hops = morpheus.morphctl(&["store", "list", "app=router", "hops"])?;
        let has_rows = hops["store"]
            .as_array()
            .is_some_and(|rows| !rows.is_empty());
        Ok(has_rows.then_some(()))
    })?;
    morpheus.morphctl(&["rollback", "app=router"])?;
    let words = [
        "table hops of app router",
        "router@1.0.0",
        "the store is sound",
    ];
    expect(
        &morpheus.try_morphctl(&["store", "check"])?,
        REFUSED,
        &words,
    )?;
    lab.finish()
}

/// Kinds of the alarms of the router.
fn alarms(lab: &Lab) -> Result<Vec<String>> {
    let alarms = lab.morpheus()?.morphctl(&["alarms", "app=router"])?;
    let alarms = alarms["alarms"].as_array().context("alarms")?.iter();
    let kinds = alarms.map(|alarm| alarm["kind"].as_str().unwrap_or_default().to_owned());
    Ok(kinds.collect())
}

/// A rule that the SDK leaves out takes the release back. One that handles less than it is asked to is not called a success.
#[test]
fn a_probation_counts_rules_that_are_left_out_and_does_not_praise_silence() -> Result<()> {
    let lab = Lab::with_router(Shape::single(3), "1.0.0")?;
    let morpheus = lab.morpheus()?;
    lab.wait_ping(1, 2)?;
    let ping = lab.ping_continuously(1, 2, 5)?;

    let defective = release(&lab, "1.0.4")?.program(&bin("examples/leaves_out_rules")?)?;
    expect(&install(&lab, &[], &defective)?, 0, &[])?;
    let answer = morpheus.try_morphctl(&["upgrade", "app=router@1.0.4", "--probation", "20s"])?;
    let words = ["of its rules are left out", "0 were before"];
    expect(&answer, ROLLED_BACK, &words)?;
    ensure!(alarms(&lab)?.is_empty(), "{:?}", alarms(&lab)?);

    // No network makes so many events in three seconds.
    let silent = release(&lab, "1.0.5")?;
    expect(&install(&lab, &[], &silent)?, 0, &[])?;
    let upgrade = ["upgrade", "app=router@1.0.5", "--probation", "1s"];
    let answer = morpheus.try_morphctl(&[&upgrade[..], &["--min-events", "100000"]].concat())?;
    let words = [
        "the probation goes on until it has",
        "untested: it has handled",
    ];
    expect(&answer, 0, &words)?;
    let status = lab.status("router")?;
    let took_us = status["since_start_us"]
        .as_u64()
        .context("since_start_us")?;
    ensure!(
        took_us >= 3_000_000 && status["untested"] == true,
        "{status}"
    );
    ensure!(alarms(&lab)? == ["untested"], "{:?}", alarms(&lab)?);
    // The next upgrade ends the alarm.
    lab.upgrade("router", "1.0.0")?;
    ensure!(alarms(&lab)?.is_empty(), "{:?}", alarms(&lab)?);
    morpheus.morphctl(&["commit", "app=router"])?;
    ensure!(alarms(&lab)?.is_empty(), "{:?}", alarms(&lab)?);

    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    lab.finish()
}

/// Nothing is held before the rules that a release would remove are known. An operator may want it all the same, and a rollback is
/// not judged.
#[test]
fn a_release_that_would_remove_most_rules_is_stopped_before_anything_is_held() -> Result<()> {
    let lab = Lab::with_router(Shape::single(3), "1.0.0")?;
    let morpheus = lab.morpheus()?;
    lab.wait_ping(1, 2)?;
    let pid = morpheus.app("router")?["pid"].clone();
    let before = lab.rules(Lab::ROUTER)?;
    let ping = lab.ping_continuously(1, 2, 5)?;
    let fewer = release(&lab, "1.0.6")?.program(&bin("examples/drops_rules")?)?;
    expect(&install(&lab, &[], &fewer)?, 0, &[])?;
    let answer = morpheus.try_morphctl(&["upgrade", "app=router@1.0.6"])?;
    let words = [
        "it would remove",
        "rules on switch",
        "priority 96",
        "--allow-rule-loss",
    ];
    expect(&answer, ROLLED_BACK, &words)?;
    ensure!(
        lab.status("router")?["handover_us"] == 0,
        "it was handed over"
    );
    ensure!(morpheus.app("router")?["pid"] == pid, "another instance");
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    let after = lab.rules(Lab::ROUTER)?;
    let (touched, in_both) = touched(&before, &after);
    ensure!(touched.is_empty() && in_both == before.len(), "{touched:?}");

    let args = [
        "upgrade",
        "app=router@1.0.6",
        "--allow-rule-loss",
        "--probation",
        "60s",
        "--no-wait",
    ];
    morpheus.morphctl(&args)?;
    wait_until("most rules are removed", Duration::from_secs(20), || {
        let is_live = lab.status("router")?["step"] == "UPGRADED";
        Ok((is_live && lab.rules(Lab::ROUTER)?.len() * 2 < before.len()).then_some(()))
    })?;
    morpheus.morphctl(&["rollback", "app=router"])?;
    wait_until("all rules are back", Duration::from_secs(20), || {
        Ok((lab.rules(Lab::ROUTER)?.len() >= before.len()).then_some(()))
    })?;
    lab.finish()
}
