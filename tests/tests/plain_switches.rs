//! Plain switches in the network, which Morpheus does not see: no loop, one copy of a broadcast at each host, and a spare cable.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Links, Shape, wait_until};
use std::time::Duration;

/// Number of the host behind the plain switch.
const BEHIND: usize = 9;
/// Number of broadcasts that are counted.
const BROADCASTS: u32 = 20;

/// Two linked switches with a host each, and a plain switch with cables to these.
fn lab(cables: &[usize], passes_lldp: bool) -> Result<Lab> {
    let lab = Lab::with_router(Shape::line(2).with(Links::Veth), "2.0.0")?;
    lab.wait_ping(1, 2)?;
    lab.add_plain_switch(BEHIND, cables, passes_lldp)?;
    Ok(lab)
}

/// Number of alarms of a kind.
fn alarms(lab: &Lab, kind: &str) -> Result<usize> {
    let alarms = lab.morpheus()?.morphctl(&["alarms", "--kind", kind])?;
    Ok(alarms["alarms"].as_array().map_or(0, Vec::len))
}

fn wait_alarms(lab: &Lab, kind: &str, count: usize) -> Result<()> {
    let what = format!("{count} alarms {kind}");
    wait_until(&what, Duration::from_secs(20), || {
        Ok((alarms(lab, kind)? == count).then_some(()))
    })
}

/// Checks that each host gets each broadcast of each other one once.
fn one_copy_each(lab: &Lab, hosts: [usize; 3]) -> Result<()> {
    for from in hosts {
        let others: Vec<usize> = hosts.into_iter().filter(|host| *host != from).collect();
        for (host, copies) in lab.copies(from, &others, BROADCASTS)? {
            let each = (0..BROADCASTS).all(|number| copies.get(&number) == Some(&1));
            ensure!(each, "copies at h{host} of what h{from} sent: {copies:?}");
        }
    }
    Ok(())
}

#[test]
fn two_cables_of_one_switch_make_no_loop_and_the_spare_one_takes_over() -> Result<()> {
    let lab = lab(&[1, 1], false)?;
    wait_alarms(&lab, "blocked-port", 1)?;
    lab.wait_ping(1, BEHIND)?;
    lab.wait_ping(BEHIND, 2)?;
    one_copy_each(&lab, [1, 2, BEHIND])?;
    for cable in [1, 2] {
        lab.plain_cable(cable, false)?;
        wait_alarms(&lab, "blocked-port", 0)?;
        lab.wait_ping(BEHIND, 1)?;
        lab.plain_cable(cable, true)?;
        wait_alarms(&lab, "blocked-port", 1)?;
    }
    one_copy_each(&lab, [1, 2, BEHIND])?;
    lab.finish()
}

#[test]
fn three_cables_of_two_switches_make_no_loop() -> Result<()> {
    let lab = lab(&[1, 1, 2], false)?;
    wait_alarms(&lab, "blocked-port", 2)?;
    lab.wait_ping(1, BEHIND)?;
    lab.wait_ping(BEHIND, 2)?;
    one_copy_each(&lab, [1, 2, BEHIND])?;
    lab.finish()
}

#[test]
fn three_cables_of_a_plain_switch_that_passes_lldp_make_no_loop_and_no_link() -> Result<()> {
    let lab = lab(&[1, 1, 2], true)?;
    wait_alarms(&lab, "blocked-port", 2)?;
    lab.wait_ping(1, BEHIND)?;
    lab.wait_ping(BEHIND, 2)?;
    let ping = lab.ping_continuously(1, 2, 10)?;
    one_copy_each(&lab, [1, 2, BEHIND])?;
    let summary = ping.stop()?;
    ensure!(
        summary.lost.is_empty() && summary.duplicates == 0,
        "{summary:?}"
    );
    lab.finish()
}

/// Two ports of one switch are joined by something that passes no probe, so only the frames themselves show the loop.
#[test]
fn a_loop_that_passes_no_probe_ends_after_a_few_frames() -> Result<()> {
    let lab = Lab::with_router(Shape::single(2).with(Links::Veth), "2.0.0")?;
    lab.wait_ping(1, 2)?;
    let mut relay = lab.relay(1)?;
    wait_until(
        "the relay is between host ports",
        Duration::from_secs(20),
        || {
            let list = ["store", "list", "app=topology", "ports"];
            let ports = lab.morpheus()?.morphctl(&list)?;
            let ports = ports["store"].as_array().context("store")?;
            let of_hosts = ports.iter().map(|row| &row["value"]);
            let of_hosts = of_hosts.filter(|port| port["kind"] == "host");
            let of_relay = of_hosts.filter(|port| port.to_string().contains("relay"));
            Ok((of_relay.count() == 2).then_some(()))
        },
    )?;
    let before = relay.passed()?;
    let unknown = lab.sandbox().host_command("h1", "ping");
    let unknown = { unknown }
        .args(["-c", "1", "-W", "2", "10.0.0.99"])
        .output()?;
    ensure!(!unknown.status.success(), "10.0.0.99 answers");
    let passed = relay.passed()? - before;
    ensure!(
        (1..10).contains(&passed),
        "{passed} frames were passed on, and not a few"
    );
    lab.wait_ping(1, 2)?;
    lab.finish()
}
