//! Processes that die: the app, the supervisor, the proxy.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, pause, touched, wait_until};
use rustix::process::Signal;
use std::time::Duration;

/// A switch backs off for eight seconds at most, and the proxy has to be started again.
const BACK: Duration = Duration::from_secs(15);

fn lab() -> Result<Lab> {
    Lab::with_router(Shape::diamond(), "2.0.0")
}

fn pid(lab: &Lab, app: &str) -> Result<u32> {
    let app = lab.morpheus()?.app(app)?;
    Ok(u32::try_from(app["pid"].as_u64().context("pid")?)?)
}

#[test]
fn a_router_killed_with_a_packet_in_in_flight_ten_times_loses_no_flow() -> Result<()> {
    let lab = lab()?;
    let _echo = lab.echo(4)?;
    let paths = lab.paths()?;
    let ping = lab.ping_on(2, 3, 1)?;
    let flows = lab.new_flows(1, 4, 50.0, 0, 5.0)?;
    for _ in 0..10 {
        // It works for a while in between: one that dies at once is started ever later.
        pause(Duration::from_secs(1));
        let pid = pid(&lab, "router")?;
        let router = lab.process("router-2")?;
        router.signal(Signal::STOP)?;
        wait_until("an event is in its hands", Duration::from_secs(5), || {
            let backlog = lab.morpheus()?.app("router")?["backlog"].as_u64();
            Ok((backlog > Some(0)).then_some(()))
        })?;
        router.kill()?;
        lab.morpheus()?.wait_running("router", Some(pid))?;
    }
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    let summary = flows.stop()?;
    println!("{summary:?}");
    ensure!(
        summary.lost == 0 && summary.longest_ms < 1000.0,
        "{summary:?}"
    );
    let after = lab.paths()?;
    for (destination, path) in &paths {
        ensure!(
            after.get(destination) == Some(path),
            "{destination} has moved"
        );
    }
    // Every flow's source was learned, once.
    let hosts = lab.morpheus()?.do_(&["hosts"])?;
    let learned = hosts["hosts"].as_array().context("hosts")?.len();
    let known = usize::try_from(summary.sent)? + paths.len();
    ensure!(learned == known, "{learned} hosts, not {known}");
    lab.finish()
}

#[test]
fn a_killed_morphd_disturbs_nothing_and_a_new_one_adopts() -> Result<()> {
    let mut lab = lab()?;
    let _echo = lab.echo(4)?;
    let connects = lab.ovs().connects();
    let mut before: Vec<u32> = lab.processes()?.iter().map(|p| p.inner).collect();
    let ping = lab.ping_on(2, 3, 1)?;
    let flows = lab.new_flows(1, 4, 20.0, 0, 1.0)?;
    let morphd = lab.process("morphd")?;
    morphd.kill()?;
    lab.morpheus_mut()?.wait_gone()?;
    ensure!(
        lab.morpheus()?.ask(&["apps"])?.code == 3,
        "{:?}",
        lab.morpheus()?.ask(&["apps"])?
    );
    lab.start_morpheus(&[])?;
    lab.morpheus()?.wait_running("router", None)?;
    lab.morpheus()?.wait_running("topology", None)?;
    pause(Duration::from_secs(1));
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    let summary = flows.stop()?;
    ensure!(summary.sent > 20 && summary.lost == 0, "{summary:?}");
    before.retain(|pid| *pid != morphd.inner);
    for pid in before {
        let there = lab.processes()?.iter().any(|p| p.inner == pid);
        ensure!(there, "process {pid} was not adopted");
    }
    ensure!(
        lab.ovs().connects() == connects,
        "a switch has disconnected"
    );
    // The new one is as good as the old one.
    lab.upgrade_for_good("router", "1.0.0")?;
    lab.finish()
}

#[test]
fn after_the_proxy_was_killed_switches_come_back_and_rules_are_untouched() -> Result<()> {
    let lab = lab()?;
    let (paths, rules) = (lab.paths()?, lab.rules(Lab::ROUTER)?);
    let ping = lab.ping_on(2, 3, 1)?;
    lab.process("morph-proxy")?.kill()?;
    wait_until("all switches are back", BACK, || {
        let answer = lab.morpheus()?.ask(&["switches"])?;
        let count = answer
            .json()
            .ok()
            .and_then(|json| Some(json["switches"].as_array()?.len()));
        Ok((count == Some(4)).then_some(()))
    })?;
    lab.wait_links()?;
    wait_until("all hosts reach each other", BACK, || {
        Ok(lab.ping_all()?.is_empty().then_some(()))
    })?;
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(lab.paths()? == paths, "paths have changed");
    let (touched, both) = touched(&rules, &lab.rules(Lab::ROUTER)?);
    ensure!(
        touched.is_empty() && both == rules.len(),
        "{both} of {}: {touched:?}",
        rules.len()
    );
    lab.finish()
}
