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
        Bundle::copy("learning-switch-1.2.0", lab.dir(), "newer")?.set("version", "\"1.2.1\"")?;
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
        morpheus.app(APP)?["release"] == "1.2.1",
        "{}",
        morpheus.app(APP)?
    );
    let back = morpheus.morphctl(&["rollback", "app=learning-switch"])?;
    ensure!(back["upgrades"][0]["step"] == "ROLLED_BACK", "{back}");
    ensure!(
        morpheus.app(APP)?["release"] == "1.2.0",
        "{}",
        morpheus.app(APP)?
    );
    let committed = morpheus.try_morphctl(&[
        "upgrade",
        "app=learning-switch@1.2.1",
        "--probation",
        "300ms",
    ])?;
    ensure!(committed.code == 0, "{committed:?}");
    ensure!(step(&lab)? == "COMMITTED", "{}", step(&lab)?);
    ensure!(
        morpheus.app(APP)?["release"] == "1.2.1",
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

/// Checks that a switch forgets addresses of a port that has too many, and none of another port.
#[test]
fn a_flood_of_addresses_is_bounded_and_known_hosts_stay_reachable() -> Result<()> {
    const BOUND: usize = 50;
    let lab = lab(3)?;
    let set = |entry: &str| {
        let app = "app=learning-switch";
        lab.morpheus()?.morphctl(&["config", "set", app, entry])
    };
    set(&format!("limits.hosts-per-port={BOUND}"))?;
    lab.set_static_arp()?;
    lab.wait_ping(1, 2)?;
    let ping = lab.ping_continuously(1, 2, 5)?;
    lab.send_from_addresses(3, 1, 1000)?;
    // The last one is learned: all are handled.
    let last = "02:99:00:00:03:e7";
    let rows = wait_until("the flood is handled", Duration::from_secs(20), || {
        let rows = learned(&lab)?;
        Ok(rows
            .iter()
            .any(|(key, _)| key.contains(last))
            .then_some(rows))
    })?;
    ensure!(rows.len() == BOUND + 2, "{rows:?}");
    for host in ["02:00:00:00:00:01", "02:00:00:00:00:02"] {
        ensure!(rows.iter().any(|(key, _)| key.contains(host)), "{rows:?}");
    }
    wait_until(
        "rules are those of the hosts",
        Duration::from_secs(5),
        || Ok((lab.rules(ID)?.len() == 2 + 2 * (BOUND + 2)).then_some(())),
    )?;
    let summary = ping.stop()?;
    ensure!(
        summary.lost.is_empty() && summary.duplicates == 0,
        "{summary:?}"
    );
    let failed = lab.ping_all()?;
    ensure!(failed.is_empty(), "{failed:?}");
    // Hosts that are silent are forgotten: the switch ends their rules, and the app deletes their rows.
    set("limits.idle-seconds=1")?;
    wait_until(
        "silent hosts are forgotten",
        Duration::from_secs(20),
        || {
            let order = ["store", "list", "app=learning-switch", "order"];
            let order = lab.morpheus()?.morphctl(&order)?;
            let none = order["store"].as_array().is_some_and(Vec::is_empty);
            Ok((none && learned(&lab)?.is_empty() && lab.rules(ID)?.len() == 2).then_some(()))
        },
    )?;
    lab.wait_ping(2, 3)?;
    lab.finish()
}
