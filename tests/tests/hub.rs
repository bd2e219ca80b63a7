//! The client of the session protocol without the SDK, `proto/api/examples/hub.rs`.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, Lab, Shape, bin, repository, wait_until};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

fn install(lab: &Lab, version: &str) -> Result<()> {
    let manifest = repository().join("proto/api/examples/hub.toml");
    let bundle = Bundle::assemble(&manifest, &bin("examples/hub")?, lab.dir(), version)?
        .set("version", &format!("\"{version}\""))?;
    lab.morpheus()?
        .morphctl(&["app", "install", bundle.path()?])?;
    Ok(())
}

/// Packets of all switches that the hub has counted.
fn packets(lab: &Lab) -> Result<u64> {
    let list = ["store", "list", "app=hub", "packets"];
    let rows = lab.morpheus()?.morphctl(&list)?;
    let rows = rows["store"].as_array().context("store")?;
    Ok(rows.iter().filter_map(|row| row["value"].as_u64()).sum())
}

#[test]
fn the_small_client_is_upgraded_and_killed_under_traffic_and_loses_nothing() -> Result<()> {
    let lab = Lab::with_morpheus(Shape::single(2), &["--app", "topology"])?;
    let morpheus = lab.morpheus()?;
    morpheus.wait_running("topology", None)?;
    install(&lab, "1.0.0")?;
    install(&lab, "1.0.1")?;
    morpheus.morphctl(&["app", "start", "hub@1.0.0"])?;
    morpheus.wait_running("hub", None)?;
    lab.wait_ping(1, 2)?;
    let connects = lab.ovs().connects();
    let before = packets(&lab)?;
    let ping = lab.ping_continuously(1, 2, 20)?;
    lab.upgrade("hub", "1.0.1")?;
    morpheus.morphctl(&["rollback", "app=hub"])?;
    lab.upgrade("hub", "1.0.1")?;
    morpheus.morphctl(&["commit", "app=hub"])?;
    let pid = morpheus.app("hub")?["pid"].as_u64().context("pid")? as u32;
    lab.process("hub")?.kill()?;
    morpheus.wait_running("hub", Some(pid))?;
    let then = packets(&lab)?;
    wait_until("the next instance counts on", DEADLINE, || {
        Ok((packets(&lab)? > then).then_some(()))
    })?;
    let summary = ping.stop()?;
    ensure!(
        summary.lost.is_empty() && summary.duplicates == 0,
        "{summary:?}"
    );
    let counted = packets(&lab)? - before;
    let sent = 2 * summary.sent;
    // Each ping is two packets; hosts also ask for addresses, and send other packets of their own.
    ensure!(
        (sent..sent + 100).contains(&counted),
        "{counted} counted, {sent} sent"
    );
    ensure!(lab.ovs().connects() == connects, "the switch reconnected");
    lab.finish()
}
