//! One switch and one app: packets are forwarded by learning-switch.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, Lab, Shape, wait_until};
use serde_json::Value;
use std::time::Duration;

const APP: &str = "learning-switch";
/// App id in the cookies of its rules.
const ID: u8 = 1;

fn lab(hosts: usize) -> Result<Lab> {
    let lab = Lab::with_morpheus(Shape::single(hosts), &["--app", APP])?;
    lab.morpheus()?.wait_running(APP, None)?;
    Ok(lab)
}

/// Rows of the app without their revisions.
fn learned(lab: &Lab) -> Result<Vec<(String, Value)>> {
    let rows = lab
        .morpheus()?
        .morphctl(&["store", "list", "app=learning-switch", "macs"])?;
    let rows = rows["store"].as_array().context("store")?;
    Ok(rows
        .iter()
        .map(|r| (r["key"].to_string(), r["value"].clone()))
        .collect())
}

#[test]
fn hosts_reach_each_other() -> Result<()> {
    let lab = lab(3)?;
    lab.wait_ping(1, 2)?;
    let failed = lab.ping_all()?;
    ensure!(failed.is_empty(), "{failed:?}");
    let summary = lab.ping(1, 2, 10, 100)?.finish()?;
    ensure!(
        summary.lost.is_empty() && summary.duplicates == 0,
        "{summary:?}"
    );
    ensure!(learned(&lab)?.len() == 3, "{:?}", learned(&lab)?);
    lab.finish()
}

#[test]
fn a_killed_app_is_restarted_and_no_established_ping_is_lost() -> Result<()> {
    let lab = lab(2)?;
    lab.wait_ping(1, 2)?;
    let before = (learned(&lab)?, lab.rules(ID)?);
    ensure!(!before.1.is_empty(), "no rules");
    let ping = lab.ping_continuously(1, 2, 1)?;
    for _ in 0..3 {
        let pid = lab.morpheus()?.app(APP)?["pid"].as_u64().context("pid")? as u32;
        lab.process(APP)?.kill()?;
        lab.morpheus()?.wait_running(APP, Some(pid))?;
    }
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(learned(&lab)? == before.0, "{:?}", learned(&lab)?);
    let after = lab.rules(ID)?;
    for (key, (_, added)) in &before.1 {
        let (_, again) = after
            .get(key)
            .with_context(|| format!("{key:?} is missing"))?;
        let moved = again.saturating_duration_since(*added);
        ensure!(
            moved < Duration::from_millis(300),
            "{key:?} was added again, {moved:?} later"
        );
    }
    lab.finish()
}

#[test]
fn an_upgrade_and_a_rollback_lose_nothing() -> Result<()> {
    let lab = lab(3)?;
    lab.wait_ping(1, 2)?;
    let newer =
        Bundle::copy("learning-switch-1.0.0", lab.dir(), "newer")?.set("version", "\"1.0.1\"")?;
    let morpheus = lab.morpheus()?;
    morpheus.morphctl(&["app", "install", newer.path()?])?;
    let connects = lab.ovs().connects();
    let _echo = lab.echo(3)?;
    let flows = lab.new_flows(1, 3, 5.0, 0, 2.0)?;
    let ping = lab.ping_continuously(1, 2, 1)?;

    morpheus.morphctl(&[
        "upgrade",
        "app=learning-switch",
        "--probation",
        "60s",
        "--no-wait",
    ])?;
    wait_until("the target is live", Duration::from_secs(10), || {
        Ok((step(&lab)? == "UPGRADED").then_some(()))
    })?;
    ensure!(
        morpheus.app(APP)?["release"] == "1.0.1",
        "{}",
        morpheus.app(APP)?
    );
    let back = morpheus.morphctl(&["rollback", "app=learning-switch"])?;
    ensure!(back["upgrades"][0]["step"] == "ROLLED_BACK", "{back}");
    ensure!(
        morpheus.app(APP)?["release"] == "1.0.0",
        "{}",
        morpheus.app(APP)?
    );
    let committed = morpheus.try_morphctl(&[
        "upgrade",
        "app=learning-switch@1.0.1",
        "--probation",
        "300ms",
    ])?;
    ensure!(committed.code == 0, "{committed:?}");
    ensure!(step(&lab)? == "COMMITTED", "{}", step(&lab)?);
    ensure!(
        morpheus.app(APP)?["release"] == "1.0.1",
        "{}",
        morpheus.app(APP)?
    );

    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    let summary = flows.stop()?;
    ensure!(summary.sent > 50 && summary.lost == 0, "{summary:?}");
    ensure!(
        lab.ovs().connects() == connects,
        "a switch was disconnected"
    );
    lab.finish()
}

/// Last step of the app's last upgrade.
fn step(lab: &Lab) -> Result<String> {
    let status = lab
        .morpheus()?
        .morphctl(&["status", "app=learning-switch"])?;
    let last = status["upgrades"].as_array().and_then(|list| list.last());
    let step = last.and_then(|status| status["step"].as_str());
    Ok(step.context("no step")?.to_owned())
}
