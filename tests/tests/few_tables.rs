//! Switches with few tables: the apps get as many as they need and no more, and a switch with fewer is refused and named.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, Switches, wait_until};
use serde_json::Value;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// Starts fake switches with so many tables, by datapath id from 1.
fn switches(lab: &Lab, tables: &[u8]) -> Result<Switches> {
    Switches::start_with(lab.sandbox(), tables.len(), |dpid, datapath| {
        let at = usize::try_from(dpid).unwrap_or(0) - 1;
        datapath.set_tables(tables[at]);
    })
}

/// Alarms about switches with too few tables.
fn alarms(lab: &Lab) -> Result<Vec<Value>> {
    let list = lab
        .morpheus()?
        .morphctl(&["alarms", "--kind", "few-tables"])?;
    list["alarms"].as_array().cloned().context("alarms")
}

/// Checks that no switch has refused a message, and that none is unknown.
fn check_no_errors(lab: &Lab, count: usize) -> Result<()> {
    let listed = lab.morpheus()?.wait_switches(count)?;
    let listed = listed["switches"].as_array().context("switches")?;
    ensure!(
        listed.iter().all(|switch| switch["errors"] == 0),
        "{listed:?}"
    );
    Ok(())
}

#[test]
fn a_learning_switch_alone_works_on_switches_of_two_and_three_tables() -> Result<()> {
    let mut lab = Lab::new(Shape::none())?;
    lab.start_morpheus(&["--app", "learning-switch"])?;
    lab.morpheus()?.wait_running("learning-switch", None)?;
    let switches = switches(&lab, &[2, 3])?;
    switches.wait_punting(1)?;
    for dpid in [1, 2] {
        switches.burst(dpid, 1, 1, None);
    }
    // The one with a table less has no rule for a single host.
    wait_until(
        "the switches have the rules of their hosts",
        DEADLINE,
        || {
            let list = ["store", "list", "app=learning-switch", "macs"];
            let macs = lab.morpheus()?.morphctl(&list)?;
            let hosts = macs["store"].as_array().map_or(0, Vec::len);
            let tables = [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)];
            let rules = tables.map(|(dpid, table)| switches.rules(dpid, table).len());
            Ok(((hosts, rules) == (2, [1, 1, 1, 2, 2])).then_some(()))
        },
    )?;
    check_no_errors(&lab, 2)?;
    ensure!(alarms(&lab)?.is_empty());
    switches.check_no_disconnects()?;
    switches.stop()?;
    lab.finish()
}

#[test]
fn topology_and_router_work_on_ten_tables_and_a_switch_of_three_is_refused() -> Result<()> {
    let mut lab = Lab::new(Shape::none())?;
    lab.start_morpheus(&[])?;
    for app in ["topology", "router"] {
        lab.morpheus()?.wait_running(app, None)?;
    }
    let switches = switches(&lab, &[10, 5, 3])?;
    let alarm = wait_until("the smallest switch is refused", DEADLINE, || {
        Ok(alarms(&lab)?.pop())
    })?;
    ensure!(alarm["dpid"] == "0000000000000003", "{alarm}");
    let text = alarm["text"].as_str().context("text")?;
    let needs = "it has 3 tables, and the apps' pipeline needs 5: table 0, 1 and an exit for topology, 2 for router";
    ensure!(text.ends_with(needs), "{text}");
    let doctor = lab.morpheus()?.try_morphctl(&["doctor"])?.json()?;
    ensure!(
        doctor.to_string().contains("morpheus few-tables"),
        "{doctor}"
    );
    wait_until("the others have the rules of both apps", DEADLINE, || {
        let has_both = |dpid| [1, 3].map(|table| !switches.rules(dpid, table).is_empty());
        Ok(([1, 2].map(has_both) == [[true; 2]; 2]).then_some(()))
    })?;
    // The exit behind the last app is there where there is a table for it.
    ensure!(
        switches.rules(1, 5).len() == 1,
        "{:?}",
        switches.rules(1, 5)
    );
    check_no_errors(&lab, 2)?;
    lab.morpheus()?.morphctl(&["app", "remove", "router"])?;
    wait_until("the smallest switch is connected", DEADLINE, || {
        Ok(alarms(&lab)?.is_empty().then_some(()))
    })?;
    check_no_errors(&lab, 3)?;
    switches.stop()?;
    lab.finish()
}
