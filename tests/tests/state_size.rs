//! A hand-over takes as long with much state as with none: it never walks over rows.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, long, result, wait_until};
use serde_json::Value;
use std::time::Duration;

/// Number of rows, hand-overs in each lab, deadline of one upgrade, and the largest ratio of the medians. The short
/// form runs beside other tests, so its bound is looser.
fn form() -> (u64, usize, Duration, f64) {
    match long() {
        true => (1_000_000, 15, Duration::from_secs(600), 1.2),
        false => (10_000, 5, Duration::from_secs(60), 3.0),
    }
}

#[test]
fn a_hand_over_does_not_grow_with_the_state() -> Result<()> {
    let (keys, samples, deadline, limit) = form();
    let none = Lab::with_router(Shape::diamond(), "2.0.0")?;
    let many = Lab::with_router(Shape::diamond(), "2.0.0")?;
    fill(&many, keys)?;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    // Alternating, so that both labs meet the same conditions. Up and down, so that the schema changes both ways.
    for round in 0..samples {
        let version = ["1.0.0", "2.0.0"][round % 2];
        small.push(hand_over(&none, version, deadline)?);
        large.push(hand_over(&many, version, deadline)?);
    }
    println!("hand-overs in us: with no keys {small:?}, with {keys} {large:?}");
    let (small, large) = (median(small), median(large));
    let ratio = large as f64 / small as f64;
    result("state_size/hand-overs of each", samples, "");
    result("state_size/median without rows", format!("{small} us"), "");
    result(
        &format!("state_size/median with {keys} rows"),
        format!("{large} us"),
        "",
    );
    result("state_size/ratio", format!("{ratio:.2}"), limit);
    ensure!(
        ratio < limit,
        "{keys} keys make a hand-over {ratio:.2} times as long"
    );
    none.finish()?;
    many.finish()
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}

/// Upgrades the router and commits as soon as possible; returns the hand-over time in microseconds.
fn hand_over(lab: &Lab, version: &str, deadline: Duration) -> Result<u64> {
    let morpheus = lab.morpheus()?;
    let release = format!("app=router@{version}");
    morpheus.morphctl(&["upgrade", &release, "--probation", "900s", "--no-wait"])?;
    let step = |status: &Value| {
        Ok::<_, anyhow::Error>(status["step"].as_str().context("step")?.to_owned())
    };
    wait_until(&format!("{release} is in probation"), deadline, || {
        let status = lab.status("router")?;
        ensure!(!step(&status)?.starts_with("ROLL"), "{status}");
        Ok((step(&status)? == "UPGRADED").then_some(()))
    })?;
    // The commit is refused until the shadow is complete and swapped.
    let status = wait_until(&format!("{release} is committed"), deadline, || {
        let _ = morpheus.try_morphctl(&["commit", "app=router"])?;
        let status = lab.status("router")?;
        ensure!(!step(&status)?.starts_with("ROLL"), "{status}");
        Ok((step(&status)? == "COMMITTED").then_some(status))
    })?;
    status["handover_us"].as_u64().context("handover_us")
}

/// Writes default weights of ports that nobody has: rows of the router that it has to keep.
fn fill(lab: &Lab, keys: u64) -> Result<()> {
    lab.morpheus()?.fill("router", "weights", keys, |n| {
        let key = format!("{:016x}/{}", 0x1000 + n / 1000, 1000 + n % 1000);
        (key, "1".into())
    })
}
