//! Upgrades of the router on a torus under live traffic: no packet is lost and no rule changes.

use anyhow::{Context, Result, ensure};
use morph_tests::{
    Bundle, LOST_AFTER, Lab, Links, NewFlowsSummary, Shape, bin, long, pause, result, touched,
    wait_until,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// MAC address of h9.
const H9: &str = "02:00:00:00:00:09";

/// Number of networks. Each flow brings a new host, so the state of one network grows as long as it is tested.
fn networks() -> usize {
    if long() { 5 } else { 1 }
}

/// Number of rounds in each network; each is an upgrade and one back.
const ROUNDS: usize = 10;
/// Time for which flows are started at one rate at least, however fast the upgrades are.
const FLOWS: Duration = Duration::from_millis(1500);

#[test]
fn every_host_reaches_every_other_on_a_torus() -> Result<()> {
    let lab = Lab::with_router(Shape::torus(3, 3), "2.0.0")?;
    let failed = lab.ping_all()?;
    ensure!(failed.is_empty(), "{failed:?}");
    ensure!(lab.paths()?.len() == 9, "{:?}", lab.paths()?);
    let summary = lab.ping(1, 9, 10, 100)?.finish()?;
    ensure!(
        summary.lost.is_empty() && summary.duplicates == 0,
        "{summary:?}"
    );
    lab.finish()
}

/// What the upgrades in one network have shown.
#[derive(Default)]
struct Upgrades {
    handovers_us: Vec<u64>,
    events_held: u64,
    rules: usize,
}

#[test]
fn twenty_upgrades_back_and_forth_lose_nothing_and_touch_no_rule() -> Result<()> {
    let mut all = Upgrades::default();
    for _ in 0..networks() {
        let upgrades = twenty_upgrades()?;
        all.handovers_us.extend(upgrades.handovers_us);
        all.events_held += upgrades.events_held;
        all.rules += upgrades.rules;
    }
    let mut handovers = all.handovers_us;
    handovers.sort_unstable();
    result(
        "router/hand-overs on a torus, no flow lost",
        handovers.len(),
        "",
    );
    for (what, percent) in [("p50", 50), ("p99", 99), ("maximum", 100)] {
        let time = format!("{} us", percentile(&handovers, percent));
        result(&format!("router/hand-over {what}"), time, "");
    }
    result("router/events held", all.events_held, "at least 1");
    result("router/rules left alone", all.rules, "all");
    Ok(())
}

fn twenty_upgrades() -> Result<Upgrades> {
    let lab = Lab::with_router(Shape::torus(3, 3).with(Links::Veth), "1.0.0")?;
    let _echo = lab.echo(3)?;
    choose_other_paths(&lab)?;
    move_by_weight(&lab)?;

    let paths = lab.paths()?;
    let connects = lab.ovs().connects();
    let descriptors = wait_descriptors(&lab)?;
    let rules = lab.rules(Lab::ROUTER)?;
    let diagonals = [
        lab.ping_continuously(1, 9, 1)?,
        lab.ping_continuously(3, 7, 1)?,
    ];
    let mut handovers = Vec::new();
    let (mut held, mut every_ms) = (0, 10.0);
    let mut flows = lab.new_flows(7, 3, every_ms, 0, LOST_AFTER)?;
    let mut began = Instant::now();
    for round in 0..ROUNDS {
        for version in ["2.0.0", "1.0.0"] {
            let status = lab.upgrade_and_commit("router", version)?;
            handovers.push(status["handover_us"].as_u64().context("handover_us")?);
            held += status["events_held"].as_u64().context("events_held")?;
            pause(Duration::from_millis(100));
        }
        // Raise the rate until events are held.
        if held == 0 && round % 2 == 1 && every_ms > 2.0 {
            pause(FLOWS.saturating_sub(began.elapsed()));
            let next = check_no_loss(flows.stop()?)?;
            every_ms /= 2.0;
            flows = lab.new_flows(7, 3, every_ms, next, LOST_AFTER)?;
            began = Instant::now();
        }
    }
    pause(FLOWS.saturating_sub(began.elapsed()));
    check_no_loss(flows.stop()?)?;
    for ping in diagonals {
        let summary = ping.stop()?;
        ensure!(summary.lost.is_empty(), "{summary:?}");
        eprintln!(
            "pings: {} sent, longest gap {:?}",
            summary.sent, summary.longest_gap
        );
    }
    ensure!(held > 0, "no event was ever held");
    ensure!(
        lab.ovs().connects() == connects,
        "a switch was disconnected"
    );
    let (touched, in_both) = touched(&rules, &lab.rules(Lab::ROUTER)?);
    ensure!(
        touched.is_empty(),
        "{} of {in_both} rules were added again: {touched:?}",
        touched.len()
    );
    ensure!(
        in_both == rules.len(),
        "{in_both} of {} rules remain",
        rules.len()
    );
    let after = lab.paths()?;
    for (destination, path) in &paths {
        ensure!(
            after.get(destination) == Some(path),
            "the path to {destination} has changed"
        );
    }
    let now = wait_descriptors(&lab)?;
    ensure!(
        similar(&descriptors, &now),
        "descriptors before {descriptors:?}, now {now:?}"
    );
    lab.finish()?;
    Ok(Upgrades {
        handovers_us: handovers,
        events_held: held,
        rules: in_both,
    })
}

/// Cuts a link and restores it, so that the stored paths differ from those that the router would choose anew.
fn choose_other_paths(lab: &Lab) -> Result<()> {
    let before = lab.paths()?;
    let link = lab.link_between(3, 9)?;
    lab.link(link, false)?;
    lab.wait_paths_changed(&before)?;
    lab.link(link, true)?;
    lab.wait_links()?;
    let after = lab.paths()?;
    ensure!(after != before, "the paths did not change");
    Ok(())
}

/// Changes a path by a weight, which only the newer release can do.
fn move_by_weight(lab: &Lab) -> Result<()> {
    lab.upgrade_and_commit("router", "2.0.0")?;
    let before = lab.paths()?;
    let dpid = format!("{:016x}", 1);
    let port = before
        .get(H9)
        .and_then(|path| path.get(&dpid))
        .context("no path to h9")?;
    let weight = format!("weights.{dpid}/{port}=50");
    lab.morpheus()?
        .morphctl(&["config", "set", "app=router", &weight])?;
    lab.wait_paths_changed(&before)?;
    lab.upgrade_and_commit("router", "1.0.0")?;
    Ok(())
}

/// Checks that no flow was lost; returns the number of the next flow.
fn check_no_loss(summary: NewFlowsSummary) -> Result<u64> {
    eprintln!("new flows: {summary:?}");
    ensure!(summary.sent > 100 && summary.lost == 0, "{summary:?}");
    Ok(summary.next)
}

/// Waits until one router is left; returns the open descriptors.
fn wait_descriptors(lab: &Lab) -> Result<BTreeMap<String, Vec<usize>>> {
    wait_until("one router is left", Duration::from_secs(10), || {
        let counts = lab.descriptors()?;
        let routers: usize = counts
            .iter()
            .filter(|(name, _)| name.starts_with("router"))
            .map(|(_, c)| c.len())
            .sum();
        Ok((routers == 1).then_some(counts))
    })
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or(0)
}

/// Whether the same processes run with about as many descriptors.
fn similar(before: &BTreeMap<String, Vec<usize>>, after: &BTreeMap<String, Vec<usize>>) -> bool {
    before.len() == after.len()
        && before.iter().all(|(name, counts)| {
            after.get(name).is_some_and(|now| {
                now.len() == counts.len()
                    && now.iter().sum::<usize>() <= counts.iter().sum::<usize>() + 4
            })
        })
}

#[test]
fn rules_that_are_deleted_and_added_again_are_detected() -> Result<()> {
    let lab = Lab::with_router(Shape::diamond(), "1.0.0")?;
    let worse = Bundle::copy("router-1.0.0", lab.dir(), "worse")?
        .set("version", "\"1.0.1\"")?
        .program(&bin("examples/reinstalls")?)?;
    lab.morpheus()?
        .morphctl(&["app", "install", worse.path()?])?;
    // The rules must be older than the error of their age.
    pause(Duration::from_secs(1));
    let rules = lab.rules(Lab::ROUTER)?;
    ensure!(!rules.is_empty(), "no rules");
    lab.upgrade_and_commit("router", "1.0.1")?;
    wait_until("all rules are new", Duration::from_secs(10), || {
        let (touched, in_both) = touched(&rules, &lab.rules(Lab::ROUTER)?);
        Ok((in_both == rules.len() && touched.len() == in_both).then_some(()))
    })?;
    lab.finish()
}

#[test]
fn without_a_router_every_new_flow_fails() -> Result<()> {
    let lab = Lab::with_router(Shape::diamond(), "2.0.0")?;
    let _echo = lab.echo(4)?;
    let flows = lab.new_flows(1, 4, 20.0, 0, 1.0)?;
    pause(Duration::from_secs(2));
    let with = flows.stop()?;
    ensure!(with.sent > 50 && with.lost == 0, "{with:?}");
    lab.morpheus()?.morphctl(&["app", "stop", "router"])?;
    let ping = lab.ping_continuously(1, 4, 10)?;
    let flows = lab.new_flows(1, 4, 20.0, with.next, 1.0)?;
    pause(Duration::from_secs(2));
    let without = flows.stop()?;
    ensure!(without.sent > 50 && without.ok == 0, "{without:?}");
    // Installed rules keep forwarding.
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    lab.finish()
}
