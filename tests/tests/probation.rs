//! A release that fails in its probation: rolled back by itself, and its poison event is answered.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, Lab, Shape, bin, pause, wait_until};
use std::time::{Duration, Instant};

#[test]
fn a_release_that_panics_on_a_packet_in_is_rolled_back_within_a_second() -> Result<()> {
    let lab = Lab::with_router(Shape::diamond(), "1.0.0")?;
    let _echo = lab.echo(4)?;
    let bundle = Bundle::copy("router-1.0.0", lab.dir(), "panics")?
        .set("version", "\"1.0.1\"")?
        .program(&bin("examples/panics")?)?;
    lab.morpheus()?
        .morphctl(&["app", "install", bundle.path()?])?;
    let paths = lab.paths()?;
    let ping = lab.ping_continuously(2, 3, 1)?;
    lab.upgrade("router", "1.0.1")?;

    // One flow, whose first packet kills the release.
    let began = Instant::now();
    let flow = lab.new_flows(1, 4, 60_000.0, 0, 5.0)?;
    let status = wait_until(
        "the upgrade is rolled back",
        Duration::from_secs(10),
        || {
            let status = lab.status("router")?;
            Ok((status["step"] == "ROLLED_BACK").then_some(status))
        },
    )?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(1), "after {took:?}: {status}");
    pause(Duration::from_millis(500));
    let summary = flow.stop()?;
    ensure!((summary.sent, summary.lost) == (1, 0), "{summary:?}");
    ensure!(summary.longest_ms < 1500.0, "{summary:?}");
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(
        lab.morpheus()?.app("router")?["release"] == "1.0.0",
        "{status}"
    );
    let after = lab.paths()?;
    for (destination, path) in &paths {
        ensure!(
            after.get(destination) == Some(path),
            "the path to {destination} has changed"
        );
    }
    let logs = lab.morpheus()?.try_morphctl(&["logs", "app=router"])?;
    ensure!(
        logs.stdout.contains("a defect in the packet-in handler"),
        "{logs:?}"
    );
    let by = status["by"].as_str().context("by")?;
    ensure!(!by.is_empty() && by != "operator", "{status}");
    lab.finish()
}
