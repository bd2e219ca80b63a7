//! A hand-over takes as long with much state as with none: nothing in it walks over rows.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, wait_until};
use serde_json::Value;
use std::time::Duration;

/// How many rows, how many hand-overs of each lab, how long one upgrade may prepare itself, and what is no difference.
/// The short form runs beside other tests, so there is more between two equal things.
fn form() -> (u64, usize, Duration, f64) {
    match std::env::var_os("MORPH_LONG") {
        Some(_) => (1_000_000, 15, Duration::from_secs(600), 1.2),
        None => (10_000, 5, Duration::from_secs(60), 3.0),
    }
}

#[test]
fn a_hand_over_does_not_grow_with_the_state() -> Result<()> {
    let (keys, samples, patience, most) = form();
    let none = Lab::with_router(Shape::diamond(), "2.0.0")?;
    let many = Lab::with_router(Shape::diamond(), "2.0.0")?;
    fill(&many, keys)?;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    // In turns, so that both meet the same machine; there and back, so that schemas change both ways.
    for round in 0..samples {
        let version = ["1.0.0", "2.0.0"][round % 2];
        small.push(hand_over(&none, version, patience)?);
        large.push(hand_over(&many, version, patience)?);
    }
    println!("hand-overs in us: with no keys {small:?}, with {keys} {large:?}");
    let (small, large) = (median(small), median(large));
    let ratio = large as f64 / small as f64;
    println!("medians: {small} us and {large} us, ratio {ratio:.2}");
    ensure!(
        ratio < most,
        "{keys} keys make a hand-over {ratio:.2} times as long"
    );
    none.finish()?;
    many.finish()
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}

/// Upgrades the router and ends the probation as soon as may be; how long nobody served, in us.
fn hand_over(lab: &Lab, version: &str, patience: Duration) -> Result<u64> {
    let morpheus = lab.morpheus()?;
    let release = format!("app=router@{version}");
    morpheus.do_(&["upgrade", &release, "--probation", "900s", "--no-wait"])?;
    let step = |status: &Value| {
        Ok::<_, anyhow::Error>(status["step"].as_str().context("step")?.to_owned())
    };
    wait_until(&format!("{release} is in probation"), patience, || {
        let status = lab.status("router")?;
        ensure!(!step(&status)?.starts_with("ROLL"), "{status}");
        Ok((step(&status)? == "UPGRADED").then_some(()))
    })?;
    // It answers once the shadow is whole and swapped, or says that it is not yet.
    let status = wait_until(&format!("{release} is committed"), patience, || {
        let _ = morpheus.ask(&["commit", "app=router"])?;
        let status = lab.status("router")?;
        ensure!(!step(&status)?.starts_with("ROLL"), "{status}");
        Ok((step(&status)? == "COMMITTED").then_some(status))
    })?;
    status["handover_us"].as_u64().context("handover_us")
}

/// Weights that say what goes without saying, of ports that nobody has: rows of the router's own that it has to keep.
fn fill(lab: &Lab, keys: u64) -> Result<()> {
    lab.morpheus()?.fill("router", "weights", keys, |n| {
        let key = format!("{:016x}/{}", 0x1000 + n / 1000, 1000 + n % 1000);
        (key, "1".into())
    })
}
