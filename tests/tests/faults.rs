//! Deaths of an app, of morphd and of the proxy under traffic.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, pause, touched, wait_until};
use rustix::process::Signal;
use std::time::Duration;

/// A switch backs off for at most eight seconds, and the proxy has to be restarted.
const RECONNECT: Duration = Duration::from_secs(15);

fn lab() -> Result<Lab> {
    Lab::with_router(Shape::diamond(), "2.0.0")
}

fn pid(lab: &Lab, app: &str) -> Result<u32> {
    let app = lab.morpheus()?.app(app)?;
    Ok(u32::try_from(app["pid"].as_u64().context("pid")?)?)
}

#[test]
fn a_router_killed_ten_times_with_a_packet_in_in_flight_loses_no_flow() -> Result<()> {
    let lab = lab()?;
    let _echo = lab.echo(4)?;
    let paths = lab.paths()?;
    let ping = lab.ping_continuously(2, 3, 1)?;
    let flows = lab.new_flows(1, 4, 50.0, 0, 5.0)?;
    for _ in 0..10 {
        // A release that dies at once is restarted with growing delays: let it work for a while.
        pause(Duration::from_secs(1));
        let pid = pid(&lab, "router")?;
        let router = lab.process("router-2")?;
        router.signal(Signal::STOP)?;
        wait_until(
            "an event waits for the router",
            Duration::from_secs(5),
            || {
                let backlog = lab.morpheus()?.app("router")?["backlog"].as_u64();
                Ok((backlog > Some(0)).then_some(()))
            },
        )?;
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
            "the path to {destination} has changed"
        );
    }
    // The source of every flow was learned once.
    let hosts = lab.morpheus()?.morphctl(&["hosts"])?;
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
    let ping = lab.ping_continuously(2, 3, 1)?;
    let flows = lab.new_flows(1, 4, 20.0, 0, 1.0)?;
    let morphd = lab.process("morphd")?;
    morphd.kill()?;
    lab.morpheus_mut()?.wait_exited()?;
    ensure!(
        lab.morpheus()?.try_morphctl(&["apps"])?.code == 3,
        "{:?}",
        lab.morpheus()?.try_morphctl(&["apps"])?
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
        let runs = lab.processes()?.iter().any(|p| p.inner == pid);
        ensure!(runs, "process {pid} was not adopted");
    }
    ensure!(
        lab.ovs().connects() == connects,
        "a switch was disconnected"
    );
    // The new morphd can upgrade too.
    lab.upgrade_and_commit("router", "1.0.0")?;
    lab.finish()
}

#[test]
fn after_the_proxy_was_killed_switches_come_back_and_rules_are_untouched() -> Result<()> {
    let lab = lab()?;
    let (paths, rules) = (lab.paths()?, lab.rules(Lab::ROUTER)?);
    let ping = lab.ping_continuously(2, 3, 1)?;
    lab.process("morph-proxy")?.kill()?;
    wait_until("all switches are connected again", RECONNECT, || {
        let answer = lab.morpheus()?.try_morphctl(&["switches"])?;
        let count = answer
            .json()
            .ok()
            .and_then(|json| Some(json["switches"].as_array()?.len()));
        Ok((count == Some(4)).then_some(()))
    })?;
    lab.wait_links()?;
    wait_until("every host reaches every other host", RECONNECT, || {
        Ok(lab.ping_all()?.is_empty().then_some(()))
    })?;
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(lab.paths()? == paths, "the stored paths have changed");
    let (touched, in_both) = touched(&rules, &lab.rules(Lab::ROUTER)?);
    ensure!(
        touched.is_empty() && in_both == rules.len(),
        "{in_both} of {} rules remain, added again: {touched:?}",
        rules.len()
    );
    lab.finish()
}
