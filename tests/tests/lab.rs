//! The lab's own measurements, on switches that forward by themselves.

use anyhow::{Result, ensure};
use morph_tests::{Lab, Links, Shape};
use std::time::Duration;

/// Lets every switch forward without a controller.
fn standalone(lab: &Lab) -> Result<()> {
    for bridge in lab.bridges() {
        lab.ovs().ofctl(
            "add-flow",
            &bridge,
            &["cookie=0x4d03000100000000,actions=normal"],
        )?;
    }
    Ok(())
}

#[test]
fn pings_and_new_flows_cross_a_line_without_loss() -> Result<()> {
    let lab = Lab::new(Shape::line(2))?;
    standalone(&lab)?;
    lab.wait_ping(1, 2)?;
    let ping = lab.ping_continuously(1, 2, 1)?;
    let _echo = lab.echo(2)?;
    let flows = lab.new_flows(1, 2, 5.0, 0, 1.0)?;
    let summary = lab.ping(2, 1, 10, 200)?.finish()?;
    ensure!(
        summary.sent == 200 && summary.lost.is_empty(),
        "{summary:?}"
    );
    let summary = ping.stop()?;
    ensure!(summary.sent > 500 && summary.lost.is_empty(), "{summary:?}");
    let summary = flows.stop()?;
    ensure!(summary.sent > 200 && summary.lost == 0, "{summary:?}");
    ensure!(summary.ok == summary.sent, "{summary:?}");
    lab.finish()
}

#[test]
fn a_cut_link_shows_as_loss_and_as_a_gap() -> Result<()> {
    let lab = Lab::new(Shape::line(2).with(Links::Veth))?;
    standalone(&lab)?;
    lab.wait_ping(1, 2)?;
    let _echo = lab.echo(2)?;
    let flows = lab.new_flows(1, 2, 20.0, 0, 0.5)?;
    let ping = lab.ping(1, 2, 10, 200)?;
    morph_tests::pause(Duration::from_millis(500));
    lab.link(0, false)?;
    morph_tests::pause(Duration::from_millis(500));
    lab.link(0, true)?;
    let summary = ping.finish()?;
    ensure!((20..150).contains(&summary.lost.len()), "{summary:?}");
    ensure!(
        summary.longest_gap >= Duration::from_millis(400),
        "{summary:?}"
    );
    let summary = flows.stop()?;
    ensure!(summary.lost > 5 && summary.ok > 20, "{summary:?}");
    lab.finish()
}

#[test]
fn a_rule_added_again_is_younger_and_a_controller_row_is_read() -> Result<()> {
    let lab = Lab::new(Shape::single(1))?;
    standalone(&lab)?;
    let before = lab.rules(3)?;
    ensure!(before.len() == 1, "{before:?}");
    morph_tests::pause(Duration::from_millis(700));
    let kept = lab.rules(3)?;
    standalone(&lab)?;
    let again = lab.rules(3)?;
    for (key, (_, added)) in &before {
        let moved = kept[key].1.duration_since(*added);
        ensure!(
            moved < Duration::from_millis(300),
            "the rule seems to have been added {moved:?} later"
        );
        let moved = again[key].1.duration_since(*added);
        ensure!(
            moved > Duration::from_millis(300),
            "the rule seems to have been added {moved:?} later"
        );
    }
    lab.attach()?;
    let row = lab.ovs().controller("s1")?;
    ensure!(!row.connected && row.since_connect.is_none(), "{row:?}");
    ensure!(lab.ovs().connects() >= 1, "{}", lab.ovs().log());
    lab.finish()
}

#[test]
fn nothing_of_a_lab_outlives_it() -> Result<()> {
    let lab = Lab::new(Shape::single(1))?;
    let processes = lab.sandbox().processes()?;
    ensure!(
        processes.iter().any(|p| p.name() == "ovs-vswitchd"),
        "{processes:?}"
    );
    let dir = lab.dir().to_owned();
    drop(lab);
    for process in processes {
        let runs = std::path::Path::new(&format!("/proc/{}", process.pid)).exists();
        ensure!(!runs, "{process:?} still runs");
    }
    ensure!(!dir.exists(), "{dir:?} still exists");
    Ok(())
}
