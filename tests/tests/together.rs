//! Several apps that are upgraded as one: both get there, or neither does.

use anyhow::{Context, Result, ensure};
use morph_tests::{Answer, Bundle, Lab, Shape, bin, touched, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;

const APPS: [&str; 2] = ["topology", "router"];
/// For what follows by itself.
const SOON: Duration = Duration::from_secs(15);

/// A network in use, and topology 1.0.1 installed beside the router's releases.
fn lab() -> Result<Lab> {
    let lab = Lab::with_router(Shape::diamond(), "1.0.0")?;
    let bundle = Bundle::copy("topology-1.0.0", lab.dir(), "topology-1.0.1")?;
    let bundle = bundle.set("version", "\"1.0.1\"")?;
    lab.morpheus()?.do_(&["app", "install", bundle.path()?])?;
    Ok(lab)
}

fn as_one(lab: &Lab, router: &str, more: &[&str]) -> Result<Answer> {
    let router = format!("app=router@{router}");
    let args = ["upgrade", "app=topology@1.0.1", &router];
    lab.morpheus()?.ask(&[&args[..], more].concat())
}

/// Waits until the upgrade of each stands there.
fn wait_step(lab: &Lab, step: &str) -> Result<Vec<Value>> {
    let mut last = Value::Null;
    let all = APPS.map(|app| {
        wait_until(&format!("{app} is {step}"), SOON, || {
            last = lab.status(app)?;
            Ok((last["step"] == step).then(|| last.clone()))
        })
    });
    let all: Result<Vec<Value>> = all.into_iter().collect();
    all.with_context(|| format!("the last that was seen: {last}"))
}

fn releases(lab: &Lab) -> Result<Vec<String>> {
    let release = |app| {
        Ok(lab.morpheus()?.app(app)?["release"]
            .as_str()
            .context("release")?
            .to_owned())
    };
    APPS.into_iter().map(release).collect()
}

/// The next upgrade works, and is none of both.
fn still_works(lab: &Lab, version: &str) -> Result<()> {
    for app in APPS {
        lab.morpheus()?.wait_running(app, None)?;
    }
    lab.upgrade_for_good("router", version)?;
    ensure!(lab.ping_all()?.is_empty(), "a host is not reached");
    Ok(())
}

#[test]
fn both_hand_over_in_one_fence_and_commit_as_one() -> Result<()> {
    let lab = lab()?;
    let _echo = lab.echo(4)?;
    let (connects, rules) = (lab.ovs().connects(), lab.rules(Lab::ROUTER)?);
    let ping = lab.ping_on(2, 3, 1)?;
    let flows = lab.new_flows(1, 4, 20.0, 0, 2.0)?;
    let answer = as_one(&lab, "2.0.0", &["--probation", "2s"])?;
    ensure!(answer.code == 0, "{answer:?}");
    let statuses = wait_step(&lab, "COMMITTED")?;
    ensure!(
        releases(&lab)? == ["1.0.1", "2.0.0"],
        "{:?}",
        releases(&lab)?
    );
    for (status, other) in statuses.iter().zip(["router", "topology"]) {
        ensure!(status["with"] == serde_json::json!([other]), "{status}");
        let ms = status["handover_us"].as_u64().context("handover_us")? / 1000;
        println!("{}: held for {ms} ms", status["app"]);
        ensure!(ms > 0 && ms < 3_000, "{status}");
    }
    let steps: Vec<String> = answer
        .out
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| line["upgrades"][0]["step"].as_str().map(str::to_owned))
        .collect();
    let at = |step: &str| {
        steps
            .iter()
            .position(|s| s == step)
            .context(step.to_owned())
    };
    let last = steps.iter().rposition(|s| s == "READY").context("READY")?;
    ensure!(
        last < at("QUIESCING")?,
        "one was held before both were ready: {steps:?}"
    );
    let summary = flows.stop()?;
    ensure!(summary.lost == 0, "{summary:?}");
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(
        lab.ovs().connects() == connects,
        "a switch has disconnected"
    );
    let (touched, _) = touched(&rules, &lab.rules(Lab::ROUTER)?);
    ensure!(touched.is_empty(), "{touched:?}");
    still_works(&lab, "1.0.0")?;
    lab.finish()
}

#[test]
fn one_that_fails_takes_both_back_before_and_after_the_hand_over() -> Result<()> {
    let lab = lab()?;
    let _echo = lab.echo(4)?;
    let connects = lab.ovs().connects();
    let silent = Bundle::copy("router-1.0.0", lab.dir(), "silent")?.set("version", "\"1.0.1\"")?;
    let silent = silent.script("exit 3")?;
    let panics = Bundle::copy("router-1.0.0", lab.dir(), "panics")?.set("version", "\"1.0.2\"")?;
    let panics = panics.program(&bin("examples/panics")?)?;
    for bundle in [&silent, &panics] {
        lab.morpheus()?.do_(&["app", "install", bundle.path()?])?;
    }
    let ping = lab.ping_on(2, 3, 1)?;
    // It never gets ready: topology was never held.
    let answer = as_one(&lab, "1.0.1", &[])?;
    ensure!(answer.code == 4, "{answer:?}");
    let statuses = wait_step(&lab, "ROLLED_BACK")?;
    ensure!(statuses[0]["handover_us"] == 0, "{statuses:?}");
    let why = statuses[0]["message"].as_str().context("message")?;
    ensure!(why.contains("router") && why.contains("status 3"), "{why}");
    // It dies in its probation of its first packet-in.
    let answer = as_one(&lab, "1.0.2", &["--probation", "60s", "--no-wait"])?;
    ensure!(answer.code == 0, "{answer:?}");
    wait_step(&lab, "UPGRADED")?;
    let refused = lab.morpheus()?.ask(&["upgrade", "app=topology@1.0.0"])?;
    ensure!(
        refused.code == 1 && refused.err.contains("being upgraded"),
        "{refused:?}"
    );
    let flow = lab.new_flows(1, 4, 60_000.0, 0, 5.0)?;
    let statuses = wait_step(&lab, "ROLLED_BACK")?;
    ensure!(statuses[0]["back_handover_us"] != 0, "{statuses:?}");
    ensure!(
        releases(&lab)? == ["1.0.0", "1.0.0"],
        "{:?}",
        releases(&lab)?
    );
    let summary = flow.stop()?;
    ensure!((summary.sent, summary.lost) == (1, 0), "{summary:?}");
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(
        lab.ovs().connects() == connects,
        "a switch has disconnected"
    );
    still_works(&lab, "2.0.0")?;
    lab.finish()
}

#[test]
fn a_morphd_that_dies_in_the_middle_leaves_both_old_or_both_new() -> Result<()> {
    let mut lab = lab()?;
    let connects = lab.ovs().connects();
    let ping = lab.ping_on(2, 3, 1)?;
    let armed = lab.dir().join("armed");
    for place in ["ready", "fencing", "fenced", "committed_as_one"] {
        let plan = format!("morphd.upgrade.{place}@{}=kill", armed.display());
        lab.morpheus_mut()?.set_env("MORPH_FAIL", &plan);
        // With the plan in its environment.
        lab.process("morphd")?.signal(Signal::KILL)?;
        lab.morpheus_mut()?.wait_gone()?;
        lab.start_morpheus(&[])?;
        for app in APPS {
            lab.morpheus()?.wait_running(app, None)?;
        }
        std::fs::write(&armed, "")?;
        let answer = as_one(&lab, "2.0.0", &["--probation", "300ms"])?;
        ensure!(answer.code == 5, "{place}: {answer:?}");
        lab.morpheus_mut()?.wait_gone()?;
        lab.morpheus_mut()?.set_env("MORPH_FAIL", "");
        lab.start_morpheus(&[])?;
        let ended = match place {
            "committed_as_one" => "COMMITTED",
            _ => "ROLLED_BACK",
        };
        let statuses = wait_step(&lab, ended).with_context(|| place.to_owned())?;
        println!("{place}: {ended}: {}", statuses[0]["message"]);
        let wanted = match place {
            "committed_as_one" => ["1.0.1", "2.0.0"],
            _ => ["1.0.0", "1.0.0"],
        };
        wait_until("both are of that release", SOON, || {
            Ok((releases(&lab)? == wanted).then_some(()))
        })?;
    }
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(
        lab.ovs().connects() == connects,
        "a switch has disconnected"
    );
    still_works(&lab, "1.0.0")?;
    lab.finish()
}

#[test]
fn a_new_morphd_goes_on_with_the_probation_of_both() -> Result<()> {
    let mut lab = lab()?;
    as_one(&lab, "2.0.0", &["--probation", "60s", "--no-wait"])?;
    wait_step(&lab, "UPGRADED")?;
    lab.process("morphd")?.kill()?;
    lab.morpheus_mut()?.wait_gone()?;
    lab.start_morpheus(&[])?;
    wait_step(&lab, "UPGRADED")?;
    let answer = lab.morpheus()?.ask(&["commit", "app=router"])?;
    ensure!(answer.code == 0, "{answer:?}");
    wait_step(&lab, "COMMITTED")?;
    ensure!(
        releases(&lab)? == ["1.0.1", "2.0.0"],
        "{:?}",
        releases(&lab)?
    );
    lab.finish()
}
