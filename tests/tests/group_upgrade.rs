//! Group upgrades: all members change their release, or none does.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, CtlOutput, Lab, Shape, bin, touched, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;

const APPS: [&str; 2] = ["topology", "router"];
/// Deadline for what follows by itself.
const DEADLINE: Duration = Duration::from_secs(15);

/// A network in use, with topology 2.0.1 installed beside the router's releases.
fn lab() -> Result<Lab> {
    let lab = Lab::with_router(Shape::diamond(), "1.0.0")?;
    let bundle = Bundle::copy("topology-2.0.0", lab.dir(), "topology-2.0.1")?;
    let bundle = bundle.set("version", "\"2.0.1\"")?;
    lab.morpheus()?
        .morphctl(&["app", "install", bundle.path()?])?;
    Ok(lab)
}

fn upgrade_group(lab: &Lab, router: &str, more: &[&str]) -> Result<CtlOutput> {
    let router = format!("app=router@{router}");
    let args = ["upgrade", "app=topology@2.0.1", &router];
    lab.morpheus()?.try_morphctl(&[&args[..], more].concat())
}

/// Waits until the upgrade of each member has this status.
fn wait_step(lab: &Lab, step: &str) -> Result<Vec<Value>> {
    let mut last = Value::Null;
    let all = APPS.map(|app| {
        wait_until(&format!("{app} is {step}"), DEADLINE, || {
            last = lab.status(app)?;
            Ok((last["step"] == step).then(|| last.clone()))
        })
    });
    let all: Result<Vec<Value>> = all.into_iter().collect();
    all.with_context(|| format!("last status: {last}"))
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

/// Checks that both apps run and that one of them can be upgraded alone.
fn check_single_upgrade(lab: &Lab, version: &str) -> Result<()> {
    for app in APPS {
        lab.morpheus()?.wait_running(app, None)?;
    }
    lab.upgrade_and_commit("router", version)?;
    ensure!(lab.ping_all()?.is_empty(), "a host does not reach another");
    Ok(())
}

#[test]
fn both_hand_over_in_one_fence_and_commit_as_one() -> Result<()> {
    let lab = lab()?;
    let _echo = lab.echo(4)?;
    let (connects, rules) = (lab.ovs().connects(), lab.rules(Lab::ROUTER)?);
    let ping = lab.ping_continuously(2, 3, 1)?;
    let flows = lab.new_flows(1, 4, 20.0, 0, 2.0)?;
    let answer = upgrade_group(&lab, "2.0.0", &["--probation", "2s"])?;
    ensure!(answer.code == 0, "{answer:?}");
    let statuses = wait_step(&lab, "COMMITTED")?;
    ensure!(
        releases(&lab)? == ["2.0.1", "2.0.0"],
        "{:?}",
        releases(&lab)?
    );
    for (status, other) in statuses.iter().zip(["router", "topology"]) {
        ensure!(status["with"] == serde_json::json!([other]), "{status}");
        let ms = status["handover_us"].as_u64().context("handover_us")? / 1000;
        println!("{} was held for {ms} ms", status["app"]);
        ensure!(ms > 0 && ms < 3_000, "{status}");
    }
    let steps: Vec<String> = answer
        .stdout
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
        "an app was held before both were ready: {steps:?}"
    );
    let summary = flows.stop()?;
    ensure!(summary.lost == 0, "{summary:?}");
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(
        lab.ovs().connects() == connects,
        "a switch was disconnected"
    );
    let (touched, _) = touched(&rules, &lab.rules(Lab::ROUTER)?);
    ensure!(touched.is_empty(), "{touched:?}");
    check_single_upgrade(&lab, "1.0.0")?;
    lab.finish()
}

#[test]
fn a_failing_member_rolls_both_back_before_and_after_the_hand_over() -> Result<()> {
    let lab = lab()?;
    let _echo = lab.echo(4)?;
    let connects = lab.ovs().connects();
    let silent = Bundle::copy("router-1.0.0", lab.dir(), "silent")?.set("version", "\"1.0.1\"")?;
    let silent = silent.script("exit 3")?;
    let panics = Bundle::copy("router-1.0.0", lab.dir(), "panics")?.set("version", "\"1.0.2\"")?;
    let panics = panics.program(&bin("examples/panics")?)?;
    for bundle in [&silent, &panics] {
        lab.morpheus()?
            .morphctl(&["app", "install", "--unchecked", bundle.path()?])?;
    }
    let ping = lab.ping_continuously(2, 3, 1)?;
    // The target exits before it is ready. Topology was never held.
    let answer = upgrade_group(&lab, "1.0.1", &[])?;
    ensure!(answer.code == 4, "{answer:?}");
    let statuses = wait_step(&lab, "ROLLED_BACK")?;
    ensure!(statuses[0]["handover_us"] == 0, "{statuses:?}");
    let reason = statuses[0]["message"].as_str().context("message")?;
    ensure!(
        reason.contains("router") && reason.contains("status 3"),
        "{reason}"
    );
    // The target panics on the first packet-in of its probation.
    let answer = upgrade_group(&lab, "1.0.2", &["--probation", "60s", "--no-wait"])?;
    ensure!(answer.code == 0, "{answer:?}");
    wait_step(&lab, "UPGRADED")?;
    let refused = lab
        .morpheus()?
        .try_morphctl(&["upgrade", "app=topology@2.0.0"])?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("being upgraded"),
        "{refused:?}"
    );
    let flow = lab.new_flows(1, 4, 60_000.0, 0, 5.0)?;
    let statuses = wait_step(&lab, "ROLLED_BACK")?;
    ensure!(statuses[0]["back_handover_us"] != 0, "{statuses:?}");
    ensure!(
        releases(&lab)? == ["2.0.0", "1.0.0"],
        "{:?}",
        releases(&lab)?
    );
    let summary = flow.stop()?;
    ensure!((summary.sent, summary.lost) == (1, 0), "{summary:?}");
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(
        lab.ovs().connects() == connects,
        "a switch was disconnected"
    );
    check_single_upgrade(&lab, "2.0.0")?;
    lab.finish()
}

#[test]
fn a_morphd_that_dies_midway_leaves_both_old_or_both_new() -> Result<()> {
    let mut lab = lab()?;
    let connects = lab.ovs().connects();
    let ping = lab.ping_continuously(2, 3, 1)?;
    let armed = lab.dir().join("armed");
    for place in ["ready", "fencing", "fenced", "committed_as_one"] {
        let plan = format!("morphd.upgrade.{place}@{}=kill", armed.display());
        lab.morpheus_mut()?.set_env("MORPH_FAIL", &plan);
        // A morphd with the fail point in its environment.
        lab.process("morphd")?.signal(Signal::KILL)?;
        lab.morpheus_mut()?.wait_exited()?;
        lab.start_morpheus(&[])?;
        for app in APPS {
            lab.morpheus()?.wait_running(app, None)?;
        }
        std::fs::write(&armed, "")?;
        let answer = upgrade_group(&lab, "2.0.0", &["--probation", "300ms"])?;
        ensure!(answer.code == 5, "{place}: {answer:?}");
        lab.morpheus_mut()?.wait_exited()?;
        lab.morpheus_mut()?.set_env("MORPH_FAIL", "");
        lab.start_morpheus(&[])?;
        let ended = match place {
            "committed_as_one" => "COMMITTED",
            _ => "ROLLED_BACK",
        };
        let statuses = wait_step(&lab, ended).with_context(|| place.to_owned())?;
        println!("{place}: {ended}: {}", statuses[0]["message"]);
        let wanted = match place {
            "committed_as_one" => ["2.0.1", "2.0.0"],
            _ => ["2.0.0", "1.0.0"],
        };
        wait_until("both apps run the expected release", DEADLINE, || {
            Ok((releases(&lab)? == wanted).then_some(()))
        })?;
    }
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(
        lab.ovs().connects() == connects,
        "a switch was disconnected"
    );
    check_single_upgrade(&lab, "1.0.0")?;
    lab.finish()
}

#[test]
fn a_new_morphd_continues_the_probation_of_both() -> Result<()> {
    let mut lab = lab()?;
    upgrade_group(&lab, "2.0.0", &["--probation", "60s", "--no-wait"])?;
    wait_step(&lab, "UPGRADED")?;
    lab.process("morphd")?.kill()?;
    lab.morpheus_mut()?.wait_exited()?;
    lab.start_morpheus(&[])?;
    wait_step(&lab, "UPGRADED")?;
    let answer = lab.morpheus()?.try_morphctl(&["commit", "app=router"])?;
    ensure!(answer.code == 0, "{answer:?}");
    wait_step(&lab, "COMMITTED")?;
    ensure!(
        releases(&lab)? == ["2.0.1", "2.0.0"],
        "{:?}",
        releases(&lab)?
    );
    lab.finish()
}
